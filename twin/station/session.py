"""A transaction as the station keeps it, and what its meter showed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import Enum

from twin.station.outlet import Activity


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


@dataclass(slots=True, eq=False)
class Transaction:
    """One charging transaction.

    id: given by the station (the id on the wire in OCPP 2.x; the temporary one in 1.6).
    csms_id: OCPP 1.6 only, once the CSMS has answered StartTransaction.
    """

    id_token: str
    started_at: float
    began: Sample
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    csms_id: int | None = None
    told_activity: Activity = Activity.CONNECTED
    has_told_needs: bool = False
    next_seq_no: int = 0

    def take_seq_no(self) -> int:
        """The next sequence number of a TransactionEvent (2.x E01.FR.07: from 0, by one)."""
        number = self.next_seq_no
        self.next_seq_no += 1
        return number
