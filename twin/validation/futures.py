"""Follow a schedule in many futures at once: promised against delivered when drivers and chargers do what they do.

Every future meets its own drivers and faults (see `twin.validation.fates`), and meets the same ones with and without
the event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twin.assets import Schedule, World
from twin.controllers import FollowSchedule, Uncontrolled
from twin.ensemble import Outcome
from twin.validation.breaches import BreachKind, EventPromise, Tolerances, require_match
from twin.validation.fates import Fates, step_hours
from twin.validation.grid import count_over
from twin.visits import VisitTable

Floats = NDArray[np.float64]

_AT_FLOOR_KWH = 1e-6


@dataclass(frozen=True, slots=True)
class Spread:
    """10, 50 and 90 % quantile over the replicas, interpolated linearly."""

    p10: float
    p50: float
    p90: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        return cls(*np.quantile(values, (0.1, 0.5, 0.9)).tolist())


@dataclass(frozen=True, slots=True)
class BreachCount:
    """In how many of the replicas a limit is crossed, and by how much where it is worst, in the unit of the kind."""

    kind: BreachKind
    asset_id: str
    replicas: int
    worst: float


@dataclass(frozen=True)
class PromiseSpread:
    """What became of one promise over the replicas.

    net_kw: mean net power of each promised step. excess_kwh: energy drawn beyond the promise, 0 or more.
    kept_share: of the replicas, those in which every promised step holds, within what is forgiven.
    promised_kwh: energy by which the event was to lower net import, from the nominal replay of the baseline schedule.
    delivered_kwh: by how much it is lower, replica by replica, than under the baseline schedule with the same drivers
        and faults. delivered_share: the same over promised_kwh. All None where no baseline schedule was given.
    """

    signal_id: str
    net_kw: tuple[Spread, ...]
    excess_kwh: Spread
    kept_share: float
    promised_kwh: float | None = None
    delivered_kwh: Spread | None = None
    delivered_share: Spread | None = None


@dataclass(frozen=True)
class Futures:
    """What the replicas showed.

    breaches: in the order of `BreachKind`, those of one kind most frequent first. promises: by signal id.
    event_kwh: by signal id, net import of each replica over the promised steps, kWh, shape (replica,).
    shortfall_kwh: of all drivers of each replica below target on leaving, shape (replica,). no_shows: over all.
    """

    replicas: int
    breaches: tuple[BreachCount, ...]
    promises: Mapping[str, PromiseSpread]
    event_kwh: Mapping[str, Floats]
    shortfall_kwh: Floats
    no_shows: int
    occurrences: Mapping[str, int]


def examine(
    fates: Fates, schedule: Schedule, *, commitments: Sequence[EventPromise] = (), baseline: Schedule | None = None,
    tolerances: Tolerances | None = None,
) -> Futures:
    """Follow `schedule` in all copies and say how often it breaks what, and what becomes of its promises.

    The site's caps and the feeder are judged on means of steps, the feeder by our own engine alone. A driver is short
    where more is missing than the schedule declares and than full power without any fault would leave until the same
    departure. A breach of the floor is discharge that is asked of a car at its floor (see `twin.validation.report`).

    Args:
        fates: the copies.
        schedule: on the grid of the world.
        commitments: what is promised, in steps of the grid.
        baseline: what would be followed without the events; delivered energy is measured against it.
        tolerances: what is forgiven.

    Raises:
        ScheduleMismatch: a schedule or promise is not of this world.
    """
    forgiven = tolerances or Tolerances()
    require_match(fates.world, schedule, commitments)
    outcome = fates.run(FollowSchedule(schedule), record_evses=True)
    net_kw = fates.net_kw(outcome)
    references = None if baseline is None else _references(fates, baseline)
    hours = step_hours(fates.world)
    counts = [
        *_site_cap(fates.world, net_kw, forgiven),
        *_evse_rating(fates.world, outcome, forgiven),
        *_departure(fates, schedule, outcome, forgiven),
        *_floor(fates, schedule, outcome, forgiven),
        *_event(commitments, net_kw, forgiven),
        *_feeder(fates.world, outcome, forgiven),
    ]
    return Futures(
        replicas=fates.ensemble.replicas,
        breaches=tuple(sorted(counts, key=lambda count: (tuple(BreachKind).index(count.kind), -count.replicas))),
        promises={
            promise.signal_id: _spread(promise, net_kw, hours, references, forgiven) for promise in commitments
        },
        event_kwh={
            promise.signal_id: (net_kw * hours)[:, list(promise.steps)].sum(axis=1) for promise in commitments
        },
        shortfall_kwh=_shortfall_kwh(fates, outcome),
        no_shows=fates.drawn.no_shows,
        occurrences=outcome.occurrences,
    )


def _references(fates: Fates, baseline: Schedule) -> tuple[Floats, Floats]:
    """Net power under the baseline schedule: nominal, shape (step,), and replica by replica."""
    require_match(fates.world, baseline)
    nominal = Fates.draw(fates.world, replicas=1)
    return (
        nominal.net_kw(nominal.run(FollowSchedule(baseline)))[0],
        fates.net_kw(fates.run(FollowSchedule(baseline))),
    )


def _spread(
    promise: EventPromise, net_kw: Floats, hours: Floats, references: tuple[Floats, Floats] | None,
    forgiven: Tolerances,
) -> PromiseSpread:
    steps, promised_net = list(promise.steps), np.array(promise.max_net_kw)
    flowed = net_kw[:, steps]
    spread = PromiseSpread(
        signal_id=promise.signal_id,
        net_kw=tuple(Spread.of(flowed[:, k]) for k in range(len(steps))),
        excess_kwh=Spread.of(np.maximum(flowed - promised_net, 0.0) @ hours[steps]),
        kept_share=float((flowed <= promised_net + forgiven.event_kw).all(axis=1).mean()),
    )
    if references is None:
        return spread
    nominal, without = references
    promised_kwh = float((nominal[steps] - promised_net) @ hours[steps])
    delivered = (without[:, steps] - flowed) @ hours[steps]
    return replace(
        spread, promised_kwh=promised_kwh, delivered_kwh=Spread.of(delivered),
        delivered_share=Spread.of(delivered / promised_kwh) if promised_kwh > 0.0 else None,
    )


def _counts(kind: BreachKind, ids: Sequence[str], excess: Floats, tolerance: float) -> list[BreachCount]:
    """excess: shape (replica, asset), the worst of each."""
    is_over = excess > tolerance
    return [
        BreachCount(kind, ids[k], int(is_over[:, k].sum()), float(excess[:, k].max()))
        for k in np.flatnonzero(is_over.any(axis=0)).tolist()
    ]


def _site_cap(world: World, net_kw: Floats, forgiven: Tolerances) -> list[BreachCount]:
    excess = np.maximum(net_kw - world.import_cap_kw, -net_kw - world.export_cap_kw).max(axis=1, keepdims=True)
    return _counts(BreachKind.SITE_CAP, (world.site.id,), excess, forgiven.power_kw)


def _recorded(array: Floats | None) -> Floats:
    if array is None:
        raise ValueError("evse_kwh: None, expected a run that records its EVSEs")
    return array


def _evse_rating(world: World, outcome: Outcome, forgiven: Tolerances) -> list[BreachCount]:
    flowed = _recorded(outcome.evse_kwh) / step_hours(world)
    most = np.array([evse.max_charge_kw for evse in world.evses])[:, None]
    least = np.array([evse.max_discharge_kw for evse in world.evses])[:, None]
    excess = np.maximum(flowed - most, -flowed - least).max(axis=2, initial=0.0)
    return _counts(BreachKind.EVSE_RATING, [evse.id for evse in world.evses], excess, forgiven.power_kw)


def _event(commitments: Sequence[EventPromise], net_kw: Floats, forgiven: Tolerances) -> list[BreachCount]:
    counts = []
    for promise in commitments:
        excess = (net_kw[:, list(promise.steps)] - np.array(promise.max_net_kw)).max(axis=1, keepdims=True)
        counts += _counts(BreachKind.EVENT, (promise.signal_id,), excess, forgiven.event_kw)
    return counts


def _feeder(world: World, outcome: Outcome, forgiven: Tolerances) -> list[BreachCount]:
    if world.feeder is None:
        return []
    flowed = _recorded(outcome.evse_kwh) / step_hours(world)
    rows = {evse.id: row for row, evse in enumerate(world.evses)}
    evse_kw = np.zeros((len(world.feeder.evse_ids), len(flowed), world.grid.steps))
    for column, evse_id in enumerate(world.feeder.evse_ids):
        if evse_id in rows:
            evse_kw[column] = flowed[:, rows[evse_id]]
    return [
        BreachCount(kind, asset_id, int((worst > 0.0).sum()), float(worst.max()))
        for kind, asset_id, worst in count_over(world.feeder, evse_kw, forgiven)
    ]


def _shortfall_kwh(fates: Fates, outcome: Outcome) -> Floats:
    visits = outcome.visits
    missing = np.where(visits.has_left, visits.shortfall_kwh, 0.0)
    return np.asarray(np.bincount(visits.replica, missing, minlength=fates.ensemble.replicas), dtype=np.float64)


def _departure(fates: Fates, schedule: Schedule, outcome: Outcome, forgiven: Tolerances) -> list[BreachCount]:
    """Drivers who leave short of more than is declared and than physics forces."""
    drawn, visits = fates.drawn, outcome.visits
    short = np.zeros(len(drawn.visits))
    short[visits.row[visits.has_left]] = visits.shortfall_kwh[visits.has_left]
    declared = np.array([max(schedule.declared_shortfall_kwh.get(name, 0.0), 0.0) for name in fates.visit_ids])
    if not (short > declared[drawn.row] + forgiven.departure_kwh).any():
        return []
    fastest = fates.run(Uncontrolled(), has_faults=False).visits
    forced = np.zeros(len(drawn.visits))
    forced[fastest.row] = fastest.shortfall_kwh
    undeclared = np.zeros((fates.ensemble.replicas, len(fates.visit_ids)))
    replica = _replica(drawn.visits)
    undeclared[replica, drawn.row] = np.maximum(short - np.maximum(declared[drawn.row], forced), 0.0)
    return _counts(BreachKind.DEPARTURE, fates.visit_ids, undeclared, forgiven.departure_kwh)


def _replica(visits: VisitTable) -> NDArray[np.int64]:
    return np.zeros(len(visits), dtype=np.int64) if visits.replica is None else visits.replica


def _floor(fates: Fates, schedule: Schedule, outcome: Outcome, forgiven: Tolerances) -> list[BreachCount]:
    """Energy that the schedule asks of cars which stand at their floor, by visit."""
    world, visits = fates.world, fates.drawn.visits
    rows = {evse_id: row for row, evse_id in enumerate(schedule.evse_ids)}
    asked = np.array([
        schedule.power_kw[rows[evse.id]] if evse.id in rows else np.zeros(world.grid.steps) for evse in world.evses
    ]).reshape(len(world.evses), world.grid.steps)
    hours, edges_s = step_hours(world), np.arange(world.grid.steps + 1) * float(world.grid.step_s)
    left_at = dict(zip(outcome.visits.row.tolist(), outcome.visits.energy_kwh.tolist(), strict=True))
    flowed, held = _recorded(outcome.evse_kwh), _recorded(outcome.battery_kwh)
    refused = np.zeros((fates.ensemble.replicas, len(fates.visit_ids)))
    leans = np.flatnonzero(asked.min(axis=1)[visits.evse] < 0.0)
    for row, replica in zip(leans.tolist(), _replica(visits)[leans].tolist(), strict=True):
        evse, vehicle = int(visits.evse[row]), fates.ensemble.vehicles[int(visits.vehicle[row])]
        arrives, leaves = visits.arrival_s[row], visits.departure_s[row]
        plugged_h = np.diff(np.clip(edges_s, arrives, leaves)) / 3600.0
        rating_kw = min(world.evses[evse].max_discharge_kw, vehicle.max_discharge_kw)
        asked_kwh = np.clip(-asked[evse], 0.0, rating_kw) * np.minimum(plugged_h, hours)
        missing = asked_kwh - np.maximum(-flowed[replica, evse], 0.0)
        energy = held[replica, evse].copy()
        last = int(min(np.ceil(leaves / world.grid.step_s), world.grid.steps)) - 1
        energy[last] = left_at[row]
        lowest = max(float(visits.floor_kwh[row]), vehicle.battery.soc_min * vehicle.battery.capacity_kwh)
        is_refused = np.asarray((asked_kwh > 0.0) & (energy <= lowest + _AT_FLOOR_KWH) & (missing > 0.0))
        refused[replica, fates.drawn.row[row]] = missing[is_refused].sum()
    return _counts(BreachKind.FLOOR, fates.visit_ids, refused, forgiven.floor_kwh)
