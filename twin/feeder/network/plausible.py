"""How large the figures of a feeder may be: beyond anything that was ever built, and small enough to calculate with.

A file that says 1e300 says nothing of a network, and squared it is no number any more. Every element holds its own
figures to these bounds, so every way in does; the importers hold to `FIGURE` what they multiply before there is an
element, and to `POWER` what loads draw.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

LEAST: Final = 1e-9
"""Of what must be above 0."""

FIGURE: Final = 1e30
"""Of any number in a file, whatever its unit: ten of them multiplied are still a number."""


class Most(Enum):
    """The largest size of a quantity, in its unit.

    VOLTS: ten times the highest transmission voltage. AMPERES, OHM: of what stands for a joint or an open switch in
    published networks, and more. TAPS: as power-grid-model keeps positions, in a byte. NUMBER: of what has no bound of
    its own, such as the short-circuit power of a source that is all but stiff.
    """

    VOLTS = 1e7
    AMPERES = 1e9
    OHM = 1e12
    FARAD = 1e3
    SIEMENS = 1e15
    POWER = 1e13
    METRES = 1e8
    RATIO = 1e6
    TAPS = 127
    HERTZ = 1e5
    NUMBER = 1e24

    def __str__(self) -> str:
        unit = _UNITS.get(self.name, "")
        return f"{self.value:g}{unit}"


_UNITS: Final = {
    "VOLTS": " V", "AMPERES": " A", "OHM": " ohm", "FARAD": " F", "SIEMENS": " S", "POWER": " VA", "METRES": " m",
    "HERTZ": " Hz",
}


def is_figure(value: object) -> bool:
    """Whether it is a finite number of a size that can be calculated with; no truth value is."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FIGURE


def is_power(value: float) -> bool:
    """Whether something can draw so many watts or vars."""
    return abs(value) <= Most.POWER.value


class FeederError(ValueError):
    """A value of one element is impossible; the message names element, field, value and what was expected."""

    def __init__(self, element: str, field_name: str, value: object, expected: str) -> None:
        super().__init__(f"{element}: {field_name}: {value!r}, expected {expected}")
        self.element = element
        self.field_name = field_name
        self.value = value
        self.expected = expected


def require_positive(element: str, field_name: str, value: float, most: Most = Most.NUMBER) -> None:
    """Raise a `FeederError` unless `value` is above 0 and not beyond `most`."""
    if not value > 0 or value == inf:
        raise FeederError(element, field_name, value, "a finite number above 0")
    if not LEAST <= value <= most.value:
        raise FeederError(element, field_name, value, f"{LEAST:g} to {most}")


def require_not_negative(element: str, field_name: str, value: float, most: Most = Most.NUMBER) -> None:
    """Raise a `FeederError` unless `value` is 0 or more and not beyond `most`."""
    if not value >= 0 or value == inf:
        raise FeederError(element, field_name, value, "a finite number, 0 or more")
    require_within(element, field_name, value, most)


def require_within(element: str, field_name: str, value: float, most: Most = Most.NUMBER) -> None:
    """Raise a `FeederError` if `value` is beyond `most` or below minus `most`, or NaN."""
    if not abs(value) <= most.value:
        raise FeederError(element, field_name, value, f"a finite number, at most {most} in size")
