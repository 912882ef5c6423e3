"""Who falls short is told what was in the way, and how many kW would have done."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aggregator.planning.fleet import Evs, Feeders, Plan, Problem, Reserve, Sites, solve
from aggregator.planning.fleet.limit_price import FROM_PRICES
from aggregator.planning.fleet.short import Lack, lacks
from aggregator.planning.fleet.words import lack_words

Make = Callable[..., Problem]


def two_cars(**changed: float) -> Problem:
    """Two cars of 10 kW for four hours, each at a site of its own; all that is wanted can be had."""
    evs = Evs(("near", "far"), [0, 1], [0, 0], [4, 4], [0.0, 0.0], [50.0, 50.0], [36.0, 36.0], [0.0, 0.0], [10.0, 10.0],
              [0.0, 0.0], [0.9, 0.9], [0.9, 0.9], [0.0, 0.0], min_charge_kw=np.full(2, changed.get("least", 0.0)))
    ones = np.ones((2, 4))
    sites = Sites(("first", "last"), 0.0 * ones, 0.0 * ones, changed.get("cap", 100.0) * ones, 100.0 * ones, [0.0, 0.0],
                  [changed.get("demand", 0.0)] * 2)
    feeders = Feeders(("street",), [0, 0], [0, 1], [changed.get("line", 100.0)] * 2, [0.0, changed.get("r", 0.0)],
                      [0.0, 0.0], 0.0 * ones)
    return Problem(1.0, evs, sites, np.full(4, changed.get("price", 0.2)), np.zeros(4), 1.0, feeders=feeders)


def lack_of(problem: Problem, plan: Plan, name: str) -> Lack:
    return next(lack for lack in lacks(problem, plan) if problem.evs.ids[lack.ev] == name)


@pytest.mark.parametrize(("changed", "named"), [
    ({"cap": 6.0}, "import cap of last"), ({"line": 14.0}, "line into first"), ({"r": 0.008}, "voltage of last"),
    ({"demand": 50.0}, "billed peak of last"),
])
def test_the_limit_in_the_way_is_named(changed: dict[str, float], named: str) -> None:
    problem = two_cars(**changed)
    plan = solve(problem)
    limits = {name for lack in lacks(problem, plan) for name, _ in lack.limits}
    assert named in limits
    assert all(name.startswith(named.partition(" ")[0]) for name in limits), "and nothing that has room"


def test_where_only_prices_decide_no_limit_is_blamed() -> None:
    problem = two_cars(price=2.0)
    lack = lack_of(problem, solve(problem), "far")
    assert lack.limits == ()
    assert "no limit is in the way, missing it costs less" in lack_words(lack)


def test_a_minimum_power_has_no_room_under_a_cap_that_is_lower() -> None:
    problem = two_cars(cap=6.0, least=8.0)
    lack = lack_of(problem, solve(problem), "near")
    assert lack.missing_kwh == pytest.approx(36.0)
    assert dict(lack.limits)["import cap of first"] == 4


def test_an_event_and_reserve_are_named(make_fleet: Make) -> None:
    problem = two_cars()
    reserve = Reserve(np.zeros(4), [0.0], 0.0, down_price_per_kw_h=[5.0])
    problem = replace(problem, reserve=reserve, limit_per_kwh=FROM_PRICES)
    lack = lack_of(problem, solve(problem), "near")
    assert dict(lack.limits) == {"reserve sold": 4}
    seen = 0
    for seed in range(6):
        busy = make_fleet(seed, evs=8)
        busy = replace(busy, events=tuple(replace(event, max_net_kw=event.max_net_kw - 50, shortfall_per_kwh=9.0)
                                          for event in busy.events))
        plan = solve(busy)
        for one in lacks(busy, plan):
            in_event = len(set(one.steps) & set(busy.events[0].steps.tolist()))
            assert dict(one.limits).get("event event-0", 0) <= in_event
            seen += bool(in_event)
    assert seen


def test_the_kw_that_would_have_done_do(make_fleet: Make) -> None:
    """Given that much more power in those steps, and no limit, the car has what it missed."""
    checked = 0
    for seed in range(20):
        problem = make_fleet(seed, evs=10, tight=True, feeders=seed % 2 == 1)
        plan = solve(problem)
        found = lacks(problem, plan)
        assert sorted(lack.ev for lack in found) == np.flatnonzero(plan.outcome.shortfall_kwh > 1e-6).tolist()
        assert [lack.missing_kwh for lack in found] == sorted((lack.missing_kwh for lack in found), reverse=True)
        for lack in found:
            stay = problem.evs.depart[lack.ev] - problem.evs.arrive[lack.ev]
            stored = problem.step_h * problem.evs.charge_efficiency[lack.ev]
            given = stored * (lack.more_kw * len(lack.steps) + lack.beyond_kw * stay)
            assert given == pytest.approx(lack.missing_kwh, rel=1e-6, abs=1e-6)
            assert (lack.beyond_kw > 1e-9) == (lack.possible_kwh < problem.evs.target_kwh[lack.ev] - 1e-9)
            assert lack_words(lack)
            checked += 1
    assert checked > 20
