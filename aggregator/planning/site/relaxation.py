"""From a Pyomo model to HiGHS and back, as arrays.

Pyomo compiles the model to standard form and the arrays go to highspy directly; its solver interfaces would cost
several times the solve. One `Relaxation` keeps the solver warm, so that a repair only changes bounds and solves again.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy.sparse import csr_array

from aggregator.planning.answer import Answer
from aggregator.planning.highs import WarmArrays, require
from aggregator.planning.linear_program import LinearProgram

_AT_MOST, _AT_LEAST = 1, -1  # how the compiler marks a row; 0 is an equation
_MIP_GAP = 1e-6


class Relaxation(WarmArrays):
    """A compiled model in a warm HiGHS instance."""

    def __init__(self, model: pyo.ConcreteModel) -> None:
        form = LinearStandardFormCompiler().write(model, mixed_form=True)
        self._column = {id(variable): k for k, variable in enumerate(form.columns)}
        self._row = {id(row.constraint): k for k, row in enumerate(form.rows)}
        bounds = [variable.bounds for variable in form.columns]
        kinds = np.array([row.bound_type for row in form.rows])
        side = np.asarray(form.rhs, dtype=float)
        super().__init__(LinearProgram(
            np.asarray(form.c.todense(), dtype=float).reshape(-1), float(form.c_offset[0]),
            np.array([-np.inf if low is None else low for low, _ in bounds]),
            np.array([np.inf if high is None else high for _, high in bounds]),
            np.where(kinds == _AT_MOST, -np.inf, side), np.where(kinds == _AT_LEAST, np.inf, side),
            csr_array(form.A)), mip_rel_gap=_MIP_GAP)
        self._binaries = np.array([k for k, variable in enumerate(form.columns) if variable.is_binary()], dtype=np.intp)
        self._set_integrality(highspy.HighsVarType.kInteger)

    def columns(self, variable: Any) -> dict[Any, int]:
        """Column number by index of an indexed Pyomo variable; members that no row or cost names are absent."""
        found = ((index, self._column.get(id(member))) for index, member in variable.items())
        return {index: column for index, column in found if column is not None}

    def rows(self, constraint: Any) -> dict[Any, int]:
        """Row number by index of an indexed Pyomo constraint."""
        return {index: self._row[id(member)] for index, member in constraint.items() if id(member) in self._row}

    def run(self, time_limit_s: float) -> Answer | None:
        """Solve with the bounds as they are; None if they exclude every solution.

        Raises:
            SolverFault: HiGHS failed in another way.
        """
        began = perf_counter()
        mixed = super().run(time_limit_s)
        if mixed is None or len(self._binaries) == 0:
            return mixed
        answer = self._proven(mixed)
        # A mixed-integer run has no duals: fix its binaries and price the rest.
        old = self.lower[self._binaries].copy(), self.upper[self._binaries].copy()
        chosen = np.round(answer.x[self._binaries])
        self.set_bounds(self._binaries, chosen, chosen)
        self._set_integrality(highspy.HighsVarType.kContinuous)
        priced = super().run(max(0.05, time_limit_s - (perf_counter() - began)))
        self._set_integrality(highspy.HighsVarType.kInteger)
        self.set_bounds(self._binaries, *old)
        if priced is None:
            return answer
        return Answer(priced.x, priced.row_dual, priced.objective, min(answer.bound, priced.objective),
                      "optimal" if answer.status == priced.status == "optimal" else "time_limit")

    def _proven(self, answer: Answer) -> Answer:
        """The same with the bound of the mixed-integer run's tree, where it has one."""
        bound = self.highs.getInfo().mip_dual_bound
        has_duals = self.highs.getSolution().dual_valid
        return answer if has_duals or bound == -np.inf else replace(answer, bound=float(bound))

    def _set_integrality(self, kind: highspy.HighsVarType) -> None:
        for column in self._binaries:
            require(self.highs.changeColIntegrality(int(column), kind), "changeColIntegrality")
