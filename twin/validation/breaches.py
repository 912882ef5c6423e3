"""What a replay of a schedule is judged by: the kinds of breach, what the grid was promised, what is forgiven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from twin.assets import Schedule, World
from twin.controllers import ScheduleMismatch


class BreachKind(StrEnum):
    """The unit of `Breach.worst`: kWh for departure and floor, kW for all others."""

    SITE_CAP = "site_cap"
    EVSE_RATING = "evse_rating"
    DEPARTURE = "departure"
    FLOOR = "floor"
    PERMIT = "permit"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that the replay crossed, over [start, end).

    asset_id: the site (site_cap), the EVSE (evse_rating, permit), the visit (departure, floor) or the signal (event).
    worst: largest excess; kWh for departure and floor, else kW. Positive.
    limit_value: what was allowed where it was worst, same unit.
    """

    kind: BreachKind
    asset_id: str
    start: datetime
    end: datetime
    worst: float
    limit_value: float

    def __str__(self) -> str:
        unit = "kWh" if self.kind in (BreachKind.DEPARTURE, BreachKind.FLOOR) else "kW"
        return (
            f"{self.kind.value} {self.asset_id} {self.start.isoformat()} to {self.end.isoformat()}: "
            f"{self.worst:.3f} {unit} beyond {self.limit_value:.3f} {unit}"
        )


@dataclass(frozen=True, slots=True)
class EventPromise:
    """What the grid was promised: mean net import of each of `steps` at or below `max_net_kw` (same length)."""

    signal_id: str
    steps: tuple[int, ...]
    max_net_kw: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.max_net_kw):
            raise ValueError(
                f"max_net_kw: {len(self.max_net_kw)} values, expected one for each of {len(self.steps)} steps"
            )


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How much is forgiven before it counts as a breach; all 0 or more."""

    power_kw: float = 0.05
    departure_kwh: float = 0.2
    floor_kwh: float = 0.1
    event_kw: float = 0.5


def require_match(world: World, schedule: Schedule, commitments: Sequence[EventPromise] = ()) -> None:
    """Raise `ScheduleMismatch` unless the schedule has the grid of `world`, its EVSEs only, and promises inside it."""
    if schedule.grid != world.grid:
        raise ScheduleMismatch(f"schedule.grid: {schedule.grid}, expected {world.grid}")
    unknown = sorted(set(schedule.evse_ids) - {evse.id for evse in world.evses})
    if unknown:
        raise ScheduleMismatch(f"schedule.evse_ids: {', '.join(unknown)}, expected EVSEs of site {world.site.id}")
    if len(set(schedule.evse_ids)) != len(schedule.evse_ids):
        raise ScheduleMismatch("schedule.evse_ids: an EVSE is named twice, expected each once")
    for promise in commitments:
        outside = [step for step in promise.steps if not 0 <= step < world.grid.steps]
        if outside:
            raise ScheduleMismatch(
                f"commitment {promise.signal_id}: step {outside[0]}, expected 0 <= step < {world.grid.steps}"
            )
