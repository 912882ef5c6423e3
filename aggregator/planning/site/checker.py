"""Judge a plan without a solver: energies, net power, shortfalls and cost follow from its powers alone.

Written from the definition of the problem, not from the model, so that it can contradict the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.problem import Floats, Plan, Problem
from aggregator.planning.site.windows import Window, event_limits, site_limits, step_hours, unearned_kw, windows


@dataclass(frozen=True)
class Evaluation:
    """What follows from charging and discharging powers; the fields mean what they mean in `Plan`."""

    energy_kwh: Floats
    net_kw: Floats
    shortfall_kwh: dict[str, float]
    cap_slack_kw: Floats
    event_shortfall_kw: dict[str, tuple[float, ...]]
    costs: dict[str, float]

    @property
    def objective(self) -> float:
        return sum(self.costs.values())


def evaluate(problem: Problem, charge_kw: Floats, discharge_kw: Floats) -> Evaluation:
    """Follow powers of shape (ev, step) through the problem.

    Energy before arrival is the energy on arrival, after departure that at departure.
    """
    hours = step_hours(problem)
    spans = windows(problem)
    energy = np.zeros_like(charge_kw)
    shortfall: dict[str, float] = {}
    early = floor = guard = wear = moved = 0.0
    for row, span in enumerate(spans):
        ev = span.ev
        change = hours * (ev.charge_efficiency * charge_kw[row] - discharge_kw[row] / ev.discharge_efficiency)
        energy[row] = ev.energy_kwh + np.cumsum(change)
        due = energy[row, span.due - 1:span.last].min() if span.last > span.first else ev.energy_kwh
        shortfall[ev.id] = max(0.0, span.need_kwh - float(due)) if span.matters else 0.0
        early += float(span.leave @ np.maximum(0.0, span.early_target_kwh - energy[row]))
        floor += float(hours @ np.maximum(0.0, span.floor_kwh - energy[row]))
        guard += ev.guard_weight * float(hours @ np.maximum(0.0, span.guard_kwh - energy[row]))
        wear += ev.wear_per_kwh * float(hours @ (charge_kw[row] + discharge_kw[row]))
        moved += float(hours @ np.nan_to_num(np.abs(charge_kw[row] - discharge_kw[row] - span.held_kw)))

    net = problem.base_kw + (charge_kw - discharge_kw).sum(axis=0)
    bought, sold = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    import_limit, export_limit = site_limits(problem)
    slack = np.maximum(0.0, net - import_limit) + np.maximum(0.0, -net - export_limit)
    declared: dict[str, tuple[float, ...]] = {}
    event_cost = unearned = 0.0
    for event, limits, more in zip(problem.commitments, event_limits(problem), unearned_kw(problem), strict=True):
        missing = tuple(0.0 if at is None else max(0.0, float(net[at[0]]) - at[1]) for at in limits)
        declared[event.signal_id] = missing
        event_cost += event.worst_per_kw * max(missing, default=0.0)
        event_cost += sum(event.shortfall_per_kwh * hours[at[0]] * kw
                          for at, kw in zip(limits, missing, strict=True) if at is not None)
        unearned += sum(event.asked_per_kwh * float(hours[at[0]] * np.clip(net[at[0]] - (at[1] - kw), 0.0, kw))
                        for at, kw in zip(limits, more, strict=True) if at is not None)
    peak = max(problem.peak_so_far_kw, float(bought.max()))
    costs = {
        "energy": float(hours @ (bought * problem.import_price - sold * problem.export_price)),
        "demand": problem.demand_price * (peak - problem.peak_so_far_kw),
        "wear": wear,
        "shortfall": problem.shortfall_per_kwh * sum(shortfall.values()),
        "early_leave": problem.early_price * early,
        "floor": problem.shortfall_per_kwh * floor,
        "guard": problem.guard_per_kwh_h * guard,
        "event_shortfall": float(event_cost),
        "unearned": float(unearned),
        "cap_slack": problem.cap_slack_per_kwh * float(hours @ slack),
        "feeder": problem.cap_slack_per_kwh * sum(
            float(hours[row.step]) * kw
            for row, kw in zip(problem.feeder_rows, over_feeder(problem, charge_kw - discharge_kw), strict=True)),
        "change": problem.change_per_kwh * moved,
    }
    return Evaluation(energy, net, shortfall, slack, declared, costs)


def over_feeder(problem: Problem, power_kw: Floats) -> tuple[float, ...]:
    """By how many kW powers of shape (ev, step) cross each of the problem's feeder rows; 0 or more."""
    number = {ev.id: row for row, ev in enumerate(problem.evs)}
    return tuple(
        max(0.0, sum(per_kw * float(power_kw[number[ev_id], row.step]) for ev_id, per_kw in row.per_kw.items())
            - row.most_kw)
        for row in problem.feeder_rows
    )


