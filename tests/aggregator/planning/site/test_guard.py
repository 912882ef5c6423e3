"""The guard: whatever a grid service pays, it takes from no driver what the driver would hold without it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate
from aggregator.planning.site.problem import Commitment, Plan, Problem
from twin.assets import Schedule, World
from twin.replay import FollowSchedule, simulate

MakeProblem = Callable[..., Problem]
MakeWorld = Callable[..., World]
CAP_KW = 80.0
EVENT = Commitment("event", (8, 9, 10, 11), (-20.0,) * 4, 3.0)
"""An hour for which every kWh of export beyond reach is paid, at the price of the demo's programme."""
SHORT_KWH = 0.2
"""What the project calls short. Mostly it is 0, but a cut learnt from the replay is unknown to a plan without event."""
seeds = st.integers(0, 10_000)


def request_of(make_problem: MakeProblem, make_world: MakeWorld, seed: int, *, at_target: bool,
               guard_per_kwh_h: float) -> PlanRequest:
    problem = make_problem(seed, evs=5, steps=24, event=False, cap_kw=CAP_KW, minimums=False)
    cars = []
    for ev in problem.evs:
        energy = max(ev.energy_kwh, ev.floor_kwh)
        target = min(energy, ev.target_kwh) if at_target else max(ev.target_kwh, ev.floor_kwh)
        cars.append(replace(ev, arrive=0, energy_kwh=energy, target_kwh=target))
    problem = replace(
        problem, evs=tuple(cars), commitments=(EVENT,), export_cap_kw=np.full(24, 50.0), first_step_fraction=1.0,
        shortfall_per_kwh=100.0, early_leave_per_kwh=5.0, guard_per_kwh_h=guard_per_kwh_h)
    world = make_world(problem, taper_from=1.0)
    return PlanRequest(
        problem, world, discharge_allowed_kw={ev.evse_id: ev.max_discharge_kw for ev in problem.evs},
        without_signals_kw=problem.import_cap_kw)


def taken_kwh(problem: Problem, plan: Plan, without: Plan) -> float:
    """The most that any driver who unplugs at the end of any step lacks compared with `without`, below the target."""
    return max(
        float((np.minimum(without.energy_kwh[row], ev.target_kwh) - plan.energy_kwh[row])[:ev.depart].max(initial=0.0))
        for row, ev in enumerate(problem.evs))


@settings(max_examples=12, deadline=None)
@given(seed=seeds)
def test_the_event_takes_nothing_from_a_driver_who_has_what_was_asked(
        make_problem: MakeProblem, make_world: MakeWorld, seed: int) -> None:
    request = request_of(make_problem, make_world, seed, at_target=True, guard_per_kwh_h=2.0)
    outcome = plan_through_gate(request)
    assert outcome.counterfactual is not None
    if outcome.plan.status == "optimal":
        assert taken_kwh(request.problem, outcome.plan, outcome.counterfactual) <= SHORT_KWH


@settings(max_examples=12, deadline=None)
@given(seed=seeds)
def test_a_guard_dearer_than_the_event_keeps_every_driver_as_well_off_as_without_it(
        make_problem: MakeProblem, make_world: MakeWorld, seed: int) -> None:
    request = request_of(make_problem, make_world, seed, at_target=False, guard_per_kwh_h=500.0)
    outcome = plan_through_gate(request)
    assert outcome.counterfactual is not None
    if outcome.plan.status == "optimal":
        assert taken_kwh(request.problem, outcome.plan, outcome.counterfactual) <= SHORT_KWH


@pytest.fixture(scope="module")
def tempted(make_problem: MakeProblem, make_world: MakeWorld) -> tuple[PlanRequest, GateOutcome]:
    """V2G cars with more than asked for, and an event that pays for everything they have."""
    request = request_of(make_problem, make_world, 4, at_target=True, guard_per_kwh_h=2.0)
    return request, plan_through_gate(request)


def test_without_the_guard_the_same_event_would_take_it(tempted: tuple[PlanRequest, GateOutcome]) -> None:
    request, guarded = tempted
    assert guarded.counterfactual is not None
    unguarded = plan_through_gate(replace(request, without_signals_kw=None))
    assert unguarded.counterfactual is None
    assert taken_kwh(request.problem, unguarded.plan, guarded.counterfactual) > 1.0


def test_what_a_car_holds_beyond_the_target_still_serves_the_event(tempted: tuple[PlanRequest, GateOutcome]) -> None:
    request, outcome = tempted
    assert outcome.passed
    assert outcome.counterfactual is not None
    span = list(EVENT.steps)
    assert outcome.plan.discharge_kw[:, span].sum() > outcome.counterfactual.discharge_kw[:, span].sum() + 10.0
    assert outcome.plan.net_kw[span].mean() < request.problem.base_kw[span].mean() - 5.0


@pytest.mark.parametrize("leaves_after", [9, 10, 11, 12, 16])
def test_a_driver_who_leaves_early_holds_as_much_in_the_twin_as_without_the_event(
        tempted: tuple[PlanRequest, GateOutcome], leaves_after: int) -> None:
    request, outcome = tempted
    assert outcome.counterfactual is not None
    world = request.world
    gone = world.grid.at(leaves_after)
    early = replace(world, visits=tuple(
        replace(visit, departure=max(min(visit.departure, gone), visit.arrival + timedelta(seconds=1)))
        for visit in world.visits))
    rows = {evse_id: row for row, evse_id in enumerate(outcome.counterfactual.evse_ids)}
    without = Schedule(world.grid, tuple(e.id for e in world.evses), np.array([
        outcome.counterfactual.power_kw[rows[evse.id]] for evse in world.evses]))
    with_event = simulate(early, FollowSchedule(outcome.schedule)).visits
    quiet = simulate(early, FollowSchedule(without)).visits
    for visit in early.visits:
        held = with_event[visit.id].energy_kwh
        # The plan knows losses at half power only; 0.2 kWh is what the project calls short.
        assert held >= min(quiet[visit.id].energy_kwh, visit.target_kwh) - 0.2, visit.id


def test_where_the_grid_asks_nothing_no_second_plan_is_made(make_problem: MakeProblem, make_world: MakeWorld) -> None:
    problem = make_problem(5, evs=2, steps=12, event=False)
    outcome = plan_through_gate(PlanRequest(problem, make_world(problem)))
    assert outcome.counterfactual is None
    assert outcome.plan.costs["guard"] == 0.0
    assert "counterfactual" not in outcome.seconds()
