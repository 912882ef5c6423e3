"""A stream as bits: read piece by piece with bounds on what it may ask for, and the pieces as they are written.

A stream is handled as text of '0' and '1': a slice of it is the key of a table, so that a whole byte-sized value with
the event codes around it costs one look-up, and no arithmetic on large numbers is ever needed.
"""

from __future__ import annotations

from typing import Any

from twin.wire.exi.errors import InvalidValue, LimitExceeded, Malformed, Truncated
from twin.wire.exi.limits import Limits
from twin.wire.exi.schema import Name
from twin.wire.exi.strings import StringTable

OCTET = tuple(f"{n:08b}" for n in range(256))
_NUMBER = {bits: n for n, bits in enumerate(OCTET)}
_MORE = 128  # the bit of an octet which says that the integer goes on
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)

# A string's length is written plus two; the two lengths below say that it is a reference to an earlier one (7.3.3).
_HIT_LOCAL, _MISS = 0, 2


class Source:
    """One stream that is being decoded, with what decoding it has cost so far."""

    __slots__ = ("bits", "content", "depth", "events", "learned", "limits", "strings")

    def __init__(self, bits: str, limits: Limits, strings: StringTable) -> None:
        self.bits = bits
        self.limits = limits
        self.strings = strings
        self.events = 0
        self.content = 0
        self.depth = 0
        self.learned: dict[Name, Any] = {}

    def count(self) -> None:
        """One more event of those whose number no schema bounds."""
        self.events += 1
        if self.events > self.limits.events:
            raise LimitExceeded(f"more than {self.limits.events} elements and attributes in one message")

    def grow(self, length: int) -> None:
        """So many more characters or octets of values that come out, before they are made."""
        self.content += length
        if self.content > self.limits.content:
            raise LimitExceeded(f"more than {self.limits.content} characters and octets of values in one message")

    def descend(self) -> None:
        """Into one more element whose depth no schema bounds; whoever reads on after it takes `depth` back."""
        self.depth += 1
        if self.depth > self.limits.depth:
            raise LimitExceeded(f"elements nested deeper than {self.limits.depth}")

    def number(self, at: int, width: int) -> tuple[int, int]:
        """An unsigned number of `width` bits, and the position after it."""
        end = at + width
        if end > len(self.bits):
            raise Truncated(f"the stream ends at bit {len(self.bits)}, inside a value of {width} bits")
        return (int(self.bits[at:end], 2) if width else 0), end

    def unsigned(self, at: int) -> tuple[int, int]:
        """An Unsigned Integer (7.1.6): octets of 7 bits, the least significant first."""
        number = _NUMBER.get(self.bits[at:at + 8])
        if number is None:
            raise Truncated(f"the stream ends at bit {len(self.bits)}, inside an integer")
        at += 8
        if number < _MORE:
            return number, at
        number -= _MORE
        for shift in range(7, 7 * self.limits.integer_octets, 7):
            octet = _NUMBER.get(self.bits[at:at + 8])
            if octet is None:
                raise Truncated(f"the stream ends at bit {len(self.bits)}, inside an integer")
            at += 8
            number |= (octet % _MORE) << shift
            if octet < _MORE:
                return number, at
        raise LimitExceeded(f"an integer of more than {self.limits.integer_octets} octets")

    def characters(self, at: int, length: int) -> tuple[str, int]:
        """`length` characters, each an Unsigned Integer: one octet for ASCII."""
        if length > self.limits.string_characters:
            raise LimitExceeded(f"a string of {length} characters, at most {self.limits.string_characters} are read")
        end = at + 8 * length
        if end > len(self.bits):
            raise Truncated(f"a string of {length} characters in a stream with {len(self.bits) - at} bits left")
        if not length:
            return "", at
        octets = int(self.bits[at:end], 2).to_bytes(length, "big")
        if octets.isascii():
            return octets.decode("ascii"), end
        found = []
        for _ in range(length):
            code, at = self.unsigned(at)
            if code > _LAST_CHARACTER or code in _SURROGATES:
                raise Malformed(f"{code:#x} is not a character")
            found.append(chr(code))
        return "".join(found), at

    def octets(self, at: int, shortest: int, longest: int | None) -> tuple[bytes, int]:
        """A Binary value (7.1.1) of `shortest` to `longest` octets: its length, then the octets."""
        length, at = self.unsigned(at)
        if length < shortest or (longest is not None and length > longest):
            raise InvalidValue(f"a binary value of {length} octets, expected {span(shortest, longest)}")
        if length > self.limits.octets:
            raise LimitExceeded(f"a binary value of {length} octets, at most {self.limits.octets} are read")
        end = at + 8 * length
        if end > len(self.bits):
            raise Truncated(f"a binary value of {length} octets in a stream with {len(self.bits) - at} bits left")
        self.grow(length)
        return (int(self.bits[at:end], 2).to_bytes(length, "big") if length else b""), end

    def string(self, at: int, owner: Name) -> tuple[str, int]:
        """A String value (7.1.10, 7.3.3): new, or one that the stream has had before."""
        length, at = self.unsigned(at)
        if length >= _MISS:
            self.grow(length - _MISS)
            text, at = self.characters(at, length - _MISS)
            if text:
                self.strings.add_value(owner, text)
            return text, at
        known = self.strings.values_of(owner) if length == _HIT_LOCAL else self.strings.all_values
        index, at = self.number(at, width_for(len(known)))
        if index >= len(known):
            raise Malformed(f"string number {index} of {len(known)} known ones")
        text = known[index]
        self.grow(len(text))
        return text, at


def width_for(count: int) -> int:
    """Bits that tell `count` things apart."""
    return (count - 1).bit_length() if count > 1 else 0


def number_bits(number: int, width: int) -> str:
    """An n-bit Unsigned Integer (7.1.9) as bits; of no bits where there is only one."""
    return f"{number:0{width}b}" if width else ""


def unsigned_bits(number: int) -> str:
    """An Unsigned Integer (7.1.6) as bits."""
    if number < _MORE:
        return OCTET[number]
    parts = []
    while number >= _MORE:
        parts.append(OCTET[number % _MORE + _MORE])
        number >>= 7
    parts.append(OCTET[number])
    return "".join(parts)


def octet_bits(octets: bytes) -> str:
    """Octets as bits."""
    return f"{int.from_bytes(octets, 'big'):0{8 * len(octets)}b}" if octets else ""


def string_bits(text: str) -> str:
    """A String that the stream has not had before; peers never write a reference to an earlier one, nor does this."""
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError:
        if any(ord(each) in _SURROGATES for each in text):
            raise InvalidValue("the text has half of a surrogate pair") from None
        return unsigned_bits(len(text) + _MISS) + "".join(unsigned_bits(ord(each)) for each in text)
    return unsigned_bits(len(text) + _MISS) + octet_bits(octets)


def span(shortest: int, longest: int | None) -> str:
    """A length that is allowed, in words."""
    return str(longest) if shortest == longest else f"{shortest} to {'any number' if longest is None else longest}"
