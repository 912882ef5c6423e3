r"""Octets out of what engineers have at hand: a hex stream of Wireshark, a dump with offsets, a C array, a frame.

80400040, 80:40:00:40, 0x80, 0x40, 0x0, 0x40, "\x80\x40\x00\x40", 01fe80010000000480400040 (with its V2GTP header), or

0000  01 fe 80 01 00 00 00 04  80 40 00 40   .........@.@
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from twin.wire.exi.errors import Malformed

# V2GTP (ISO 15118-2 7.8.3, ISO 15118-20 7.8.3): version, its inverse, type and length of the payload.
_HEADER = struct.Struct(">HHI")
_VERSION = 0x01FE
_PAYLOADS = {
    0x8001: ("sap", "din", "iso2"), 0x8002: ("common",), 0x8003: ("ac",), 0x8004: ("dc",), 0x8005: ("acdp",),
    0x8006: ("wpt",),
}
_DISCOVERY = {0x9000: "request", 0x9001: "response", 0x9002: "request", 0x9003: "response"}
_FRAME = re.compile(rb"\x01\xfe\x80[\x01-\x06]")
_DUMP_LINE = re.compile(r"([0-9a-f]{4,8}):?\s+((?:[0-9a-f]{2}(?:\s{1,2}|$)){1,16})", re.IGNORECASE)
_BETWEEN = re.compile(r"\\x|0x|[\s:,;\-\"'{}\[\]()]+", re.IGNORECASE)
_SHORT_OCTET = re.compile(r"(?<=0x)(?=[0-9a-f]\b)", re.IGNORECASE)
_PER_OCTET = 2


class Captured(NamedTuple):
    """One EXI stream, and the protocols that the V2GTP header before it leaves open; none where there was no header."""

    stream: bytes
    protocols: tuple[str, ...]


def captured(raw: bytes | str) -> list[Captured]:
    """The streams in `raw`: one, or as many as there are V2GTP messages one after another.

    raw: hexadecimal text in any of the forms above, or octets themselves. V2GTP messages may stand inside a frame of
    Ethernet, IP and TCP; what is around them is left out.

    Raises:
        Malformed: it is not hexadecimal, or holds no whole V2GTP message where it begins one.
    """
    # Every EXI stream and every V2GTP message has octets that no ASCII text has.
    octets = raw if isinstance(raw, bytes) and not raw.isascii() else _from_text(raw)
    found: list[Captured] = []
    at = 0 if octets[:2] == _VERSION.to_bytes(2, "big") else _next_frame(octets, 0)
    while at is not None:
        stream, protocols = _payload(octets, at)
        found.append(Captured(stream, protocols))
        at = _next_frame(octets, at + _HEADER.size + len(stream))
    return found or [Captured(octets, ())]


def _next_frame(octets: bytes, begin: int) -> int | None:
    """Where the next V2GTP message begins whose length fits into what is left."""
    for match in _FRAME.finditer(octets, begin):
        rest = octets[match.start():]
        if len(rest) >= _HEADER.size and 0 < _HEADER.unpack_from(rest)[2] <= len(rest) - _HEADER.size:
            return match.start()
    return None


def _payload(octets: bytes, at: int) -> tuple[bytes, tuple[str, ...]]:
    if len(octets) - at < _HEADER.size:
        raise Malformed(f"a V2GTP header of {len(octets) - at} octets, expected {_HEADER.size}")
    _, kind, length = _HEADER.unpack_from(octets, at)
    if kind in _DISCOVERY:
        raise Malformed(f"V2GTP payload type {kind:#06x}: a {_DISCOVERY[kind]} of SECC discovery, which is not EXI")
    stream = octets[at + _HEADER.size:at + _HEADER.size + length]
    if len(stream) < length:
        raise Malformed(f"the V2GTP header says {length} octets, {len(stream)} follow")
    return stream, _PAYLOADS.get(kind, ())


def _from_text(raw: bytes | str) -> bytes:
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    dump = _from_dump(text)
    digits = dump if dump is not None else _BETWEEN.sub("", _SHORT_OCTET.sub("0", text))
    try:
        return bytes.fromhex(digits)
    except ValueError:
        is_hex = re.fullmatch("[0-9a-fA-F]+", digits) is not None
        why = "has an odd number of hexadecimal digits, expected two for each octet" if is_hex else "is not hexadecimal"
        raise Malformed(f"{' '.join(text.split()):.40} {why}") from None


def _from_dump(text: str) -> str | None:
    """The digits of a dump whose lines begin with their offset; None if `text` is none."""
    digits = ""
    for line in text.strip().splitlines():
        match = _DUMP_LINE.match(line.strip())
        if match is None or int(match[1], 16) != len(digits) // _PER_OCTET:
            return None
        digits += "".join(match[2].split())
    return digits
