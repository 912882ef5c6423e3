"""What the fast loop takes away and why, and the limits that make it do so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from aggregator.ocpp.events import Delivery, ProfileCommand
from aggregator.signals.model import GridSignal


class TrimReason(StrEnum):
    SITE_CAP = "site_cap"
    MANDATORY_LIMIT = "mandatory_limit"
    EXPORT_LIMIT = "export_limit"
    FEEDER = "feeder"


@dataclass(frozen=True, slots=True)
class Trim:
    """What the fast loop takes from one EVSE.

    at: when it was decided; since: from when it holds. planned_kw: what the plan had for that instant.
    ceiling_kw: bound on charging, for EXPORT_LIMIT on discharge; 0 or more.
    is_locked: stays until a plan that knows the limit (for FEEDER: the car) replaces it, so that nothing rebounds.
    """

    evse_id: str
    at: datetime
    since: datetime
    planned_kw: float
    ceiling_kw: float
    reason: TrimReason
    signal_id: str | None = None
    is_locked: bool = False


@dataclass(frozen=True, slots=True)
class LimitHold:
    """A mandatory limit in force.

    level_kw: what the net is held at until `window_end`, to save the first minute. settled_at: by then the slowest
    charger has come down; until then no plan raises another one.
    """

    signal: GridSignal
    start: datetime
    level_kw: float
    window_end: datetime
    settled_at: datetime

    def limit_at(self, when: datetime) -> float | None:
        return next((i.max_net_kw for i in self.signal.intervals if i.start <= when < i.end), None)


@dataclass(frozen=True, slots=True)
class LimitDispatch:
    """What applying a limit did. level_kw: net power aimed at. deliveries: by EVSE, first answers."""

    signal_id: str
    level_kw: float
    commands: tuple[ProfileCommand, ...]
    deliveries: Mapping[str, Delivery]

    @property
    def first_sent_wall(self) -> float | None:
        return min((d.sent_wall for d in self.deliveries.values() if d.sent_wall is not None), default=None)

    @property
    def last_sent_wall(self) -> float | None:
        return max((d.sent_wall for d in self.deliveries.values() if d.sent_wall is not None), default=None)


@dataclass(frozen=True, slots=True)
class FastLoopSettings:
    """Seconds are domain time unless the name says wall.

    margin_kw: kept free under every limit. band_kw: room that must be there before anything is given back.
    hold_s, hold_wall_s: shortest time between the last change and giving back. ramp_kw: most given back at once.
    settle_s, settle_wall_s: after this an EVSE is expected to have followed its order.
    response_margin_s: added to the chargers' own response when a limit is applied (network, a busy machine).
    """

    margin_kw: float = 1.0
    band_kw: float = 2.0
    hold_s: float = 30.0
    hold_wall_s: float = 1.0
    restore_step_kw: float = 1.0
    ramp_kw: float = 10.0
    settle_s: float = 30.0
    settle_wall_s: float = 2.0
    window_s: float = 65.0
    response_margin_s: float = 2.0
