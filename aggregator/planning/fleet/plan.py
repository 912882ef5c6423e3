"""A plan for a fleet: what every car does, what it costs, what is proven, and the prices that decided.

A plan is made from a schedule alone, by the checker: whatever path found the schedule, its cost is judged the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.alarms import alarms
from aggregator.planning.fleet.checker import Evaluation, Schedule, evaluate
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.repair.certificate import uncertified

PlanStatus = Literal["optimal", "feasible", "time_limit"]


@dataclass(frozen=True, eq=False)
class SitePrices:
    """What a kWh costs at each site, shape (site, step), in money per kWh; the parts sum to `total`.

    market: the price of buying, or of selling where the site sells. event: for missing the event. peak: for a higher
    peak. feeder: for lines and voltages. import_cap, export_cap: for a cap that binds. own: at a site that neither buys
    nor sells, what its own power is worth below the price of buying: no limit.
    """

    market: Floats
    event: Floats
    peak: Floats
    import_cap: Floats
    export_cap: Floats
    own: Floats
    feeder: Floats

    @property
    def parts(self) -> dict[str, Floats]:
        return {name: getattr(self, name) for name in PARTS}

    @property
    def total(self) -> Floats:
        return np.asarray(sum(self.parts.values()))


PARTS: Final = tuple(field.name for field in fields(SitePrices))
"""What the price of a kWh at a site consists of."""


def site_prices(problem: Problem, total: Floats, is_selling: NDArray[np.bool_], event: Floats, peak: Floats,
                feeder: Floats) -> SitePrices:
    """The price of a kWh at every site, taken apart; all of shape (site, step). is_selling: where a kW more is a kW
    less sold.

    At a site that neither buys nor sells a kWh is worth something between the prices of selling and of buying. What
    lies beyond both is a cap.
    """
    peak = np.where(is_selling, 0.0, peak)
    market = np.where(is_selling, problem.export_price, problem.import_price)
    rest = total - market - event - peak - feeder
    between = np.minimum(0.0, problem.export_price - problem.import_price - peak)
    import_cap = np.where(is_selling, 0.0, np.maximum(0.0, rest))
    own = np.where(is_selling, np.maximum(0.0, rest), np.clip(rest, between, 0.0))
    return SitePrices(market, event, peak, import_cap, rest - import_cap - own, own, feeder)


@dataclass(frozen=True, eq=False)
class Duals:
    """Prices behind a plan.

    site: what a kWh costs where it is used. energy: shape (ev, step), what a kWh more in the battery at the end of the
    step would save; 0 while away. target: shape (ev,), what a kWh less of target would save. event_kw: shape (event
    step,), what a kW more at the event would save.
    """

    site: SitePrices
    energy: Floats
    target: Floats
    event_kw: Floats


@dataclass(frozen=True, eq=False)
class Repair:
    """What the linear plan did that no car or meter can do, and what putting it right cost.

    uncertified: cells that prices alone do not certify. cells: of them, those that charged and discharged at once.
    meters: sites and steps that bought and sold at once. minimums: cells that were decided to be 0 or at least their
    minimum power. cost: of all this, above the linear plan; in it event_kwh, limits_kwh: by how much more events are
    missed, and power goes beyond caps, lines and voltages, than in the linear plan.
    """

    uncertified: int = 0
    cells: int = 0
    meters: int = 0
    minimums: int = 0
    cost: float = 0.0
    event_kwh: float = 0.0
    limits_kwh: float = 0.0


@dataclass(frozen=True, eq=False)
class ReserveCheck:
    """What calls of the sold reserve came to when the batteries were judged by more than the linear program knows.

    sold_kw: shape (product, block), before what does not hold was cut back. checks: steps with reserve up, and those
    with reserve down. judged: of them, those that were called before the time for it ended.
    """

    sold_kw: Floats
    checks: int
    judged: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The answer to a problem; shapes as in `Schedule` and `Evaluation`.

    bound: proven; no plan costs less. gap: how far the plan's cost lies above it, relative. status: optimal where the
    gap asked for is proven, time_limit where the time ended before, feasible where more time would not prove it either:
    what a repair costs lies in the gap, too. alarms: limits that no plan could keep, in words. seconds: by phase.
    reserve_check: of the reserve that was sold first; None where none was.
    """

    schedule: Schedule
    outcome: Evaluation
    bound: float
    status: PlanStatus
    duals: Duals | None = None
    repair: Repair = Repair()
    alarms: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    reserve_check: ReserveCheck | None = None

    @property
    def objective(self) -> float:
        return self.outcome.objective

    @property
    def gap(self) -> float:
        return relative_gap(self.objective, self.bound)

    @property
    def power_kw(self) -> Floats:
        """Shape (ev, step): positive charges, negative discharges."""
        return self.schedule.charge_kw - self.schedule.discharge_kw


def relative_gap(objective: float, bound: float) -> float:
    """How far a cost lies above a proven bound, relative to the cost; to 1 where the cost is smaller than that."""
    return max(0.0, objective - bound) / max(1.0, abs(objective)) if np.isfinite(bound) else float("inf")


def repair_of(problem: Problem, before: Evaluation, schedule: Schedule, cells: int, meters: int,
              minimums: int) -> Repair:
    """What a repair has come to. before: of the linear plan; cells, meters, minimums: what was decided."""
    after, hours = evaluate(problem, schedule), problem.step_h
    event = hours * float(after.event_shortfall_kw.sum() - before.event_shortfall_kw.sum())
    price = problem.limit_per_kwh or np.inf
    limits = (after.costs["limits"] - before.costs["limits"]) / price
    return Repair(0, cells, meters, minimums, max(0.0, after.objective - before.objective), max(0.0, event),
                  max(0.0, limits))


def make_plan(
    problem: Problem, schedule: Schedule, bound: float, *, wanted_gap: float, duals: Duals | None = None,
    repair: Repair | None = None, seconds: dict[str, float] | None = None, is_late: bool = False,
) -> Plan:
    """Judge a schedule and put the plan together; the certificate is counted where there are prices.

    is_late: the search was ended by its time.
    """
    outcome = evaluate(problem, schedule)
    repair = Repair() if repair is None else repair
    if duals is not None:
        count = int(np.count_nonzero(uncertified(problem, duals.site.total)))
        repair = replace(repair, uncertified=count)
    is_proven = relative_gap(outcome.objective, bound) <= wanted_gap
    status: PlanStatus = "optimal" if is_proven else "time_limit" if is_late else "feasible"
    return Plan(schedule, outcome, bound, status, duals, repair,
                alarms(problem, schedule, outcome), seconds or {})
