"""Why a driver left a simulated charger with less than was wanted."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

SHORT_KWH = 0.2
"""A driver is short when more than this is missing, as everywhere in the service."""


class Cause(StrEnum):
    """Why a driver left with less than was wanted; the first that holds, in this order. Who has not left has none.

    event: the same course without the event leaves this driver with what was wanted.
    stay: full power from arrival to the declared departure would not have sufficed.
    left_early: full power would have sufficed until the declared departure, but the driver left before it was done.
    fault: something was wrong with this charger, its link or its meter while the car stood there.
    changed: the driver changed the departure or the wish while the car was charging.
    early_and_shared: there was power enough for a prompt charge; it was planned for later and the driver left early.
    shared: others under the same cap, or the controller's own choice, took the power.
    """

    NONE = "none"
    EVENT = "event"
    STAY = "stay"
    LEFT_EARLY = "left_early"
    FAULT = "fault"
    CHANGED = "changed"
    EARLY_AND_SHARED = "early_and_shared"
    SHARED = "shared"


CAUSES = tuple(Cause)
CAUSE_WORDS: Mapping[Cause, str] = {
    Cause.NONE: "not short",
    Cause.EVENT: "the grid event",
    Cause.STAY: "stay too short for the wish, even at full power",
    Cause.LEFT_EARLY: "left early, before full power could have done it",
    Cause.FAULT: "a faulty charger or link",
    Cause.CHANGED: "changed the wish or the departure on the way",
    Cause.EARLY_AND_SHARED: "left early, while charging was planned for later",
    Cause.SHARED: "too little power for all under the cap",
}
