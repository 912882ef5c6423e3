"""From a Pyomo model to HiGHS and back, as arrays.

Pyomo compiles the model to standard form and the arrays go to highspy directly; its solver interfaces would cost
several times the solve. One `Relaxation` keeps the solver warm, so that a repair only changes bounds and solves again.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy import sparse

from aggregator.planning.answer import Answer, SolverFault
from aggregator.planning.site.problem import Floats

_AT_MOST, _AT_LEAST = 1, -1  # how the compiler marks a row; 0 is an equation
_MIP_GAP = 1e-6


class Relaxation:
    """A compiled model in a warm HiGHS instance.

    Attributes:
        lower, upper: bounds of the columns as they are now.
    """

    def __init__(self, model: pyo.ConcreteModel) -> None:
        form = LinearStandardFormCompiler().write(model, mixed_form=True)
        self._column = {id(variable): k for k, variable in enumerate(form.columns)}
        self._row = {id(row.constraint): k for k, row in enumerate(form.rows)}
        self._matrix = sparse.csr_array(form.A)
        self._cost = np.asarray(form.c.todense(), dtype=float).reshape(-1)
        self._offset = float(form.c_offset[0])
        bounds = [variable.bounds for variable in form.columns]
        self.lower = np.array([-np.inf if low is None else low for low, _ in bounds])
        self.upper = np.array([np.inf if high is None else high for _, high in bounds])
        kinds = np.array([row.bound_type for row in form.rows])
        rhs = np.asarray(form.rhs, dtype=float)
        self._row_lower = np.where(kinds == _AT_MOST, -np.inf, rhs)
        self._row_upper = np.where(kinds == _AT_LEAST, np.inf, rhs)
        self._binaries = np.array([k for k, v in enumerate(form.columns) if v.is_binary()], dtype=np.int32)
        self._highs = self._load()

    def columns(self, variable: Any) -> dict[Any, int]:
        """Column number by index of an indexed Pyomo variable; members that no row or cost names are absent."""
        found = ((index, self._column.get(id(member))) for index, member in variable.items())
        return {index: column for index, column in found if column is not None}

    def rows(self, constraint: Any) -> dict[Any, int]:
        """Row number by index of an indexed Pyomo constraint."""
        return {index: self._row[id(member)] for index, member in constraint.items() if id(member) in self._row}

    def set_bounds(self, columns: NDArray[np.int32], lower: Floats, upper: Floats) -> None:
        """Change bounds of some columns for the next run."""
        self.lower[columns], self.upper[columns] = lower, upper
        _require(self._highs.changeColsBounds(len(columns), columns, lower, upper), "changeColsBounds")

    def run(self, time_limit_s: float) -> Answer | None:
        """Solve with the bounds as they are; None if they exclude every solution.

        Raises:
            SolverFault: HiGHS failed in another way.
        """
        began = perf_counter()
        answer = self._run_once(time_limit_s)
        if answer is None or len(self._binaries) == 0:
            return answer
        # A mixed-integer run has no duals: fix its binaries and price the rest.
        proven, status = answer.bound, answer.status
        old = self.lower[self._binaries].copy(), self.upper[self._binaries].copy()
        chosen = np.round(answer.x[self._binaries])
        self.set_bounds(self._binaries, chosen, chosen)
        self._set_integrality(highspy.HighsVarType.kContinuous)
        priced = self._run_once(max(0.05, time_limit_s - (perf_counter() - began)))
        self._set_integrality(highspy.HighsVarType.kInteger)
        self.set_bounds(self._binaries, *old)
        if priced is None:
            return answer
        return Answer(priced.x, priced.row_dual, priced.objective, min(proven, priced.objective),
                      "optimal" if status == priced.status == "optimal" else "time_limit")

    def _load(self) -> highspy.Highs:
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, value in (
            ("output_flag", False), ("solver", "simplex"), ("simplex_strategy", 1),  # 1: dual simplex, serial
            ("presolve", "on"), ("threads", 1), ("parallel", "off"), ("mip_rel_gap", _MIP_GAP),
        ):
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
        self._highs = highs
        self._set_integrality(highspy.HighsVarType.kInteger)
        return highs

    def _set_integrality(self, kind: highspy.HighsVarType) -> None:
        for column in self._binaries:
            _require(self._highs.changeColIntegrality(int(column), kind), "changeColIntegrality")

    def _run_once(self, time_limit_s: float) -> Answer | None:
        highs = self._highs
        # HiGHS counts its run time from the birth of the instance, not of the run.
        limit = highs.getRunTime() + max(time_limit_s, 0.01)
        _require(highs.setOptionValue("time_limit", limit), f"option time_limit={limit}")
        run = highs.run()
        status = highs.getModelStatus()
        if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
            return None
        if status not in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kTimeLimit):
            raise SolverFault(f"HiGHS ended with {highs.modelStatusToString(status)} ({run})")
        return self._answer(highs, is_optimal=status == highspy.HighsModelStatus.kOptimal)

    def _answer(self, highs: highspy.Highs, *, is_optimal: bool) -> Answer:
        solution, info = highs.getSolution(), highs.getInfo()
        x = np.array(solution.col_value) if solution.value_valid else np.maximum(self.lower, 0.0)
        x = np.clip(x, self.lower, self.upper)
        dual = np.array(solution.row_dual) if solution.dual_valid else np.zeros(self._matrix.shape[0])
        objective = float(self._cost @ x + self._offset)
        if len(self._binaries) and info.mip_dual_bound > -np.inf and not solution.dual_valid:
            bound = float(info.mip_dual_bound)
        elif is_optimal:
            bound = objective
        else:
            bound = self.bound_from(dual)
        return Answer(x, dual, objective, bound, "optimal" if is_optimal else "time_limit")

    def bound_from(self, row_dual: Floats) -> float:
        """The lower bound that any row duals prove by weak duality; every column must have finite bounds."""
        y = np.where((row_dual > 0) & np.isinf(self._row_lower), 0.0, row_dual)
        y = np.where((y < 0) & np.isinf(self._row_upper), 0.0, y)
        side = np.where(y > 0, self._row_lower, self._row_upper)
        reduced = self._cost - self._matrix.T @ y
        edge = np.where(reduced > 0, self.lower, self.upper)
        used, priced = y != 0, reduced != 0
        return self._offset + float(y[used] @ side[used]) + float(reduced[priced] @ edge[priced])


def _require(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise SolverFault(f"HiGHS refused {what}")
