"""Numbers as the wire carries them: a 16-bit integer times a power of ten.

ISO 15118-20 RationalNumber (8.3.5.3.8) has an exponent of -128 to 127, ISO 15118-2 and DIN 70121 PhysicalValue one of
-3 to 3. Both are written here with at most three decimals and towards zero, so that a limit is never exceeded by the
way it is written.
"""

from __future__ import annotations

LARGEST = 32767
TOO_LARGE = 1e9  # and infinite, of which there is no int
LEAST_EXPONENT, MOST_EXPONENT = -3, 3


def scaled(number: float) -> tuple[int, int]:
    """The integer and the exponent that stand for `number`, as precise as they can be.

    Raises:
        ValueError: it is no number or larger than 32,767,000.
    """
    for exponent in range(LEAST_EXPONENT, MOST_EXPONENT + 1):
        # The ninth digit after the point: 2.3 * 1000 is 2299.9999999999995, and 2300 is what was meant.
        value = int(round(number / 10.0**exponent, 9)) if abs(number) < TOO_LARGE else LARGEST + 1
        if abs(value) <= LARGEST:
            return (value, exponent) if value else (0, 0)
    raise ValueError(f"number: {number}, expected at most {LARGEST * 10**MOST_EXPONENT} in magnitude")


def unscaled(value: int, exponent: int) -> float:
    """The number that `value` and `exponent` stand for."""
    return value * 10.0**exponent if exponent >= 0 else value / 10.0**-exponent


def quantised(number: float) -> float:
    """`number` after it was written to the wire and read again."""
    return unscaled(*scaled(number))


def quantised_kw(power_kw: float) -> float:
    """A power in kW after it went over the wire in W."""
    return quantised(power_kw * 1000.0) / 1000.0
