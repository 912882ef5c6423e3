"""One model of a grid signal, whatever protocol brought it, and the words of its lifecycle.

Sign: net power of the connection point, import positive. A `max_net_kw` of -10 asks for 10 kW export.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Obligation(StrEnum):
    """What an enrolled programme binds us to. It comes from our registration, never from the sender's event."""

    MANDATORY = "mandatory"
    COMMITTED = "committed"
    VOLUNTARY = "voluntary"


class SignalState(StrEnum):
    """Lifecycle, in order; the last five end it or set it aside."""

    RECEIVED = "received"
    VALIDATED = "validated"
    ACCEPTED = "accepted"
    PARTIAL = "partial"
    SCHEDULED = "scheduled"
    DISPATCHED = "dispatched"
    ACTIVE = "active"
    MEASURED = "measured"
    REPORTED = "reported"
    SETTLED = "settled"
    OPTED_OUT = "opted_out"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    FAILED = "failed"


NO_LIMIT_KW = 1e9
"""Stands for "no limit" in an interval; finite, so that it survives every JSON encoder."""


@dataclass(frozen=True, slots=True)
class SignalInterval:
    """Half-open [start, end): hold the site's net power at or below max_net_kw (import positive).

    min_net_kw: hold it at or above this as well; an export limit of 5 kW is -5. A signal that limits only
    the export has NO_LIMIT_KW as its max_net_kw.
    """

    start: datetime
    end: datetime
    max_net_kw: float
    min_net_kw: float = -NO_LIMIT_KW


@dataclass(frozen=True, slots=True)
class Programme:
    """What was registered with us when the site enrolled.

    name: the programme's name on the wire. party: the client that may send its events.
    incentive_per_kwh, shortfall_per_kwh: paid for reduction delivered, charged for commitment missed.
    """

    name: str
    party: str
    obligation: Obligation
    incentive_per_kwh: float = 0.0
    shortfall_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class GridSignal:
    """One immutable revision of a signal.

    source: protocol and party, e.g. "openadr:utility". (source, external_id, content_hash) identifies it.
    """

    id: str
    source: str
    external_id: str
    revision: int
    content_hash: str
    received_at: datetime
    programme: str
    obligation: Obligation
    site_id: str
    intervals: tuple[SignalInterval, ...]
    priority: int = 0

    @property
    def start(self) -> datetime:
        return self.intervals[0].start

    @property
    def end(self) -> datetime:
        return self.intervals[-1].end


class ReasonCode(StrEnum):
    """Why less than asked. The utility sees these with counts, never a driver or a departure time."""

    ENERGY = "vehicles_lack_energy"
    DEPARTURE = "vehicles_leave_before_end"
    POWER = "charger_power_limit"
    PERMIT = "no_discharge_permit"
    FEEDER = "feeder_limit"
    BUILDING = "building_load"
    NOT_ENROLLED = "programme_not_enrolled"
    TOO_LATE = "notice_too_short"


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer to a signal. Powers are reductions below `baseline_kw` (mean over the event), 0 or more.

    committed_net_kw: what the site promises to hold, one value per interval of the signal.
    reasons: (code, number of vehicles or EVSEs concerned).
    feeder_limits: with ReasonCode.FEEDER the limits that are reached, in words: `highest voltage at board-dc phase b`.
    """

    signal_id: str
    state: SignalState
    requested_kw: float
    committed_kw: float
    baseline_kw: float
    committed_net_kw: tuple[float, ...]
    reasons: tuple[tuple[ReasonCode, int], ...]
    decided_at: datetime
    plan_id: str | None = None
    feeder_limits: tuple[str, ...] = ()


def named_by_sender(signal: GridSignal) -> str:
    """The sender's own name for the signal, without the site we resolved it to."""
    return signal.external_id.removesuffix(f"/{signal.site_id}")
