"""V2GTP, the envelope of every message (ISO 15118-2 7.8.3, ISO 15118-20 7.8.3): header, then as many bytes as it says.

    0x01 | 0xFE | payload type (2 bytes) | payload length (4 bytes) | payload

TCP is a stream: a message may come in pieces, and two may come in one.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

HEADER = struct.Struct(">BBHI")
VERSION, INVERSE_VERSION = 0x01, 0xFE
MOST_BYTES = 128 * 1024
"""Longest payload that is read by default; three schedules of 1024 entries with prices need about half of it."""


class FrameError(ValueError):
    """The bytes are no V2GTP message; nothing after them on this connection can be trusted."""


class LineClosed(ConnectionError):
    """The peer closed the connection, in the middle of a message or between two."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One V2GTP message."""

    payload_type: int
    payload: bytes

    def to_bytes(self) -> bytes:
        return HEADER.pack(VERSION, INVERSE_VERSION, self.payload_type, len(self.payload)) + self.payload


async def read_frame(reader: asyncio.StreamReader, most_bytes: int = MOST_BYTES) -> Frame:
    """The next message, however TCP has cut it.

    Raises:
        FrameError: the header is none, or announces an empty payload or more than `most_bytes`.
        LineClosed: the connection ended first.
    """
    try:
        header = await reader.readexactly(HEADER.size)
        version, inverse, payload_type, length = HEADER.unpack(header)
        if (version, inverse) != (VERSION, INVERSE_VERSION):
            raise FrameError(f"V2GTP header {header.hex()}: expected it to begin with 01fe")
        if not 0 < length <= most_bytes:
            raise FrameError(f"V2GTP header {header.hex()}: {length} bytes, expected 1 to {most_bytes}")
        return Frame(payload_type, await reader.readexactly(length))
    except asyncio.IncompleteReadError as end:
        missing = "" if end.expected is None else f", {end.expected - len(end.partial)} bytes of a message missing"
        raise LineClosed("the peer closed the connection" + (missing if end.partial else "")) from None
