"""The way of the Pyomo model to HiGHS and back: compiled once, passed as arrays, solved again with changed data."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from scipy.sparse import csr_array

from aggregator.planning.fleet.checker import Schedule
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.model import build
from aggregator.planning.fleet.program.solver import Solved, Solver
from aggregator.planning.linear_program import LinearProgram

_AT_MOST, _AT_LEAST = 1, -1  # how the compiler marks a row; 0 is an equation


class Reference:
    """The Pyomo model of a problem in a warm solver.

    Attributes:
        model: the Pyomo model. solver: HiGHS, with the model's columns and rows in the order of the compiler.
        rows: number of a row by the id() of its Pyomo constraint.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        with PauseGC():  # as in `model`
            self.model = build(problem)
            form = LinearStandardFormCompiler().write(self.model, mixed_form=True)
            self._columns = {id(variable): k for k, variable in enumerate(form.columns)}
            self.rows = {id(row.constraint): k for k, row in enumerate(form.rows)}
            kinds = np.array([row.bound_type for row in form.rows])
            bounds = np.array([variable.bounds for variable in form.columns], dtype=float).reshape(-1, 2)
        side = np.asarray(form.rhs, dtype=float)
        self.solver = Solver(LinearProgram(
            np.asarray(form.c.todense(), dtype=float).reshape(-1), float(form.c_offset[0]), bounds[:, 0], bounds[:, 1],
            np.where(kinds == _AT_MOST, -np.inf, side), np.where(kinds == _AT_LEAST, np.inf, side), csr_array(form.A)))

    def columns_of(self, variable: pyo.Var) -> Ints:
        """Numbers of the columns of an indexed variable, in its own order."""
        return np.array([self._columns[id(member)] for member in variable.values()], dtype=np.int64)

    def reprice(self, import_price: Floats, export_price: Floats) -> None:
        """Other prices for the next run, on the same structure."""
        hours, sites = self.problem.step_h, len(self.problem.sites)
        for variable, price in ((self.model.bought, import_price), (self.model.sold, -export_price)):
            self.solver.set_costs(self.columns_of(variable), np.tile(hours * price, sites))

    def reload(self, own_kw: Floats) -> None:
        """Another building load less PV, shape (site, step), for the next run on the same structure."""
        rows = np.array([self.rows[id(row)] for row in self.model.balance.values()], dtype=np.int64)
        self.solver.set_rows(rows, own_kw.ravel(), own_kw.ravel())

    def run(self, time_limit_s: float) -> Solved:
        """Solve with the data as they are now."""
        return self.solver.run(time_limit_s)

    def schedule(self, answer: Solved) -> Schedule:
        """The schedule in an answer."""
        evs, sites, steps = len(self.problem.evs), len(self.problem.sites), self.problem.steps

        def table(name: str, rows: int) -> Floats:
            found, variable = np.zeros((rows, steps)), getattr(self.model, name, None)
            if variable is not None and len(variable):
                where = np.array(list(variable.keys()))
                found[where[:, 0], where[:, 1]] = answer.x[self.columns_of(variable)]
            return found

        reserve = getattr(self.model, "sold_reserve", None)
        sold = np.zeros((3, 0)) if reserve is None else answer.x[self.columns_of(reserve)].reshape(3, -1)
        return Schedule(
            table("charge", evs), table("discharge", evs), table("curtailed", sites), table("unserved", sites),
            table("spilled", sites), sold)
