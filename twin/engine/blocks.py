"""Run an ensemble: every EVSE of every replica in one array, SimPy for the events, exact between them.

The replicas are independent of each other, so they are run in blocks whose state stays in the processor's cache, and
the outcomes are put side by side. Neither the blocks, nor the tables that visits come in, nor the length of the grid's
steps change what happens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from twin.controllers import Controller, Uncontrolled
from twin.engine.course import Course
from twin.engine.guests import VisitsOverlap, guests_of
from twin.engine.on_grid import Grid
from twin.engine.open_loop import OpenLoop
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.visits import Revisions, VisitTable, VisitTableError

__all__ = ["BLOCK_SLOTS", "VisitsOverlap", "fault_part", "run"]

BLOCK_SLOTS = 10_000
"""Slots that are run together: their rows of state (some 3 MB) fit into a second-level cache."""


def run(
    ensemble: Ensemble,
    visits: VisitTable | Iterable[VisitTable],
    controller: Controller,
    *,
    faults: FaultPlan | None = None,
    revisions: Revisions | None = None,
    response: bool = True,
    record_evses: bool = True,
    record_visits: bool = True,
    grid: Grid | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run `ensemble` from the start to the end of its grid under `controller`.

    Set-points pass the limits of EVSE and car and the 6 A rule, then `faults`, then (with `response`) delay, ramp,
    granularity and bias of the EVSE and the sleep of the car, then the battery. Cars that come before the start of the
    grid are there from its start, with the energy of their row; those that stay beyond the end are settled there.

    Args:
        ensemble: what stands there, how often, and the time grid.
        visits: one table, or several in order of time, so that a long run never stands in memory at once. `replica`
            counts from 0 in this ensemble.
        controller: asked at every step, at arrivals and departures too if it `asks_between`. Where the replicas are
            run in several blocks each block has a copy of its own, from `controller.part(begin, end)` if it has that.
        faults: for all slots (replica * evses + evse).
        revisions: rows count over all tables.
        response: hardware and cars answer as they do; False: at once and exactly.
        record_evses: keep energies by EVSE and step.
        record_visits: keep what each visit came to.
        grid: what the EVSEs hang on, with as many replicas; what flows then is what it lets flow, and
            `Outcome.grid` says what it withheld. Where the replicas are run in several blocks each block has
            `grid.part(begin, end)`.
        progress: called with the part of the time that has been run, 0 to 1.

    Raises:
        VisitsOverlap: two visits share an EVSE at the same time.
        VisitTableError: a row names an EVSE, a vehicle or a replica that is not there, or tables are out of order.
        LedgerBroken: energy was not conserved (a fault of the twin itself).
    """
    tables = [visits] if isinstance(visits, VisitTable) else visits
    if type(controller) is Uncontrolled and faults is None and revisions is None and grid is None and not (
        response and ensemble.is_slow_to_respond
    ):
        return _run_open(ensemble, tables, progress, record_evses=record_evses, record_visits=record_visits)
    blocks = _blocks(ensemble)
    parts = [ensemble.part(block.start, block.stop) for block in blocks] if len(blocks) > 1 else [ensemble]
    courses = [
        Course(
            part, _own(controller, block, len(blocks)),
            faults=None if faults is None else fault_part(faults, block, len(ensemble.evses)), revisions=revisions,
            response=response, record_evses=record_evses, record_visits=record_visits,
            grid=grid if grid is None or len(blocks) == 1 else grid.part(block.start, block.stop),
        )
        for block, part in zip(blocks, parts, strict=True)
    ]
    end_s = ensemble.grid.step_s * ensemble.grid.steps
    for table, first_row, until_s in _in_turn(ensemble, tables):
        for block, course in zip(blocks, courses, strict=True):
            course.admit(guests_of(course.ensemble, table, first_row, block))
            course.run_until(min(until_s, end_s))
        if progress is not None:
            progress(min(until_s / end_s, 1.0))
    outcomes = []
    while courses:
        # Let go of each block as soon as it is done: its outcome is all that is needed.
        outcomes.append(courses.pop(0).finish())
    outcome = Outcome.merge(outcomes)
    if progress is not None:
        progress(1.0)
    return replace(outcome, ensemble=ensemble)


