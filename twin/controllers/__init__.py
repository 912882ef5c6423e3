"""Who decides the set-points: the protocol that every controller and planner fits, and the rules they are measured by.

`view` holds the protocols, `rules` the controllers, `sharing` how a connection point's room is divided, `lending` who
discharges for an event and how much, `rehearsal` what a rule would make of the hours after it, `data_sheet` what a car
can give for certain, `metered` keeps a rule from booking what nobody draws or gives, `watchful` is a guard that notices
chargers which do not follow, `told` what one controller shows to another.
"""

from twin.controllers.lending import spare_discharge_kw
from twin.controllers.metered import Metered
from twin.controllers.rules import (
    EarliestDeadline,
    FollowSchedule,
    Proportional,
    ProportionalToLaxity,
    RoomSharing,
    RoundRobin,
    ScheduleMismatch,
    Uncontrolled,
)
from twin.controllers.view import Controller, FleetView, laxity_s
from twin.controllers.watchful import Watchful

__all__ = [
    "Controller", "EarliestDeadline", "FleetView", "FollowSchedule", "Metered", "Proportional", "ProportionalToLaxity",
    "RoomSharing", "RoundRobin", "ScheduleMismatch", "Uncontrolled", "Watchful", "laxity_s", "spare_discharge_kw",
]
