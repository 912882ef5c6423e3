"""Plans and reasons in words: for a terminal, and for the tables of a page."""

from __future__ import annotations

from typing import Final

import numpy as np

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.why import Decision, Horizon, Reason

_DECISIONS: Final[dict[Decision, str]] = {
    "charger": "at the charger's full power", "price": "at rest, neither direction pays",
    "balance": "as much as its site's price bears", "vehicle": "at rest, charging does not pay now",
    "mix": "in a mix of several plans; prices alone say otherwise"}
_HORIZONS: Final[dict[Horizon, str]] = {
    "target": "its target", "missing": "a target it misses", "full": "a full battery", "floor": "its floor",
    "departure": "more than its target at departure"}
_SHOWN = 5e-4  # a price below shows as 0 in three digits
_FELT_KWH = 1e-3
_NAMED = 5


def decision_words(reason: Reason) -> str:
    """What decided one step of one car."""
    return _DECISIONS[reason.decision]


def horizon_words(reason: Reason) -> str:
    """What gives a kWh in the battery its worth."""
    return f"{_HORIZONS[reason.horizon]} after step {reason.until_step}"


def reason_words(reason: Reason) -> str:
    """One step of one car in a line."""
    parts = ", ".join(f"{name} {value:+.3f}" for name, value in reason.price_parts.items() if abs(value) >= _SHOWN)
    return (f"step {reason.step}: {reason.power_kw:+.2f} kW to {reason.energy_kwh:.1f} kWh, {decision_words(reason)}; "
            f"a kWh costs {reason.site_price:.3f} ({parts or 'nothing'}) and is worth {reason.energy_value:.3f} in the "
            f"battery because of {horizon_words(reason)}")


def alarms(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What no operator may overlook: power that caps, lines and voltages have no room for, the most of it first."""
    hours = problem.step_h
    lost = (plan.schedule.unserved_kw + plan.schedule.spilled_kw) * hours
    by_site = lost.sum(axis=1)
    worst = [int(site) for site in np.argsort(-by_site, kind="stable") if by_site[site] > _FELT_KWH]
    found = []
    for site in worst[:_NAMED]:
        steps = np.flatnonzero(lost[site] > 0.0)
        found.append(f"{problem.sites.ids[site]}: {by_site[site]:.1f} kWh have no room under caps, lines and voltages, "
                     f"up to {lost[site].max() / hours:.1f} kW between steps {steps[0]} and {steps[-1]}")
    if len(worst) > _NAMED:
        found.append(f"{len(worst) - _NAMED} more sites have power without room")
    return tuple(found)


def repair_words(plan: Plan) -> str:
    """What the linear plan did that no car or meter can do, and what that costs; nothing where it did nothing."""
    repair = plan.repair
    parts = [f"{count} {what}" for count, what in (
        (repair.cells, "steps of cars held to one direction"), (repair.meters, "meters held to one direction"),
        (repair.minimums, "powers decided to be 0 or their minimum")) if count]
    if not parts:
        return ""
    more = "".join(f", {kwh:.1f} kWh more {what}" for kwh, what in (
        (repair.event_kwh, "missed in events"), (repair.limits_kwh, "without room")) if kwh > _FELT_KWH)
    return f"{', '.join(parts)}, for {repair.cost:.2f}{more}"
