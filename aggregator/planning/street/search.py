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

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.answer import Answer, SolverFault
from aggregator.planning.site.checker import evaluate
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.rounding import round_down
from aggregator.planning.site.safe import early_charging, plan_from
from aggregator.planning.site.windows import ProblemError, require_possible, windows
from aggregator.planning.street.bound import implied_rows, proven_bound
from aggregator.planning.street.plan import BindingRow, GridPlan, Round, binding_words
from aggregator.planning.street.program import FeederRows, GridProgram
from aggregator.planning.street.rows import GridRows, RowKind
from aggregator.planning.street.verdict import ask
from twin.feeder.powerflow.flow import Solution
from twin.feeder.scene import Limits, Scene

Complex = NDArray[np.complex128]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

ROUNDS = 30

NEAR_PERCENT = 1.0
"""Rows this close to their limit are kept."""

PER_PHASE = 2
"""Rows added per round, step, kind and phase."""

EVERYWHERE = 1
"""Rows per kind and phase that are kept at every step, once they break at any."""

MARGIN_PERCENT: dict[RowKind, float] = {
    "low_voltage": 0.0025, "high_voltage": 0.0025, "line": 0.05, "transformer": 0.05, "winding": 0.05,
    "unbalance": 0.002,
}
"""Kept free of every limit, for what tangents still miss in the last round; each is worth about as many kW."""

OPPOSITE: dict[RowKind, RowKind] = {"low_voltage": "high_voltage", "high_voltage": "low_voltage"}
"""Kinds whose rows are the same with the other sign."""

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

_TINY_KW = 1e-6
_SHARES = 7
"""Halvings by which the largest share of the EVs' power is found that the flow can solve."""
_BACK = 0.9
"""Share of that at which rows are drawn: at the very edge tangents are endless."""


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


class _Kept:
    """The feeder's rows that are kept, in the order in which they came: (kind, row, step)."""

    def __init__(self) -> None:
        self.kind, self.row, self.step = (np.zeros(0, dtype=np.intp) for _ in range(3))

    def __len__(self) -> int:
        return len(self.kind)

    def add(self, kind: int, row: Ints, step: Ints) -> None:
        own = self.kind == kind
        there = set(zip(self.row[own].tolist(), self.step[own].tolist(), strict=True))
        new = np.array([key not in there for key in zip(row.tolist(), step.tolist(), strict=True)], dtype=np.bool_)
        self.kind = np.concatenate((self.kind, np.full(int(new.sum()), kind, dtype=np.intp)))
        self.row = np.concatenate((self.row, row[new]))
        self.step = np.concatenate((self.step, step[new]))


@dataclass(frozen=True, eq=False)
class _Seen:
    """A schedule in the flow. at_kw: the powers it was drawn at: less where a step has no solution, (evse, step)."""

    charge: Floats
    discharge: Floats
    solution: Solution
    at_kw: Floats
    excess: dict[RowKind, Floats]
    broken: dict[RowKind, Mask]
    lost: Mask

    @property
    def violations(self) -> int:
        return sum(int(mask.sum()) for mask in self.broken.values()) + int(self.lost.sum())

    @property
    def worst_percent(self) -> float:
        return max((float(over[self.broken[kind]].max(initial=0.0)) for kind, over in self.excess.items()), default=0.0)

    def worst_of_steps(self) -> Floats:
        """The largest excess of each step, in margins of its kind."""
        worst = np.where(self.lost, np.inf, 0.0)
        for kind, over in self.excess.items():
            worst = np.maximum(worst, np.where(self.broken[kind], over, 0.0).max(axis=0) / MARGIN_PERCENT[kind])
        return worst


