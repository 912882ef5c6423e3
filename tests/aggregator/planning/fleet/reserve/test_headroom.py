"""Reserve on summed headroom is what every single car has: never more, and nothing left lying."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from aggregator.planning.fleet.checker import reserve_volume, violations
from aggregator.planning.fleet.problem import Problem, Reserve
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.monolith import schedule_of, solve_whole
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.reserve.headroom import Headroom, best_offer

Make = Callable[..., Problem]


def _selling(problem: Problem, up: float = 0.0, down: float = 0.0, both: float = 0.0,
             sustain_h: float = 0.5) -> Problem:
    block = np.arange(problem.steps) * 2 // problem.steps
    return replace(problem, reserve=Reserve(block, np.full(2, both), sustain_h, np.full(2, up), np.full(2, down)))


def test_the_power_rows_alone_would_sell_what_batteries_do_not_have(make_fleet: Make) -> None:
    problem = _selling(make_fleet(3, evs=12), both=0.05, sustain_h=4.0)
    program = assemble(problem)
    dreamt, exact = Solver(program).run(10.0), Solver(program).run(10.0, Headroom(problem, program))
    assert dreamt.objective < exact.objective - 0.01
    sold = dreamt.x[program.columns["sold_reserve"]].reshape(3, 2)
    assert (best_offer(problem, schedule_of(problem, program, dreamt.x))[0] < sold[0] - 1e-3).any()


@given(seed=st.integers(0, 10_000), sustain_h=st.sampled_from([1e-4, 0.1, 1.0, 24.0]))
@settings(max_examples=15, deadline=None)
def test_a_plan_sells_what_its_cars_have_and_no_less_than_pays(make_fleet: Make, seed: int, sustain_h: float) -> None:
    problem = _selling(make_fleet(seed, evs=10, limit_per_kwh=1e6), up=0.03, down=0.01, both=0.035, sustain_h=sustain_h)
    plan = solve_whole(problem)
    assert violations(problem, plan.schedule) == ()
    assert plan.objective == pytest.approx(plan.bound + plan.repair.cost, rel=1e-5, abs=1e-4)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_best_offer_is_that_of_a_linear_program(make_fleet: Make, seed: int) -> None:
    problem = make_fleet(seed, reserve=True)
    plan = solve_whole(problem)
    up, down = reserve_volume(problem, plan.schedule)
    offer = best_offer(problem, plan.schedule)
    for block in range(2):
        steps = problem.reserve.block == block
        prices = np.maximum(problem.reserve.prices[:, block], 0.0)
        best = linprog(-prices, A_ub=[[1, 1, 0], [1, 0, 1]], b_ub=np.maximum(0.0, [up[steps].min(), down[steps].min()]))
        assert prices @ offer[:, block] == pytest.approx(-best.fun, abs=1e-9)


@pytest.mark.parametrize("price", ["up", "down"])
def test_one_direction_alone_earns_more_than_both_at_its_price(price: str, make_fleet: Make) -> None:
    problem = make_fleet(5, evs=12)
    alone = solve_whole(_selling(problem, **{price: 0.04}))
    both = solve_whole(_selling(problem, both=0.04))
    assert alone.objective <= both.objective + 1e-6
    assert alone.schedule.reserve_kw[["symmetric", "up", "down"].index(price)].sum() > 0
    assert not np.delete(alone.schedule.reserve_kw, ["symmetric", "up", "down"].index(price), axis=0).any()


def test_nothing_is_sold_for_nothing(make_fleet: Make) -> None:
    assert not solve_whole(_selling(make_fleet(5), both=0.0, up=-0.1)).schedule.reserve_kw.any()
