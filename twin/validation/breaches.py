"""What a replay of a schedule is judged by: the kinds of breach, what the grid was promised, what is forgiven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from twin.assets import Schedule, World
from twin.controllers import ScheduleMismatch


class BreachKind(StrEnum):
    """What can break; `unit` is that of `Breach.worst`."""

    SITE_CAP = "site_cap"
    EVSE_RATING = "evse_rating"
    DEPARTURE = "departure"
    FLOOR = "floor"
    PERMIT = "permit"
    EVENT = "event"
    NO_SOLUTION = "no_solution"
    VOLTAGE_LOW = "voltage_low"
    VOLTAGE_HIGH = "voltage_high"
    LINE_OVERLOAD = "line_overload"
    TRANSFORMER_OVERLOAD = "transformer_overload"
    UNBALANCE = "unbalance"
    ENGINES_DISAGREE = "engines_disagree"

    @property
    def unit(self) -> str:
        """Of departure and floor kWh, of voltages p.u., of loadings and unbalance %, of all others kW."""
        return _UNITS.get(self, "kW")

    @property
    def is_of_feeder(self) -> bool:
        """Whether it is about the street's grid."""
        return self in _OF_FEEDER


_UNITS = {
    BreachKind.DEPARTURE: "kWh", BreachKind.FLOOR: "kWh", BreachKind.VOLTAGE_LOW: "p.u.",
    BreachKind.VOLTAGE_HIGH: "p.u.", BreachKind.LINE_OVERLOAD: "%", BreachKind.TRANSFORMER_OVERLOAD: "%",
    BreachKind.UNBALANCE: "%", BreachKind.ENGINES_DISAGREE: "p.u.",
}

_OF_FEEDER = frozenset({
    BreachKind.NO_SOLUTION, BreachKind.VOLTAGE_LOW, BreachKind.VOLTAGE_HIGH, BreachKind.LINE_OVERLOAD,
    BreachKind.TRANSFORMER_OVERLOAD, BreachKind.UNBALANCE, BreachKind.ENGINES_DISAGREE,
})


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that the replay crossed, over [start, end).

    asset_id: the site (site_cap), the EVSE (evse_rating, permit), the visit (departure, floor), the signal (event);
        `point.phase` of a connection point (voltages), `line.phase`, the transformer, the bus (unbalance), the feeder.
    worst: largest excess, in the unit of the kind, positive; without a solution the kW that all EVSEs draw or feed in.
    limit_value: what was allowed where it was worst, same unit.
    """

    kind: BreachKind
    asset_id: str
    start: datetime
    end: datetime
    worst: float
    limit_value: float

    def __str__(self) -> str:
        unit = self.kind.unit
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
    """How much is forgiven before it counts as a breach; all 0 or more.

    voltage_pu, loading, unbalance: of the feeder; a thousandth of what is allowed, as much as a meter errs.
    """

    power_kw: float = 0.05
    departure_kwh: float = 0.2
    floor_kwh: float = 0.1
    event_kw: float = 0.5
    voltage_pu: float = 0.0002
    loading: float = 0.002
    unbalance: float = 0.0002


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
