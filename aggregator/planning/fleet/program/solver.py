"""A linear program in HiGHS, from arrays and back; kept warm, so that changed data are solved from the last basis.

Dual simplex on one thread: measured the fastest on these programs; several blocks are several processes. Neither Pyomo
nor anything else that is slow to import is needed here, so that a worker starts at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic
from typing import Literal, Protocol

import highspy
import numpy as np
from scipy.sparse import csr_array

from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.problem import Floats, Ints
from aggregator.planning.highs import HeldProgram, require
from aggregator.planning.linear_program import LinearProgram, lower_bound

Status = Literal["optimal", "time_limit"]

_STATUS = highspy.HighsModelStatus
_ROUNDS = 100
_SAID = (_STATUS.kOptimal, _STATUS.kTimeLimit, _STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible)
_DUAL_SIMPLEX = 1
_REMEDIES: tuple[tuple[str, float | str], ...] = (
    ("simplex_strategy", _DUAL_SIMPLEX), ("simplex_scale_strategy", 0), ("solver", "ipm"))
_DEVEX = 1


class NoPlan(RuntimeError):
    """The limits exclude every plan, even an idle one; only possible where they are hard, or on a feeder."""


@dataclass(frozen=True, eq=False)
class Solved:
    """What one run returned: x by column, within its bounds; row_dual: d objective / d right side.

    bound: proven lower bound, of a run that was cut short too. is_feasible: x keeps every row.
    """

    x: Floats
    row_dual: Floats
    objective: float
    bound: float
    status: Status
    is_feasible: bool
    iterations: int


class LazyRows(Protocol):
    """Rows of a program that are only there once an answer has broken them; each has a number.

    is_mendable: an answer that breaks some can be made a plan without the solver.
    """

    is_mendable: bool

    def broken(self, x: Floats) -> Ints:
        """Numbers of rows that an answer breaks and that would mend it; none if it keeps all."""
        ...

    def rows(self, numbers: Ints) -> tuple[csr_array, Floats, Floats]:
        """Rows over the program's columns, with their limits."""
        ...


class Solver(HeldProgram):
    """A program in a warm HiGHS instance, and the rows that it has got since; presolve is on.

    added: numbers of the lazy rows that the program has got, in their order, behind its own.
    """

    def __init__(self, program: LinearProgram, *, strategy: str = "simplex") -> None:
        super().__init__(program, solver=strategy)
        self.added = np.zeros(0, dtype=np.int64)

    def add_rows(self, rows: csr_array, lower: Floats, upper: Floats) -> None:
        """More rows at the end; the next run goes on from the last basis."""
        # The weights of the steepest edge would be worked out anew for all rows: longer than the few pivots to come.
        self.set_option("simplex_dual_edge_weight_strategy", _DEVEX)
        super().add_rows(rows, lower, upper)

    def run(self, time_limit_s: float, limits: LazyRows | None = None) -> Solved:
        """Solve with the data as they are, adding rows of `limits` until none is broken.

        The bound of an answer that was cut short is proven too: a program without some of its rows costs no more.

        Raises:
            NoPlan: nothing keeps all limits.
            SolverFault: HiGHS failed in another way.
        """
        until, iterations = monotonic() + time_limit_s, 0
        found: Solved | None = None
        for _ in range(_ROUNDS):
            status = self._run(until - monotonic())
            iterations += self.iterations
            if limits is None:
                return self._solved(status)
            broken = self._broken(limits) if status == "optimal" else self.added[:0]
            if status == "optimal" and not len(broken):
                return replace(self._solved(status), iterations=iterations)
            if status == "optimal" and limits.is_mendable:
                found = self._solved(status)
            if status == "time_limit":
                break
            self.add_rows(*limits.rows(broken))
            self.added = np.concatenate([self.added, broken])
            # What was optimal stays dual feasible with more rows; presolving would throw the basis away.
            self.set_option("presolve", "off")
            self.set_option("simplex_strategy", _DUAL_SIMPLEX)
        last = replace(self._solved("time_limit"), is_feasible=False, iterations=iterations)
        if found is None:
            return last
        return replace(found, status="time_limit", bound=max(found.bound, last.bound), iterations=iterations)

    def _run(self, time_limit_s: float) -> Status:
        # HiGHS counts its run time from the birth of the instance, not of the run.
        self.set_option("time_limit", self.highs.getRunTime() + max(time_limit_s, 0.01))
        ended = self.highs.run()
        status = self.highs.getModelStatus()
        for name, value in _REMEDIES:
            if status in _SAID:
                break
            # Rare, from a basis of other prices: the simplex has lost its way, and finds it from the start.
            require(self.highs.clearSolver(), "a fresh start")
            self.set_option(name, value)
            ended = self.highs.run()
            status = self.highs.getModelStatus()
        if status in (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible):
            raise NoPlan("no plan keeps all limits")
        if status not in _SAID:
            raise SolverFault(f"HiGHS ended with {self.highs.modelStatusToString(status)} ({ended})")
        return "optimal" if status == _STATUS.kOptimal else "time_limit"

    def set_kind(self, column: int, kind: highspy.HighsVarType) -> None:
        """Make a column integer or semi-continuous, for `choose`."""
        require(self.highs.changeColIntegrality(column, kind), "a kind of column")

    def choose(self) -> tuple[Floats, float] | None:
        """The best plan found where columns are not all continuous, and its proven bound; None if there is none."""
        self.highs.run()
        solution, info = self.highs.getSolution(), self.highs.getInfo()
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        return np.array(solution.col_value), float(info.mip_dual_bound)

    def _broken(self, limits: LazyRows) -> Ints:
        x = np.clip(np.array(self.highs.getSolution().col_value), self.lower, self.upper)
        return np.setdiff1d(limits.broken(x), self.added)

    def _solved(self, status: Status) -> Solved:
        solution, info = self.highs.getSolution(), self.highs.getInfo()
        x = np.array(solution.col_value) if solution.value_valid else np.maximum(self.lower, 0.0)
        x = np.clip(x, self.lower, self.upper)
        dual = np.array(solution.row_dual) if solution.dual_valid else np.zeros(len(self.row_lower))
        is_feasible = status == "optimal" or bool(
            solution.value_valid and info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible)
        return Solved(x, dual, float(self.cost @ x + self.offset), lower_bound(self, dual), status, is_feasible,
                      self.iterations)
