"""A mixed plan put right block by block, under what the fleet has promised with it.

A block's own plan may need minimum powers, one direction per meter or per car; a mix of its plans needs them again.
Each block whose part of the mix cannot be followed is planned once more as one program of its own, in which the mix
decides what is left to it: its net import in the steps of an event, with its share of what the event has room for,
and the reserve that its cars must have in hand. More than that costs what it costs the fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.choices import cheapest_choice
from aggregator.planning.fleet.checker import Schedule, ev_headroom, evaluate, unfollowable
from aggregator.planning.fleet.idle import cheapest, with_offers
from aggregator.planning.fleet.plan import Repair, repair_of
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Program, assemble
from aggregator.planning.fleet.program.monolith import schedule_of
from aggregator.planning.fleet.program.solver import NoPlan, Solver
from aggregator.planning.fleet.repair.by_hand import followed
from aggregator.planning.fleet.repair.followable import Righted, put_right
from aggregator.planning.fleet.repair.one_way import choose_directions, tempted
from aggregator.planning.fleet.reserve.headroom import Headroom
from aggregator.planning.fleet.room import Limits

_TOLERANCE = 1e-6
_GAP = 1e-4
_OF_EVS = ("charge_kw", "discharge_kw")
_OF_SITES = ("curtailed_kw", "unserved_kw", "spilled_kw")


@dataclass(frozen=True, eq=False)
class RepairTask:
    """Plan a block again, held to the promises of a mix.

    most_kw: shape (event step,), net import of the block that the events have room for. up_kw, down_kw: shape (site of
    the block, step), reserve that its cars must have in hand.
    """

    block: int
    most_kw: Floats
    up_kw: Floats
    down_kw: Floats
    time_limit_s: float


@dataclass(frozen=True, eq=False)
class RepairAnswer:
    """What the block does now; None if the time was too short. cells, meters, minimums: how many were decided."""

    block: int
    schedule: Schedule | None
    cells: int = 0
    meters: int = 0
    minimums: int = 0


def repair_block(problem: Problem, sites: Ints, task: RepairTask) -> RepairAnswer:
    """Solve one task."""
    until = monotonic() + task.time_limit_s
    own = _own(problem, sites, task.most_kw)
    if not task.up_kw.any() and not task.down_kw.any():
        own = replace(own, reserve=None, trusted=True)
    program = _without_sales(own, assemble(own))
    righted = _righted(own, program, task, until)
    if righted is None and own.reserve is not None:
        # Minimums and the reserve in hand may leave nothing; the fleet then sells what there is.
        none = np.zeros_like(task.up_kw)
        righted = _righted(own, program, replace(task, up_kw=none, down_kw=none), until)
    if righted is None:
        return RepairAnswer(task.block, None)
    return RepairAnswer(task.block, schedule_of(own, program, righted.answer.x), righted.cells, righted.meters,
                        righted.minimums)


def _righted(problem: Problem, program: Program, task: RepairTask, until: float) -> Righted | None:
    """The block's plan with the reserve in hand; None if there is none that can be followed."""
    solver, headroom = Solver(program), Headroom(problem, program)
    choose_directions(problem, solver, program, gap=_GAP, time_limit_s=0.5 * (until - monotonic()))
    for name, kw in (("up", task.up_kw), ("down", task.down_kw)):
        columns = np.arange(program.columns[name].start, program.columns[name].stop)
        if len(columns):
            solver.set_bounds(columns, np.minimum(kw.ravel(), program.upper[columns]), program.upper[columns])
    try:
        relaxed = solver.run(until - monotonic(), headroom)
    except NoPlan:
        return None
    if not relaxed.is_feasible:
        return None
    righted = put_right(program, solver, relaxed, lambda: until - monotonic(), headroom, problem)
    return righted if righted.is_followable else None


def _own(problem: Problem, sites: Ints, most_kw: Floats) -> Problem:
    part = problem if len(sites) == len(problem.sites) else problem.part(sites)
    ends = np.cumsum([len(event.steps) for event in problem.events])[:-1]
    limits = np.split(most_kw, ends) if problem.events else []
    events = tuple(replace(event, max_net_kw=limit) for event, limit in zip(problem.events, limits, strict=True))
    return replace(part, events=events, reserve=problem.reserve, trusted=True)


def _without_sales(problem: Problem, program: Program) -> Program:
    """The program without what reserve earns: how much is sold has been decided."""
    if problem.reserve is None:
        return program
    upper, row_lower = program.upper.copy(), program.row_lower.copy()
    upper[program.columns["sold_reserve"]] = 0.0
    for name in ("up_volume", "down_volume"):
        row_lower[program.rows[name]] = -np.inf
    return replace(program, upper=upper, row_lower=row_lower)


