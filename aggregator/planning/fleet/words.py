"""Plans and reasons in words: for a terminal, and for the tables of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from aggregator.planning.fleet.plan import Plan, PlanStatus
from aggregator.planning.fleet.short import Lack
from aggregator.planning.fleet.why import Decision, Horizon, Reason

_DECISIONS: Final[dict[Decision, str]] = {
    "charger": "at the charger's full power", "price": "at rest, neither direction pays",
    "full": "as much as fills the battery", "floor": "as much as the battery holds above its floor",
    "minimum": "the least power that it can follow",
    "balance": "as much as its site's price bears", "vehicle": "at rest, charging does not pay now",
    "mix": "held by a mix of several plans or by a repair; prices alone say otherwise"}
_HORIZONS: Final[dict[Horizon, str]] = {
    "target": "its target", "missing": "a target it misses", "full": "a full battery", "floor": "its floor",
    "departure": "more than its target at departure"}
_PARTS: Final = {"import_cap": "import cap", "export_cap": "export cap", "own": "neither bought nor sold"}
_STATUSES: Final[dict[PlanStatus, str]] = {
    "optimal": "optimal", "feasible": "the gap asked for is not proven",
    "time_limit": "the time ended before the gap was proven"}
_SHOWN = 5e-4  # a price below shows as 0 in three digits
_FELT_KWH = 1e-3
_SHOWN_KW = 0.05
_FELT_KW = 1e-6
_NAMED = 5


def decision_words(reason: Reason) -> str:
    """What decided one step of one car."""
    return _DECISIONS[reason.decision]


def horizon_words(reason: Reason) -> str:
    """What gives a kWh in the battery its worth."""
    return f"{_HORIZONS[reason.horizon]} after step {reason.until_step}"


def reasons_words(reasons: Iterable[Reason]) -> list[str]:
    """The steps of one car: a line for each run of steps of which the same is to be said."""
    found = []
    for why, run in groupby(reasons, _why_words):
        steps = list(run)
        power_kw, last = steps[0].power_kw, steps[-1]
        when = f"step {last.step}" if len(steps) == 1 else f"steps {steps[0].step} to {last.step}"
        what = f"{power_kw:+.2f} kW to" if round(abs(power_kw), 2) else "0 kW at"
        found.append(f"{when}: {what} {last.energy_kwh:.1f} kWh, {why[1]}")
    return found


def _why_words(reason: Reason) -> tuple[float, str]:
    """What is the same in all steps of a run."""
    parts = ", ".join(f"{_PARTS.get(name, name)} {value:+.3f}" for name, value in reason.price_parts.items()
                      if abs(value) >= _SHOWN)
    gains = f"charging gains {_signed(reason.charge_worth)}"
    if reason.discharge_worth is not None:
        gains += f", discharging {_signed(reason.discharge_worth)}"
    return round(reason.power_kw, 2), (
        f"{decision_words(reason)}; a kWh costs {reason.site_price:.3f} ({parts or 'nothing'}) and is worth "
        f"{reason.energy_value:.3f} in the battery because of {horizon_words(reason)}: with losses and wear {gains}")


def _signed(price: float) -> str:
    return f"{price:+.3f}" if abs(price) >= _SHOWN else "0"


def lack_words(lack: Lack) -> str:
    """Why a car leaves short, and what would have been needed."""
    parts = []
    if lack.beyond_kw >= _SHOWN_KW:
        parts.append(f"its stay is too short: at full power it could have {lack.possible_kwh:.1f}, its target needs "
                     f"{lack.beyond_kw:.1f} kW more than that throughout")
    if lack.more_kw >= _SHOWN_KW and lack.steps:
        parts.append(f"{lack.more_kw:.1f} kW more would do {steps_words(lack.steps)}, where it takes less than it can")
        named = ", ".join(f"{name} ({count})" for name, count in lack.limits[:_NAMED])
        parts.append(f"without room then, by steps: {named}" if named else
                     "no limit is in the way, missing it costs less")
    return "; ".join(parts) or "by less than counts"


def steps_words(steps: Sequence[int]) -> str:
    """Some steps of a plan."""
    if len(steps) == 1:
        return f"in step {steps[0]}"
    return f"in {len(steps)} steps from {min(steps)} to {max(steps)}"


def counted(count: int, what: str) -> str:
    """So many of something."""
    return f"{count:,} {what}{'s' * (count != 1)}"


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
