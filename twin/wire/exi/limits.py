"""How much one stream may ask for before it is refused."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that hold for every message, checked before anything is allocated.

    The schemas' own bounds (string lengths, list sizes, ranges) are narrower nearly everywhere; these hold where the
    schema has none: signatures, certificates, price rules and content that the schema does not know.

    stream_bytes: length of the whole stream; a schedule of 96 quarters of an hour with as many prices has 5 kB.
    depth: elements inside elements, those alone counted in which something stands that the schema does not foresee:
        what it foresees it bounds itself, the deepest of the supported ones at 10.
    events: entries of lists and content that the schema does not know; all else it bounds itself.
    string_characters: one string value; octets: one binary value.
    content: characters of all string values and octets of all binary ones together. References to earlier strings count
        as the strings do: they cost a stream two octets each, and would make a thousandfold of it.
    integer_octets: one integer, 7 bits each; 32 octets hold 224 bits, certificates' serial numbers have 160.
    """

    stream_bytes: int = 65_536
    depth: int = 32
    events: int = 50_000
    string_characters: int = 16_384
    octets: int = 32_768
    content: int = 262_144
    integer_octets: int = 32