class _Search:
    """The rounds of one plan."""

    def __init__(self, problem: Problem, scene: Scene, limits: Limits, time_limit_s: float) -> None:
        self.began = perf_counter()
        self.problem, self.scene, self.limits, self.time_limit_s = problem, scene, limits, time_limit_s
        self.seconds = dict.fromkeys(("program", "flow", "rows", "verdict", "bound"), 0.0)
        self.grid = GridRows(scene, limits)
        self.kinds: tuple[RowKind, ...] = tuple(self.grid.monitors)
        self.kept = _Kept()
        self.spans = windows(problem)
        self.program = GridProgram(problem, self.spans, len(self.kinds))
        charging = np.array([np.where(span.is_capped_below_minimum, 0.0, span.ev.min_charge_kw) for span in self.spans])
        discharging = np.array([np.full(problem.grid.steps, span.ev.min_discharge_kw) for span in self.spans])
        self.minimum = self.program.cell_powers(*(
            part.reshape(-1, problem.grid.steps) for part in (charging, discharging)))
        self.evse = np.array([scene.evse_ids.index(ev.evse_id) for ev in problem.evs], dtype=np.intp)
        evses, steps = len(scene.evse_ids), problem.grid.steps
        self.base = self.grid.solve(np.zeros((evses, steps)))
        with np.errstate(invalid="ignore"):
            self.unfixable = {kind: ~(over <= 0.0) for kind, over in self.grid.excess(self.base).items()}
        self.price = np.full(steps, MOVE_PRICE_PER_KWH)
        self.last_worst = np.full(steps, np.inf)
        self.response: Complex = np.zeros((steps, self.base.state.shape[0] - 1, evses), dtype=np.complex128)
        self.response_at = np.full((evses, steps), np.nan)
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
            self._keep(seen)
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
            self._decide(seen)
            self._draw(seen)
            self._price_moves(seen)
            answer = self._solved()
            if answer.status == "optimal":
                self.seen = self._see(*self._powers(answer))
            self.answer = answer if answer.status == "optimal" else replace(self.answer, status="time_limit")
        self.seen = self._rounded(self.seen)

    def _rounded(self, seen: _Seen) -> _Seen:
        """Lowered by hand where no car could follow."""
        charge, discharge = round_down(self.problem, self.spans, seen.charge, seen.discharge)
        apart = max(np.abs(charge - seen.charge).max(initial=0.0), np.abs(discharge - seen.discharge).max(initial=0.0))
        return seen if apart <= _TINY_KW else self._see(charge, discharge)

    def _followable(self, seen: _Seen) -> _Seen | None:
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

    def _see(self, charge: Floats, discharge: Floats) -> _Seen:
        """What the flow says of a schedule."""
        began = perf_counter()
        evse_kw = np.zeros((len(self.scene.evse_ids), charge.shape[1]))
        np.add.at(evse_kw, self.evse, charge - discharge)
        solution, at_kw = self._solvable(evse_kw)
        excess = self.grid.excess(solution)
        with np.errstate(invalid="ignore"):
            broken = {kind: (over > 0.0) & ~self.unfixable[kind] for kind, over in excess.items()}
        self.seconds["flow"] += perf_counter() - began
        return _Seen(charge, discharge, solution, at_kw, excess, broken, (at_kw != evse_kw).any(axis=0))

    def _solvable(self, evse_kw: Floats) -> tuple[Solution, Floats]:
        """The flow, and the powers at which it was drawn.

        These are the powers asked for, or where EVs leave a step without a solution, a share that has one.
        """
        solution = self.grid.solve(evse_kw)
        lost = np.flatnonzero(~solution.has_solution & self.base.has_solution)
        if not len(lost):
            return solution, evse_kw
        at_kw = evse_kw.copy()
        low, high = np.zeros(len(lost)), np.ones(len(lost))
        for _ in range(_SHARES):
            share = (low + high) / 2.0
            at_kw[:, lost] = evse_kw[:, lost] * share
            solved = self.grid.solve(at_kw).has_solution[lost]
            low, high = np.where(solved, share, low), np.where(solved, high, share)
        at_kw[:, lost] = evse_kw[:, lost] * low * _BACK
        return self.grid.solve(at_kw), at_kw

    def _keep(self, seen: _Seen) -> None:
        """Of every step, kind and phase the worst rows near or over their limit."""
        for number, kind in enumerate(self.kinds):
            phases = self.grid.monitors[kind].phase
            with np.errstate(invalid="ignore"):
                near = (seen.excess[kind] > -NEAR_PERCENT) & ~self.unfixable[kind]
            for phase in np.unique(phases):
                own = np.flatnonzero(phases == phase)
                level = np.where(near[own], seen.excess[kind][own], -np.inf)
                worst = np.argsort(-level, axis=0, kind="stable")[:PER_PHASE]
                place, step = np.nonzero(np.take_along_axis(level, worst, axis=0) > -np.inf)
                self.kept.add(number, own[worst[place, step]], step)
        if not self.history:
            self._keep_everywhere()

    def _keep_everywhere(self) -> None:
        """Keep what broke most often at every step.

        A program that may not charge now would charge later instead, and meet the same cable there.
        """
        charges = self.program.program.charge
        occupied = np.flatnonzero((charges >= 0).any(axis=0))
        for number, kind in enumerate(self.kinds):
            monitor = self.grid.monitors[kind]
            count = np.bincount(self.kept.row[self.kept.kind == number], minlength=len(monitor.elements))
            for phase in np.unique(monitor.phase):
                own = np.flatnonzero(monitor.phase == phase)
                for row in own[np.argsort(-count[own], kind="stable")[:EVERYWHERE]]:
                    if count[row]:
                        steps = occupied[~self.unfixable[kind][row, occupied]]
                        self.kept.add(number, np.full(len(steps), row), steps)

    def _decide(self, seen: _Seen) -> None:
        """Decide on cells that no car can follow.

        One that charges and discharges at once keeps the larger of both. Once the feeder holds, powers below a minimum
        are rounded to it or to nothing, each EV's error carried on, and cars that came below their floor give nothing
        before they have reached it.
        """
        program = self.program
        power = program.cell_powers(seen.charge, seen.discharge)
        other = program.cell_powers(seen.discharge, seen.charge)
        forbidden = (power > _TINY_KW) & (other > _TINY_KW) & (power <= other)
        raised = np.zeros(len(power), dtype=np.bool_)
        if seen.violations == 0:
            forbidden |= self._below_floor(seen) & (power > _TINY_KW)
            weak = (power > _TINY_KW) & (power < self.minimum - _TINY_KW) & ~forbidden
            up = self._rounds_up(power, weak) if len(self.history) < LAST_ROUNDED_UP else raised
            raised, forbidden = weak & up, forbidden | (weak & ~up)
        crowded = self._crowded(seen, power)
        forbidden |= crowded
        program.least[raised] = self.minimum[raised]
        program.least[forbidden] = program.most[forbidden] = 0.0

    def _crowded(self, seen: _Seen, power: Floats) -> Mask:
        """Of each step in which raised cells make a limit break, the raised cell with the least power."""
        program = self.program
        crowded = np.zeros(len(power), dtype=np.bool_)
        bought = program.slack(self.answer).max(axis=0) > _TINY_KW
        raised = np.flatnonzero((program.least > 0.0) & bought[program.cell_step])
        if seen.violations and len(raised):
            order = raised[np.lexsort((power[raised], program.cell_step[raised]))]
            _, first = np.unique(program.cell_step[order], return_index=True)
            crowded[order[first]] = True
        return crowded

    def _below_floor(self, seen: _Seen) -> Mask:
        """Discharging cells at whose end a car that came below its floor has not reached it."""
        below = np.zeros((len(self.spans), self.problem.grid.steps), dtype=np.bool_)
        for row, span in enumerate(self.spans):
            if span.starts_below_floor:
                change = self.program.hours * (span.ev.charge_efficiency * seen.charge[row]
                                               - seen.discharge[row] / span.ev.discharge_efficiency)
                below[row] = span.ev.energy_kwh + np.cumsum(change) < span.ev.floor_kwh - _TINY_KW
        cells = below[self.program.cell_ev, self.program.cell_step]
        cells[:self.program.charging_cells] = False
        return cells

    def _rounds_up(self, power: Floats, weak: Mask) -> Mask:
        """Which of the weak cells are rounded up, so that every EV's energy in each direction stays about the same."""
        up = np.zeros(len(power), dtype=np.bool_)
        carried, whose = 0.0, (-1, False)
        for cell in np.flatnonzero(weak).tolist():
            now = int(self.program.cell_ev[cell]), cell < self.program.charging_cells
            carried = (carried if now == whose else 0.0) + power[cell] / self.minimum[cell]
            whose = now
            if carried >= 0.5 and self.program.most[cell] >= self.minimum[cell]:  # noqa: PLR2004 - rounding
                up[cell] = True
                carried -= 1.0
        return up

    def _draw(self, seen: _Seen) -> None:
        """Draw all kept rows anew, at the powers that were seen."""
        began, kept = perf_counter(), self.kept
        moved = (self.response_at != seen.at_kw).any(axis=0)
        needed = np.intersect1d(np.flatnonzero(moved), kept.step)
        if len(needed):
            self.response[needed] = self.grid.response(seen.solution, needed)
            self.response_at[:, needed] = seen.at_kw[:, needed]
        slope = np.zeros((len(kept), len(self.scene.evse_ids)))
        least, most = np.full(len(kept), -np.inf), np.zeros(len(kept))
        for number, kind in enumerate(self.kinds):
            own = np.flatnonzero(kept.kind == number)
            if len(own):
                row, step = kept.row[own], kept.step[own]
                slope[own] = self.grid.slopes(seen.solution, self.response, kind, row, step)
                level = self.grid.levels(seen.excess, kind, row, step)
                shift = (slope[own] * seen.at_kw.T[step]).sum(axis=1) - level
                most[own] = self.grid.monitors[kind].limit[row] - MARGIN_PERCENT[kind] + shift
                least[own] = self._other_side(kind, row, step, level) + shift
        self.program.draw(FeederRows(kept.kind, kept.step, slope[:, self.evse], least, most))
        self.seconds["rows"] += perf_counter() - began

    def _other_side(self, kind: RowKind, row: Ints, step: Ints, level: Floats) -> Floats:
        """The least level that the opposite limit allows, -inf where that is broken already.

        A current that is held in one direction alone comes back in the other: what is linear in the schedule is the
        signed current, and its size stays below the limit in both.
        """
        limit = self.grid.monitors[kind].limit[row]
        if kind in OPPOSITE:
            other = OPPOSITE[kind]
            free, limit = self.unfixable[other][row, step], self.grid.monitors[other].limit[row]
        else:
            free = np.zeros(len(row), dtype=np.bool_)
        bound = MARGIN_PERCENT[kind] - limit
        least: Floats = np.where(free | (level <= bound), -np.inf, bound)
        return least

    def _price_moves(self, seen: _Seen) -> None:
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
            verdict = ask(self.scene, self.limits, self.base, seen.solution)
            self.seconds["verdict"] = perf_counter() - began
        slack = self.program.slack(self.answer)
        used = {kind: float(self.program.hours @ slack[number]) for number, kind in enumerate(self.kinds)}
        result = evaluate(problem, seen.charge, seen.discharge)
        bound = self._bound(result.objective)
        binding = self._binding(self.answer)
        self.seconds["total"] = perf_counter() - self.began
        left = self._tangent_cost() if tangent else float("nan")
        plan = plan_from(
            problem, seen.charge, seen.discharge, result, bound=bound,
            status=self.answer.status, binding=binding_words(problem, binding), seconds=dict(self.seconds))
        return GridPlan(
            plan, tuple(self.history), seen.violations, sum(int(mask.sum()) for mask in self.unfixable.values()),
            verdict, used, binding, self.blind.objective, left, self.seconds)

    def _bound(self, objective: float) -> float:
        """Proven for all schedules that the feeder holds; without a feeder's help where nothing is left to prove."""
        if objective - self.blind.bound <= PROVEN_SHARE * max(1.0, abs(objective)):
            return min(self.blind.bound, objective)
        began = perf_counter()
        proven = proven_bound(
            self.program.program, implied_rows(self.grid, self.unfixable), self.evse, max(0.1, self._left_s()))
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
            monitor = self.grid.monitors[self.kinds[kept.kind[row]]]
            at = kept.row[row]
            found.append(BindingRow(monitor.kind, monitor.elements[at], "abc "[monitor.phase[at]].strip(),
                                    int(kept.step[row]), float(prices[row])))
        return tuple(found)


__all__ = ["BindingRow", "GridPlan", "Round", "plan_with_feeder"]
