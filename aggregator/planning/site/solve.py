"""Problem in, plan out: build, solve, repair, explain.

There is always a plan: at a time limit the incumbent with its proven bound, or the safe plan when that costs less.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from aggregator.planning.answer import Solvable, SolverFault
from aggregator.planning.site.array_route import NAMES, ArrayRelaxation
from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.checker import evaluate
from aggregator.planning.site.explain import binding_words
from aggregator.planning.site.problem import Plan, Problem
from aggregator.planning.site.repair import Cells, repair
from aggregator.planning.site.safe import plan_from, safe_plan
from aggregator.planning.site.windows import Window, require_possible, windows

Route = Literal["pyomo", "arrays"]


def solve(problem: Problem, *, time_limit_s: float = 5.0, route: Route = "arrays") -> Plan:
    """The cheapest plan that cars can follow.

    route: as arrays, or by the readable Pyomo model of which they are the copy; a test holds the plans of both equal.
        Where selling pays more than buying costs, the model decides in either case: it has the binaries.

    Raises:
        ProblemError: values that no plan could be meant with; all of them are listed.
        SolverFault: HiGHS failed in a way that is neither a time limit nor a matter of the problem.
    """
    require_possible(problem)
    began = perf_counter()
    spans = windows(problem)
    model, lp = _posed(problem, spans, route)
    cells = Cells((len(spans), problem.grid.steps), lp.columns(model.charge), lp.columns(model.discharge))
    built = perf_counter()

    relaxed = lp.run(time_limit_s)
    if relaxed is None:
        raise SolverFault("HiGHS calls a problem infeasible that is soft everywhere")
    solved = perf_counter()
    charge, discharge, last = repair(problem, spans, lp, cells, relaxed, time_limit_s - (solved - built))
    repaired = perf_counter()

    result = evaluate(problem, charge, discharge)
    plan = plan_from(
        problem, charge, discharge, result, bound=min(relaxed.bound, result.objective), status=relaxed.status,
        binding=binding_words(problem, spans, model, lp, last), repair_cost=max(0.0, result.objective - relaxed.bound),
        seconds={"build": built - began, "solve": solved - built, "repair": repaired - solved},
    )
    if relaxed.status == "time_limit":
        safe = safe_plan(problem)
        if safe.objective < plan.objective:
            return replace(safe, bound=plan.bound, gap=_gap(safe.objective, plan.bound), status="time_limit",
                           seconds=plan.seconds)
    return plan


def _posed(problem: Problem, spans: tuple[Window, ...], route: Route) -> tuple[Any, Solvable]:
    """What names rows and columns, and the solver that finds them by it."""
    if route == "arrays":
        program = assemble(problem, spans)
        if not len(program.binaries):  # where selling pays more than buying costs, the model has the binaries
            return NAMES, ArrayRelaxation(program)
    from aggregator.planning.site.model import build  # noqa: PLC0415 - Pyomo takes a second to import, and most
    from aggregator.planning.site.relaxation import Relaxation  # noqa: PLC0415 - processes never build its model

    model = build(problem, spans)
    return model, Relaxation(model)


def _gap(objective: float, bound: float) -> float:
    return max(0.0, objective - bound) / max(1.0, abs(objective)) if np.isfinite(bound) else float("inf")
