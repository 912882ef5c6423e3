"""Set-points that were dispatched are kept where another plan would gain next to nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.array_route import ArrayRelaxation
from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.checker import check, evaluate
from aggregator.planning.site.model import build
from aggregator.planning.site.problem import Plan, Problem
from aggregator.planning.site.relaxation import Relaxation
from aggregator.planning.site.solve import solve
from aggregator.planning.site.windows import ProblemError, windows

MakeProblem = Callable[..., Problem]
RANDOM = st.integers(0, 100_000)


def holding(problem: Problem, seed: int, price: float) -> Problem:
    """Random set-points for some cells, some of them beyond what the car may do by now."""
    draw = np.random.default_rng(seed)
    steps = problem.grid.steps
    return replace(problem, change_per_kwh=price, evs=tuple(
        replace(ev, held_kw=np.where(draw.random(steps) < 0.6, draw.uniform(-12.0, 12.0, steps), np.nan))
        for ev in problem.evs))


def moved_kwh(plan: Plan, problem: Problem) -> float:
    """Written from the definition: kWh away from the held set-points, as far as those are possible."""
    hours = np.full(problem.grid.steps, problem.grid.step_hours)
    hours[0] *= problem.first_step_fraction
    total = 0.0
    for span, power in zip(windows(problem), plan.power_kw, strict=True):
        for step in span.steps:
            held = problem.evs[plan.ev_ids.index(span.ev.id)].held_kw[step]
            if not np.isnan(held):
                possible = min(max(held, -span.discharge_kw[step]), span.charge_kw[step])
                total += hours[step] * abs(power[step] - possible)
    return total


@settings(max_examples=30, deadline=None)
@given(seed=RANDOM, price=st.sampled_from([0.001, 0.05, 3.0]))
def test_arrays_and_pyomo_price_changes_alike(make_problem: MakeProblem, seed: int, price: float) -> None:
    problem = holding(make_problem(seed, evs=1 + seed % 5, steps=8 + seed % 9), seed, price)
    by_model, by_arrays = Relaxation(build(problem, windows(problem))), ArrayRelaxation(assemble(problem))
    expected, found = by_model.run(20.0), by_arrays.run(20.0)
    assert expected is not None
    assert found is not None
    assert found.objective == pytest.approx(expected.objective, rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=RANDOM, price=st.sampled_from([0.001, 0.05, 3.0]))
def test_a_plan_says_what_its_changes_cost(make_problem: MakeProblem, seed: int, price: float) -> None:
    problem = holding(make_problem(seed, evs=4, steps=12), seed, price)
    plan = solve(problem)
    assert check(problem, plan) == ()
    assert plan.costs["change"] == pytest.approx(price * moved_kwh(plan, problem), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=RANDOM)
def test_a_higher_price_never_moves_more_in_the_relaxed_optimum(make_problem: MakeProblem, seed: int) -> None:
    moved = []
    for price in (1e-6, 0.05, 5.0):
        problem = holding(make_problem(seed, evs=4, steps=12, minimums=False), seed, price)
        program = assemble(problem)
        answer = ArrayRelaxation(program).run(20.0)
        assert answer is not None
        moved.append(evaluate(problem, *program.powers(answer.x)).costs["change"] / price)
    assert moved == sorted(moved, reverse=True) or np.allclose(moved, sorted(moved, reverse=True), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=RANDOM)
def test_planning_the_same_site_again_moves_nothing(make_problem: MakeProblem, seed: int) -> None:
    problem = make_problem(seed, evs=4, steps=12, minimums=False)
    first = solve(problem)
    again = solve(replace(problem, change_per_kwh=1e-3, evs=tuple(
        replace(ev, held_kw=power) for ev, power in zip(problem.evs, first.power_kw, strict=True))))
    assert again.costs["change"] == pytest.approx(0.0, abs=1e-6)
    assert again.objective == pytest.approx(first.objective, rel=1e-6, abs=1e-6)


def test_without_a_price_nothing_is_held(make_problem: MakeProblem) -> None:
    problem = make_problem(3, evs=4, steps=12)
    plan, held = solve(problem), solve(holding(problem, 3, 0.0))
    assert held.costs["change"] == 0.0
    assert (held.power_kw == plan.power_kw).all()


def test_set_points_of_another_length_or_without_bound_are_refused(make_problem: MakeProblem) -> None:
    problem = make_problem(3, evs=1, steps=12)
    for held_kw in (np.zeros(11), np.full(12, np.inf)):
        with pytest.raises(ProblemError, match="car-0: held_kw"):
            solve(replace(problem, evs=(replace(problem.evs[0], held_kw=held_kw),)))
