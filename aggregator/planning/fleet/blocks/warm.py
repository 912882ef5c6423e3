"""A program solved at the prices of a task, from where it was left the last time, and kept warm for other prices.

No solver and no program is kept between two passes, only the bases: they cost a tenth of the memory, and a program is
built again in a fraction of the time that its solve takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic

import highspy
import numpy as np
from scipy.sparse import csr_array, vstack

from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.blocks.tasks import BlockTask, Prices
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Program
from aggregator.planning.fleet.program.feeder_rows import FeederRows
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.followable import both_ways
from aggregator.planning.fleet.reserve.headroom import Cut

_DUAL_SIMPLEX, _PRIMAL_SIMPLEX = 1, 4
_VOLUMES = ("up_volume", "down_volume")


@dataclass(frozen=True, eq=False)
class Left:
    """From where a solver can go on: a basis, and the numbers of the lazy rows that its program had.

    table: the cuts that some of these numbers mean.
    """

    basis: highspy.HighsBasis
    added: Ints
    table: list[Cut] | None


@dataclass(frozen=True, eq=False)
class Run:
    """What one run of the solver left."""

    x: Floats
    dual: Floats
    bound: float
    left: Left


class OutOfTime(RuntimeError):
    """The solver was stopped by its time limit."""


def priced(program: Program, prices: Prices) -> Program:
    """A block's program with the prices of a task in its costs."""
    cost, upper, row_lower = program.cost.copy(), program.upper.copy(), program.row_lower.copy()
    sites = program.shape[0]
    cost[program.columns["bought"]] += np.tile(prices.net, sites)
    cost[program.columns["sold"]] -= np.tile(prices.net, sites)
    if program.columns["up"].stop > program.columns["up"].start:
        cost[program.columns["up"]] += np.tile(prices.up, sites)
        cost[program.columns["down"]] += np.tile(prices.down, sites)
        # What is sold is for the fleet as a whole to decide.
        upper[program.columns["sold_reserve"]] = 0.0
        for name in _VOLUMES:
            row_lower[program.rows[name]] = -np.inf
    return replace(program, cost=cost, upper=upper, row_lower=row_lower)


def with_rows(program: Program, rows: csr_array, lower: Floats, upper: Floats) -> Program:
    """The program with more rows at its end."""
    return replace(program, matrix=csr_array(vstack([program.matrix, rows], format="csr")),
                   row_lower=np.concatenate([program.row_lower, lower]),
                   row_upper=np.concatenate([program.row_upper, upper]))


class Warm:
    """A program solved at the prices of a task, and its solver, which is warm for others.

    left: from where another run of the same program can be taken up: with the primal simplex, unless only rows are new.

    Attributes:
        problem, own, rows: the program, without prices, and its lazy rows. run: at the prices of the task.
    """

    def __init__(self, problem: Problem, own: Program, task: BlockTask, left: Left | None,
                 limits: FeederRows | None = None, *, dual: bool = False) -> None:
        self.problem, self.own = problem, own
        self.rows = BlockRows(problem, own, limits, None if left is None else left.table)
        self._until = monotonic() + task.time_limit_s
        program, added = priced(own, task.prices), np.zeros(0, dtype=np.int64)
        if left is not None and len(left.added):
            program, added = with_rows(program, *self.rows.rows(left.added)), left.added
        self._solver = Solver(program)
        self._solver.added = added
        if problem.reserve is None:
            # Nothing is left to presolve without energies, and more rows come later.
            self._solver.set_option("presolve", "off")
        if left is not None:
            self._solver.set_option("presolve", "off")
            self._solver.set_option("simplex_strategy", _DUAL_SIMPLEX if dual else _PRIMAL_SIMPLEX)
            if self._solver.highs.setBasis(left.basis) == highspy.HighsStatus.kError:
                raise SolverFault("HiGHS refused a basis")
        solved = self._solver.run(task.time_limit_s, self.rows)
        if solved.status != "optimal":
            raise OutOfTime
        basis = Left(self._solver.highs.getBasis(), self._solver.added, self.rows.table)
        self.run = Run(solved.x, solved.row_dual, solved.bound, basis)

    def further(self, task: BlockTask, of_feeder: Floats) -> Iterator[Floats]:
        """Plans at the task's other prices, with what its feeder's limits cost, shape (step,), on top of them."""
        columns = np.r_[self.own.columns["bought"], self.own.columns["sold"]]
        for other in task.also:
            cost = priced(self.own, replace(other, net=other.net + of_feeder)).cost
            self._solver.set_costs(columns, cost[columns])
            self._solver.set_option("simplex_strategy", _PRIMAL_SIMPLEX)
            again = self._solver.run(self._until - monotonic(), self.rows)
            if again.status != "optimal":
                return
            if not any(map(len, both_ways(self.own, again.x))):
                yield again.x
