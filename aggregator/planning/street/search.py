"""Plan under a feeder's limits: solve, replay in the three-phase flow, add only what broke, and again.

    program -> schedule -> flow of base and EVs -> rows near or over their limit
       ^                                                    |
       └── tangents of ALL kept rows at this schedule <─────┘      moving away from it has a price, which grows

A linear model of a feeder is wrong by several per cent, always in favour of the planner, so no row is trusted that was
not drawn at the schedule it judges; what ends the search is the flow itself, never the program. Rows that break
without any EV are nobody's to mend: they are reported and left alone. What no schedule can mend is bought at a price
above every other, and its use is reported.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np

from aggregator.planning.answer import Answer, SolverFault
from aggregator.planning.site.arrays import NONE
from aggregator.planning.site.checker import evaluate
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.rounding import round_down
from aggregator.planning.site.safe import early_charging, plan_from
from aggregator.planning.site.windows import ProblemError, require_possible, windows
from aggregator.planning.street.bound import implied_rows, proven_bound
from aggregator.planning.street.flow_check import FlowCheck, Seen
from aggregator.planning.street.followable import TINY_KW, Cells
from aggregator.planning.street.kept_rows import KeptRows
from aggregator.planning.street.plan import BindingRow, GridPlan, Round, binding_words
from aggregator.planning.street.program import GridProgram
from aggregator.planning.street.rows import GridRows
from aggregator.planning.street.verdict import ask
from twin.feeder.scene import Limits, Scene

ROUNDS = 30

MOVE_PRICE_PER_KWH = 0.01
"""Of leaving the last schedule: less than what any plan is made for, more than what only wanders."""

STUBBORN_FROM = 4
"""The round from which moves in steps that do not settle become dearer."""

SETTLING = 0.2
"""A step settles while its excess falls to this share of what it was; otherwise its moves cost more."""

SAME_KW, SAME_SHARE = 1e-3, 1e-6
"""Base loads of problem and scene that differ by less are one: a watt, or what single precision leaves."""

ROUNDING_SHARE = 1e-3
"""Of the cost, that rounding by hand may add before another round is spent on it."""

PROVEN_SHARE = 1e-4
"""Of the cost, by which it may be above the bound before a better bound is worked out."""

LAST_ROUNDED_UP = 20
"""The round from which powers below a minimum are rounded down only, so that rounding ends."""

DEARER = 2.5
DEAREST = 100.0


def plan_with_feeder(
    problem: Problem, scene: Scene, limits: Limits | None = None, *, time_limit_s: float = 60.0, rounds: int = ROUNDS,
    verify: bool = True, tangent: bool = False, beside_kw: Floats | None = None,
) -> GridPlan:
    """The cheapest plan found whose flow breaks no limit that holds without it.

    problem: the street as one site; its base load is what the homes of `scene` draw together, in kW. Where selling pays
        more than buying costs, the search lets the meter do both within a step: the plan can be followed and its cost
        and bound are true, but the search may end above what `solve` finds without a feeder.
    beside_kw: what others on the feeder draw who are no part of the problem's site, shape (steps,); None: nobody is.
    limits: None: those of the scene. verify: ask the second engine. tangent: solve once more, moves for free, to see
        how much the search left; costs about two rounds.

    Raises:
        ProblemError: an EV at an EVSE that the scene does not have, another grid of steps or base load than the
            scene's, impossible values.
        SolverFault: HiGHS failed in a way that is no matter of the problem.
    """
    require_possible(problem)
    _require_same(problem, scene, beside_kw)
    search = _Search(problem, scene, limits or scene.limits, time_limit_s)
    search.run(rounds)
    return search.result(verify=verify, tangent=tangent)


def _require_same(problem: Problem, scene: Scene, beside_kw: Floats | None) -> None:
    known = set(scene.evse_ids)
    faults = [f"{ev.id}: evse_id: {ev.evse_id!r}, expected an EVSE of the scene"
              for ev in problem.evs if ev.evse_id not in known]
    if problem.grid.steps != scene.grid.steps or problem.grid.step_s != scene.grid.step_s:
        faults.append(f"grid: {problem.grid.steps} steps of {problem.grid.step_s} s, expected the scene's "
                      f"{scene.grid.steps} of {scene.grid.step_s} s")
    else:
        faults += _base_differs(problem, scene, beside_kw)
    if faults:
        raise ProblemError(tuple(faults))


def _base_differs(problem: Problem, scene: Scene, beside_kw: Floats | None) -> list[str]:
    base_kw = scene.base_w.sum(axis=0) / 1000.0 - (0.0 if beside_kw is None else beside_kw)
    apart = np.abs(problem.base_kw - base_kw) > SAME_KW + SAME_SHARE * np.abs(base_kw)
    if not apart.any():
        return []
    step = int(np.argmax(apart))
    said = f"site: base_kw: {problem.base_kw[step]:g} kW in step {step}, expected the {base_kw[step]:g} kW that the "
    return [said + f"scene's homes draw then ({int(apart.sum())} of {len(apart)} steps differ)"]


class _Search:
    """The rounds of one plan."""

    def __init__(self, problem: Problem, scene: Scene, limits: Limits, time_limit_s: float) -> None:
        self.began = perf_counter()
        self.problem, self.scene, self.limits, self.time_limit_s = problem, scene, limits, time_limit_s
        self.seconds = dict.fromkeys(("program", "flow", "rows", "verdict", "bound"), 0.0)
        self.grid = GridRows(scene, limits)
        self.check = FlowCheck(problem, self.grid)
        self.kept = KeptRows(self.check)
        self.spans = windows(problem)
        self.program = GridProgram(problem, self.spans, len(self.kept.kinds))
        self.cells = Cells(problem, self.spans, self.program)
        self.price = np.full(problem.grid.steps, MOVE_PRICE_PER_KWH)
        self.last_worst = np.full(problem.grid.steps, np.inf)
        self.history: list[Round] = []

    def run(self, rounds: int) -> None:
        self.blind = self.answer = self._solved()
        if self.blind.status == "optimal":
            self.seen = self._see(*self._powers(self.blind))
        else:  # a stopped simplex has no schedule to offer
            early = early_charging(self.problem)
            self.seen = self._see(early, np.zeros_like(early))
        best = self.seen, self.answer
        while True:
            seen = self.seen
            occupied = np.flatnonzero((self.program.program.charge != NONE).any(axis=0))
            self.kept.keep(seen, everywhere=None if self.history else occupied)
            self.history.append(Round(
                self.program.cost(self.answer), seen.violations, seen.worst_percent, len(self.kept),
                int(seen.lost.sum())))
            if seen.violations <= best[0].violations:
                best = seen, self.answer
            if len(self.history) >= rounds or self._left_s() <= 0.0 or self.answer.status != "optimal":
                self.seen, self.answer = best
                break
            if seen.violations == 0 and (followable := self._followable(seen)) is not None:
                self.seen = followable
                return
            self.cells.decide(seen, self.answer, may_raise=len(self.history) < LAST_ROUNDED_UP)
            self._draw(seen)
            self._price_moves(seen)
            answer = self._solved()
            if answer.status == "optimal":
                self.seen = self._see(*self._powers(answer))
            self.answer = answer if answer.status == "optimal" else replace(self.answer, status="time_limit")
        self.seen = self._rounded(self.seen)

    def _rounded(self, seen: Seen) -> Seen:
        """Lowered by hand where no car could follow."""
        charge, discharge = round_down(self.problem, self.spans, seen.charge, seen.discharge)
        apart = max(np.abs(charge - seen.charge).max(initial=0.0), np.abs(discharge - seen.discharge).max(initial=0.0))
        return seen if apart <= TINY_KW else self._see(charge, discharge)

    def _followable(self, seen: Seen) -> Seen | None:
        """The same schedule rounded by hand, if the feeder holds that too and it costs next to nothing more."""
        rounded = self._rounded(seen)
        if rounded is seen:
            return seen
        before, after = (evaluate(self.problem, each.charge, each.discharge).objective for each in (seen, rounded))
        if rounded.violations or after - before > ROUNDING_SHARE * max(1.0, abs(before)):
            return None
        return rounded

    def _powers(self, answer: Answer) -> tuple[Floats, Floats]:
        return self.program.program.powers(self.program.joined(answer))

    def _left_s(self) -> float:
        return self.time_limit_s - (perf_counter() - self.began)

    def _solved(self) -> Answer:
        began = perf_counter()
        answer = self.program.run(max(0.1, self._left_s()))
        self.seconds["program"] += perf_counter() - began
        if answer is None:
            raise SolverFault("HiGHS calls a problem infeasible that is soft everywhere")
        return answer

    def _see(self, charge: Floats, discharge: Floats) -> Seen:
        began = perf_counter()
        seen = self.check.see(charge, discharge)
        self.seconds["flow"] += perf_counter() - began
        return seen

    def _draw(self, seen: Seen) -> None:
        """Put the kept rows into the program, drawn at what was seen."""
        began = perf_counter()
        self.program.draw(self.kept.drawn(seen))
        self.seconds["rows"] += perf_counter() - began

    def _price_moves(self, seen: Seen) -> None:
        """Moves cost a little everywhere, and more and more in steps that do not settle."""
        worst = seen.worst_of_steps()
        if len(self.history) >= STUBBORN_FROM:
            stuck = (worst > 0.0) & (worst > SETTLING * self.last_worst)
            self.price[stuck] = np.minimum(DEAREST, DEARER * self.price[stuck])
        self.last_worst = np.where(worst > 0.0, worst, self.last_worst)
        self.program.start_from(seen.charge, seen.discharge, self.price)

    def result(self, *, verify: bool, tangent: bool) -> GridPlan:
        """The plan that was found, judged."""
        seen, problem = self.seen, self.problem
        verdict = None
        if verify:
            began = perf_counter()
            verdict = ask(self.scene, self.limits, self.check.base, seen.solution)
            self.seconds["verdict"] = perf_counter() - began
        slack = self.program.slack(self.answer)
        used = {kind: float(self.program.hours @ slack[number]) for number, kind in enumerate(self.kept.kinds)}
        result = evaluate(problem, seen.charge, seen.discharge)
        bound = self._bound(result.objective)
        binding = self._binding(self.answer)
        self.seconds["total"] = perf_counter() - self.began
        left = self._tangent_cost() if tangent else float("nan")
        plan = plan_from(
            problem, seen.charge, seen.discharge, result, bound=bound,
            status=self.answer.status, binding=binding_words(problem, binding), seconds=dict(self.seconds))
        return GridPlan(
            plan, tuple(self.history), seen.violations, sum(int(mask.sum()) for mask in self.check.unfixable.values()),
            verdict, used, binding, self.blind.objective, left, self.seconds)

    def _bound(self, objective: float) -> float:
        """Proven for all schedules that the feeder holds; without a feeder's help where nothing is left to prove."""
        if objective - self.blind.bound <= PROVEN_SHARE * max(1.0, abs(objective)):
            return min(self.blind.bound, objective)
        began = perf_counter()
        implied = implied_rows(self.grid, self.check.unfixable)
        proven = proven_bound(self.program.program, implied, self.check.evse, max(0.1, self._left_s()))
        self.seconds["bound"] = perf_counter() - began
        return min(max(self.blind.bound, proven), objective)

    def _tangent_cost(self) -> float:
        """Least cost of the program with rows drawn at the final schedule and moves for free."""
        began = perf_counter()
        self._draw(self.seen)
        self.program.start_from(self.seen.charge, self.seen.discharge, np.zeros(self.problem.grid.steps))
        answer = self.program.run(self.time_limit_s)
        self.seconds["tangent"] = perf_counter() - began
        return self.program.cost(answer) if answer is not None and answer.status == "optimal" else float("nan")

    def _binding(self, answer: Answer) -> tuple[BindingRow, ...]:
        prices, kept = self.program.row_prices(answer), self.kept
        found = []
        for row in np.argsort(-prices, kind="stable"):
            if prices[row] <= 1e-6:  # noqa: PLR2004 - solver noise
                break
            monitor = self.grid.monitors[kept.kinds[kept.kind[row]]]
            at = kept.row[row]
            found.append(BindingRow(monitor.kind, monitor.elements[at], "abc "[monitor.phase[at]].strip(),
                                    int(kept.step[row]), float(prices[row])))
        return tuple(found)


__all__ = ["BindingRow", "GridPlan", "Round", "plan_with_feeder"]
