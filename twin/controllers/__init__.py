"""Who decides the set-points: the protocol that every controller and planner fits, and the rules they are measured by.

`rules` holds protocol and controllers, `sharing` how a connection point's room is divided, `data_sheet` what a car can
give for certain, `metered` keeps a rule from booking what nobody draws or gives, `watchful` is a guard that notices
chargers which do not follow, `told` what these two show to the controller behind them.
"""

from twin.controllers.metered import Metered
from twin.controllers.rules import (
    Controller,
    EarliestDeadline,
    FleetView,
    FollowSchedule,
    Proportional,
    ProportionalToLaxity,
    RoomSharing,
    RoundRobin,
    ScheduleMismatch,
    Uncontrolled,
    laxity_s,
    spare_discharge_kw,
)
from twin.controllers.watchful import Watchful

__all__ = [
    "Controller", "EarliestDeadline", "FleetView", "FollowSchedule", "Metered", "Proportional", "ProportionalToLaxity",
    "RoomSharing", "RoundRobin", "ScheduleMismatch", "Uncontrolled", "Watchful", "laxity_s", "spare_discharge_kw",
]
