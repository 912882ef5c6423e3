"""A linear program in HiGHS, as arrays and back: loaded, kept warm, run within a time limit, every status looked at.

Dual simplex on one thread: measured the fastest on these programs; what is parallel here is several processes. HiGHS
goes on in silence with an option or a change that it has refused, so nothing is asked of it without reading its answer.
"""

from __future__ import annotations

from typing import Final, Literal

import highspy
import numpy as np
from scipy.sparse import csc_array, csr_array, hstack, vstack

from aggregator.planning.answer import Answer, SolverFault
from aggregator.planning.linear_program import Arrays, Floats, Ints, LinearProgram, lower_bound

OPTIONS: Final[dict[str, str | int | bool]] = {
    "output_flag": False, "solver": "simplex", "simplex_strategy": 1,  # 1: dual simplex, serial
    "presolve": "on", "threads": 1, "parallel": "off",
}

_STATUS = highspy.HighsModelStatus


def require(status: highspy.HighsStatus, what: str) -> None:
    """Raise a `SolverFault` if HiGHS has refused it."""
    if status == highspy.HighsStatus.kError:
        raise SolverFault(f"HiGHS refused {what}")


class HeldProgram:
    """A program in a HiGHS instance that keeps its basis, so that changed data are solved from the last answer.

    options: of HiGHS, beside `OPTIONS`.

    Attributes:
        cost, offset, lower, upper, row_lower, row_upper, matrix: as the next run sees them.
        highs: the instance.
    """

    def __init__(self, program: Arrays, **options: str | float | bool) -> None:
        self.cost, self.offset, self.matrix = program.cost.copy(), program.offset, program.matrix
        self.lower, self.upper = program.lower.copy(), program.upper.copy()
        self.row_lower, self.row_upper = program.row_lower.copy(), program.row_upper.copy()
        self.highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for name, value in {**OPTIONS, **options}.items():
            self.set_option(name, value)
        self._load()

    def _load(self) -> None:
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = self.matrix.shape
        lp.col_cost_, lp.offset_ = self.cost, self.offset
        lp.col_lower_, lp.col_upper_ = self.lower, self.upper
        lp.row_lower_, lp.row_upper_ = self.row_lower, self.row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = self.matrix.indptr, self.matrix.indices
        lp.a_matrix_.value_ = self.matrix.data
        require(self.highs.passModel(lp), "passModel")

    def set_option(self, name: str, value: str | float | bool) -> None:
        """Set an option of HiGHS for all runs to come."""
        require(self.highs.setOptionValue(name, value), f"option {name}={value}")

    def set_costs(self, columns: Ints, cost: Floats) -> None:
        """Change the costs of some columns for the next run."""
        self.cost[columns] = cost
        changed = self.highs.changeColsCost(len(columns), columns.astype(np.int32), np.ascontiguousarray(cost))
        require(changed, "changeColsCost")

    def set_bounds(self, columns: Ints, lower: Floats, upper: Floats) -> None:
        """Change the bounds of some columns for the next run."""
        self.lower[columns], self.upper[columns] = lower, upper
        require(self.highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper), "changeColsBounds")

    def set_rows(self, rows: Ints, lower: Floats, upper: Floats) -> None:
        """Change the sides of some rows for the next run."""
        self.row_lower[rows], self.row_upper[rows] = lower, upper
        # The class that its stub describes stands on one that has this.
        changed = self.highs.changeRowsBounds(len(rows), rows.astype(np.int32), lower, upper)  # type: ignore[attr-defined]
        require(changed, "changeRowsBounds")

    def add_rows(self, rows: csr_array, lower: Floats, upper: Floats) -> None:
        """More rows at the end; the next run goes on from the last basis."""
        self.matrix = csr_array(vstack([self.matrix, rows], format="csr"))
        self.row_lower = np.concatenate([self.row_lower, lower])
        self.row_upper = np.concatenate([self.row_upper, upper])
        require(self.highs.addRows(len(lower), lower, upper, rows.nnz, rows.indptr[:-1].astype(np.int32),
                                   rows.indices.astype(np.int32), rows.data), "addRows")

    def add_columns(self, columns: csc_array, cost: Floats, lower: Floats, upper: Floats) -> None:
        """More columns at the end, of shape (row, new column); the next run goes on from the last basis."""
        self.matrix = csr_array(hstack([self.matrix, columns], format="csr"))
        self.cost = np.concatenate([self.cost, cost])
        self.lower, self.upper = np.concatenate([self.lower, lower]), np.concatenate([self.upper, upper])
        require(self.highs.addCols(len(cost), cost, lower, upper, columns.nnz, columns.indptr[:-1].astype(np.int32),
                                   columns.indices.astype(np.int32), columns.data), "addCols")

    @property
    def current(self) -> LinearProgram:
        """The program as the next run sees it."""
        return LinearProgram(self.cost, self.offset, self.lower, self.upper, self.row_lower, self.row_upper,
                             self.matrix)

    @property
    def iterations(self) -> int:
        """Simplex iterations of the last run."""
        count: int = self.highs.getInfo().simplex_iteration_count
        return count


class WarmArrays(HeldProgram):
    """A held program that answers as the site's planner asks."""

    def run(self, time_limit_s: float) -> Answer | None:
        """Solve with the data as they are; None if they exclude every solution.

        Raises:
            SolverFault: HiGHS failed in another way.
        """
        status = self._ended(time_limit_s)
        return None if status is None else self._answer(status)

    def _ended(self, time_limit_s: float) -> Literal["optimal", "time_limit"] | None:
        """Run; how it ended, None if the data exclude every solution."""
        # HiGHS counts its run time from the birth of the instance, not of the run.
        self.set_option("time_limit", self.highs.getRunTime() + max(time_limit_s, 0.01))
        run = self.highs.run()
        status = self.highs.getModelStatus()
        if status in (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible):
            return None
        if status not in (_STATUS.kOptimal, _STATUS.kTimeLimit):
            raise SolverFault(f"HiGHS ended with {self.highs.modelStatusToString(status)} ({run})")
        return "optimal" if status == _STATUS.kOptimal else "time_limit"

    def _answer(self, status: Literal["optimal", "time_limit"]) -> Answer:
        solution = self.highs.getSolution()
        x = np.array(solution.col_value) if solution.value_valid else np.maximum(self.lower, 0.0)
        x = np.clip(x, self.lower, self.upper)
        dual = np.array(solution.row_dual) if solution.dual_valid else np.zeros(len(self.row_lower))
        objective = float(self.cost @ x + self.offset)
        bound = objective if status == "optimal" else lower_bound(self, dual)
        return Answer(x, dual, objective, bound, status)
