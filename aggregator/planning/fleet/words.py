"""Plans and reasons in words: for a terminal, and for the tables of a page."""

from __future__ import annotations

from typing import Final

from aggregator.planning.fleet.plan import Plan, PlanStatus
from aggregator.planning.fleet.why import Decision, Horizon, Reason

_DECISIONS: Final[dict[Decision, str]] = {
    "charger": "at the charger's full power", "price": "at rest, neither direction pays",
    "balance": "as much as its site's price bears", "vehicle": "at rest, charging does not pay now",
    "mix": "held by a mix of several plans or by a repair; prices alone say otherwise"}
_HORIZONS: Final[dict[Horizon, str]] = {
    "target": "its target", "missing": "a target it misses", "full": "a full battery", "floor": "its floor",
    "departure": "more than its target at departure"}
_STATUSES: Final[dict[PlanStatus, str]] = {
    "optimal": "optimal", "feasible": "the gap asked for is not proven",
    "time_limit": "the time ended before the gap was proven"}
_SHOWN = 5e-4  # a price below shows as 0 in three digits
_FELT_KWH = 1e-3
_FELT_KW = 1e-6
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


def alarm_words(plan: Plan) -> tuple[str, ...]:
    """What no operator may overlook, not more than a reader takes in."""
    more = len(plan.alarms) - _NAMED
    return (*plan.alarms[:_NAMED], *((f"{more} more, named in the plan's file",) if more > 0 else ()))


def status_words(plan: Plan) -> str:
    """How far the plan is proven."""
    return _STATUSES[plan.status]


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


def reserve_words(plan: Plan) -> str:
    """How much of the reserve that was sold first holds when it is called; nothing where none was."""
    check = plan.reserve_check
    if check is None:
        return ""
    sold, held = check.sold_kw, plan.schedule.reserve_kw
    blocks = int((sold > _FELT_KW).any(axis=0).sum())
    cut = (sold - held > _FELT_KW).any(axis=0)
    found = f"{blocks - int(cut.sum())} of {blocks} blocks hold as sold"
    if cut.any():
        found += f", the others are cut back from {sold[:, cut].sum():.1f} to {held[:, cut].sum():.1f} kW"
    if check.judged < check.checks:
        found += (f"; {check.judged} of {check.checks} calls were judged in the time for it, the rest is as sold")
    return found
