"""One call from a problem to its plan."""

from __future__ import annotations

from aggregator.planning.fleet.monolith import Progress, solve_whole
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Problem


def solve(
    problem: Problem, *, gap: float = 1e-3, time_limit_s: float = 60.0, progress: Progress | None = None
) -> Plan:
    """The plan of a problem, with a proven bound.

    gap: relative, at which the plan counts as optimal. time_limit_s: after which the best plan so far comes back,
    marked. progress: told the number of the pass, the bound and the cost after each pass.

    Raises:
        NoPlan: hard limits exclude every plan.
    """
    return solve_whole(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)
