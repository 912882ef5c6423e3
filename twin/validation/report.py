"""Replay a schedule in the twin and say what breaks.

The gate between planning and dispatch: nothing is sent that this module has not replayed. A breach is what
the replay shows *beyond* what the schedule itself declares and beyond what physics forces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twin.assets import Schedule, Visit, World
from twin.controllers import ScheduleMismatch
from twin.replay import FollowSchedule, Run, Uncontrolled, simulate
from twin.validation.breaches import Breach, BreachKind, EventPromise, Tolerances, require_match

if TYPE_CHECKING:  # whoever has no feeder and asks for no futures need not wait for what they take to load
    from twin.drivers import DriverModel
    from twin.faults import FaultModel
    from twin.validation.futures import Futures
    from twin.validation.grid import FeederReplay

__all__ = [
    "Breach", "BreachKind", "DepartureOutcome", "EventPromise", "ScheduleMismatch", "Tolerances", "ValidationReport",
    "validate",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DepartureOutcome:
    """How one visit leaves. All energies in the battery, kWh.

    shortfall_kwh: below target, 0 or more. declared_kwh: what the schedule said it would miss.
    forced_kwh: what even full power from the start would miss; only worked out, and else 0, where the declaration
        does not cover the shortfall. undeclared_kwh: what is left of it after the larger of both; 0 or more.
    """

    visit_id: str
    energy_kwh: float
    shortfall_kwh: float
    declared_kwh: float
    forced_kwh: float
    undeclared_kwh: float


@dataclass(frozen=True)
class ValidationReport:
    """What the replay showed, and the figures planning needs to turn a breach into a constraint.

    breaches: dearest kinds first, in the order of `BreachKind`. evse_ids: rows of the arrays.
    evse_step_kw: shape (evse, step), replayed mean power. energy_kwh: shape (evse, step), end of step, NaN if empty.
    net_kw: shape (minute,), exact means, over `minute_edges_s` (seconds after the grid's start).
    step_net_kw: shape (step,). departures: by visit id, visits that leave inside the grid only.
    event_net_kw: by signal id, mean net import of each promised step.
    futures: the same schedule with drivers and faults redrawn; None where that was not asked for.
    feeder: the street's grid under the replay; None if the world has none.
    """

    breaches: tuple[Breach, ...]
    evse_ids: tuple[str, ...]
    evse_step_kw: Floats
    energy_kwh: Floats
    minute_edges_s: Floats
    net_kw: Floats
    step_net_kw: Floats
    departures: dict[str, DepartureOutcome]
    event_net_kw: dict[str, tuple[float, ...]]
    run: Run = field(repr=False)
    futures: Futures | None = None
    feeder: FeederReplay | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        return not self.breaches


def validate(
    world: World,
    schedule: Schedule,
    *,
    commitments: Sequence[EventPromise] = (),
    discharge_allowed_kw: Mapping[str, float] | None = None,
    tolerances: Tolerances | None = None,
    replicas: int = 1,
    drivers: DriverModel | None = None,
    faults: FaultModel | None = None,
    baseline: Schedule | None = None,
    seed: int = 0,
) -> ValidationReport:
    """Replay `schedule` in `world` and report every breach.

    The schedule passes or fails by the world as it is given. Where replicas, drivers or faults are given, `futures`
    says besides what becomes of it when drivers and faults are redrawn.

    Where the world has a feeder it is solved at every power that the EVSEs take (see `twin.validation.grid`), and no
    schedule passes that the second engine does not confirm.

    Args:
        world: assets, expected sessions and caps. Cars that are there have arrival == the world's beginning.
        schedule: set-points on the grid of `world`; EVSEs it does not name stay at 0 kW.
        commitments: judged on the mean net power of each promised step.
        discharge_allowed_kw: permitted discharge by EVSE id; missing means none. None: no EVSE may discharge.
        tolerances: what is forgiven; defaults to `Tolerances()`.
        replicas: how many futures are drawn, with common random numbers for all that is compared.
        drivers: how drivers depart from what the visits say (None: not at all). Cars that are there at the beginning
            are redrawn as if they had just arrived.
        faults: what fails (None: nothing).
        baseline: what would be followed without the events; delivered energy is measured against it.
        seed: of the futures.

    Raises:
        ScheduleMismatch: the schedule names an EVSE the world does not have, or has another grid.
        ValueError: replicas below 1.
        NotCheckable: a feeder that the second engine cannot express.
    """
    allowed = discharge_allowed_kw or {}
    forgiven = tolerances or Tolerances()
    require_match(world, schedule, commitments)
    if replicas < 1:
        raise ValueError(f"replicas: {replicas}, expected 1 or more")
    run = simulate(world, FollowSchedule(schedule))
    departures = _departures(world, schedule, run, forgiven)
    breaches = [
        *_site_cap(world, run, forgiven),
        *_evse_rating(world, schedule, run, forgiven),
        *_departure(world, departures, forgiven),
        *_floor(world, schedule, run, forgiven),
        *_permit(world, schedule, allowed, forgiven),
        *_event(world, run, commitments, forgiven),
    ]
    feeder = None
    if world.feeder is not None:
        from twin.validation.grid import examine_feeder  # noqa: PLC0415 - see the imports

        feeder = examine_feeder(world, run, forgiven)
    if feeder is not None:
        breaches += feeder.breaches
    futures = None
    if replicas > 1 or drivers is not None or faults is not None:
        from twin.validation.fates import Fates  # noqa: PLC0415 - see the imports
        from twin.validation.futures import examine  # noqa: PLC0415

        fates = Fates.draw(world, replicas=replicas, drivers=drivers, faults=faults, seed=seed)
        futures = examine(fates, schedule, commitments=commitments, baseline=baseline, tolerances=forgiven)
    return ValidationReport(
        breaches=tuple(breaches),
        evse_ids=tuple(evse.id for evse in world.evses),
        evse_step_kw=run.evse_step_kw,
        energy_kwh=run.energy_kwh,
        minute_edges_s=run.minute_edges_s,
        net_kw=run.net_kw,
        step_net_kw=run.step_net_kw,
        departures=departures,
        event_net_kw={
            promise.signal_id: tuple(float(run.step_net_kw[step]) for step in promise.steps) for promise in commitments
        },
        run=run,
        futures=futures,
        feeder=feeder,
    )


def _spans(is_over: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open index ranges in which `is_over` holds without a gap."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], is_over, [False]]).astype(np.int8)))
    return list(zip(change[::2].tolist(), change[1::2].tolist(), strict=True))


def _over(kind: BreachKind, asset_id: str, excess: Floats, limit: Floats, times: list[datetime], tolerance: float
          ) -> list[Breach]:
    """One breach for each unbroken time in which `excess` is above `tolerance`; `times` are the edges."""
    breaches = []
    for first, behind in _spans(excess > tolerance):
        worst = first + int(excess[first:behind].argmax())
        breaches.append(
            Breach(kind, asset_id, times[first], times[behind], float(excess[worst]), float(limit[worst]))
        )
    return breaches


def _site_cap(world: World, run: Run, forgiven: Tolerances) -> list[Breach]:
    """1-minute means of net power against the caps of the steps; a minute across two steps obeys the lower one."""
    edges = run.minute_edges_s
    first = (edges[:-1] // world.grid.step_s).astype(np.intp)
    last = np.ceil(edges[1:] / world.grid.step_s).astype(np.intp) - 1
    times = [world.grid.start + timedelta(seconds=edge) for edge in edges.tolist()]
    breaches = []
    for cap_kw, net_kw in ((world.import_cap_kw, run.net_kw), (world.export_cap_kw, -run.net_kw)):
        cap = np.minimum(cap_kw[first], cap_kw[last])
        breaches += _over(BreachKind.SITE_CAP, world.site.id, net_kw - cap, cap, times, forgiven.power_kw)
    return breaches


def _step_edges(world: World) -> list[datetime]:
    times = [*world.grid.times(), world.grid.end]
    return [world.begin, *times[1:]] if world.begin is not None else times


def _evse_rating(world: World, schedule: Schedule, run: Run, forgiven: Tolerances) -> list[Breach]:
    """Set-points and replayed powers against the EVSE's ratings, in both directions."""
    rows = {evse_id: row for row, evse_id in enumerate(schedule.evse_ids)}
    times = _step_edges(world)
    breaches = []
    for slot, evse in enumerate(world.evses):
        asked = schedule.power_kw[rows[evse.id]] if evse.id in rows else np.zeros(world.grid.steps)
        flowed = run.evse_step_kw[slot]
        charge = np.full(world.grid.steps, evse.max_charge_kw)
        discharge = np.full(world.grid.steps, evse.max_discharge_kw)
        for limit, power in ((charge, np.maximum(asked, flowed)), (discharge, np.maximum(-asked, -flowed))):
            breaches += _over(BreachKind.EVSE_RATING, evse.id, power - limit, limit, times, forgiven.power_kw)
    return breaches


def _departures(world: World, schedule: Schedule, run: Run, forgiven: Tolerances) -> dict[str, DepartureOutcome]:
    missing = {
        outcome.visit.id: max(outcome.visit.target_kwh - outcome.energy_kwh, 0.0)
        for outcome in run.visits.values() if outcome.has_left
    }
    short = [
        visit_id for visit_id, kwh in missing.items()
        if kwh > schedule.declared_shortfall_kwh.get(visit_id, 0.0) + forgiven.departure_kwh
    ]
    forced = _forced_shortfall(world, [run.visits[visit_id].visit for visit_id in short])
    departures = {}
    for visit_id, shortfall in missing.items():
        declared = max(schedule.declared_shortfall_kwh.get(visit_id, 0.0), 0.0)
        unavoidable = forced.get(visit_id, 0.0)
        departures[visit_id] = DepartureOutcome(
            visit_id, run.visits[visit_id].energy_kwh, shortfall, declared, unavoidable,
            max(shortfall - max(declared, unavoidable), 0.0),
        )
    return departures


def _forced_shortfall(world: World, visits: list[Visit]) -> dict[str, float]:
    """Energy below target in kWh that even full power from the beginning leaves, by visit id."""
    if not visits:
        return {}
    alone = replace(world, visits=tuple(visits))
    fastest = simulate(alone, Uncontrolled())
    return {key: max(run.visit.target_kwh - run.energy_kwh, 0.0) for key, run in fastest.visits.items()}


def _departure(world: World, departures: Mapping[str, DepartureOutcome], forgiven: Tolerances) -> list[Breach]:
    visits = {visit.id: visit for visit in world.visits}
    begin = world.begin or world.grid.start
    return [
        Breach(
            BreachKind.DEPARTURE, key, max(visits[key].arrival, begin), visits[key].departure,
            outcome.undeclared_kwh, visits[key].target_kwh - max(outcome.declared_kwh, outcome.forced_kwh),
        )
        for key, outcome in departures.items() if outcome.undeclared_kwh > forgiven.departure_kwh
    ]


def _floor(world: World, schedule: Schedule, run: Run, forgiven: Tolerances) -> list[Breach]:
    """Discharge that the schedule asks of a car at its floor; `worst` is the energy it would take below, at the plug.

    The twin's cars stop at the floor by themselves. Not every car does (OCPP alone never tells it the driver's
    floor), so a schedule that leans on that is refused.
    """
    slots = {evse.id: slot for slot, evse in enumerate(world.evses)}
    rows = {evse_id: row for row, evse_id in enumerate(schedule.evse_ids)}
    times = _step_edges(world)
    edges_s = np.array([(time - world.grid.start).total_seconds() for time in times])
    breaches = []
    for outcome in run.visits.values():
        visit = outcome.visit
        if visit.evse_id not in rows or not (schedule.power_kw[rows[visit.evse_id]] < 0.0).any():
            continue
        slot, battery = slots[visit.evse_id], visit.vehicle.battery
        arrives_s, leaves_s = ((when - world.grid.start).total_seconds() for when in (visit.arrival, visit.departure))
        plugged_s = np.clip(edges_s[1:], arrives_s, leaves_s) - np.clip(edges_s[:-1], arrives_s, leaves_s)
        rating_kw = min(world.evses[slot].max_discharge_kw, visit.vehicle.max_discharge_kw)
        asked_kw = np.clip(-schedule.power_kw[rows[visit.evse_id]], 0.0, rating_kw)
        given_kw = np.maximum(-run.evse_step_kw[slot], 0.0)
        refused_kwh = (asked_kw * plugged_s - given_kw * np.diff(edges_s)) / 3600.0
        energy = run.energy_kwh[slot].copy()
        if outcome.has_left:
            energy[min(world.grid.index(visit.departure - timedelta(microseconds=1)), world.grid.steps - 1)] = (
                outcome.energy_kwh
            )
        lowest_kwh = max(visit.floor_kwh, battery.soc_min * battery.capacity_kwh)
        is_refused = (asked_kw > 0.0) & (plugged_s > 0.0) & (energy <= lowest_kwh + 1e-6) & (refused_kwh > 0.0)
        for first, behind in _spans(is_refused):
            total_kwh = float(refused_kwh[first:behind].sum())
            if total_kwh > forgiven.floor_kwh:
                breaches.append(
                    Breach(BreachKind.FLOOR, visit.id, times[first], times[behind], total_kwh, lowest_kwh)
                )
    return breaches


def _permit(world: World, schedule: Schedule, allowed: Mapping[str, float], forgiven: Tolerances) -> list[Breach]:
    """Scheduled discharge where none, or less, is permitted; judged on what is asked, whether or not a car is there."""
    times = _step_edges(world)
    breaches = []
    for row, evse_id in enumerate(schedule.evse_ids):
        limit_kw = max(allowed.get(evse_id, 0.0), 0.0)
        excess = -schedule.power_kw[row] - limit_kw
        # Without a permit nothing is forgiven but rounding.
        tolerance = forgiven.power_kw if limit_kw > 0.0 else 1e-9
        limit = np.full(excess.size, limit_kw)
        breaches += _over(BreachKind.PERMIT, evse_id, excess, limit, times, tolerance)
    return breaches


def _event(world: World, run: Run, commitments: Sequence[EventPromise], forgiven: Tolerances) -> list[Breach]:
    times = _step_edges(world)
    breaches = []
    for promise in commitments:
        excess = np.zeros(world.grid.steps)
        limit = np.zeros(world.grid.steps)
        for step, max_net_kw in zip(promise.steps, promise.max_net_kw, strict=True):
            excess[step] = run.step_net_kw[step] - max_net_kw
            limit[step] = max_net_kw
        breaches += _over(BreachKind.EVENT, promise.signal_id, excess, limit, times, forgiven.event_kw)
    return breaches
