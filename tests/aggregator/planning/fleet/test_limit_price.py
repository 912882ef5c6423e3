"""Power beyond limits is the last resort in any currency."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet import Problem, ProblemFaults, solve
from aggregator.planning.fleet.limit_price import FROM_PRICES, dearest
from aggregator.planning.fleet.program.monolith import solve_whole

Make = Callable[..., Problem]
KINDS = ({}, {"events": 2}, {"feeders": True, "tight": True}, {"negative": True}, {"reserve": True})


def in_currency(problem: Problem, rate: float) -> Problem:
    """The same problem with every price times `rate`, and no price for limits given."""
    reserve = problem.reserve
    if reserve is not None:
        reserve = replace(reserve, price_per_kw_h=rate * reserve.price_per_kw_h,
                          up_price_per_kw_h=rate * reserve.up_price_per_kw_h,
                          down_price_per_kw_h=rate * reserve.down_price_per_kw_h)
    return replace(
        problem, evs=replace(problem.evs, wear_per_kwh=rate * problem.evs.wear_per_kwh),
        sites=replace(problem.sites, demand_price=rate * problem.sites.demand_price),
        import_price=rate * problem.import_price, export_price=rate * problem.export_price,
        shortfall_per_kwh=rate * problem.shortfall_per_kwh, reserve=reserve, limit_per_kwh=FROM_PRICES,
        events=tuple(replace(event, shortfall_per_kwh=rate * event.shortfall_per_kwh) for event in problem.events))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(kind) or "plain")
@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.01, 7.5, 150.0, 25_000.0]))
@settings(max_examples=6, deadline=None)
def test_another_currency_costs_as_much_and_goes_no_further_beyond_limits(
    kind: dict[str, object], seed: int, rate: float, make_fleet: Make
) -> None:
    problem = in_currency(make_fleet(seed, **kind), 1.0)
    other = in_currency(problem, rate)
    # Before reserve is judged: which of several plans of one cost it was sold by decides how much of it holds.
    plan, same = solve_whole(problem, gap=1e-6), solve_whole(other, gap=1e-6)
    assert other.limit_per_kwh == pytest.approx(rate * (problem.limit_per_kwh or 0.0))
    scale = max(1.0, abs(plan.objective))
    assert same.objective / rate == pytest.approx(plan.objective, abs=1e-4 * scale)
    assert same.bound / rate == pytest.approx(plan.bound, abs=1e-4 * scale)
    beyond, as_far = (one.schedule.unserved_kw.sum() + one.schedule.spilled_kw.sum() for one in (plan, same))
    assert as_far == pytest.approx(beyond, abs=1e-3)


def test_energy_dearer_than_a_fixed_price_is_still_bought_within_the_limits(make_fleet: Make) -> None:
    problem = in_currency(make_fleet(4), 25_000.0)
    plan = solve(problem)
    assert problem.import_price.max() > 1000.0
    assert plan.schedule.unserved_kw.max() < 1e-6
    assert plan.alarms == ()


def test_a_high_demand_price_is_paid_before_a_cap_is_passed(make_fleet: Make) -> None:
    """A kW less of peak for one step saves more than most kWh cost."""
    problem = make_fleet(4)
    sites = replace(problem.sites, demand_price=np.full(3, 500.0), peak_so_far_kw=np.zeros(3))
    dear = replace(problem, sites=sites, limit_per_kwh=FROM_PRICES)
    assert dearest(dear) == pytest.approx(500.0 / problem.step_h)
    assert solve(dear).schedule.unserved_kw.max() < 1e-6


@pytest.mark.parametrize("price", [0.0, 1.0, 3.9])
def test_a_price_for_limits_near_the_others_is_a_fault_that_says_what_to_do(price: float, make_fleet: Make) -> None:
    with pytest.raises(ProblemFaults, match=rf"^limit_per_kwh: is {price:g}, expected at least 4, 2 times what a kWh"):
        replace(make_fleet(4), limit_per_kwh=price)


def test_any_other_nan_is_a_fault(make_fleet: Make) -> None:
    with pytest.raises(ProblemFaults, match="limit_per_kwh: is nan, expected 0 or more"):
        replace(make_fleet(4), limit_per_kwh=float("nan"))


def test_without_any_price_a_limit_still_has_one(make_fleet: Make) -> None:
    assert in_currency(make_fleet(4), 0.0).limit_per_kwh == 1.0
