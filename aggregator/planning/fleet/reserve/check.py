"""The last step of a plan that sells reserve: call it step by step, and sell no more than holds."""

from __future__ import annotations

import math
from dataclasses import replace
from time import monotonic

import numpy as np

from aggregator.planning.fleet.alarms import alarms
from aggregator.planning.fleet.checker import evaluate
from aggregator.planning.fleet.plan import Plan, ReserveCheck, relative_gap
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.reserve.call import held_reserve
from aggregator.planning.fleet.reserve.twin_battery import TwinBatteries

_FELT_KW = 1e-6


def with_held_reserve(problem: Problem, plan: Plan, *, gap: float, time_limit_s: float = math.inf) -> Plan:
    """The plan with the reserve that its cars hold, and what was found.

    Without minimum powers, tapers and losses while power flows there is one thing that the linear program does not see:
    a car that is called to charge while it was to discharge keeps more than the call stores.

    gap: at which a plan counts as optimal. time_limit_s: after which what is not judged yet counts as held; that is all
    of it if there is no time to bring all cars with curves of their own into the twin.
    """
    sold = plan.schedule.reserve_kw
    if problem.reserve is None or not (sold > _FELT_KW).any():
        return plan
    began = monotonic()
    batteries = TwinBatteries(problem, time_limit_s)
    if not batteries.is_ready:
        checks = sum(int((kw > _FELT_KW).sum()) for kw in problem.reserve.asked(sold))
        return replace(plan, reserve_check=ReserveCheck(sold, checks, 0))
    found = held_reserve(problem, plan.schedule, batteries, time_limit_s - (monotonic() - began))
    check = ReserveCheck(sold, found.checks, found.judged)
    seconds = {**plan.seconds, "reserve": monotonic() - began}
    if "total" in seconds:
        seconds["total"] += seconds["reserve"]
    if np.allclose(found.reserve_kw, sold, atol=_FELT_KW, rtol=0.0):
        return replace(plan, reserve_check=check, seconds=seconds)
    schedule = replace(plan.schedule, reserve_kw=found.reserve_kw)
    outcome = evaluate(problem, schedule)
    is_open = relative_gap(outcome.objective, plan.bound) > gap
    status = "feasible" if plan.status == "optimal" and is_open else plan.status
    return replace(plan, schedule=schedule, outcome=outcome, status=status, seconds=seconds, reserve_check=check,
                   alarms=alarms(problem, schedule, outcome))
