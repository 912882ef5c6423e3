"""The cheapest choice of which cells are 0 and which at least their minimum, for fleets small enough to choose it.

Rounding decides cell by cell and is good where many cells make up for each other's errors. With a dozen cars a single
minimum can break a cap: there every power is semi-continuous in a mixed-integer program, which ends after a number of
nodes, so that the same problem has the same plan.
"""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.directions import with_directions
from aggregator.planning.fleet.repair.minimums import SEEN_KW, Decisions
from aggregator.planning.linear_program import LinearProgram

_MOST_CELLS = 1_500
_NODES = 300
_GAP = 5e-4
_LEAST_S = 0.05


def choose_cells(
    problem: Problem, program: Program, solver: Solver, free: tuple[Floats, Floats], time_limit_s: float,
) -> Decisions | None:
    """Bounds for every cell with a minimum, or None where there are too many, or nothing was found in time.

    free: lower and upper bounds before anything was decided. Cars that sleep charge from arrival on or not at all, and
    do not discharge.
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
    lower[column], upper[column] = free[0][column], free[1][column]
    upper[discharge[evs.sleeps[cells.ev[gives]] > 0]] = 0.0
    sleepers = np.flatnonzero(evs.sleeps[cells.ev] > 0)
    has_minimum = is_free & (least > 0) & (upper[column] >= least)
    column, least = column[has_minimum], least[has_minimum]
    if not 0 < len(column) + len(sleepers) <= _MOST_CELLS or time_limit_s < _LEAST_S:
        return None
    both = gives[(upper[charge[gives]] > 0) & (upper[discharge] > 0)]
    directed = with_directions(replace(solver.current, lower=lower, upper=upper), charge[both],
                               columns["discharge"].start + cells.discharge[both])
    directed.lower[column] = least
    directed = _with_sleep(directed, charge[sleepers], evs.min_charge_kw[cells.ev[sleepers]],
                           np.isin(sleepers, cells.first))
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
    x, mask = found[0], np.append(charge, discharge)
    low, high = lower.copy(), upper.copy()
    low[column] = least
    off = mask[x[mask] <= SEEN_KW]
    off = np.intersect1d(off, np.concatenate((column, charge[sleepers], charge[both],
                                              columns["discharge"].start + cells.discharge[both])))
    on = np.setdiff1d(charge[sleepers], off)
    low[on] = np.minimum(evs.min_charge_kw[cells.ev[on - columns["charge"].start]], high[on])
    low[off] = high[off] = 0.0
    return Decisions(mask, low[mask], high[mask])


def _with_sleep(program: LinearProgram, charge: Ints, least: Floats, is_first: NDArray[np.bool_]) -> LinearProgram:
    """The program and a binary for each of these powers: 1 lets it be, at least its minimum, if the one before is too.

    charge: columns, car by car in the order of the steps. is_first: shape (column,), where a car arrives.
    """
    count, width, most = len(charge), len(program.cost), program.upper[charge]
    each, later = np.arange(count), np.flatnonzero(~is_first)
    columns = np.concatenate([charge, charge, width + later])
    rows = np.concatenate([each, count + each, 2 * count + np.arange(len(later))])
    values = np.concatenate([np.ones(count), -np.ones(count), np.ones(len(later))])
    gates = np.concatenate([width + each, width + each, width + later - 1])
    sides = np.concatenate([-most, np.minimum(least, most), -np.ones(len(later))])
    height = 2 * count + len(later)
    more = csr_array((np.append(values, sides), (np.append(rows, rows), np.append(columns, gates))),
                     shape=(height, width + count))
    own = csr_array((program.matrix.data, program.matrix.indices, program.matrix.indptr),
                    shape=(program.matrix.shape[0], width + count))
    return LinearProgram(
        np.append(program.cost, np.zeros(count)), program.offset, np.append(program.lower, np.zeros(count)),
        np.append(program.upper, np.ones(count)), np.append(program.row_lower, np.full(height, -np.inf)),
        np.append(program.row_upper, np.zeros(height)), csr_array(vstack([own, more], format="csr")))
