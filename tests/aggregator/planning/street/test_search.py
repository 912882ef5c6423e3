"""Plans that a feeder holds, judged by the flow, the second engine, and the feeder's own judge."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from aggregator.planning.site.checker import check, evaluate
from aggregator.planning.site.problem import EvDemand, Problem
from aggregator.planning.site.solve import solve
from aggregator.planning.site.windows import ProblemError
from aggregator.planning.street.search import GridPlan, plan_with_feeder
from twin.assets import TimeGrid
from twin.feeder.impact.judging import Impact, judge
from twin.feeder.on_disk.example import european_lv, european_lv_home_day
from twin.feeder.scene import Limits, Scene

MakeStreet = Callable[..., Scene]
MakeProblem = Callable[..., Problem]
CHEAP_AT_ONCE = np.array([0.05, 0.05, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3])


def judged(scene: Scene, problem: Problem, plan: GridPlan) -> Impact:
    """By the feeder's own judge, which shares no row with the planner."""
    kw = np.zeros((len(scene.evse_ids), scene.grid.steps))
    for ev, power in zip(problem.evs, plan.plan.power_kw, strict=True):
        kw[scene.evse_ids.index(ev.evse_id)] += power
    return judge(scene, kw)


def attributable(impact: Impact) -> float:
    return float(impact.somewhere.attributable.sum())


def assert_holds(scene: Scene, problem: Problem, plan: GridPlan) -> None:
    assert plan.violations == 0
    assert plan.verdict is not None
    assert plan.verdict.agrees
    assert plan.holds
    assert attributable(judged(scene, problem, plan)) == 0.0
    assert check(problem, plan.plan) == ()


