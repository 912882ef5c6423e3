"""Colours for voltages and loadings, and a grid of colours as a small PNG.

Voltage runs from blue (low) over grey to orange (high), which the common kinds of colour blindness tell apart, and
lightness falls to both ends; loading runs from pale to dark violet. What is beyond its limit has a colour of its own
and, in the pictures, a shape of its own.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

LOW: Final = (0x12, 0x4F, 0xB3)
MIDDLE: Final = (0xC9, 0xD1, 0xD6)
HIGH: Final = (0xC4, 0x59, 0x08)
TOO_LOW: Final = (0x04, 0x16, 0x4F)
TOO_HIGH: Final = (0x5A, 0x1E, 0x00)
IDLE: Final = (0xC3, 0xCE, 0xD6)
FULL: Final = (0x6A, 0x1B, 0xA3)
OVER: Final = (0xD4, 0x00, 0x5A)
NO_FLOW: Final = (0x13, 0x13, 0x13)
UNKNOWN: Final = (0xE9, 0xEC, 0xEE)


class Quantity(StrEnum):
    """What is painted."""

    VOLTAGE = "voltage"
    LOADING = "loading"


def colours(values: Floats, kind: Quantity, low: float, high: float) -> Pixels:
    """Red, green and blue of every value, (*shape, 3).

    low, high: of a voltage its limits, p.u.; of a loading 0 and its limit. NaN: there is no flow, or no rating.
    """
    value = np.asarray(values, dtype=np.float64)[..., None]
    if kind is Quantity.VOLTAGE:
        # Grey is 1 p.u., or the middle where 1 p.u. is beyond the limits.
        centre = 1.0 if low < 1.0 < high else 0.5 * (low + high)
        down = np.clip((centre - value) / (centre - low), 0.0, 1.0)
        up = np.clip((value - centre) / (high - centre), 0.0, 1.0)
        middle = np.array(MIDDLE)
        painted = middle + down * (np.array(LOW) - middle) + up * (np.array(HIGH) - middle)
        painted = np.where(value < low, TOO_LOW, np.where(value > high, TOO_HIGH, painted))
    else:
        share = np.clip((value - low) / (high - low), 0.0, 1.0)
        painted = np.array(IDLE) + share * (np.array(FULL) - np.array(IDLE))
        painted = np.where(value > high, OVER, painted)
    missing = NO_FLOW if kind is Quantity.VOLTAGE else UNKNOWN
    pixels: Pixels = np.where(np.isnan(value), missing, np.nan_to_num(painted)).round().astype(np.uint8)
    return pixels


def css(rgb: tuple[int, int, int] | Pixels) -> str:
    """As `#rrggbb`."""
    return "#" + "".join(f"{int(part):02x}" for part in rgb)


def png_uri(pixels: Pixels) -> str:
    """An image of (height, width, 3) as a data URI."""
    height, width, _ = pixels.shape
    rows = np.concatenate((np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)), axis=1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    return "data:image/png;base64," + b64encode(image + chunk(b"IEND", b"")).decode("ascii")
