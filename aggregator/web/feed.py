"""What the live page shows, as frozen rows; the service implements `LiveFeed`.

Nothing here names a driver: a car is the car at its EVSE. Times are aware UTC; the page turns them into the site's
local time. Power is positive when importing or charging.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aggregator.fleet.model import SocSource
from aggregator.ocpp.events import ConnectorState, OcppVersion
from aggregator.reports.words import Refusal
from aggregator.signals.model import Obligation, ReasonCode, SignalState


@dataclass(frozen=True, slots=True)
class SitePoint:
    """Means over the domain minute (or plan step) that begins at `at`; None = not measured, or not in force.

    planned_kw: net power of the plan in force for that time; points after `now` carry only it and the limits.
    limit_kw: mandatory limit. target_kw: net power an accepted event asks to stay at or below.
    """

    at: datetime
    building_kw: float | None = None
    ev_kw: float | None = None
    net_kw: float | None = None
    planned_kw: float | None = None
    cap_kw: float | None = None
    limit_kw: float | None = None
    target_kw: float | None = None


@dataclass(frozen=True, slots=True)
class Risk:
    """A driver who may leave short: how much is missing (kWh, battery side) and why, in words."""

    missing_kwh: float
    why: str


@dataclass(frozen=True, slots=True)
class ChargerRow:
    """One EVSE. Session fields are None when no car is plugged.

    ordered_kw: what the profile it holds asks now. soc, target_soc, floor_soc: 0 to 1.
    is_declared: the departure was declared by driver or fleet; otherwise it is the site's default.
    overdue_since: the departure that has passed while the car stayed; `departure` is then a guess.
    """

    evse_id: str
    version: OcppVersion
    is_online: bool
    state: ConnectorState | None
    power_kw: float | None = None
    ordered_kw: float | None = None
    soc: float | None = None
    soc_source: SocSource | None = None
    soc_at: datetime | None = None
    target_soc: float | None = None
    floor_soc: float | None = None
    delivered_kwh: float | None = None
    requested_kwh: float | None = None
    departure: datetime | None = None
    is_declared: bool = False
    is_bidirectional: bool = False
    risk: Risk | None = None
    overdue_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventProgress:
    """A grid signal and how far it is fulfilled. Reductions are below `baseline_kw`, 0 or more.

    max_net_kw: asked net power now (or in its first interval). committed_net_kw: what the site promised to hold.
    delivered_kw: mean measured reduction from the start until now; None before the start.
    """

    signal_id: str
    programme: str
    obligation: Obligation
    state: SignalState
    start: datetime
    end: datetime
    max_net_kw: float
    requested_kw: float | None = None
    committed_kw: float | None = None
    committed_net_kw: float | None = None
    baseline_kw: float | None = None
    delivered_kw: float | None = None
    delivered_kwh: float | None = None
    reasons: tuple[tuple[ReasonCode, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """The last plan and why. binding: what decided, in words, dearest first (from `Plan.binding`).

    status: optimal, time_limit or safe. passed: the twin's replay of the last round showed no breach.
    solve_s: build and solve over all rounds; replay_s: replays over all rounds.
    """

    plan_id: str
    made_at: datetime
    trigger: str
    status: str
    passed: bool
    rounds: int
    refusals: tuple[Refusal, ...] = ()
    binding: tuple[str, ...] = ()
    solve_s: float = 0.0
    replay_s: float = 0.0
    plans_today: int = 0
    refused_today: int = 0


@dataclass(frozen=True, slots=True)
class AlertRow:
    raised_at: datetime
    kind: str
    text: str
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class TrimRow:
    """The fast loop holds an EVSE below its plan."""

    evse_id: str
    since: datetime
    planned_kw: float
    trimmed_kw: float
    reason: str


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """One consistent look at the site.

    history: the day so far by the minute, then the plan ahead; increasing `at`.
    factor: domain seconds per wall second. measured_at: when the connection-point meter last spoke.
    """

    site_id: str
    timezone: str
    now: datetime
    factor: float
    cap_kw: float
    net_kw: float | None = None
    building_kw: float | None = None
    ev_kw: float | None = None
    planned_kw: float | None = None
    measured_at: datetime | None = None
    limit_kw: float | None = None
    target_kw: float | None = None
    history: tuple[SitePoint, ...] = ()
    chargers: tuple[ChargerRow, ...] = ()
    events: tuple[EventProgress, ...] = ()
    plan: PlanSummary | None = None
    alerts: tuple[AlertRow, ...] = ()
    trims: tuple[TrimRow, ...] = ()


class LiveFeed(Protocol):
    """Where the live page gets its picture. Called about twice a second while someone looks."""

    def snapshot(self) -> LiveSnapshot: ...
