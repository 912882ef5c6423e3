"""Minimum currents neither leave a car short for less than one step of them nor keep it from being full."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.checker import check, evaluate, over_feeder
from aggregator.planning.site.problem import Commitment, Cut, EvDemand, FeederRow, Problem
from aggregator.planning.site.rounding import round_down, top_up
from aggregator.planning.site.solve import solve
from aggregator.planning.site.windows import site_limits, windows
from twin.assets import TimeGrid

MakeProblem = Callable[..., Problem]
LEAST_KW = 4.14
PULSE_KWH = LEAST_KW * 0.25 * 0.9


def one_night(grid: TimeGrid, wants_kwh: float, *, room_kwh: float = 30.0, cars: int = 1) -> Problem:
    """Cars at 6 A on three phases or more, under a cap for one of them at full power, a little room for all."""
    evs = tuple(
        EvDemand(f"car-{k}", f"evse-{k}", 0, grid.steps, 20.0, 20.0 + room_kwh, 20.0 + wants_kwh, 10.0, 11.0, 0.0, 0.9,
                 0.9, 0.01, min_charge_kw=LEAST_KW)
        for k in range(cars))
    flat = np.ones(grid.steps)
    price = np.linspace(0.3, 0.1, grid.steps)
    return Problem(
        grid, evs, 2.0 * flat, 14.0 * flat, 0.0 * flat, price, price - 0.1, 0.0, 0.0, cap_slack_per_kwh=1000.0)


@pytest.mark.parametrize("wants_kwh", [0.05, 0.3 * PULSE_KWH, 0.9 * PULSE_KWH, 1.2 * PULSE_KWH, 3.4 * PULSE_KWH, 10.0])
@pytest.mark.parametrize("cars", [1, 3])
def test_nobody_is_short_for_less_than_a_step_at_the_minimum(
    make_problem: MakeProblem, wants_kwh: float, cars: int
) -> None:
    problem = one_night(make_problem(0).grid, wants_kwh, cars=cars)
    plan = solve(problem)
    assert max(plan.shortfall_kwh.values()) == pytest.approx(0.0, abs=1e-3)
    assert check(problem, plan) == ()
    assert plan.cap_slack_kw.max() == 0.0
    given = (plan.energy_kwh[:, -1] - 20.0).max()
    assert given <= wants_kwh + PULSE_KWH + 1e-6


@pytest.mark.parametrize("wants_kwh", [0.4, 2.5, 9.99, 13.7])
def test_a_car_that_wants_to_be_full_becomes_full(make_problem: MakeProblem, wants_kwh: float) -> None:
    """No number of whole steps at the minimum ends at its capacity: the last is shorter, and the car ends it."""
    problem = one_night(make_problem(0).grid, wants_kwh, room_kwh=wants_kwh)
    plan = solve(problem)
    assert plan.energy_kwh[0, -1] == pytest.approx(20.0 + wants_kwh, abs=1e-3)
    assert check(problem, plan) == ()
    below = (plan.charge_kw[0] > 0.0) & (plan.charge_kw[0] < LEAST_KW - 1e-6)
    assert below.sum() <= 1


def test_a_car_that_tapers_below_the_minimum_takes_what_the_taper_leaves(make_problem: MakeProblem) -> None:
    problem = one_night(make_problem(0).grid, 10.0, room_kwh=10.5)
    problem = replace(problem, cuts=(Cut("taper", 31.0, ev_id="car-0", slope_per_h=1.0),))  # 1 kW at its target
    plan = solve(problem)
    assert plan.shortfall_kwh["car-0"] == pytest.approx(0.0, abs=1e-3)
    assert ((plan.charge_kw[0] > 0.1) & (plan.charge_kw[0] < LEAST_KW)).any()
    assert check(problem, plan) == ()


def test_a_plan_that_stays_below_the_minimum_elsewhere_is_called_wrong(make_problem: MakeProblem) -> None:
    problem = one_night(make_problem(0).grid, 5.0)
    plan = solve(problem)
    charge = plan.charge_kw.copy()
    charge[0, 3] = 2.0
    assert any("below its minimum" in fault for fault in check(problem, replace(plan, charge_kw=charge)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_topping_up_touches_no_limit_and_never_costs(make_problem: MakeProblem, seed: int) -> None:
    """From powers that are far from a plan's: some cells of some cars, at their minimum."""
    draw = np.random.default_rng(seed)
    problem = make_problem(seed, evs=4, steps=16, cap_kw=60.0)
    cars = {ev.id: 1.0 for ev in problem.evs}
    problem = replace(
        problem, base_kw=np.minimum(problem.base_kw, 55.0),
        feeder_rows=tuple(FeederRow("line_overload", "line", step, cars, float(draw.uniform(0.0, 3.0)))
                          for step in range(0, 16, 2)),
        commitments=(Commitment("event", (3, 4, 5), tuple(draw.uniform(20.0, 60.0, 3)), 1.0),))
    spans = windows(problem)
    least = np.array([[ev.min_charge_kw] for ev in problem.evs])
    charge = np.where(draw.random((4, 16)) < 0.1, least, 0.0)
    charge, discharge = round_down(problem, spans, charge, np.zeros((4, 16)))
    after = top_up(problem, spans, charge, discharge)
    before, now = evaluate(problem, charge, discharge), evaluate(problem, *after)
    assert now.objective <= before.objective + 1e-9
    assert (after[0] >= charge - 1e-9).all() or now.objective < before.objective
    allowed = np.maximum(before.net_kw, site_limits(problem)[0])
    assert (now.net_kw <= allowed + 1e-9).all()
    for name in ("event_shortfall", "demand", "cap_slack", "feeder"):
        assert now.costs[name] <= before.costs[name] + 1e-9
    assert sum(over_feeder(problem, after[0] - after[1])) <= sum(over_feeder(problem, charge - discharge)) + 1e-9