def _run_open(
    ensemble: Ensemble, tables: Iterable[VisitTable], progress: Callable[[float], None] | None, *,
    record_evses: bool, record_visits: bool,
) -> Outcome:
    """Set-points depend on each visit alone: no clock is needed."""
    course = OpenLoop(ensemble, record_evses=record_evses, record_visits=record_visits)
    end_s = ensemble.grid.step_s * ensemble.grid.steps
    for table, first_row, until_s in _in_turn(ensemble, tables):
        course.admit(guests_of(ensemble, table, first_row, range(ensemble.replicas)))
        if progress is not None:
            progress(min(until_s / end_s, 1.0))
    return course.finish()


def _blocks(ensemble: Ensemble) -> list[range]:
    """Replicas in blocks of about `BLOCK_SLOTS` slots, as equal as can be."""
    most = max(BLOCK_SLOTS // max(len(ensemble.evses), 1), 1)
    count = -(-ensemble.replicas // most)
    edges = [ensemble.replicas * block // count for block in range(count + 1)]
    return [range(begin, end) for begin, end in pairwise(edges)]


def _own(controller: Controller, block: range, blocks: int) -> Controller:
    if blocks == 1:
        return controller
    part: Callable[[int, int], Controller] | None = getattr(controller, "part", None)
    return copy.deepcopy(controller) if part is None else part(block.start, block.stop)


def fault_part(plan: FaultPlan, block: range, evses: int) -> FaultPlan:
    """What goes wrong in the replicas of `block` alone, for `Ensemble.part(block.start, block.stop)`."""
    begin, end = block.start * evses, block.stop * evses
    intervals = plan.intervals
    rows = np.flatnonzero((intervals.slot >= begin) & (intervals.slot < end))
    return replace(
        plan,
        intervals=replace(
            intervals, kind=intervals.kind[rows], slot=intervals.slot[rows] - begin, start_s=intervals.start_s[rows],
            end_s=intervals.end_s[rows], value=intervals.value[rows],
        ),
        order_delay_s=plan.order_delay_s[begin:end], order_loss=plan.order_loss[begin:end],
        meter_factor=plan.meter_factor[begin:end], clock_skew_s=plan.clock_skew_s[begin:end],
        fallback_kw=plan.fallback_kw[begin:end] if plan.fallback_kw.size else plan.fallback_kw,
    )


def _in_turn(ensemble: Ensemble, tables: Iterable[VisitTable]) -> Iterator[tuple[VisitTable, int, float]]:
    """Each table, the number of its first row in the whole run, and the time until which no other table matters."""
    first_row, last_arrival = 0, -np.inf
    waiting: VisitTable | None = None
    for table in tables:
        _check(ensemble, table, first_row + (0 if waiting is None else len(waiting)), last_arrival)
        if not len(table):
            continue
        if waiting is not None:
            yield waiting, first_row, float(table.arrival_s[0])
            first_row += len(waiting)
        waiting, last_arrival = table, float(table.arrival_s[-1])
    if waiting is not None:
        yield waiting, first_row, np.inf


def _check(ensemble: Ensemble, table: VisitTable, first_row: int, last_arrival: float) -> None:
    if not len(table):
        return
    if table.arrival_s[0] < last_arrival:
        raise VisitTableError(
            first_row, "arrival_s", float(table.arrival_s[0]), f"not before the table before it ends ({last_arrival} s)"
        )
    sizes = [("evse", len(ensemble.evses)), ("vehicle", len(ensemble.vehicles)), ("replica", ensemble.replicas)]
    for column, size in sizes:
        values = getattr(table, column)
        if values is not None and not (wrong := (values < 0) | (values >= size)).any():
            continue
        if values is not None:
            row = int(np.argmax(wrong))
            raise VisitTableError(first_row + row, column, int(values[row]), f"an index from 0 to {size - 1}")
    capacity = np.array([vehicle.battery.capacity_kwh for vehicle in ensemble.vehicles])[table.vehicle]
    for column in ("energy_kwh", "target_kwh", "floor_kwh"):
        values = getattr(table, column)
        if (beyond := values > capacity * (1.0 + 1e-9)).any():
            row = int(np.argmax(beyond))
            raise VisitTableError(
                first_row + row, column, float(values[row]), f"at most the capacity of {float(capacity[row]):g} kWh"
            )
