"""Cars that stay beyond their declared departure, and events that ask for more than was promised."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.highs import WarmArrays
from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.checker import check, evaluate
from aggregator.planning.site.model import build
from aggregator.planning.site.problem import Commitment, EvDemand, Problem
from aggregator.planning.site.relaxation import Relaxation
from aggregator.planning.site.solve import solve
from aggregator.planning.site.windows import ProblemError, require_possible, windows
from twin.assets import TimeGrid

MakeProblem = Callable[..., Problem]
seeds = st.integers(0, 100_000)
PRICE = 2.0


def outstaying(make_problem: MakeProblem, seed: int, *, minimums: bool = False) -> Problem:
    """Any problem in which most cars' targets are due before they leave, and an event of which less was promised."""
    draw = np.random.default_rng(seed)
    problem = make_problem(seed, evs=1 + seed % 6, steps=20, minimums=minimums)
    evs = tuple(
        replace(ev, due=None if draw.random() < 0.2 else int(draw.integers(0, 24)),
                leave_probability=draw.uniform(0.0, 0.1, 20) if draw.random() < 0.5 else None)
        for ev in problem.evs)
    events = tuple(
        replace(event, asked_net_kw=tuple(np.add(event.max_net_kw, draw.uniform(-20.0, 3.0)).tolist()),
                asked_per_kwh=event.shortfall_per_kwh * float(draw.uniform(0.0, 1.0)))
        for event in problem.commitments)
    return replace(problem, evs=evs, commitments=events)


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_arrays_and_pyomo_have_one_optimum_and_it_costs_what_its_powers_cost(
    make_problem: MakeProblem, seed: int
) -> None:
    problem = outstaying(make_problem, seed)
    program = assemble(problem)
    arrays, pyomo = WarmArrays(program).run(20.0), Relaxation(build(problem, windows(problem))).run(20.0)
    assert arrays is not None
    assert pyomo is not None
    assert arrays.objective == pytest.approx(pyomo.objective, rel=1e-6, abs=1e-6)
    judged = evaluate(problem, *program.powers(arrays.x))
    assert judged.objective == pytest.approx(arrays.objective, rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_what_is_due_stays_in_the_car_until_it_leaves(make_problem: MakeProblem, seed: int) -> None:
    """From then on a car holds what its driver wants, less what the plan openly says it lacks."""
    problem = outstaying(make_problem, seed, minimums=True)
    plan = solve(problem)
    assert check(problem, plan) == ()
    for row, ev in enumerate(problem.evs):
        last = min(ev.depart, problem.grid.steps)
        due = last if ev.due is None else min(max(ev.due, ev.arrive + 1), last)
        if ev.due is None or ev.due > problem.grid.steps:
            continue
        held = plan.energy_kwh[row, due - 1:last]
        assert (held >= ev.target_kwh - plan.shortfall_kwh[ev.id] - 1e-6).all()


def garage(*evs: EvDemand, **changes: object) -> Problem:
    """Eight hours at even prices, a building of 40 kW, no demand charge."""
    flat = np.full(32, 0.2)
    problem = Problem(TimeGrid(datetime(2019, 7, 15, 17, tzinfo=UTC), 900, 32), evs, np.full(32, 40.0),
                      np.full(32, 200.0), np.zeros(32), flat, np.zeros(32), 100.0, 0.0, shortfall_per_kwh=100.0)
    return replace(problem, **changes)  # type: ignore[arg-type]


def car(**changes: object) -> EvDemand:
    """Full as its driver wants it, room for 40 kWh more; may discharge."""
    ev = EvDemand("car", "evse", 0, 28, 20.0, 60.0, 20.0, 10.0, 11.0, 11.0, 0.95, 0.95, 0.02)
    return replace(ev, **changes)  # type: ignore[arg-type]


EVENT = Commitment("event", tuple(range(16, 24)), (35.0,) * 8, PRICE)


def test_a_car_that_usually_stays_serves_an_event_after_its_declared_departure_with_what_it_has_beyond() -> None:
    """It is charged before and gives that back; it never holds less than its driver wants."""
    gone = solve(garage(car(depart=12), commitments=(EVENT,)))
    assert gone.event_shortfall_kw["event"] == pytest.approx((5.0,) * 8)
    usual = solve(garage(car(due=12), commitments=(EVENT,)))
    assert usual.event_shortfall_kw["event"] == pytest.approx((0.0,) * 8, abs=1e-6)
    assert usual.energy_kwh[0, 15] == pytest.approx(20.0 + 10.0 / 0.95)
    assert usual.energy_kwh[0, 11:].min() >= 20.0 - 1e-6


@pytest.mark.parametrize("asked_per_kwh", [0.0, PRICE])
def test_what_is_delivered_beyond_a_promise_is_delivered_if_it_earns(asked_per_kwh: float) -> None:
    promised = replace(EVENT, max_net_kw=(38.0,) * 8, asked_net_kw=(35.0,) * 8, asked_per_kwh=asked_per_kwh)
    plan = solve(garage(car(), commitments=(promised,)))
    delivered_kw = 40.0 - plan.net_kw[16:24]
    assert delivered_kw == pytest.approx(np.full(8, 5.0 if asked_per_kwh else 2.0), abs=1e-6)
    assert plan.costs["unearned"] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_each_kwh_above_what_was_asked_costs_its_incentive_and_above_the_promise_the_penalty_too(
    make_problem: MakeProblem, seed: int
) -> None:
    """Plainly: incentive on all that is missing of what was asked, penalty on what is missing of the promise."""
    draw = np.random.default_rng(seed)
    incentive, penalty = draw.uniform(0.0, 3.0, 2)
    problem = make_problem(seed, evs=3, steps=20)
    (event,) = problem.commitments
    asked = tuple(np.subtract(event.max_net_kw, draw.uniform(0.0, 30.0, 4)).tolist())
    problem = replace(problem, first_step_fraction=1.0, commitments=(replace(
        event, shortfall_per_kwh=incentive + penalty, asked_net_kw=asked, asked_per_kwh=incentive, worst_per_kw=0.0),))
    found = evaluate(problem, np.zeros((3, 20)), np.zeros((3, 20)))
    net = problem.base_kw[list(event.steps)]
    missing = np.maximum(net - np.array(event.max_net_kw), 0.0).sum() / 4
    unasked = np.maximum(net - np.array(asked), 0.0).sum() / 4
    assert found.costs["event_shortfall"] + found.costs["unearned"] == pytest.approx(
        incentive * unasked + penalty * missing)


@pytest.mark.parametrize("fault", [{"asked_net_kw": (1.0,)}, {"asked_net_kw": (np.nan,) * 8}, {"asked_per_kwh": -1.0},
                                   {"asked_per_kwh": PRICE + 1.0}])
def test_what_was_asked_needs_one_finite_value_per_step(fault: dict[str, object]) -> None:
    bad = replace(EVENT, **fault)  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match=f"commitment event: {next(iter(fault))}"):
        require_possible(garage(commitments=(bad,)))


def test_the_declared_departure_comes_first_however_long_the_car_may_stay() -> None:
    """What is due in an hour is charged in that hour, whatever an event pays."""
    plan = solve(garage(car(due=4, target_kwh=28.0), commitments=(replace(EVENT, steps=(0, 1, 2, 3, 4, 5, 6, 7)),)))
    assert plan.shortfall_kwh["car"] == pytest.approx(0.0, abs=1e-6)
    assert plan.energy_kwh[0, 3] == pytest.approx(28.0)
