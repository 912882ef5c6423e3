"""What a set-point at one connector comes to: ratings, and the minimum current."""

from __future__ import annotations

import math
from typing import Final

from twin.assets import Evse, Vehicle, pair_limits

SETPOINT_TOLERANCE_KW: Final = 1e-6
"""A set-point this close below a minimum counts as the minimum, this close to 0 as 0 (rounding of a schedule)."""


def usable_setpoint(evse: Evse, vehicle: Vehicle, kw: float) -> float:
    """The connector power in kW that `evse` and `vehicle` make of the set-point `kw`.

    Clipped to both ratings; charging below the EVSE's minimum (6 A, IEC 61851-1) and discharging below
    the car's minimum give 0.
    """
    pair = pair_limits(evse, vehicle)
    if kw > 0.0:
        most, least = pair.max_charge_kw, pair.min_charge_kw
    else:
        most, least = pair.max_discharge_kw, pair.min_discharge_kw
    usable = min(abs(kw), most)
    enough = max(least - SETPOINT_TOLERANCE_KW, SETPOINT_TOLERANCE_KW)
    return math.copysign(usable, kw) if usable >= enough else 0.0
