"""One call from a problem to its plan."""

from __future__ import annotations

from time import monotonic

from aggregator.planning.fleet.blocks.crew import Executor
from aggregator.planning.fleet.blocks.decomposition import Answer, Task, decompose
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.monolith import Progress, solve_whole
from aggregator.planning.fleet.program.solver import NoPlan
from aggregator.planning.fleet.reserve.check import with_held_reserve

WHOLE_EVS = 2_000
"""EVs up to which one program is the faster way; beyond, its time grows faster than the fleet."""

WHOLE_EVS_WITH_RESERVE = 1_000
"""The same where reserve is sold, which makes a program ten times the work."""

_FELT_KW = 1e-6
_JUDGING = 0.1
"""Of the time limit, for calling the reserve that a plan sells; what the planning leaves of its own comes to it."""


def solve(
    problem: Problem, *, gap: float = 1e-3, time_limit_s: float = 60.0, workers: int = 2,
    progress: Progress | None = None, executor: Executor[Task, Answer] | None = None,
) -> Plan:
    """The plan of a problem, with a proven bound: as one program, or block by block if the fleet is large.

    gap: relative, at which the plan counts as optimal. time_limit_s: after which the best plan so far comes back,
    marked. workers: processes for the blocks; executor: where they are solved instead. progress: told the number of the
    pass, the bound and the cost after each pass.

    Raises:
        NoPlan: hard limits exclude every plan, or none that keeps them was found in the time.
    """
    until = monotonic() + time_limit_s
    planning_s = time_limit_s if problem.reserve is None else (1.0 - _JUDGING) * time_limit_s
    if is_whole(problem):
        plan = solve_whole(problem, gap=gap, time_limit_s=planning_s, progress=progress)
    else:
        plan = decompose(problem, gap, planning_s, workers, progress, executor).plan
    beyond = plan.schedule.unserved_kw + plan.schedule.spilled_kw
    if problem.limit_per_kwh is None and (beyond > _FELT_KW).any():
        site = problem.sites.ids[int(beyond.max(axis=1).argmax())]
        raise NoPlan(f"no plan that keeps all hard limits was found in {time_limit_s:g} s; {site} is furthest from it")
    return with_held_reserve(problem, plan, gap=gap, time_limit_s=until - monotonic())


def is_whole(problem: Problem) -> bool:
    """Whether `solve` makes one program of it: small, or a single site, which has nothing to decompose."""
    most = WHOLE_EVS if problem.reserve is None else WHOLE_EVS_WITH_RESERVE
    return len(problem.evs) <= most or len(problem.sites) == 1
