"""`v2g plan`: a problem file in, a plan file out, and what it comes to in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.crew import CrewFault
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.plan_file import plan_bytes, summary
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.problem_file import read_problem
from aggregator.planning.fleet.solve import WHOLE_EVS, solve
from aggregator.planning.fleet.solver import NoPlan
from aggregator.planning.fleet.why import Reason, binding, reasons
from aggregator.refusal import Refused

_SHOWN = 5
_UNITS = {"charger": "at the charger's full power", "price": "at rest, neither direction pays",
          "balance": "as much as its site's price bears", "vehicle": "at rest, charging does not pay now"}
_HORIZONS = {"target": "its target", "missing": "a target it misses", "full": "a full battery", "floor": "its floor",
             "departure": "more than its target at departure"}


@dataclass(frozen=True)
class Planned:
    """A problem and its plan. explained: numbers of the EVs that the file explains step by step. out: the file."""

    problem: Problem
    plan: Plan
    explained: tuple[int, ...]
    out: Path

    @property
    def written(self) -> dict[str, Any]:
        """For machines."""
        return summary(self.problem, self.plan)

    @property
    def in_words(self) -> str:
        """For people."""
        plan, problem = self.plan, self.problem
        costs = ", ".join(f"{name.replace('_', ' ')} {cost:.2f}" for name, cost in plan.outcome.costs.items()
                          if abs(cost) >= 0.005)  # noqa: PLR2004 - half a cent is what two digits show
        lines = [
            (f"{len(problem.evs)} EVs at {len(problem.sites)} sites, {problem.steps} steps: {plan.status}, cost "
             f"{plan.objective:.2f}, proven not below {plan.bound:.2f} (gap {100 * plan.gap:.4f} %), "
             f"{plan.seconds.get('total', 0.0):.2f} s"),
            f"cost: {costs or 'nothing'}",
            *self._short(), *self._events(), *self._repaired(),
            *(f"decides: {item}" for item in binding(problem, plan)[:_SHOWN]),
        ]
        if self.explained and plan.duals is None:
            lines.append("not explained: the time ended before there were prices that could")
        for ev in self.explained if plan.duals is not None else ():
            lines.append(f"{problem.evs.ids[ev]}:")
            lines += [f"  {reason_words(reason)}" for reason in reasons(problem, plan, ev)]
        return "\n".join(lines)

    def _short(self) -> list[str]:
        missing, found = self.plan.outcome.shortfall_kwh, self.written["shortfalls"]
        if not found:
            return []
        worst = sorted(found, key=lambda one: -one["missing_kwh"])[:_SHOWN]
        evs = self.problem.evs
        number = {name: k for k, name in enumerate(evs.ids)}
        return [f"short: {len(found)} EVs by {missing.sum():.1f} kWh in all", *(
            f"  {one['id']} by {one['missing_kwh']:.1f} kWh of {evs.target_kwh[number[one['id']]]:.1f}; at full power "
            f"it could have {one['possible_kwh']:.1f}" for one in worst)]

    def _events(self) -> list[str]:
        found = []
        for event in self.written["events"]:
            short = max(event["shortfall_kw"], default=0.0)
            found.append(f"event {event['id']}: " + ("delivered" if short <= 1e-6 else  # noqa: PLR2004 - solver noise
                                                     f"up to {short:.1f} kW short"))
        return found

    def _repaired(self) -> list[str]:
        repair = self.plan.repair
        if not repair.cells and not repair.meters:
            return []
        return [f"held to one direction: {repair.cells} cells and {repair.meters} meters, for {repair.cost:.2f}"]


def reason_words(reason: Reason) -> str:
    """One step of one car in a line."""
    parts = ", ".join(f"{name} {value:+.3f}" for name, value in reason.price_parts.items() if abs(value) >= 5e-4)  # noqa: PLR2004 - three digits show no less
    return (f"step {reason.step}: {reason.power_kw:+.2f} kW to {reason.energy_kwh:.1f} kWh, {_UNITS[reason.decision]}; "
            f"a kWh costs {reason.site_price:.3f} ({parts or 'nothing'}) and is worth {reason.energy_value:.3f} in the "
            f"battery because of {_HORIZONS[reason.horizon]} after step {reason.until_step}")


def run_plan(
    path: Path, out: Path, explain: tuple[str, ...], gap: float, time_limit_s: float, workers: int,
    progress: Callable[[int, float, float], None],
) -> Planned:
    """Read, solve and explain; nothing is written yet.

    Raises:
        Unreadable, ProblemFaults: the file is no problem that could be planned.
        Refused: hard limits exclude every plan, the solver failed, an EV cannot be explained, or `out` is the problem's
            own file.
    """
    if out.exists() and path.exists() and out.samefile(path):
        raise Refused(f"{out}: is the problem itself, expected another name for the plan")
    problem = read_problem(path)
    number = {name: k for k, name in enumerate(problem.evs.ids)}
    for name in explain:
        if name not in number:
            raise Refused(f"--explain {name}: no such EV in {path}")
    if explain and len(problem.evs) > WHOLE_EVS:
        raise Refused(f"--explain: {path} has {len(problem.evs)} EVs; every step has its reason up to {WHOLE_EVS}")
    try:
        plan = solve(problem, gap=gap, time_limit_s=time_limit_s, workers=workers, progress=progress)
    except NoPlan as refusal:
        raise Refused(f"{path}: {refusal}; {_why_none(problem)}") from None
    except (SolverFault, CrewFault) as fault:
        raise Refused(f"{path}: {fault}") from None
    return Planned(problem, plan, tuple(number[name] for name in explain), out)


def _why_none(problem: Problem) -> str:
    if problem.limit_per_kwh is None:
        return "limit_per_kwh is null, which makes caps, lines and voltages hard; give it a price"
    return "the reactive load of a feeder alone breaks its voltages, or its export has no room"


def written_plan(planned: Planned) -> bytes:
    """The content of the plan's file."""
    explained = planned.explained if planned.plan.duals is not None else ()
    return plan_bytes(planned.problem, planned.plan, planned.out, explained)
