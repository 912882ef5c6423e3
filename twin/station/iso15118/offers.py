"""What a station may say and what it cannot mean: the car's check of limits and readings before it follows them.

The counterpart of `plausible`. A station that offers more than the car can take is no fault: the car takes less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import BaseModel

from twin.station.iso15118.plausible import MOST_A, MOST_KW, MOST_V
from twin.station.rail import CarLimits

VOLTAGE_SLACK = 1.1  # IEC 61851-23 6.4.3.5: an overvoltage is more than 110 % of what the car asked for at most
_DEEPEST = 3  # body, parameters, limit

_W = MOST_KW * 1000.0
_POWER, _ANY_POWER = (0.0, _W), (-_W, _W)
_CURRENT, _ANY_CURRENT = (0.0, MOST_A), (-MOST_A, MOST_A)
_VOLTAGE = (0.0, MOST_V)
_RANGES = {
    # ISO 15118-20; discharge limits come in either sign
    "evse_max_charge_power": _POWER, "evse_min_charge_power": _POWER, "evse_maximum_charge_power": _POWER,
    "evse_minimum_charge_power": _POWER, "evse_max_discharge_power": _ANY_POWER,
    "evse_min_discharge_power": _ANY_POWER, "evse_target_active_power": _ANY_POWER,
    "evse_present_active_power": _ANY_POWER, "evse_max_charge_current": _CURRENT,
    "evse_min_charge_current": _CURRENT, "evse_maximum_charge_current": _CURRENT,
    "evse_max_discharge_current": _ANY_CURRENT, "evse_min_discharge_current": _ANY_CURRENT,
    "evse_max_voltage": _VOLTAGE, "evse_min_voltage": _VOLTAGE, "evse_maximum_voltage": _VOLTAGE,
    # ISO 15118-2 and DIN 70121
    "evse_maximum_power_limit": _POWER, "evse_max_power_limit": _POWER, "evse_maximum_current_limit": _CURRENT,
    "evse_max_current_limit": _CURRENT, "evse_minimum_current_limit": _CURRENT, "evse_max_current": _CURRENT,
    "evse_maximum_voltage_limit": _VOLTAGE, "evse_max_voltage_limit": _VOLTAGE,
    "evse_minimum_voltage_limit": _VOLTAGE, "evse_nominal_voltage": (1.0, MOST_V),
    # all
    "evse_present_voltage": _VOLTAGE, "evse_present_current": _ANY_CURRENT,
}
_TOPS = frozenset(("evse_max_voltage", "evse_maximum_voltage", "evse_maximum_voltage_limit", "evse_max_voltage_limit"))
_BOTTOMS = frozenset(("evse_min_voltage", "evse_minimum_voltage_limit"))


def impossible_offer(said: BaseModel, limits: CarLimits) -> str | None:
    """What in a station's response no station can mean, or this car cannot stand, in words; None if all is possible."""
    for name, value in _numbers(said, _DEEPEST):
        low, high = _RANGES[name]
        if name in _TOPS:
            low = limits.min_voltage_v
        elif name in _BOTTOMS:
            high = limits.max_voltage_v
        elif name == "evse_present_voltage":
            high = VOLTAGE_SLACK * limits.max_voltage_v
        if not (math.isfinite(value) and low <= value <= high):
            return f"{name}: {value:g}, expected {low:g} to {high:g}"
    return None


def _numbers(said: BaseModel, depth: int) -> Iterator[tuple[str, float]]:
    for name, value in said:
        if name in _RANGES and value is not None:
            yield name, float(value.get_decimal_value())
        elif depth > 1 and isinstance(value, BaseModel):
            yield from _numbers(value, depth - 1)
