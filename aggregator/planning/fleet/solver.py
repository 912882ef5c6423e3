"""A linear program in HiGHS, from arrays and back; kept warm, so that changed data are solved from the last basis.

Dual simplex on one thread: measured the fastest on these programs; several blocks are several processes. Neither Pyomo
nor anything else that is slow to import is needed here, so that a worker starts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import highspy
import numpy as np

from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.arrays import LinearProgram
from aggregator.planning.fleet.bound import lower_bound
from aggregator.planning.fleet.problem import Floats, Ints

Status = Literal["optimal", "time_limit"]

_STATUS = highspy.HighsModelStatus


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


class Solver:
    """A program in a warm HiGHS instance; `cost`, `lower` and `upper` are as the next run sees them."""

    def __init__(self, program: LinearProgram, *, strategy: str = "simplex") -> None:
        self.program = program
        self.cost, self.lower, self.upper = program.cost.copy(), program.lower.copy(), program.upper.copy()
        self.row_lower, self.row_upper = program.row_lower.copy(), program.row_upper.copy()
        self.highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, value in (
            ("output_flag", False), ("solver", strategy), ("threads", 1), ("parallel", "off"), ("presolve", "on"),
        ):
            self.set_option(option, value)
        self.load(program)

    def set_option(self, name: str, value: bool | float | str) -> None:
        """An option of HiGHS, which would otherwise go on without it in silence."""
        _require(self.highs.setOptionValue(name, value), f"option {name}={value}")

    def load(self, program: LinearProgram) -> None:
        """Another program takes the place of this one."""
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = program.matrix.shape
        lp.col_cost_, lp.offset_ = program.cost, program.offset
        lp.col_lower_, lp.col_upper_ = program.lower, program.upper
        lp.row_lower_, lp.row_upper_ = program.row_lower, program.row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
        lp.a_matrix_.value_ = program.matrix.data
        _require(self.highs.passModel(lp), "the model")

    def set_costs(self, columns: Ints, cost: Floats) -> None:
        """Change costs of some columns for the next run."""
        self.cost[columns] = cost
        _require(self.highs.changeColsCost(len(columns), columns.astype(np.int32), np.ascontiguousarray(cost)), "costs")

    def set_bounds(self, columns: Ints, lower: Floats, upper: Floats) -> None:
        """Change bounds of some columns for the next run."""
        self.lower[columns], self.upper[columns] = lower, upper
        _require(self.highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper), "bounds")

    def set_rows(self, rows: Ints, lower: Floats, upper: Floats) -> None:
        """Change the sides of some rows for the next run."""
        self.row_lower[rows], self.row_upper[rows] = lower, upper
        # The class that its stub describes stands on one that has this.
        changed = self.highs.changeRowsBounds(len(rows), rows.astype(np.int32), lower, upper)  # type: ignore[attr-defined]
        _require(changed, "rows")

    def run(self, time_limit_s: float) -> Solved:
        """Solve with the data as they are.

        Raises:
            NoPlan: nothing keeps all limits.
            SolverFault: HiGHS failed in another way.
        """
        # HiGHS counts its run time from the birth of the instance, not of the run.
        self.set_option("time_limit", self.highs.getRunTime() + max(time_limit_s, 0.01))
        ended = self.highs.run()
        status = self.highs.getModelStatus()
        if status in (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible):
            raise NoPlan("no plan keeps all limits")
        if status not in (_STATUS.kOptimal, _STATUS.kTimeLimit):
            raise SolverFault(f"HiGHS ended with {self.highs.modelStatusToString(status)} ({ended})")
        return self._solved("optimal" if status == _STATUS.kOptimal else "time_limit")

    def _solved(self, status: Status) -> Solved:
        solution, info = self.highs.getSolution(), self.highs.getInfo()
        x = np.array(solution.col_value) if solution.value_valid else np.maximum(self.lower, 0.0)
        x = np.clip(x, self.lower, self.upper)
        dual = np.array(solution.row_dual) if solution.dual_valid else np.zeros(len(self.row_lower))
        is_feasible = status == "optimal" or bool(
            solution.value_valid and info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible)
        proven = lower_bound(self.program, dual, cost=self.cost, lower=self.lower, upper=self.upper,
                             row_lower=self.row_lower, row_upper=self.row_upper)
        return Solved(x, dual, float(self.cost @ x + self.program.offset), proven, status, is_feasible,
                      int(info.simplex_iteration_count))


def _require(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise SolverFault(f"HiGHS refused {what}")
