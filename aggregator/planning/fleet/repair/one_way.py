"""Meters where selling pays more than buying costs: one binary per site and step keeps them from doing both.

Only there: everywhere else no linear plan gains from it. The binaries choose a direction; with the directions held,
the plan is linear again and has its prices.
"""

from __future__ import annotations

import highspy
import numpy as np
from scipy.sparse import csr_array

from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Cells, Program
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.certificate import paid_both_ways
from aggregator.planning.fleet.repair.directions import with_directions


def tempted(problem: Problem) -> tuple[Ints, Floats, Floats]:
    """Meters, numbered by site, then step, where both would pay; the most that each can buy and sell."""
    evs, sites, steps, cells = problem.evs, problem.sites, problem.steps, Cells.of(problem)
    where = evs.site[cells.ev] * steps + cells.step
    give = np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)
    charge, discharge = (np.bincount(where, power[cells.ev], sites.base_kw.size).reshape(sites.base_kw.shape)
                         for power in (evs.max_charge_kw, give))
    bought = np.clip(sites.base_kw + charge, 0.0, sites.import_cap_kw)  # with all PV held back
    sold = np.clip(discharge - sites.base_kw + sites.pv_kw, 0.0, sites.export_cap_kw)
    found = np.flatnonzero(np.broadcast_to(paid_both_ways(problem), sites.base_kw.shape).ravel())
    return found, bought.ravel()[found], sold.ravel()[found]


def only_so_far(problem: Problem, solver: Solver, program: Program) -> None:
    """Let tempted meters of `solver` buy and sell in shares that sum to 1: what a linear program can know of it."""
    meters, buys, sells = tempted(problem)
    bought, sold = (program.columns[name].start + meters for name in ("bought", "sold"))
    solver.set_bounds(bought, np.zeros(len(meters)), buys)
    solver.set_bounds(sold, np.zeros(len(meters)), sells)
    both = np.flatnonzero((buys > 0) & (sells > 0))
    if not len(both):
        return
    row = np.arange(len(both))
    # In kW of the smaller of both, so that the row is of the size of the others.
    size = np.minimum(buys[both], sells[both])
    shares = csr_array((np.append(size / buys[both], size / sells[both]), (np.append(row, row), np.append(
        bought[both], sold[both]))), shape=(len(both), len(program.cost)))
    solver.add_rows(shares, np.full(len(both), -np.inf), size)


def choose_directions(problem: Problem, solver: Solver, program: Program, *, gap: float, time_limit_s: float) -> float:
    """Hold every tempted meter of `solver` to the direction of the best mixed-integer plan found.

    Returns the bound that is proven; minus infinity where nothing had to be chosen, or the time was too short to.
    """
    meters, buys, sells = tempted(problem)
    if not len(meters):
        return -np.inf
    bought, sold = (program.columns[name].start + meters for name in ("bought", "sold"))
    none = np.zeros(len(meters))
    solver.set_bounds(bought, none, buys)
    solver.set_bounds(sold, none, sells)
    both = np.flatnonzero((buys > 0) & (sells > 0))
    if not len(both):
        return -np.inf
    mixed = Solver(with_directions(solver.current, bought[both], sold[both]))
    width = len(program.cost)
    for column in range(width, width + len(both)):
        mixed.set_kind(column, highspy.HighsVarType.kInteger)
    mixed.set_option("mip_rel_gap", gap / 2)
    mixed.set_option("time_limit", max(time_limit_s, 0.01))
    chosen = mixed.choose()
    if chosen is None:
        return -np.inf
    x, proven = chosen
    off = np.where(x[width:] > 0.5, sold[both], bought[both])  # noqa: PLR2004 - a binary is 0 or 1 to tolerance
    solver.set_bounds(off, np.zeros(len(off)), np.zeros(len(off)))
    return proven