def is_repaired(problem: Problem) -> bool:
    """Whether mixes of the problem are likely to need to be put right."""
    return problem.evs.has_minimums or bool(len(tempted(problem)[0]))


def to_repair(problem: Problem, schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (site,): whether a car or a meter of the site cannot follow, or would rather go another way."""
    bad = _unfollowable_evs(problem, schedule)
    found = np.bincount(problem.evs.site[bad], minlength=len(problem.sites)) > 0
    found[tempted(problem)[0] // problem.steps] = True
    return found


def _unfollowable_evs(problem: Problem, schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (ev,)."""
    bad = np.zeros(len(problem.evs), dtype=bool)
    for excess in unfollowable(problem, schedule, _TOLERANCE).values():
        bad |= (excess > 2 * _TOLERANCE).any(axis=1)
    return bad


def tasks_of(problem: Problem, blocks: Sequence[Ints], schedule: Schedule, planned: NDArray[np.bool_],
             time_limit_s: float, workers: int) -> list[RepairTask]:
    """A task for each block with something to put right, or without a plan; together they take the time limit at most.

    planned: shape (site,), whether a solver has. The others are planned without reserve, which is much less work.
    """
    wanted = to_repair(problem, schedule) | ~planned
    numbers = [number for number, sites in enumerate(blocks) if wanted[sites].any()]
    truth, steps = evaluate(problem, schedule), problem.event_steps
    net, room = truth.net_kw[:, steps], np.maximum(0.0, problem.event_limit_kw - truth.event_net_kw)
    up, down = (_at_sites(problem, headroom) for headroom in ev_headroom(problem, schedule))
    if problem.reserve is not None:
        asked = problem.reserve.asked(schedule.reserve_kw)
        up, down = (there * np.minimum(1.0, kw / np.maximum(there.sum(axis=0), 1e-9))
                    for there, kw in zip((up, down), asked, strict=True))
    up, down = (np.where(planned[:, None], there, 0.0) for there in (up, down))
    each = time_limit_s * workers / max(1, len(numbers))
    return [RepairTask(number, net[blocks[number]].sum(axis=0) + room / max(1, len(numbers)), up[blocks[number]],
                       down[blocks[number]], min(time_limit_s, 4.0 * each)) for number in numbers]


def _at_sites(problem: Problem, of_evs: Floats) -> Floats:
    total = np.zeros((len(problem.sites), problem.steps))
    np.add.at(total, problem.evs.site, of_evs)
    return total


def put_together(problem: Problem, blocks: Sequence[Ints], schedule: Schedule, answers: Sequence[RepairAnswer],
                 idle: Schedule) -> tuple[Schedule, Repair]:
    """The cheapest schedule that every block can follow, block by block, and what all this costs.

    Each block does what it has answered, or what it did where it can follow that, or stays close to it, or its cars
    charge as they come; whichever costs the fleet least beside what the others do.
    """
    before = evaluate(problem, schedule)
    answered = _copy(schedule)
    for answer in answers:
        if answer.schedule is not None:
            _write(problem, blocks[answer.block], answer.schedule, answered, is_part=True)
    choices = [answered] if not answers else [answered, schedule]
    if not _sound_blocks(problem, blocks, answered).all():
        choices += followed(problem, Limits(problem), answered)
    choices.append(idle)
    is_sound = np.array([_sound_blocks(problem, blocks, choice) for choice in choices])
    found, picked = _copy(idle), cheapest_choice(problem, blocks, choices, is_sound)
    for sites, number in zip(blocks, picked.tolist(), strict=True):
        _write(problem, sites, choices[number], found, is_part=False)
    found = cheapest(problem, with_offers(problem, [found, idle]))
    counts = (sum(getattr(answer, name) for answer in answers) for name in ("cells", "meters", "minimums"))
    return found, repair_of(problem, before, found, *counts)


def _copy(schedule: Schedule) -> Schedule:
    return Schedule(*(np.array(getattr(schedule, name)) for name in Schedule.__dataclass_fields__))


def _write(problem: Problem, sites: Ints, source: Schedule, target: Schedule, *, is_part: bool) -> None:
    """Copy what some sites do; is_part: the source has them alone."""
    evs = np.flatnonzero(np.isin(problem.evs.site, sites))
    for names, rows in ((_OF_EVS, evs), (_OF_SITES, sites)):
        for name in names:
            getattr(target, name)[rows] = getattr(source, name) if is_part else getattr(source, name)[rows]


def _sound_blocks(problem: Problem, blocks: Sequence[Ints], schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (block,): whether all of its cars can follow."""
    bad = np.bincount(problem.evs.site[_unfollowable_evs(problem, schedule)], minlength=len(problem.sites)) > 0
    return np.array([not bad[sites].any() for sites in blocks])