def check(problem: Problem, plan: Plan, *, tolerance: float = 1e-6) -> tuple[str, ...]:
    """Say in words everything in which `plan` is wrong about `problem`; empty if it is right.

    tolerance: kW and kWh; relative for money.
    """
    faults: list[str] = []
    for row, span in enumerate(windows(problem)):
        faults += _power_faults(
            span, plan.charge_kw[row], plan.discharge_kw[row], tolerance,
            _held_by_battery(span, plan.energy_kwh[row], plan.charge_kw[row], tolerance))
        faults += _energy_faults(span, plan.energy_kwh[row], plan.charge_kw[row], plan.discharge_kw[row], tolerance)
    truth = evaluate(problem, plan.charge_kw, plan.discharge_kw)
    for name in ("energy_kwh", "net_kw", "cap_slack_kw"):
        error = np.abs(getattr(truth, name) - getattr(plan, name)).max(initial=0.0)
        if error > tolerance:
            faults.append(f"{name} differs by {error:g}")
    faults += [f"{ev_id}: shortfall is {kwh:g} kWh, the plan says {plan.shortfall_kwh[ev_id]:g}"
               for ev_id, kwh in truth.shortfall_kwh.items() if abs(plan.shortfall_kwh[ev_id] - kwh) > tolerance]
    for signal_id, missing in truth.event_shortfall_kw.items():
        if not np.allclose(missing, plan.event_shortfall_kw[signal_id], rtol=0, atol=tolerance):
            faults.append(f"{signal_id}: the event's shortfall is {missing}, the plan declares otherwise")
    scale = max(1.0, abs(truth.objective))
    faults += [f"cost {name} is {cost:g}, the plan says {plan.costs[name]:g}" for name, cost in truth.costs.items()
               if abs(plan.costs[name] - cost) > tolerance * scale]
    if abs(plan.objective - truth.objective) > tolerance * scale:
        faults.append(f"objective is {truth.objective:g}, the plan says {plan.objective:g}")
    if plan.bound > truth.objective + tolerance * scale:
        faults.append(f"the bound {plan.bound:g} lies above the cost {truth.objective:g}")
    return tuple(faults)


def _held_by_battery(span: Window, energy: Floats, charge: Floats, tolerance: float) -> NDArray[np.bool_]:
    """Steps in which the car is full at the end, or takes all that a taper leaves."""
    mean = (energy + np.concatenate(([span.ev.energy_kwh], energy[:-1]))) / 2
    held: NDArray[np.bool_] = energy >= span.upper_kwh - tolerance
    for line in span.tapers:
        held |= charge >= line.at_empty_kw - line.slope_per_h * mean - tolerance
    return held


def _power_faults(
    span: Window, charge: Floats, discharge: Floats, tolerance: float, held: NDArray[np.bool_]
) -> list[str]:
    ev, faults = span.ev, []
    if min(charge.min(), discharge.min()) < 0:
        faults.append(f"{ev.id}: a power is negative")
    if (charge > span.charge_kw + tolerance).any() or (discharge > span.discharge_kw + tolerance).any():
        faults.append(f"{ev.id}: a power is above its limit, or the EV is not plugged")
    if ((charge > tolerance) & (discharge > tolerance)).any():
        faults.append(f"{ev.id}: charges and discharges at once")
    weak = (charge > tolerance) & (charge < ev.min_charge_kw - tolerance) & ~span.is_capped_below_minimum & ~held
    if weak.any():
        faults.append(f"{ev.id}: charges below its minimum in step {int(np.argmax(weak))}")
    weak = (discharge > tolerance) & (discharge < ev.min_discharge_kw - tolerance)
    if weak.any():
        faults.append(f"{ev.id}: discharges below its minimum in step {int(np.argmax(weak))}")
    return faults


def _energy_faults(span: Window, energy: Floats, charge: Floats, discharge: Floats, tolerance: float) -> list[str]:
    ev, faults = span.ev, []
    if energy.min() < span.lower_kwh - tolerance or energy.max() > span.upper_kwh + tolerance:
        faults.append(f"{ev.id}: energy between {energy.min():g} and {energy.max():g} kWh leaves "
                      f"{span.lower_kwh:g} to {span.upper_kwh:g}")
    mean = (energy + np.concatenate(([ev.energy_kwh], energy[:-1]))) / 2
    if any((charge > tolerance + line.at_empty_kw - line.slope_per_h * mean)[charge > 0].any() for line in span.tapers):
        faults.append(f"{ev.id}: charges more than its taper allows")
    if ((discharge > tolerance) & (energy < ev.floor_kwh - tolerance)).any():
        faults.append(f"{ev.id}: discharges below the driver's floor")
    return faults
