"""The gate: no schedule leaves planning that the twin has not replayed.

    solve -> schedule -> replay -> passed
      ^                    | breach
      +---- cuts <---------+        at most five rounds (eight on a crowded street); then the safe plan, with an alert

A breach is what the replay shows beyond what the plan itself declares. Where the world has a feeder, what the cars
break there comes back as rows: tangents at the refused schedule. Limits that refused a plan once are watched: the next
plan begins with their rows. Nothing else of planning knows the twin's replay but `examination`, which stands beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aggregator.planning.examination import FORGIVEN_KW, Examination, examine, schedule_of
from aggregator.planning.site.lessons import Refusal, learn
from aggregator.planning.site.problem import Commitment, Cut, EvDemand, FeederRow, Floats, Plan, Problem
from aggregator.planning.site.safe import safe_plan
from aggregator.planning.street.lessons import Change, Crossed, TangentLike, crossed_by, rows_from
from aggregator.planning.street.rounds import StreetRounds, over_alert
from twin.assets import Schedule, World
from twin.validation import BreachKind, ValidationReport

if TYPE_CHECKING:
    from twin.feeder.scene import Scene

MAX_ROUNDS = 5
_REACHED_KWH = 0.5
_SAFE_ROUNDS = 3
"""How often the safe plan is given less where it breaks the feeder."""
_TAKEN_BACK = 20.0
"""Discharging a car below its target weighs this many times as much as charging it later."""


class RequestMismatch(ValueError):
    """Problem and world do not speak of the same site; the message names what differs."""


@dataclass(frozen=True)
class PlanRequest:
    """A planning problem and the world in which its answer is examined; can be pickled.

    promises: what the grid was promised; the problem may hold stricter commitments under the same signal ids.
        Empty: the problem's own commitments.
    discharge_allowed_kw: permitted discharge now, by EVSE id; missing means none.
    time_limit_s: for each solve, in wall time.
    without_signals_kw: shape (steps,), import cap without any grid signal. If it is given, a plan without signals is
        made first, and what its drivers would hold becomes the guard of the plan with signals.
    watched: limits of the feeder, kind and name, that refused an earlier plan.
    expected: virtual EVs, cars still to come. They are planned with the others, and what they draw becomes load of the
        site in problem and world; no EVSE gets a schedule from them.
    """

    problem: Problem
    world: World
    promises: tuple[Commitment, ...] = ()
    discharge_allowed_kw: Mapping[str, float] = field(default_factory=dict)
    time_limit_s: float = 5.0
    max_rounds: int = MAX_ROUNDS
    without_signals_kw: Floats | None = None
    watched: tuple[tuple[str, str], ...] = ()
    expected: tuple[EvDemand, ...] = ()


@dataclass(frozen=True)
class Round:
    """One solve and its replay. refusals: empty if it passed. seconds: build, solve, repair, replay.

    feeder_rows: how many rows of the feeder the next problem got from it.
    """

    number: int
    status: str
    objective: float
    refusals: tuple[Refusal, ...]
    cuts: tuple[Cut, ...]
    seconds: dict[str, float]
    feeder_rows: int = 0


@dataclass(frozen=True)
class GateOutcome:
    """What may be dispatched, and how it came to be.

    schedule: set-points by EVSE of the world; report: its replay (None if there was none).
    passed: the schedule returned showed nothing in its replay beyond what it declares.
    alerts: sentences for the operator.
    lasting_cuts: what is known by now about the cars themselves (their taper); the next problem may begin with it.
    counterfactual: the plan without grid signals, where there were any; counterfactual_s: what it took.
    watched: limits of the feeder that refused this plan or an earlier one; the next problem begins with their rows.
    changes: what the feeder took from which EVSE, beside the first plan of this request that it refused.
    held_by: limits of the feeder that the plan is near to until the end of an event that it misses, nearest first.
    """

    plan: Plan
    schedule: Schedule
    passed: bool
    rounds: tuple[Round, ...]
    report: ValidationReport | None
    alerts: tuple[str, ...] = ()
    lasting_cuts: tuple[Cut, ...] = ()
    counterfactual: Plan | None = None
    counterfactual_s: float = 0.0
    watched: tuple[tuple[str, str], ...] = ()
    changes: tuple[Change, ...] = ()
    held_by: tuple[Crossed, ...] = ()

    @property
    def refused(self) -> int:
        """How many rounds the twin refused."""
        return sum(1 for each in self.rounds if each.refusals)

    def record(self) -> dict[str, Any]:
        """All of it but the arrays, ready for JSON. Breaches also name the EVSE of the car they are about."""
        plan = self.plan
        evse_of = dict(zip(plan.ev_ids, plan.evse_ids, strict=True))
        return {
            "status": plan.status, "passed": self.passed, "refused": self.refused, "alerts": list(self.alerts),
            "objective": _finite(plan.objective), "bound": _finite(plan.bound), "gap": _finite(plan.gap),
            "repair_cost": plan.repair_cost, "costs": dict(plan.costs), "binding": list(plan.binding),
            "shortfall_kwh": {ev_id: kwh for ev_id, kwh in plan.shortfall_kwh.items() if kwh > 0},
            "cap_slack_kw": float(plan.cap_slack_kw.max(initial=0.0)),
            "event_shortfall_kw": {signal: list(kw) for signal, kw in plan.event_shortfall_kw.items()},
            "seconds": self.seconds(),
            "rounds": [
                {"number": each.number, "status": each.status, "objective": _finite(each.objective),
                 "breaches": [
                     {**asdict(refusal), "evse_id": evse_of.get(refusal.asset_id)} for refusal in each.refusals
                 ],
                 "cuts": [asdict(cut) for cut in each.cuts], "feeder_rows": each.feeder_rows,
                 "changes": [asdict(change) for change in self.changes] if each is self.rounds[-1] else [],
                 "seconds": dict(each.seconds)}
                for each in self.rounds
            ],
        }

    def seconds(self) -> dict[str, float]:
        """Wall seconds by phase, summed over the rounds."""
        total: dict[str, float] = {"counterfactual": self.counterfactual_s} if self.counterfactual else {}
        for each in self.rounds:
            for phase, seconds in each.seconds.items():
                total[phase] = total.get(phase, 0.0) + seconds
        return total


def plan_through_gate(request: PlanRequest) -> GateOutcome:
    """Solve, replay, learn, until a schedule passes or the rounds are used up.

    Raises:
        ProblemError: values that no plan could be meant with.
        RequestMismatch: the problem names EVSEs that the world lacks, or another grid.
    """
    require_match(request)
    street = _street(request)
    request = replace(request, problem=_with_rows(request.problem, street.known_rows(request.problem)))
    counterfactual, seconds = _without_signals(request)
    request = _with_expected(request)
    outcome = _rounds(request, street, _guarded(request.problem, counterfactual))
    return replace(outcome, counterfactual=counterfactual, counterfactual_s=seconds)


def _street(request: PlanRequest) -> StreetRounds:
    return StreetRounds(
        request.world.feeder, request.watched, time_limit_s=request.time_limit_s,
        toward=_tangents,
    )


def _tangents(scene: Scene, names: Sequence[tuple[str, str]], powers_kw: Floats) -> Sequence[TangentLike]:
    from twin.validation import tangents_of  # noqa: PLC0415 - power flows load only where there is a feeder

    return tangents_of(scene, [(BreachKind(kind), element) for kind, element in names], powers_kw)


def _without_signals(request: PlanRequest) -> tuple[Plan | None, float]:
    """The plan that would be made if the grid had asked nothing, and the seconds it took."""
    from aggregator.planning.site.solve import solve  # noqa: PLC0415 - see _rounds

    if request.without_signals_kw is None:
        return None, 0.0
    began = perf_counter()
    free = replace(request.problem, commitments=(), import_cap_kw=request.without_signals_kw)
    free = _with_expected(replace(request, problem=free)).problem
    return solve(free, time_limit_s=request.time_limit_s), perf_counter() - began


def _with_expected(request: PlanRequest) -> PlanRequest:
    """The request in which cars still to come are load, as the best plan for them and the plugged ones has it."""
    from aggregator.planning.site.anticipation import expected_load  # noqa: PLC0415 - see _rounds

    if not request.expected:
        return request
    load_kw = expected_load(request.problem, request.expected, time_limit_s=request.time_limit_s)
    return replace(
        request, problem=replace(request.problem, base_kw=request.problem.base_kw + load_kw),
        world=replace(request.world, base_load_kw=request.world.base_load_kw + load_kw),
    )


def _guarded(problem: Problem, counterfactual: Plan | None) -> Problem:
    """`problem` in which no grid service takes what a driver would hold without it, as far as the target.

    A driver may leave earlier than declared; the guard keeps such a driver as well off as without the signal.
    """
    if counterfactual is None:
        return problem
    return replace(problem, evs=tuple(
        replace(ev, guard_kwh=np.clip(held, 0.0, ev.target_kwh),
                guard_weight=_TAKEN_BACK if ev.energy_kwh >= ev.target_kwh - _REACHED_KWH else 1.0)
        for ev, held in zip(problem.evs, counterfactual.energy_kwh, strict=True)
    ))


def _with_rows(problem: Problem, rows: tuple[FeederRow, ...]) -> Problem:
    return replace(problem, feeder_rows=problem.feeder_rows + rows) if rows else problem


def _rounds(request: PlanRequest, street: StreetRounds, problem: Problem) -> GateOutcome:
    rounds: list[Round] = []
    alerts: list[str] = []
    for number in count(1):
        plan = street.plan(problem)
        exam = _examined(request, plan)
        refusals = exam.refusals
        cuts = learn(problem, plan, exam.replayed, refusals)
        feeder = exam.report.feeder
        rows = () if feeder is None else street.lessons(problem, plan, feeder.tangents, number)
        rounds.append(Round(number, plan.status, plan.objective, refusals, cuts,
                            {**plan.seconds, "replay": exam.seconds}, len(rows)))
        alerts += _cap_alert(request.world, plan) if not refusals else []
        if not refusals:
            outcome = GateOutcome(plan, exam.schedule, passed=True, rounds=tuple(rounds), report=exam.report,
                                  alerts=(*alerts, *over_alert(problem, plan)), lasting_cuts=_lasting(problem.cuts))
            return _told(request, street, outcome)
        forbidden = {refusal.asset_id for refusal in refusals if refusal.kind == BreachKind.PERMIT}
        if forbidden:
            alerts.append(f"a plan discharged without a permit at {', '.join(sorted(forbidden))}: refused, corrected")
            problem = _permit_only(problem, request.discharge_allowed_kw)
        problem = _with_rows(problem, rows)
        if all(refusal.kind == BreachKind.ENGINES_DISAGREE for refusal in refusals):
            break  # no other plan makes two engines agree
        if number >= request.max_rounds + street.more_rounds:
            break
        problem = replace(problem, cuts=problem.cuts + cuts)
    safe_request = replace(request, problem=replace(request.problem, feeder_rows=problem.feeder_rows))
    outcome = _last_resort(safe_request, plan, exam, tuple(rounds), alerts)
    return _told(request, street, replace(outcome, lasting_cuts=_lasting(problem.cuts + cuts)))


def _told(request: PlanRequest, street: StreetRounds, outcome: GateOutcome) -> GateOutcome:
    """The outcome with what the feeder changed, and what is watched from now on."""
    plan, found = street.told(request.problem, outcome.plan)
    return replace(outcome, plan=plan, changes=found, watched=street.watched, held_by=_held_by(request, outcome))


def _held_by(request: PlanRequest, outcome: GateOutcome) -> tuple[Crossed, ...]:
    missed = [
        step for event in request.problem.commitments
        for step, kw in zip(event.steps, outcome.plan.event_shortfall_kw.get(event.signal_id, ()), strict=False)
        if kw > FORGIVEN_KW
    ]
    replay = outcome.report.feeder if outcome.report is not None else None
    if not missed or replay is None:
        return ()
    from twin.validation import near_limits  # noqa: PLC0415 - power flows load only where there is a feeder

    return crossed_by(near_limits(replay, max(missed) + 1), replay.scene.evse_ids, tells_limit=True)


def _lasting(cuts: tuple[Cut, ...]) -> tuple[Cut, ...]:
    return tuple(dict.fromkeys(cut for cut in cuts if cut.kind == "taper"))


def safe_outcome(request: PlanRequest, alert: str) -> GateOutcome:
    """The safe plan without replay, for when the planner itself is gone; `passed` is False.

    It keeps to the limits of the feeder that are watched.
    """
    plan = safe_plan(_with_rows(request.problem, _street(request).known_rows(request.problem)))
    return GateOutcome(plan, schedule_of(request.world, plan), passed=False, rounds=(), report=None, alerts=(alert,),
                       watched=request.watched)


def _examined(request: PlanRequest, plan: Plan) -> Examination:
    return examine(request.problem, request.world, plan, promises=request.promises,
                   discharge_allowed_kw=request.discharge_allowed_kw)


def _last_resort(request: PlanRequest, plan: Plan, exam: Examination, rounds: tuple[Round, ...],
                 alerts: list[str]) -> GateOutcome:
    """After the last round: if only the event is missed, say openly by how much; else the safe plan."""
    if {refusal.kind for refusal in exam.refusals} == {BreachKind.EVENT}:
        open_plan = exam.declared(plan)
        again = _examined(request, open_plan)
        if not again.refusals:
            alerts.append("the event's commitment cannot be held; the plan declares the lower one of its replay")
            return GateOutcome(open_plan, again.schedule, passed=True, rounds=rounds, report=again.report,
                               alerts=tuple(alerts))
    broken = ", ".join(sorted({refusal.kind for refusal in exam.refusals}))
    alerts.append(f"no plan passed the twin in {len(rounds)} rounds ({broken}); the safe plan is used")
    safe, examined = _safe(request, request.problem)
    for number in range(len(rounds) + 1, len(rounds) + 1 + _SAFE_ROUNDS):
        feeder, scene = examined.report.feeder, request.world.feeder
        if scene is None or feeder is None or not feeder.tangents:
            break
        rows = rows_from(request.problem, feeder.tangents, scene.evse_ids, plan=safe, number=number)
        request = replace(request, problem=_with_rows(request.problem, rows))
        safe, examined = _safe(request, request.problem)
    over = [breach for breach in examined.report.breaches if breach.kind.is_of_feeder]
    if over:
        alerts.append(f"even the safe plan breaks the feeder: {over[0]}")
    return GateOutcome(safe, examined.schedule, passed=not examined.refusals, rounds=rounds, report=examined.report,
                       alerts=(*alerts, *_cap_alert(request.world, safe)))


def _safe(request: PlanRequest, problem: Problem) -> tuple[Plan, Examination]:
    """The safe plan with what its replay misses declared, and its examination."""
    safe = safe_plan(problem)
    safe = _examined(request, safe).declared(safe)
    return safe, _examined(request, safe)


def _permit_only(problem: Problem, allowed_kw: Mapping[str, float]) -> Problem:
    return replace(problem, evs=tuple(
        replace(ev, max_discharge_kw=min(ev.max_discharge_kw, max(0.0, allowed_kw.get(ev.evse_id, 0.0))))
        for ev in problem.evs))


def _cap_alert(world: World, plan: Plan) -> list[str]:
    over = float((plan.net_kw - world.import_cap_kw).max())
    return [f"the import cap cannot be held: {over:.1f} kW over it at worst"] if over > FORGIVEN_KW else []


def require_match(request: PlanRequest) -> None:
    """Raise a `RequestMismatch` unless problem and world share their grid and EVSEs."""
    if request.problem.grid != request.world.grid:
        raise RequestMismatch(f"grid: {request.problem.grid} in the problem, expected {request.world.grid}")
    missing = {ev.evse_id for ev in request.problem.evs} - {evse.id for evse in request.world.evses}
    if missing:
        raise RequestMismatch(f"evse_id: {', '.join(sorted(missing))}, expected EVSEs of {request.world.site.id}")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
