"""One call from a problem to its plan."""

from __future__ import annotations

from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.monolith import Progress, solve_whole
from aggregator.planning.fleet.reserve.check import with_held_reserve

WHOLE_EVS = 2_000
"""EVs up to which one program is the faster way; beyond, its time grows faster than the fleet."""


def solve(
    problem: Problem, *, gap: float = 1e-3, time_limit_s: float = 60.0, workers: int = 2,
    progress: Progress | None = None,
) -> Plan:
    """The plan of a problem, with a proven bound: as one program, or block by block if the fleet is large.

    gap: relative, at which the plan counts as optimal. time_limit_s: after which the best plan so far comes back,
    marked. workers: processes for the blocks. progress: told the number of the pass, the bound and the cost after each
    pass.

    Raises:
        NoPlan: hard limits exclude every plan.
    """
    if is_whole(problem):
        plan = solve_whole(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)
    else:
        plan = decompose(problem, gap=gap, time_limit_s=time_limit_s, workers=workers, progress=progress).plan
    return with_held_reserve(problem, plan, gap=gap)


def is_whole(problem: Problem) -> bool:
    """Whether `solve` makes one program of it: small, or a single site, which has nothing to decompose."""
    return len(problem.evs) <= WHOLE_EVS or len(problem.sites) == 1
