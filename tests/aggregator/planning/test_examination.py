"""What one replay says of one plan: what it ordered, what it refused, and what the plan may say openly instead."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.examination import Examination, examine, schedule_of
from aggregator.planning.site.problem import Commitment, Problem
from aggregator.planning.site.solve import solve
from twin.assets import World

MakeProblem = Callable[..., Problem]
MakeWorld = Callable[..., World]


def one_car(make_problem: MakeProblem) -> Problem:
    """A V2G car for six hours at a site whose caps do not matter."""
    problem = make_problem(11, evs=1, steps=32, event=False, cap_kw=500.0, minimums=False)
    car = replace(problem.evs[0], arrive=0, depart=24, energy_kwh=20.0, capacity_kwh=50.0, target_kwh=25.0,
                  floor_kwh=10.0, max_charge_kw=11.0, max_discharge_kw=11.0, charge_efficiency=0.94,
                  discharge_efficiency=0.94, leave_probability=None)
    return replace(problem, evs=(car,), base_kw=np.full(32, 20.0), first_step_fraction=1.0, demand_price=0.0,
                   import_price=np.full(32, 0.1), export_price=np.zeros(32), export_cap_kw=np.full(32, 100.0))


def kinds(exam: Examination) -> set[str]:
    return {refusal.kind for refusal in exam.refusals}


def test_cars_that_follow_each_other_share_the_row_of_their_evse(
        make_problem: MakeProblem, make_world: MakeWorld) -> None:
    problem = one_car(make_problem)
    first = replace(problem.evs[0], depart=8)
    second = replace(first, id="car-1", arrive=10, depart=20)
    problem = replace(problem, evs=(first, second))
    plan = solve(problem)
    row = schedule_of(make_world(replace(problem, evs=(first,))), plan).power_kw[0]
    assert row[:8].sum() == pytest.approx(plan.charge_kw[0].sum())
    assert row[10:20].sum() == pytest.approx(plan.charge_kw[1].sum())


def test_a_charger_is_never_told_less_than_it_can_give(make_problem: MakeProblem, make_world: MakeWorld) -> None:
    problem = one_car(make_problem)
    plan, world = solve(problem), make_world(problem)
    world = replace(world, evses=(replace(world.evses[0], min_charge_kw=4.0),))
    weak = replace(plan, charge_kw=np.tile([0.0, 1.0, 4.0, 9.0], 8)[None], discharge_kw=np.zeros((1, 32)))
    np.testing.assert_array_equal(schedule_of(world, weak).power_kw[0], np.tile([0.0, 4.0, 4.0, 9.0], 8))


def test_what_the_grid_would_miss_is_refused_until_the_plan_says_so(
        make_problem: MakeProblem, make_world: MakeWorld) -> None:
    problem = one_car(make_problem)
    cars = tuple(replace(problem.evs[0], id=f"car-{i}", evse_id=f"evse-{i}", energy_kwh=40.0, target_kwh=30.0)
                 for i in range(8))
    problem = replace(problem, evs=cars, commitments=(Commitment("dr", (8, 9, 10, 11), (-40.0,) * 4, 5.0),))
    world, plan = make_world(problem), solve(problem)
    allowed = {ev.evse_id: ev.max_discharge_kw for ev in cars}
    exam = examine(problem, world, plan, discharge_allowed_kw=allowed)
    assert kinds(exam) == {"event"}
    honest = exam.declared(plan)
    assert max(honest.event_shortfall_kw["dr"]) > max(plan.event_shortfall_kw["dr"]) + 0.5
    assert examine(problem, world, honest, discharge_allowed_kw=allowed).refusals == ()
    looser = [replace(problem.commitments[0], max_net_kw=(0.0,) * 4)]
    assert examine(problem, world, plan, promises=looser, discharge_allowed_kw=allowed).refusals == ()
    assert "permit" in kinds(examine(problem, world, honest, discharge_allowed_kw={}))


def test_a_car_that_may_stay_longer_holds_its_energy_when_that_is_due(
        make_problem: MakeProblem, make_world: MakeWorld) -> None:
    """At departure nothing is missing; it was when the driver had said to leave."""
    problem = one_car(make_problem)
    problem = replace(problem, evs=(replace(problem.evs[0], due=8),))
    world, plan = make_world(problem), solve(problem)
    assert examine(problem, world, plan, discharge_allowed_kw={}).refusals == ()
    late = np.zeros((1, 32))
    late[0, 12:16] = 11.0
    dawdling = replace(plan, charge_kw=late, discharge_kw=np.zeros((1, 32)))
    exam = examine(problem, world, dawdling, discharge_allowed_kw={})
    assert exam.report.departures["car-0"].shortfall_kwh == 0.0
    (refusal,) = exam.refusals
    assert (refusal.kind, refusal.asset_id, refusal.first, refusal.last) == ("departure", "car-0", 7, 8)
    assert refusal.worst == pytest.approx(5.0)
    honest = exam.declared(dawdling)
    assert examine(problem, world, honest, discharge_allowed_kw={}).refusals == ()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_plan_that_declares_what_its_replay_missed_misses_nothing_of_that_any_more(
        make_problem: MakeProblem, make_world: MakeWorld, seed: int) -> None:
    """Drivers and commitments are a matter of saying so; caps, ratings and permits are not."""
    problem = make_problem(seed, evs=5, steps=24)
    world, plan = make_world(problem), solve(problem)
    allowed = {ev.evse_id: ev.max_discharge_kw for ev in problem.evs}
    first = examine(problem, world, plan, discharge_allowed_kw=allowed)
    again = examine(problem, world, first.declared(plan), discharge_allowed_kw=allowed)
    np.testing.assert_array_equal(again.schedule.power_kw, first.schedule.power_kw)
    assert kinds(again) == kinds(first) - {"departure", "event"}
