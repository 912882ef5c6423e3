"""What a car may say and what it cannot mean: checks of its needs against the EVSE's ratings and against reason.

EXI has no checksum, so a flipped bit usually gives another valid message, and a RationalNumber reaches to 1e131.
"""

from __future__ import annotations

import math

from twin.station.rail import EvNeeds, EvseRatings

MOST_KW = 10_000.0  # the megawatt charging system ends at 3.75 MW
MOST_KWH = 10_000.0
MOST_V = 5_000.0
MOST_A = 10_000.0
DAY_S = 86_400.0
LONGEST_STAY_S = 366 * DAY_S
ROUNDING = 1e-6

_POWERS = ("max_charge_kw", "min_charge_kw", "max_discharge_kw", "min_discharge_kw")
_CURRENTS = (
    "max_charge_current_a", "min_charge_current_a", "max_discharge_current_a", "min_discharge_current_a",
)
_ENERGIES = ("target_energy_kwh", "max_energy_kwh", "min_energy_kwh", "max_v2x_energy_kwh", "min_v2x_energy_kwh")
_RANGES = (
    *((name, 0.0, MOST_KW) for name in _POWERS),
    *((name, 0.0, MOST_A) for name in _CURRENTS),
    *((name, -MOST_KWH, MOST_KWH) for name in _ENERGIES),
    *((name, 0.0, MOST_V) for name in ("max_voltage_v", "min_voltage_v")),
    *((name, 0.0, 1.0) for name in ("present_soc", "target_soc", "min_soc", "max_soc")),
    ("capacity_kwh", 0.0, MOST_KWH), ("departure_s", 0.0, LONGEST_STAY_S),
)
_ORDERED = (
    ("min_charge_kw", "max_charge_kw"), ("min_discharge_kw", "max_discharge_kw"),
    ("min_charge_current_a", "max_charge_current_a"), ("min_discharge_current_a", "max_discharge_current_a"),
    ("min_voltage_v", "max_voltage_v"), ("min_soc", "target_soc"), ("min_energy_kwh", "max_energy_kwh"),
)


def impossible(needs: EvNeeds, ratings: EvseRatings) -> str | None:
    """What in `needs` no car can mean at this EVSE, in words; None if all of it is possible.

    A car that asks for more than the EVSE has is possible: it gets less.
    """
    for name, low, high in _RANGES:
        value = getattr(needs, name)
        if value is not None and not (math.isfinite(value) and low - ROUNDING <= value <= high + ROUNDING):
            return f"{name}: {value:g}, expected {low:g} to {high:g}"
    for less, more in _ORDERED:
        low, high = getattr(needs, less), getattr(needs, more)
        if low is not None and high is not None and low > high + ROUNDING:
            return f"{less}: {low:g}, expected at most {more}, {high:g}"
    if needs.transfer.is_dc:
        return _no_common_voltage(needs, ratings)
    return None


def impossible_target(voltage_v: float, current_a: float, ratings: EvseRatings) -> str | None:
    """What in a DC car's request no EVSE of these ratings can do; more current than it has is no fault (it limits)."""
    if not (math.isfinite(voltage_v) and 0.0 <= voltage_v <= ratings.max_voltage_v + ROUNDING):
        return f"target voltage: {voltage_v:g} V, expected 0 to {ratings.max_voltage_v:g} V"
    if not (math.isfinite(current_a) and abs(current_a) <= MOST_A):
        return f"target current: {current_a:g} A, expected at most {MOST_A:g} A"
    return None


def _no_common_voltage(needs: EvNeeds, ratings: EvseRatings) -> str | None:
    if needs.max_voltage_v is not None and needs.max_voltage_v < ratings.min_voltage_v - ROUNDING:
        return f"max_voltage_v: {needs.max_voltage_v:g}, expected at least {ratings.min_voltage_v:g} (of the EVSE)"
    if needs.min_voltage_v is not None and needs.min_voltage_v > ratings.max_voltage_v + ROUNDING:
        return f"min_voltage_v: {needs.min_voltage_v:g}, expected at most {ratings.max_voltage_v:g} (of the EVSE)"
    return None
