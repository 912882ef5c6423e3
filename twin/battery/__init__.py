"""Batteries at connectors: one car's physics in closed form, and the exact state of many cars between events.

`segment` holds the closed forms, `vehicle_class` a car's curves made ready for them, `running` the segments of many
slots under way, `fleet_state` the cars of a station park on top of it, `segment_history` what became of them at any
past time;
`full_charge` runs whole charges that nobody steers, many visits side by side.
"""

from twin.battery.fleet_state import FleetState, SlotOccupied
from twin.battery.segment_history import SegmentHistory
from twin.battery.setpoint import SETPOINT_TOLERANCE_KW, usable_setpoint
from twin.battery.vehicle_class import battery_kw

__all__ = [
    "SETPOINT_TOLERANCE_KW", "FleetState", "SegmentHistory", "SlotOccupied", "battery_kw", "usable_setpoint",
]
