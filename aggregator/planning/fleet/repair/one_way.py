"""Meters where selling pays more than buying costs: one binary per site and step keeps them from doing both.

Only there: everywhere else no linear plan gains from it. The binaries choose a direction; with the directions held,
the plan is linear again and has its prices.
"""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Cells, Program
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.certificate import paid_both_ways
from aggregator.planning.fleet.repair.directions import with_directions

Mask = NDArray[np.bool_]


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


def one_way_program(problem: Problem, program: Program, takes: Mask | None = None) -> Program:
    """The program in which tempted meters buy and sell in shares that sum to 1: what a linear program can know of it.

    takes: shape (tempted meter,), which of them buy, if that has been chosen; the others sell. The program has the same
    rows either way, named "shares" and owned by the sites of `share_sites`.
    """
    meters, buys, sells = tempted(problem)
    if not len(meters):
        return program
    bought, sold = (program.columns[name].start + meters for name in ("bought", "sold"))
    upper = program.upper.copy()
    upper[bought] = buys if takes is None else np.where(takes, buys, 0.0)
    upper[sold] = sells if takes is None else np.where(takes, 0.0, sells)
    both = np.flatnonzero((buys > 0) & (sells > 0))
    row, begin = np.arange(len(both)), len(program.row_lower)
    # In kW of the smaller of both, so that the row is of the size of the others.
    size = np.minimum(buys[both], sells[both])
    shares = csr_array((np.append(size / buys[both], size / sells[both]), (np.append(row, row), np.append(
        bought[both], sold[both]))), shape=(len(both), len(program.cost)))
    return replace(program, upper=upper, matrix=csr_array(vstack([program.matrix, shares], format="csr")),
                   row_lower=np.append(program.row_lower, np.full(len(both), -np.inf)),
                   row_upper=np.append(program.row_upper, size),
                   rows={**program.rows, "shares": slice(begin, begin + len(both))})


def share_sites(problem: Problem) -> Ints:
    """The site of each row "shares" of the program."""
    meters, buys, sells = tempted(problem)
    return np.asarray(meters[(buys > 0) & (sells > 0)] // problem.steps)


def best_directions(problem: Problem, solver: Solver, program: Program, *, gap: float,
                    time_limit_s: float) -> tuple[Mask, float] | None:
    """Which tempted meters buy in the best mixed-integer plan found, and the bound that is proven; None without one.

    solver: of the program, in which tempted meters may do both up to what they can.
    """
    meters, buys, sells = tempted(problem)
    bought, sold = (program.columns[name].start + meters for name in ("bought", "sold"))
    both = np.flatnonzero((buys > 0) & (sells > 0))
    takes = sells <= 0
    if not len(both):
        return takes, -np.inf
    mixed = Solver(with_directions(solver.current, bought[both], sold[both]))
    width = len(program.cost)
    for column in range(width, width + len(both)):
        mixed.set_kind(column, highspy.HighsVarType.kInteger)
    mixed.set_option("mip_rel_gap", gap / 2)
    mixed.set_option("time_limit", max(time_limit_s, 0.01))
    chosen = mixed.choose()
    if chosen is None:
        return None
    x, proven = chosen
    takes[both] = x[width:] > 0.5  # noqa: PLR2004 - a binary is 0 or 1 to tolerance
    return takes, proven


def hold_directions(problem: Problem, solver: Solver, program: Program, takes: Mask) -> None:
    """Let the tempted meters of `solver` buy, or sell, as far as they can."""
    meters, buys, sells = tempted(problem)
    for name, most in (("bought", np.where(takes, buys, 0.0)), ("sold", np.where(takes, 0.0, sells))):
        solver.set_bounds(program.columns[name].start + meters, np.zeros(len(meters)), most)


def choose_directions(problem: Problem, solver: Solver, program: Program, *, gap: float, time_limit_s: float) -> float:
    """Hold every tempted meter of `solver` to the direction of the best mixed-integer plan found.

    Returns the bound that is proven; minus infinity where nothing had to be chosen, or the time was too short to.
    """
    meters, buys, sells = tempted(problem)
    if not len(meters):
        return -np.inf
    for name, most in (("bought", buys), ("sold", sells)):
        solver.set_bounds(program.columns[name].start + meters, np.zeros(len(meters)), most)
    chosen = best_directions(problem, solver, program, gap=gap, time_limit_s=time_limit_s)
    if chosen is None:
        return -np.inf
    hold_directions(problem, solver, program, chosen[0])
    return chosen[1]
