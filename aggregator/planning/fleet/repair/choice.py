"""The cheapest choice of which cells are 0 and which at least their minimum, for fleets small enough to choose it.

Rounding decides cell by cell and is good where many cells make up for each other's errors. With a dozen cars a single
minimum can break a cap: there every power is semi-continuous in a mixed-integer program, which ends after a number of
nodes, so that the same problem has the same plan.
"""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np

from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.directions import with_directions
from aggregator.planning.fleet.repair.minimums import SEEN_KW, Decisions

_MOST_CELLS = 1_500
_NODES = 300
_GAP = 5e-4
_LEAST_S = 0.05


def choose_cells(
    problem: Problem, program: Program, solver: Solver, free: tuple[Floats, Floats], time_limit_s: float,
) -> Decisions | None:
    """Bounds for every cell with a minimum, or None where there are too many, or nothing was found in time.

    free: lower and upper bounds before anything was decided; cars that sleep keep what the solver has for them now.
    """
    evs, cells, columns = problem.evs, program.cells, program.columns
    charge = columns["charge"].start + np.arange(len(cells))
    gives = np.flatnonzero(cells.discharge != NONE)
    discharge = columns["discharge"].start + cells.discharge[gives]
    column = np.append(charge, discharge)
    ev = np.append(cells.ev, cells.ev[gives])
    least = np.append(evs.min_charge_kw[cells.ev], evs.min_discharge_kw[cells.ev[gives]])
    is_free = evs.sleeps[ev] == 0
    lower, upper = solver.lower.copy(), solver.upper.copy()
    lower[column[is_free]], upper[column[is_free]] = free[0][column[is_free]], free[1][column[is_free]]
    has_minimum = is_free & (least > 0) & (upper[column] >= least)
    column, least = column[has_minimum], least[has_minimum]
    if not 0 < len(column) <= _MOST_CELLS or time_limit_s < _LEAST_S:
        return None
    both = gives[(upper[charge[gives]] > 0) & (upper[discharge] > 0)]
    directed = with_directions(replace(solver.current, lower=lower, upper=upper), charge[both],
                               columns["discharge"].start + cells.discharge[both])
    directed.lower[column] = least
    mixed = Solver(directed)
    for number in column.tolist():
        mixed.set_kind(number, highspy.HighsVarType.kSemiContinuous)
    for number in range(len(lower), len(directed.cost)):
        mixed.set_kind(number, highspy.HighsVarType.kInteger)
    mixed.set_option("mip_rel_gap", _GAP)
    mixed.set_option("mip_max_nodes", _NODES)
    mixed.set_option("time_limit", time_limit_s)
    found = mixed.choose()
    if found is None:
        return None
    # Where both ways are open, the one that was chosen.
    x, mask = found[0], np.append(charge, discharge)[is_free]
    low, high = lower.copy(), upper.copy()
    low[column] = least
    off = mask[x[mask] <= SEEN_KW]
    off = np.union1d(np.intersect1d(off, column), np.intersect1d(off, np.append(
        charge[both], columns["discharge"].start + cells.discharge[both])))
    low[off] = high[off] = 0.0
    return Decisions(mask, low[mask], high[mask])
