"""A plan's examination: what the twin's replay of it shows beyond what the plan itself declares.

    plan -> set-points for every EVSE of the world -> replay -> breaches that the plan has not announced: refusals

A plan may say openly that a driver will be short or a commitment missed; it may not be wrong about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from time import perf_counter
from typing import Final

import numpy as np

from aggregator.planning.site.lessons import Refusal, Replayed
from aggregator.planning.site.problem import Commitment, Floats, Plan, Problem
from twin.assets import Schedule, World
from twin.validation import Breach, BreachKind, EventPromise, Tolerances, ValidationReport, validate

FORGIVEN_KW: Final = 0.05
"""By so much a limit may be crossed unannounced."""
FORGIVEN_KWH: Final = Tolerances().departure_kwh
"""By so much a driver may be short unannounced."""


@dataclass(frozen=True)
class Examination:
    """What the twin found out about a plan.

    schedule: as it was replayed. refusals: breaches that the plan has not declared; none: it passed.
    seconds: wall time that it took.
    """

    schedule: Schedule
    report: ValidationReport
    replayed: Replayed
    refusals: tuple[Refusal, ...]
    seconds: float

    def declared(self, plan: Plan) -> Plan:
        """The same powers with what their replay misses declared."""
        events = dict(plan.event_shortfall_kw)
        for signal_id, over in self.replayed.event_over_kw.items():
            events[signal_id] = tuple(kw + max(0.0, more) for kw, more in zip(events[signal_id], over, strict=True))
        missing = {**plan.shortfall_kwh, **{
            visit_id: left.shortfall_kwh for visit_id, left in self.report.departures.items()
            if left.undeclared_kwh > 0 and visit_id in plan.shortfall_kwh}}
        for refusal in self.refusals:
            if refusal.kind == BreachKind.DEPARTURE and refusal.asset_id in missing:
                missing[refusal.asset_id] = max(
                    missing[refusal.asset_id], plan.shortfall_kwh[refusal.asset_id] + refusal.worst)
        return replace(plan, event_shortfall_kw=events, shortfall_kwh=missing)


def examine(
    problem: Problem, world: World, plan: Plan, *, promises: Sequence[Commitment] = (),
    discharge_allowed_kw: Mapping[str, float],
) -> Examination:
    """Replay a plan of `problem` in `world`.

    promises: what the grid was promised; empty: the problem's own commitments. discharge_allowed_kw: by EVSE id;
    missing means none.
    """
    began = perf_counter()
    schedule = schedule_of(world, plan)
    promised = _promised(problem, plan, promises)
    report = validate(world, schedule, commitments=promised, discharge_allowed_kw=discharge_allowed_kw)
    replayed = _replayed(problem, world, report, promised)
    refusals = tuple(_refusal(world, breach) for breach in report.breaches
                     if not _is_declared(world, plan, replayed, breach))
    refusals += _late(problem, plan, replayed, refusals)
    return Examination(schedule, report, replayed, refusals, perf_counter() - began)


def schedule_of(world: World, plan: Plan) -> Schedule:
    """Set-points for every EVSE of the world; EVs that follow each other at one EVSE share its row.

    Where a car tapers below the EVSE's minimum it is ordered the minimum: it cannot be told less.
    """
    row_of = {evse.id: row for row, evse in enumerate(world.evses)}
    power = np.zeros((len(world.evses), plan.grid.steps))
    for row, evse_id in enumerate(plan.evse_ids):
        least = world.evses[row_of[evse_id]].min_charge_kw
        charge = plan.charge_kw[row]
        ordered = np.where((charge > 0) & (charge < least), least, charge)
        power[row_of[evse_id]] += ordered - plan.discharge_kw[row]
    return Schedule(plan.grid, tuple(row_of), power, dict(plan.shortfall_kwh))


def _promised(problem: Problem, plan: Plan, promises: Sequence[Commitment]) -> tuple[EventPromise, ...]:
    """What the plan says it will hold: the promise, raised by the shortfall that the plan declares."""
    found = []
    for promise in promises or problem.commitments:
        declared = dict(zip(
            next((event.steps for event in problem.commitments if event.signal_id == promise.signal_id), ()),
            plan.event_shortfall_kw.get(promise.signal_id, ()), strict=True))
        held = [(step, kw + declared.get(step, 0.0)) for step, kw in zip(promise.steps, promise.max_net_kw, strict=True)
                if 0 <= step < plan.grid.steps]
        if held:
            steps, limits = zip(*held, strict=True)
            found.append(EventPromise(promise.signal_id, steps, limits))
    return tuple(found)


def _replayed(
    problem: Problem, world: World, report: ValidationReport, promises: tuple[EventPromise, ...]
) -> Replayed:
    row_of = {evse_id: row for row, evse_id in enumerate(report.evse_ids)}
    power = np.zeros((len(problem.evs), problem.grid.steps))
    energy = np.zeros_like(power)
    for row, ev in enumerate(problem.evs):
        span = slice(max(ev.arrive, 0), max(ev.depart, 0))
        power[row, span] = report.evse_step_kw[row_of[ev.evse_id], span]
        # Where a car leaves at the very end of a step its EVSE is empty: the visit knows.
        held = np.nan_to_num(report.energy_kwh[row_of[ev.evse_id]], nan=_energy_left(report, ev.id, ev.energy_kwh))
        energy[row] = np.where(np.arange(problem.grid.steps) < ev.arrive, ev.energy_kwh, held)
    over: dict[str, tuple[float, ...]] = {}
    for event in problem.commitments:
        held = {step: (limit, net) for promise in promises if promise.signal_id == event.signal_id
                for step, limit, net in zip(promise.steps, promise.max_net_kw, report.event_net_kw[promise.signal_id],
                                            strict=True)}
        over[event.signal_id] = tuple(held[step][1] - held[step][0] if step in held else 0.0 for step in event.steps)
    return Replayed(power, energy, _over_cap(report, world.import_cap_kw, world.grid.step_s, 1.0),
                    _over_cap(report, world.export_cap_kw, world.grid.step_s, -1.0), over)


def _late(
    problem: Problem, plan: Plan, replayed: Replayed, known: tuple[Refusal, ...]
) -> tuple[Refusal, ...]:
    """Cars that are counted on beyond their declared departure and did not hold then what the plan says they hold.

    Until they leave they may be given it: the replay's departures do not show it.
    """
    refused = {refusal.asset_id for refusal in known if refusal.kind == BreachKind.DEPARTURE}
    found = []
    for row, ev in enumerate(problem.evs):
        if ev.due is None or not 0 < ev.due <= min(ev.depart, problem.grid.steps) or ev.id in refused:
            continue
        late_kwh = ev.target_kwh - plan.shortfall_kwh[ev.id] - float(replayed.energy_kwh[row, ev.due - 1])
        if late_kwh > FORGIVEN_KWH:
            found.append(Refusal(BreachKind.DEPARTURE.value, ev.id, ev.due - 1, ev.due, late_kwh, ev.target_kwh))
    return tuple(found)


def _energy_left(report: ValidationReport, visit_id: str, unknown: float) -> float:
    visit = report.run.visits.get(visit_id)
    return visit.energy_kwh if visit is not None else unknown


def _over_cap(report: ValidationReport, cap_kw: Floats, step_s: int, sign: float) -> Floats:
    """Shape (step,): the worst minute of each step over the cap; a minute across two steps counts in both."""
    edges = report.minute_edges_s
    over = np.full(len(cap_kw), -np.inf)
    for begins_in in (edges[:-1] // step_s, np.ceil(edges[1:] / step_s) - 1):
        at = begins_in.astype(np.intp)
        np.maximum.at(over, at, sign * report.net_kw - cap_kw[at])
    return over


def _is_declared(world: World, plan: Plan, replayed: Replayed, breach: Breach) -> bool:
    """A crossed cap that the plan itself announces, or that the building alone crosses, is no fault of the plan."""
    if breach.kind != BreachKind.SITE_CAP:
        return False
    refusal = _refusal(world, breach)
    steps = slice(refusal.first, refusal.last)
    known_import = np.maximum(plan.net_kw, world.base_load_kw) - world.import_cap_kw
    known_export = np.maximum(-plan.net_kw, -world.base_load_kw) - world.export_cap_kw
    return bool(
        (replayed.over_import_kw[steps] <= np.maximum(0.0, known_import[steps]) + FORGIVEN_KW).all()
        and (replayed.over_export_kw[steps] <= np.maximum(0.0, known_export[steps]) + FORGIVEN_KW).all()
    )


def _refusal(world: World, breach: Breach) -> Refusal:
    grid = world.grid
    first = min(max(grid.index(breach.start), 0), grid.steps - 1)
    last = min(max(grid.index(breach.end - timedelta(microseconds=1)) + 1, first + 1), grid.steps)
    return Refusal(breach.kind.value, breach.asset_id, first, last, breach.worst, breach.limit_value)
