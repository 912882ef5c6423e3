"""A transaction as the station keeps it, what its meter showed, and what its car said it needs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import Enum

from twin.station.outlet import Activity
from twin.station.rail import EvNeeds


class EndReason(Enum):
    """Why a transaction ended; each dialect has its own words for it."""

    EV_DISCONNECTED = "ev disconnected"
    REMOTE = "remote"
    DEAUTHORISED = "deauthorised"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Sample:
    """The meter at domain instant `at`: signed power, registers over the station's life, SoC 0..1 if the car tells."""

    at: float
    power_kw: float
    import_wh: int
    export_wh: int
    soc: float | None = None


SAME_DEPARTURE_S = 120.0


@dataclass(frozen=True, slots=True)
class CarNeeds:
    """What the car said at domain instant `at`."""

    said: EvNeeds
    at: float

    @property
    def departure(self) -> float | None:
        """The domain instant at which the car wants to be ready."""
        return None if self.said.departure_s is None else self.at + self.said.departure_s

    def differs_from(self, other: CarNeeds) -> bool:
        """It wants something else; that its battery filled meanwhile is no other wish."""
        mine, theirs = self.departure, other.departure
        if (mine is None) != (theirs is None):
            return True
        if mine is not None and theirs is not None:
            # A car that stays beyond its time says "now" again and again.
            has_come = max(mine, theirs) <= self.at + SAME_DEPARTURE_S
            if abs(mine - theirs) > SAME_DEPARTURE_S and not has_come:
                return True
        return _wish(self.said) != _wish(other.said)


def _wish(said: EvNeeds) -> tuple[object, ...]:
    return (
        said.transfer, said.control, said.target_soc, said.min_soc, said.max_soc, said.max_charge_kw,
        said.max_discharge_kw,
    )


@dataclass(slots=True, eq=False)
class Transaction:
    """One charging transaction.

    id: given by the station (the id on the wire in OCPP 2.x; the temporary one in 1.6).
    csms_id: OCPP 1.6 only, once the CSMS has answered StartTransaction.
    told_needs: what the CSMS was last told of the car's needs.
    """

    id_token: str
    started_at: float
    began: Sample
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    csms_id: int | None = None
    told_activity: Activity = Activity.CONNECTED
    told_needs: CarNeeds | None = None
    next_seq_no: int = 0

    def take_seq_no(self) -> int:
        """The next sequence number of a TransactionEvent (2.x E01.FR.07: from 0, by one)."""
        number = self.next_seq_no
        self.next_seq_no += 1
        return number
