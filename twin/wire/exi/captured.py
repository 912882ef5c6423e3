r"""Octets out of what engineers have at hand: a hex stream of Wireshark, a dump with offsets, a C array, a frame.

80400040, 80:40:00:40, 0x80, 0x40, 0x0, 0x40, "\x80\x40\x00\x40", 01fe80010000000480400040 (with its V2GTP header), or

0000  01 fe 80 01 00 00 00 04  80 40 00 40   .........@.@

as Wireshark, hexdump -C, xxd, od -t x1 and tcpdump -x print it: one packet, or several, each from offset 0.
"""

from __future__ import annotations

import codecs
import re
import struct
from typing import NamedTuple

from twin.wire.exi.errors import Malformed

# V2GTP (ISO 15118-2 7.8.3, ISO 15118-20 7.8.3): version, its inverse, type and length of the payload.
_HEADER = struct.Struct(">HHI")
_VERSION = b"\x01\xfe"
_PAYLOADS = {
    0x8001: ("sap", "din", "iso2"), 0x8002: ("common",), 0x8003: ("ac",), 0x8004: ("dc",), 0x8005: ("acdp",),
    0x8006: ("wpt",),
}
_DISCOVERY = {0x9000: "request", 0x9001: "response", 0x9002: "request", 0x9003: "response"}
_FRAME = re.compile(rb"\x01\xfe\x80[\x01-\x06].{4}", re.DOTALL)
_STREAM = (b"\x80", b"$")  # how an EXI stream without such a header begins
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OFFSET = re.compile(r"(0x)?([0-9a-f]{4,8})(:?)(?=\s|$)", re.IGNORECASE)
_GROUP = re.compile(r"(\S+)(\s*)")
_OCTETS = re.compile("(?:[0-9a-f]{2})+", re.IGNORECASE)
_GAP = 2  # blanks that a dump has after its eighth octet, or before the characters beside the octets
_HALF_LINE = 8
_BASES = (16, 10, 8)  # in which offsets are written
_BETWEEN = re.compile(r"\\x|0x|[\s:,;\-\"'{}\[\]()]+", re.IGNORECASE)
_SHORT_OCTET = re.compile(r"(?<=0x)(?=[0-9a-f]\b)", re.IGNORECASE)


class Captured(NamedTuple):
    """One EXI stream, and the protocols that the V2GTP header before it leaves open; none where there was no header."""

    stream: bytes
    protocols: tuple[str, ...]


def captured(raw: bytes | str) -> list[Captured]:
    """The streams in `raw`: one, or as many as there are V2GTP messages one after another.

    raw: hexadecimal text in any of the forms above, or octets themselves. V2GTP messages may stand inside a frame of
    Ethernet, IP and TCP; what is around them is left out, as is SECC discovery beside other messages.

    Raises:
        Malformed: it is not hexadecimal, or holds no whole V2GTP message where it begins one.
    """
    text = _text(raw)
    packets = [bytes(raw)] if isinstance(raw, bytes) and text is None else _from_dump(text or "")
    packets = packets or [_from_hex(text or "")]
    found = [each for packet in packets for each in _messages(packet)]
    return found or [Captured(_stream(packet), ()) for packet in packets]


def _text(raw: bytes | str) -> str | None:
    """`raw` as text; None if it is octets: no EXI stream (80) and no V2GTP message (01 fe) is UTF-8."""
    if isinstance(raw, str):
        return raw
    try:
        if raw.startswith(_UTF_16):
            text = raw.decode("utf-16")
            return text if text.isascii() else None
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _messages(octets: bytes) -> list[Captured]:
    """The V2GTP messages with EXI that stand in `octets`."""
    found: list[Captured] = []
    discovery = ""
    at = 0 if octets.startswith(_VERSION) else _next_frame(octets, 0)
    while at is not None:
        kind, stream = _payload(octets, at)
        if kind in _DISCOVERY:
            discovery = f"V2GTP payload type {kind:#06x}: a {_DISCOVERY[kind]} of SECC discovery, which is not EXI"
        else:
            found.append(Captured(stream, _PAYLOADS.get(kind, ())))
        at = _next_frame(octets, at + _HEADER.size + len(stream))
    if discovery and not found:
        raise Malformed(discovery)
    return found


def _next_frame(octets: bytes, begin: int) -> int | None:
    """Where the next V2GTP message begins whose length fits into what is left."""
    for match in _FRAME.finditer(octets, begin):
        if 0 < _HEADER.unpack_from(octets, match.start())[2] <= len(octets) - match.start() - _HEADER.size:
            return match.start()
    return None


def _payload(octets: bytes, at: int) -> tuple[int, bytes]:
    if len(octets) - at < _HEADER.size:
        raise Malformed(f"a V2GTP header of {len(octets) - at} octets, expected {_HEADER.size}")
    _, kind, length = _HEADER.unpack_from(octets, at)
    stream = octets[at + _HEADER.size:at + _HEADER.size + length]
    if len(stream) < length:
        raise Malformed(f"the V2GTP header says {length} octets, {len(stream)} follow")
    return kind, stream


def _stream(octets: bytes) -> bytes:
    """`octets` as one stream without a header, unless they are a frame with the beginning of a message."""
    begun = None if octets.startswith(_STREAM) else _FRAME.search(octets)
    if begun is not None:
        _payload(octets, begun.start())
    return octets


def _from_hex(text: str) -> bytes:
    digits = _BETWEEN.sub("", _SHORT_OCTET.sub("0", text))
    try:
        return bytes.fromhex(digits)
    except ValueError:
        is_hex = re.fullmatch("[0-9a-fA-F]+", digits) is not None
        why = "has an odd number of hexadecimal digits, expected two for each octet" if is_hex else "is not hexadecimal"
        raise Malformed(f"{' '.join(text.split()):.40} {why}") from None


def _from_dump(text: str) -> list[bytes]:
    """The packets of a dump whose lines begin with their offset; none if `text` is no dump.

    Lines without octets, as tcpdump and Wireshark have them between packets, are left out.
    """
    packets: list[bytearray] = []
    for number, line in enumerate(text.splitlines(), start=1):
        offset = _OFFSET.match(line.strip())
        octets = _dumped(line.strip()[offset.end():]) if offset else None
        if offset is None or octets is None:
            continue
        if int(offset[2], 16) == 0:
            packets.append(bytearray())
        elif not packets or len(packets[-1]) not in _numbers(offset[2]):
            if packets and (offset[1] or offset[3]):
                raise Malformed(f"line {number} of a dump: offset {offset[2]}, expected {len(packets[-1]):04x}")
            return []
        packets[-1] += octets
    return [bytes(packet) for packet in packets if packet]


def _numbers(digits: str) -> list[int]:
    """What an offset may say: od writes them in octal, or in decimal where it is asked to."""
    return [int(digits, base) for base in _BASES if all(int(digit, 16) < base for digit in digits)]


def _dumped(line: str) -> bytes | None:
    """The octets of a dump's line after its offset, without the characters beside them; None if it is no such line."""
    octets = b""
    for group in _GROUP.finditer(line.strip()):
        if _OCTETS.fullmatch(group[1]) is None:
            return octets or None
        octets += bytes.fromhex(group[1])
        if len(group[2]) > _GAP or (len(group[2]) == _GAP and len(octets) != _HALF_LINE):
            break
    return octets
