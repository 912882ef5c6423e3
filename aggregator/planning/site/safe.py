"""The plan that needs no solver: charge early within the cap, never discharge.

Whatever fails above it, there is always this plan.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from aggregator.planning.site.checker import Evaluation, evaluate
from aggregator.planning.site.problem import Floats, Plan, Problem
from aggregator.planning.site.windows import Window, site_limits, step_hours, windows


def safe_plan(problem: Problem) -> Plan:
    """Charge early within the cap and the feeder's rows, earliest departure first; status "safe", no proven bound
    worth the name.
    """
    began = perf_counter()
    charge = early_charging(problem)
    idle = np.zeros_like(charge)
    result = evaluate(problem, charge, idle)
    return plan_from(problem, charge, idle, result, bound=-np.inf, status="safe",
                     binding=("no optimised plan: charging early within the cap, no discharge",),
                     seconds={"build": 0.0, "solve": perf_counter() - began})


def early_charging(problem: Problem) -> Floats:
    """Shape (ev, step): charging power in kW, earliest departure first, under cap and ceilings."""
    hours, spans = step_hours(problem), windows(problem)
    limit, _ = site_limits(problem)
    charge = np.zeros((len(spans), problem.grid.steps))
    energy = np.array([span.ev.energy_kwh for span in spans])
    order = sorted(range(len(spans)), key=lambda row: (spans[row].due, spans[row].ev.id))
    feeder = _FeederRoom(problem)
    for step in range(problem.grid.steps):
        free_kw = float(limit[step] - problem.base_kw[step])
        if not np.isfinite(free_kw):  # an unknown building load leaves no room, whatever else is asked
            continue
        for row in order:
            most_kw = min(free_kw, feeder.room_kw(spans[row].ev.id, step))
            kw = _useful_kw(spans[row], step, float(hours[step]), float(energy[row]), most_kw)
            feeder.take(spans[row].ev.id, step, kw)
            charge[row, step] = kw
            free_kw -= kw
            energy[row] += kw * hours[step] * spans[row].ev.charge_efficiency
    return charge


class _FeederRoom:
    """What is left of each feeder row while cars are given power one after the other.

    A car that would make room for others (another phase) is not counted on.
    """

    def __init__(self, problem: Problem) -> None:
        self._at: dict[tuple[str, int], list[tuple[int, float]]] = {}
        self._left = [row.most_kw for row in problem.feeder_rows]
        for number, row in enumerate(problem.feeder_rows):
            for ev_id, per_kw in row.per_kw.items():
                if per_kw > 0.0:
                    self._at.setdefault((ev_id, row.step), []).append((number, per_kw))

    def room_kw(self, ev_id: str, step: int) -> float:
        return min((max(0.0, self._left[row]) / per_kw for row, per_kw in self._at.get((ev_id, step), ())),
                   default=np.inf)

    def take(self, ev_id: str, step: int, kw: float) -> None:
        for row, per_kw in self._at.get((ev_id, step), ()):
            self._left[row] -= per_kw * kw


def _useful_kw(span: Window, step: int, hours: float, energy_kwh: float, free_kw: float) -> float:
    ev = span.ev
    wanted_kwh = max(ev.target_kwh, span.need_kwh, ev.floor_kwh) - energy_kwh
    if wanted_kwh <= 1e-9 or not span.first <= step < span.last:  # noqa: PLR2004 - nothing left to charge
        return 0.0
    minimum = 0.0 if span.is_capped_below_minimum[step] else ev.min_charge_kw
    stored = hours * ev.charge_efficiency
    room_kw = (span.upper_kwh - energy_kwh) / stored
    taper_kw = min((line.most_kw(energy_kwh, stored) for line in span.tapers), default=np.inf)
    kw = min(float(span.charge_kw[step]), taper_kw, max(wanted_kwh / stored, minimum),
             room_kw, free_kw)
    return kw if kw >= minimum and kw > 0 else 0.0


def plan_from(problem: Problem, charge_kw: Floats, discharge_kw: Floats, result: Evaluation, *, bound: float,
              status: str, binding: tuple[str, ...], seconds: dict[str, float], repair_cost: float = 0.0) -> Plan:
    """Assemble a `Plan` from powers and what follows from them; gap is relative to the objective, at least to 1."""
    objective = result.objective
    gap = max(0.0, objective - bound) / max(1.0, abs(objective)) if np.isfinite(bound) else float("inf")
    return Plan(
        grid=problem.grid, ev_ids=tuple(ev.id for ev in problem.evs), evse_ids=tuple(ev.evse_id for ev in problem.evs),
        charge_kw=charge_kw, discharge_kw=discharge_kw, energy_kwh=result.energy_kwh, net_kw=result.net_kw,
        objective=objective, bound=bound, gap=gap, costs=result.costs, shortfall_kwh=result.shortfall_kwh,
        cap_slack_kw=result.cap_slack_kw, event_shortfall_kw=result.event_shortfall_kw, binding=binding,
        status=status,  # type: ignore[arg-type]
        seconds=seconds, repair_cost=repair_cost,
    )