def test_a_street_with_room_gets_the_plan_it_would_get_without_a_feeder(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(ampacity=500.0, metres=20.0, limits=Limits(unbalance=None))
    problem = make_street_problem(scene)
    plan = plan_with_feeder(problem, scene)
    assert_holds(scene, problem, plan)
    assert len(plan.rounds) == 1
    assert plan.grid_cost == pytest.approx(0.0, abs=1e-6)
    assert plan.plan.objective == pytest.approx(solve(problem).objective, rel=1e-6)


@pytest.mark.parametrize(("ampacity", "limits", "kind"), [
    (26.0, Limits(unbalance=None), "line"),
    (500.0, Limits(voltage_pu=(0.95, 1.10), unbalance=None), "low_voltage"),
    (500.0, Limits(unbalance=0.006), "unbalance"),
    (500.0, Limits(transformer_loading=0.12, unbalance=None), "winding"),
])
def test_each_kind_of_limit_moves_charging_elsewhere_and_is_priced(
    make_street: MakeStreet, make_street_problem: MakeProblem, ampacity: float, limits: Limits, kind: str
) -> None:
    scene = make_street(evs="aaab", ampacity=ampacity, limits=limits)
    problem = make_street_problem(scene, target_kwh=4.0, price=CHEAP_AT_ONCE)
    blind = solve(problem)
    kw = np.zeros((4, 8))
    kw[:] = blind.power_kw
    assert attributable(judge(scene, kw)) > 0.0, "the limit of this test must matter"
    plan = plan_with_feeder(problem, scene)
    assert_holds(scene, problem, plan)
    assert plan.grid_cost > 0.01
    assert blind.objective <= plan.plan.bound * (1.0 + 1e-6)
    assert plan.plan.bound <= plan.plan.objective
    assert {row.kind for row in plan.binding} == {kind}
    assert sum(plan.slack_percent_h.values()) == pytest.approx(0.0, abs=1e-6)


def test_the_price_of_a_row_is_what_more_room_saves(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    """All four cars on one phase in one dear hour: the same plan with a wider cable costs as much less as was said."""
    limits = Limits(voltage_pu=(0.5, 1.5), unbalance=None)
    scene = make_street(evs="aaaa", ampacity=26.0, limits=limits)
    problem = make_street_problem(scene, target_kwh=4.0, price=CHEAP_AT_ONCE)
    plan = plan_with_feeder(problem, scene)
    wider = plan_with_feeder(problem, scene, replace(limits, line_loading=1.02))
    said = 2.0 * sum(row.price for row in plan.binding)
    assert plan.plan.objective - wider.plan.objective == pytest.approx(said, rel=0.05)


def test_the_plan_is_as_good_as_a_search_over_totals_says(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    """One car behind one limit: the most it can draw is where the flow crosses the limit, found by bisection."""
    limits = Limits(voltage_pu=(0.5, 1.5), unbalance=None)
    scene = make_street(evs="a", ampacity=20.0, limits=limits)
    problem = make_street_problem(scene, target_kwh=20.0, price=CHEAP_AT_ONCE)
    low, high = 0.0, 7.4
    for _ in range(40):
        middle = (low + high) / 2.0
        if attributable(judge(scene, np.full((1, 8), middle))) > 0.0:
            high = middle
        else:
            low = middle
    plan = plan_with_feeder(problem, scene)
    assert plan.plan.power_kw[0] == pytest.approx(np.full(8, low), rel=2e-3)
    assert (plan.plan.power_kw[0] <= low + 1e-6).all()
    assert plan.plan.shortfall_kwh["car-0"] == pytest.approx(20.0 - 0.93 * 2.0 * low, rel=0.01)


def test_v2g_is_held_on_both_sides(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    scene = make_street(evs="aaabbc", ampacity=34.0, limits=Limits(voltage_pu=(0.94, 1.05)))
    price = np.array([0.05, 0.05, 0.6, 0.6, 0.05, 0.05, 0.6, 0.6])
    problem = make_street_problem(scene, target_kwh=0.0, price=price, discharge_kw=7.4, energy_kwh=25.0)
    plan = plan_with_feeder(problem, scene)
    assert_holds(scene, problem, plan)
    assert plan.plan.power_kw.min() < -1.0
    assert plan.plan.power_kw.max() > 1.0


def test_what_breaks_without_cars_is_reported_and_left_alone(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(evs="bc", ampacity=30.0, unbalanced_base_w=9000.0, limits=Limits(unbalance=None))
    problem = make_street_problem(scene, target_kwh=5.0)
    plan = plan_with_feeder(problem, scene)
    assert plan.unfixable >= 8
    assert_holds(scene, problem, plan)
    assert max(plan.plan.shortfall_kwh.values()) == pytest.approx(0.0, abs=1e-9)


def test_steps_without_a_solution_are_walked_back(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    """Fast chargers at the end of a long cable: everything at once has no flow at all."""
    scene = make_street(evs="abc", ampacity=400.0, metres=900.0, limits=Limits(voltage_pu=(0.85, 1.1)))
    problem = make_street_problem(scene, target_kwh=8.0, price=CHEAP_AT_ONCE, charge_kw=60.0)
    assert not scene.flow().solve(*scene.demand_w(np.full((3, 8), 35.0))).has_solution.any()
    plan = plan_with_feeder(problem, scene)
    assert plan.rounds[0].without_solution > 0
    assert_holds(scene, problem, plan)
    assert max(plan.plan.shortfall_kwh.values()) < 8.0


def test_minimum_currents_hold_under_the_feeder(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    """Rounding costs next to nothing on most cables; on a full one it may leave a car half a step of 6 A short."""
    minimum_kw, ratios = 1.38, []
    for ampacity in (24.0, 25.0, 26.0, 28.0, 30.0):
        scene = make_street(evs="aaaab", ampacity=ampacity, limits=Limits(unbalance=None))
        problem = make_street_problem(scene, target_kwh=2.0, minimum_kw=minimum_kw)
        plan = plan_with_feeder(problem, scene)
        assert_holds(scene, problem, plan)
        charge = plan.plan.charge_kw
        assert charge[charge > 0.0].min() >= minimum_kw - 1e-6
        free = plan_with_feeder(make_street_problem(scene, target_kwh=2.0), scene)
        is_small = (free.plan.charge_kw > 1e-6) & (free.plan.charge_kw < minimum_kw - 1e-6)
        assert is_small.any(), "rounding must matter"
        assert max(plan.plan.shortfall_kwh.values()) <= 0.5 * 0.93 * minimum_kw * scene.grid.step_hours
        ratios.append(plan.plan.objective / free.plan.objective)
    assert np.median(ratios) <= 1.01


def test_a_car_that_burns_energy_for_money_does_one_thing_at_a_time(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(evs="ab", ampacity=60.0)
    problem = make_street_problem(scene, target_kwh=0.0, price=np.full(8, -0.9), discharge_kw=7.4, energy_kwh=48.0)
    plan = plan_with_feeder(problem, scene)
    assert_holds(scene, problem, plan)
    assert not ((plan.plan.charge_kw > 0.0) & (plan.plan.discharge_kw > 0.0)).any()


def test_rounds_that_run_out_are_confessed(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    scene = make_street(evs="aaaa", ampacity=26.0)
    plan = plan_with_feeder(make_street_problem(scene, price=CHEAP_AT_ONCE), scene, rounds=1)
    assert plan.violations > 0
    assert not plan.holds
    assert plan.verdict is not None
    assert plan.verdict.attributable > 0


def test_the_plan_costs_what_it_says(make_street: MakeStreet, make_street_problem: MakeProblem) -> None:
    scene = make_street(evs="aaaa", ampacity=26.0)
    problem = make_street_problem(scene, price=CHEAP_AT_ONCE)
    plan = plan_with_feeder(problem, scene).plan
    assert plan.objective == pytest.approx(evaluate(problem, plan.charge_kw, plan.discharge_kw).objective)


def test_what_does_not_fit_the_scene_is_refused_at_once(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(8)
    problem = make_street_problem(scene)
    stranger = replace(problem.evs[0], id="stranger", evse_id="nowhere")
    with pytest.raises(ProblemError, match=r"stranger: evse_id: 'nowhere', expected an EVSE of the scene"):
        plan_with_feeder(replace(problem, evs=(*problem.evs, stranger)), scene)
    with pytest.raises(ProblemError, match="grid: 8 steps of 900 s, expected the scene's 6"):
        plan_with_feeder(problem, make_street(6))
    other = problem.base_kw + np.array([0.0] * 5 + [1.5] * 3)
    with pytest.raises(ProblemError, match=r"base_kw: 3.9 kW in step 5, expected the 2.4 kW .* \(3 of 8 steps"):
        plan_with_feeder(replace(problem, base_kw=other), scene)


def test_neighbours_who_are_no_part_of_the_site_are_told_of(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(8)
    problem = replace(make_street_problem(scene), base_kw=np.full(8, 0.8))
    plan = plan_with_feeder(problem, scene, beside_kw=np.full(8, 1.6))
    assert_holds(scene, problem, plan)


def test_where_selling_pays_more_the_plan_holds_and_says_its_true_cost(
    make_street: MakeStreet, make_street_problem: MakeProblem
) -> None:
    scene = make_street(evs="aaab", ampacity=30.0, limits=Limits(unbalance=None))
    problem = make_street_problem(scene, target_kwh=4.0, price=CHEAP_AT_ONCE, discharge_kw=7.4, energy_kwh=20.0)
    problem = replace(problem, export_price=problem.import_price + 0.05)
    plan = plan_with_feeder(problem, scene)
    assert_holds(scene, problem, plan)
    assert plan.plan.bound <= plan.plan.objective
    assert solve(problem).objective <= plan.plan.objective + 1e-5
    wide = make_street(evs="aaab", ampacity=500.0, metres=20.0, limits=Limits(unbalance=None))
    free = plan_with_feeder(problem, wide).plan
    assert free.objective == pytest.approx(solve(problem).objective, abs=0.1)


def test_forty_cars_on_the_european_feeder_hold_for_three_hours() -> None:
    feeder, day, steps = european_lv(), european_lv_home_day(), 12
    base = np.zeros((2, len(feeder.connection_points), steps))
    base[0, :55], base[1, :55] = day.p_w[:, 72:72 + steps], day.q_var[:, 72:72 + steps]
    evs = [point for point in feeder.connection_points if point.id.startswith("ev-")]
    grid = TimeGrid(datetime(2024, 1, 15, 18, tzinfo=UTC), 900, steps)
    rated = 416.0 / np.sqrt(3.0)
    scene = Scene(feeder, grid, base[0], base[1], tuple(point.id for point in evs), tuple(point.id for point in evs),
                  tuple(point.phases for point in evs), limits=Limits(voltage_pu=(216.2 / rated, 253.0 / rated)))
    cars = tuple(
        EvDemand(f"car-{k}", point.id, 0, steps, 20.0, 50.0, 28.0, 10.0, 7.4, 7.4, 0.94, 0.94, 0.01 + 0.0005 * k)
        for k, point in enumerate(evs))
    price = np.where(np.arange(steps) < 4, 0.10, 0.35)
    problem = Problem(grid, cars, base[0].sum(axis=0) / 1000.0, np.full(steps, 800.0), np.full(steps, 800.0), price,
                      price - 0.02, 100.0, 0.0)
    plan = plan_with_feeder(problem, scene)
    assert plan.rounds[0].violations > 100
    assert_holds(scene, problem, plan)
    assert len(plan.rounds) <= 12
