"""From the answer of a linear program to one that cars and meters can follow.

A linear program may charge and discharge one car at once, buy and sell at one meter, and order less than a charger or a
car can do: a power is 0 or at least a minimum, and a car that falls asleep in a pause takes nothing more. Such cells
are decided, and the program is solved again from its last basis, so that all it knows (caps, events, feeders, reserve,
targets) decides where the moved energy goes. There are several ways to decide minimums, the cheapest plan counts: by
rounding, which carries its error on within each car, never raises a power into a cap or an event, and lets go of what
turns out to have no room; cell by cell as powers put right by hand have them, which has room for every one of them,
where rounding has left something undone or is dear; and for few cells by a mixed-integer program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from aggregator.planning.fleet.plan import relative_gap
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program
from aggregator.planning.fleet.program.solver import LazyRows, NoPlan, Solved, Solver
from aggregator.planning.fleet.repair.choice import choose_cells
from aggregator.planning.fleet.repair.close import close_cells
from aggregator.planning.fleet.repair.minimums import SEEN_KW, Decisions, Rounding, discharge_of

_ROUNDS = 12
_LAST = 2
_SHARE = 0.5
_CHOICE_SHARE = 0.25
_ENOUGH = (0.0, math.inf, 1e-2, 5e-4)
"""By way to decide: relative gap to the linear plan with which one that can be followed is good enough."""


@dataclass(frozen=True, eq=False)
class Righted:
    """The last answer, and what was decided on the way to it.

    cells, meters: held to one direction. minimums: cells decided to be 0 or at least their minimum.
    is_followable: nothing is left to decide.
    """

    answer: Solved
    cells: int = 0
    meters: int = 0
    minimums: int = 0
    is_followable: bool = True


def put_right(
    program: Program, solver: Solver, relaxed: Solved, left: Callable[[], float], limits: LazyRows | None = None,
    problem: Problem | None = None,
) -> Righted:
    """Decide and solve again until cars and meters can follow, or the time is up.

    problem: whose minimum powers hold too; None leaves them out. The program has energies then.
    """
    if problem is None or not problem.evs.has_minimums:
        return _rounds(program, solver, relaxed, left, limits, None)
    if not _is_loose(problem, program, solver, relaxed):
        return Righted(relaxed)
    free, best = (solver.lower.copy(), solver.upper.copy()), Righted(relaxed, is_followable=False)
    ways: tuple[Callable[[], Decisions | None], ...] = (
        Decisions.none,
        # What rounding has left undone is little, mostly: nothing is closer than what it has.
        lambda: close_cells(problem, program, best.answer.x, free),
        lambda: close_cells(problem, program, relaxed.x, free),
        lambda: choose_cells(problem, program, solver, free, _CHOICE_SHARE * left()))
    for way, enough in zip(ways, _ENOUGH, strict=True):
        if best.is_followable and (relative_gap(best.answer.objective, relaxed.bound) <= enough or left() <= 0):
            continue
        solver.set_bounds(np.arange(len(free[0])), *free)
        held = way()
        tried = None if held is None else _tried(problem, program, solver, held, relaxed, _share_of(left), limits)
        if tried is not None and (not best.is_followable or (
                tried.is_followable and tried.answer.objective < best.answer.objective)):
            best = tried
    return best


def _is_loose(problem: Problem, program: Program, solver: Solver, answer: Solved) -> bool:
    """Whether anything is left to decide."""
    cars, meters = both_ways(program, answer.x)
    return bool(len(cars) or len(meters) or len(Rounding(problem, program, answer.x).decide(
        answer.x, solver, is_last=False)))


def _share_of(left: Callable[[], float]) -> Callable[[], float]:
    """The time left for one way, so that another has some after it."""
    rest = (1.0 - _SHARE) * left()
    return lambda: left() - rest


def _tried(
    problem: Problem, program: Program, solver: Solver, held: Decisions, relaxed: Solved, left: Callable[[], float],
    limits: LazyRows | None,
) -> Righted | None:
    """Solve with what is held, and round what is left to decide; None if it leaves no plan."""
    if not len(held):
        return _rounds(program, solver, relaxed, left, limits, Rounding(problem, program, relaxed.x))
    held.hold(solver)
    try:
        answer = solver.run(left(), limits)
    except NoPlan:
        return None
    if not answer.is_feasible:
        return None
    rounding = Rounding(problem, program, answer.x)
    found = _rounds(program, solver, answer, left, limits, rounding, first=_ROUNDS - _LAST)
    return replace(found, minimums=found.minimums + len(held))


def _rounds(
    program: Program, solver: Solver, relaxed: Solved, left: Callable[[], float], limits: LazyRows | None,
    rounding: Rounding | None, first: int = 0,
) -> Righted:
    answer, cells, meters, decided = relaxed, 0, 0, 0
    for attempt in range(first, _ROUNDS):
        cars, sites = both_ways(program, answer.x)
        weak = Decisions.none() if rounding is None else rounding.decide(
            answer.x, solver, is_last=attempt >= _ROUNDS - _LAST)
        if not len(cars) and not len(sites) and not len(weak):
            return Righted(answer, cells, meters, decided)
        if left() <= 0:
            break
        cells, meters, decided = cells + len(cars), meters + len(sites), decided + len(weak)
        before = solver.lower.copy(), solver.upper.copy()
        weak.hold(solver)
        _hold(solver, answer.x, program.columns["charge"].start + cars,
              program.columns["discharge"].start + program.cells.discharge[cars])
        _hold(solver, answer.x, program.columns["bought"].start + sites, program.columns["sold"].start + sites)
        again = _run(solver, weak, _of_evs(program, cars), before, left, limits)
        if again is None or not again.is_feasible:
            break
        answer = again
    return Righted(answer, cells, meters, decided, is_followable=False)


def both_ways(program: Program, x: Floats) -> tuple[Ints, Ints]:
    """Numbers of the cells that charge and discharge at once, and of the meters that buy and sell."""
    cars = np.flatnonzero(np.minimum(x[program.columns["charge"]], discharge_of(program, x)) > SEEN_KW)
    meters = np.flatnonzero(np.minimum(x[program.columns["bought"]], x[program.columns["sold"]]) > SEEN_KW)
    return cars, meters


def _hold(solver: Solver, x: Floats, taking: Ints, giving: Ints) -> None:
    """Let the smaller of two opposite powers be 0 from now on."""
    off = np.where(x[taking] >= x[giving], giving, taking)
    solver.set_bounds(off, np.zeros(len(off)), np.zeros(len(off)))


def _of_evs(program: Program, cells: Ints) -> Ints:
    """Columns of all powers of the EVs that have one of these cells."""
    own = np.flatnonzero(np.isin(program.cells.ev, program.cells.ev[cells]))
    number = program.cells.discharge[own]
    return np.append(program.columns["charge"].start + own, program.columns["discharge"].start + number[number != NONE])


def _run(solver: Solver, weak: Decisions, turned: Ints, before: tuple[Floats, Floats], left: Callable[[], float],
         limits: LazyRows | None) -> Solved | None:
    """Solve with what was decided; if that leaves no plan, without what was raised; None if nothing does.

    turned: powers of EVs that were held to one direction, which may be too much beside minimums decided before.
    """
    raised = weak.columns[weak.lower > 0]
    for columns, most in ((raised, np.zeros(len(raised))), (turned, solver.upper[turned])):
        try:
            return solver.run(left(), limits)
        except NoPlan:
            solver.set_bounds(columns, np.zeros(len(columns)), most)
    try:
        return solver.run(left(), limits)
    except NoPlan:
        changed = np.flatnonzero((solver.lower != before[0]) | (solver.upper != before[1]))
        solver.set_bounds(changed, before[0][changed], before[1][changed])
        return None
