"""What to answer a grid signal: how much of what was asked the examined plan really holds, and why not all of it.

The answer speaks of kW, counts and reason codes; it names no driver and no departure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from aggregator.fleet.model import LiveSession
from aggregator.planning.site.problem import EvDemand, Plan, Problem
from aggregator.planning.site.situation import SiteModel
from aggregator.planning.street.lessons import Crossed
from aggregator.signals.model import NO_LIMIT_KW, Decision, GridSignal, ReasonCode, SignalState
from twin.assets import TimeGrid

_NEGLIGIBLE_KW = 0.05
_AT_LIMIT = 0.98
_FULL_KWH = 0.5
_MOST_LIMITS = 3


def decide(
    signal: GridSignal, problem: Problem, plan: Plan, baseline_net_kw: NDArray[np.float64], *,
    could_discharge_kw: Mapping[str, float], now: datetime, plan_id: str, held_by: Sequence[Crossed] = (),
) -> Decision:
    """Promise what `plan` holds of `signal`.

    Args:
        signal: what was asked.
        problem: what the plan answered, with a commitment for `signal`.
        plan: passed by the gate; what it misses of the commitment it declares itself.
        baseline_net_kw: net power without the signal, shape (steps,) on the plan's grid.
        could_discharge_kw: by EVSE id of plugged cars, what hardware allows if every permit were in force.
        now: when the answer is given.
        plan_id: the plan the promise stands on.
        held_by: limits of the feeder that the plan is near to, nearest first.
    """
    grid = plan.grid
    declared = _declared_shortfall(signal.id, problem, plan)
    requested, committed, base, promised = [], [], [], []
    for interval in signal.intervals:
        steps = _steps(grid, interval.start, interval.end)
        if interval.max_net_kw >= NO_LIMIT_KW or not steps:
            promised.append(interval.max_net_kw)
            continue
        missed = max((declared.get(step, 0.0) for step in steps), default=0.0)
        held = interval.max_net_kw
        if missed > _NEGLIGIBLE_KW:
            held = math.ceil((held + missed) * 1000.0) / 1000.0  # whole watts, never more than the plan holds
        promised.append(held)
        baseline = float(np.mean(baseline_net_kw[steps]))
        base.append(baseline)
        requested.append(max(0.0, baseline - interval.max_net_kw))
        committed.append(max(0.0, baseline - held))
    is_full = all(p <= i.max_net_kw + _NEGLIGIBLE_KW for p, i in zip(promised, signal.intervals, strict=True))
    reasons, limits = ((), ()) if is_full else _reasons(signal, problem, plan, could_discharge_kw, held_by)
    return Decision(
        signal_id=signal.id, state=SignalState.ACCEPTED if is_full else SignalState.PARTIAL,
        requested_kw=_mean(requested), committed_kw=_mean(committed), baseline_kw=_mean(base),
        committed_net_kw=tuple(promised),
        reasons=reasons, decided_at=now, plan_id=plan_id, feeder_limits=limits,
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _steps(grid: TimeGrid, start: datetime, end: datetime) -> list[int]:
    first = max(0, grid.index(start))
    last = min(grid.steps - 1, grid.index(end - timedelta(microseconds=1)))
    return list(range(first, last + 1))


def _declared_shortfall(signal_id: str, problem: Problem, plan: Plan) -> dict[int, float]:
    """By step, the kW that the plan itself says it will miss."""
    for commitment in problem.commitments:
        if commitment.signal_id == signal_id:
            return dict(zip(commitment.steps, plan.event_shortfall_kw.get(signal_id, ()), strict=False))
    return {}


def _reasons(
    signal: GridSignal, problem: Problem, plan: Plan, could_discharge_kw: Mapping[str, float],
    held_by: Sequence[Crossed],
) -> tuple[tuple[tuple[ReasonCode, int], ...], tuple[str, ...]]:
    """Count, for each plugged car that could help, the first thing that keeps it from helping more.

    Second: the limits of the feeder that hold any of them, in words.
    """
    counts: dict[ReasonCode, int] = {}
    limits: dict[str, str] = {}
    steps = _steps(plan.grid, signal.start, signal.end)
    declared = _declared_shortfall(signal.id, problem, plan)
    missed = [step for step in steps if declared.get(step, 0.0) > _NEGLIGIBLE_KW]
    for row, demand in enumerate(problem.evs):
        reason = _reason(demand, steps, plan.discharge_kw[row], could_discharge_kw.get(demand.evse_id, 0.0))
        if reason is ReasonCode.ENERGY:
            holding = [one for one in held_by if _holds(one, demand, plan, row, missed)]
            reason = ReasonCode.FEEDER if holding else reason
            for one in holding:
                place = one.element.rpartition(".")[0] or one.element  # of three phases one is enough
                limits.setdefault(f"{one.kind} {place}", one.words)
        if reason is not None:
            counts[reason] = counts.get(reason, 0) + 1
    if not counts:
        counts[ReasonCode.BUILDING] = 0
    return tuple(sorted(counts.items())), tuple(limits.values())[:_MOST_LIMITS]


def _holds(limit: Crossed, demand: EvDemand, plan: Plan, row: int, missed: Sequence[int]) -> bool:
    """Whether it keeps this car from giving more where the event is missed, or from storing more before that."""
    per_kw = limit.per_kw.get(demand.evse_id, 0.0)
    if limit.step in missed and per_kw < 0.0:
        return True
    is_there = demand.arrive <= limit.step < demand.depart
    return bool(
        missed and limit.step < missed[0] and is_there and per_kw > 0.0
        and plan.charge_kw[row, limit.step] < _AT_LIMIT * demand.max_charge_kw
        and plan.energy_kwh[row, limit.step:missed[0]].max(initial=-np.inf) < demand.capacity_kwh - _FULL_KWH
    )


def _reason(
    demand: EvDemand, steps: list[int], discharge_kw: NDArray[np.float64], could_kw: float
) -> ReasonCode | None:
    if could_kw <= 0.0:
        return None
    if demand.max_discharge_kw <= 0.0:
        return ReasonCode.PERMIT
    if steps and demand.depart <= steps[-1]:
        return ReasonCode.DEPARTURE
    if float(discharge_kw[steps].min(initial=np.inf)) >= _AT_LIMIT * demand.max_discharge_kw:
        return ReasonCode.POWER
    return ReasonCode.ENERGY


def could_discharge_kw(model: SiteModel, sessions: Sequence[LiveSession]) -> dict[str, float]:
    """By EVSE id, what charger and car could discharge if every permit were in force."""
    return {
        s.evse_id: min(
            model.evses[s.evse_id].max_discharge_kw, model.vehicles[s.vehicle_model].vehicle.max_discharge_kw
        )
        for s in sessions
    }
