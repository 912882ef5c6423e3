"""Which cells are 0 and which at least their minimum, as powers have it that were put right by hand.

Those powers keep every cap, line and voltage, so a program with these decisions has a plan; it finds the best one.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.checker import Schedule, evaluate
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program
from aggregator.planning.fleet.repair.by_hand import followed
from aggregator.planning.fleet.repair.minimums import HELD, SEEN_KW, Decisions
from aggregator.planning.fleet.room import Limits


def close_cells(problem: Problem, program: Program, x: Floats, free: tuple[Floats, Floats]) -> Decisions:
    """Bounds for every power; x: the answer to keep close to. free: bounds before anything was decided."""
    evs, cells = problem.evs, program.cells
    schedules = followed(problem, Limits(problem), Schedule(
        program.by_ev(x, "charge"), program.by_ev(x, "discharge"), program.by_site(x, "curtailed"),
        program.by_site(x, "unserved"), program.by_site(x, "spilled"), np.zeros((3, _blocks(problem)))))
    best = min(schedules, key=lambda schedule: evaluate(problem, schedule).objective)
    powers = best.charge_kw[cells.ev, cells.step], best.discharge_kw[cells.ev, cells.step]
    least = evs.min_charge_kw[cells.ev], evs.min_discharge_kw[cells.ev]
    # What only fills a battery, and what keeps a car awake without a minimum, stays as it is, car by car.
    weak = (powers[0] > SEEN_KW) & (powers[0] < least[0] - HELD)
    weak |= (evs.sleeps[cells.ev] > 0) & (least[0] <= 0)
    is_held = np.isin(cells.ev, cells.ev[weak])
    on = powers[0] > SEEN_KW, powers[1] > SEEN_KW
    may = (on[0] | ((least[0] <= 0) & ~on[1]), on[1] | ((least[1] <= 0) & (least[0] > 0) & ~on[0]))
    there = cells.discharge != NONE
    parts = []
    for way, name, own in ((0, "charge", np.arange(len(cells))), (1, "discharge", np.flatnonzero(there))):
        first = program.columns[name].start
        column = first + (own if way == 0 else cells.discharge[own])
        power, upper = powers[way][own], np.where(may[way][own], free[1][column], 0.0)
        lower = np.where(on[way][own], np.minimum(least[way][own], upper), 0.0)
        fixed = is_held[own]
        parts.append((column, np.where(fixed, power, lower), np.where(fixed, power, upper)))
    columns, lowers, uppers = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Decisions(columns, lowers, uppers)


def _blocks(problem: Problem) -> int:
    return 0 if problem.reserve is None else len(problem.reserve)
