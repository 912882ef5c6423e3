"""A program that is solved again and again while its bounds and some of its rows change.

HiGHS keeps the instance and with it the basis: rows that stay keep their place in it although their coefficients are
new, so that the dual simplex starts where the last answer ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from aggregator.planning.answer import Answer, SolverFault
from aggregator.planning.site.arrays import Ints, Program
from aggregator.planning.site.problem import Floats

_OPTIONS: tuple[tuple[str, str | int | bool], ...] = (
    ("output_flag", False), ("solver", "simplex"), ("simplex_strategy", 1),  # 1: dual simplex, serial
    ("presolve", "on"), ("threads", 1), ("parallel", "off"),
)
_ENDED_BADLY = (
    highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible,
)


class WarmProgram:
    """A `Program` without binaries in a HiGHS instance, with more columns and rows behind its own.

    extra_cost: of columns behind the program's, 0 or more each, that only the rows of `replace_rows` use.

    Attributes:
        lower, upper: bounds of the columns as they are now.
    """

    def __init__(self, program: Program, extra_cost: Floats | None = None) -> None:
        extra = np.zeros(0) if extra_cost is None else np.asarray(extra_cost, dtype=float)
        height, width = (int(size) for size in program.matrix.shape)
        self._fixed_rows = height
        self._cost = np.concatenate((program.cost, extra))
        self._offset = program.offset
        self.lower = np.concatenate((program.lower, np.zeros(len(extra))))
        self.upper = np.concatenate((program.upper, np.full(len(extra), np.inf)))
        self._fixed = csr_array(
            (program.matrix.data, program.matrix.indices, program.matrix.indptr), shape=(height, width + len(extra)))
        self._row_lower, self._row_upper = program.row_lower, program.row_upper
        self._matrix = self._fixed
        self._highs = self._load()

    def _load(self) -> highspy.Highs:
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, value in _OPTIONS:
            _require(highs.setOptionValue(option, value), f"option {option}={value}")
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = self._matrix.shape
        lp.col_cost_, lp.offset_ = self._cost, self._offset
        lp.col_lower_, lp.col_upper_ = self.lower, self.upper
        lp.row_lower_, lp.row_upper_ = self._row_lower, self._row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = self._matrix.indptr
        lp.a_matrix_.index_ = self._matrix.indices
        lp.a_matrix_.value_ = self._matrix.data
        _require(highs.passModel(lp), "passModel")
        return highs

    @property
    def extra_rows(self) -> int:
        """How many rows stand behind the program's."""
        return int(self._matrix.shape[0]) - self._fixed_rows

    def set_bounds(self, columns: Ints | NDArray[np.int32], lower: Floats, upper: Floats) -> None:
        """Change bounds of some columns for the next run."""
        self.lower[columns], self.upper[columns] = lower, upper
        _require(self._highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper), "changeColsBounds")

    def set_costs(self, columns: Ints, cost: Floats) -> None:
        """Change the price of some columns for the next run."""
        self._cost[columns] = cost
        _require(self._highs.changeColsCost(len(columns), columns.astype(np.int32), cost), "changeColsCost")

    def replace_rows(self, matrix: csr_array, lower: Floats, upper: Floats, was: Ints) -> None:
        """Put these rows behind the program's, in place of those that were there.

        was: for each new row, which of the rows there before it continues, from 0; -1: none.
        """
        highs = self._highs
        old = self._matrix.shape[0]
        basis = highs.getBasis() if highs.getBasis().valid else None
        if old > self._fixed_rows:
            gone = np.arange(self._fixed_rows, old, dtype=np.int32)
            _require(highs.deleteRows(len(gone), gone), "deleteRows")
        count = matrix.shape[0]
        if count:
            _require(highs.addRows(count, lower, upper, matrix.nnz, matrix.indptr.astype(np.int32),
                                   matrix.indices.astype(np.int32), matrix.data), "addRows")
        self._row_lower = np.concatenate((self._row_lower[:self._fixed_rows], lower))
        self._row_upper = np.concatenate((self._row_upper[:self._fixed_rows], upper))
        self._matrix = csr_array(vstack((self._fixed, matrix), format="csr")) if count else self._fixed
        if basis is not None:
            self._continue_from(basis, was)

    def _continue_from(self, basis: highspy.HighsBasis, was: Ints) -> None:
        statuses = list(basis.row_status)
        basic = highspy.HighsBasisStatus.kBasic
        extra: Sequence[highspy.HighsBasisStatus] = statuses[self._fixed_rows:]
        kept = set(was.tolist())
        if any(row not in kept and status != basic for row, status in enumerate(extra)):
            return  # a row that held the answer is gone: HiGHS finds a start of its own
        basis.row_status = statuses[:self._fixed_rows] + [extra[row] if row >= 0 else basic for row in was.tolist()]
        _require(self._highs.setBasis(basis), "setBasis")

    def run(self, time_limit_s: float) -> Answer | None:
        """Solve with bounds and rows as they are; None if they exclude every solution.

        Raises:
            SolverFault: HiGHS failed in another way.
        """
        highs = self._highs
        # HiGHS counts its run time from the birth of the instance, not of the run.
        limit = highs.getRunTime() + max(time_limit_s, 0.01)
        _require(highs.setOptionValue("time_limit", limit), f"option time_limit={limit}")
        run = highs.run()
        status = highs.getModelStatus()
        if status in _ENDED_BADLY:
            return None
        if status not in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kTimeLimit):
            raise SolverFault(f"HiGHS ended with {highs.modelStatusToString(status)} ({run})")
        is_optimal = status == highspy.HighsModelStatus.kOptimal
        solution = highs.getSolution()
        x = np.array(solution.col_value) if solution.value_valid else np.maximum(self.lower, 0.0)
        x = np.clip(x, self.lower, self.upper)
        dual = np.array(solution.row_dual) if solution.dual_valid else np.zeros(self._matrix.shape[0])
        objective = float(self._cost @ x + self._offset)
        bound = objective if is_optimal else self.bound_from(dual)
        return Answer(x, dual, objective, bound, "optimal" if is_optimal else "time_limit")

    def bound_from(self, row_dual: Floats) -> float:
        """The lower bound that any row duals prove by weak duality, -inf where a column without limit is priced."""
        y = np.where((row_dual > 0) & np.isinf(self._row_lower), 0.0, row_dual)
        y = np.where((y < 0) & np.isinf(self._row_upper), 0.0, y)
        side = np.where(y > 0, self._row_lower, self._row_upper)
        reduced = self._cost - self._matrix.T @ y
        edge = np.where(reduced > 0, self.lower, self.upper)
        used, priced = y != 0, reduced != 0
        return self._offset + float(y[used] @ side[used]) + float(reduced[priced] @ edge[priced])

    @property
    def iterations(self) -> int:
        """Simplex iterations of the last run."""
        count: int = self._highs.getInfo().simplex_iteration_count
        return count


def _require(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise SolverFault(f"HiGHS refused {what}")
