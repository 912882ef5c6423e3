"""A plan made by arrays is as good, as followable and as well explained as one made by the readable model."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.checker import check
from aggregator.planning.problem import FeederRow, Problem
from aggregator.planning.solve import solve

MakeProblem = Callable[..., Problem]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), negative=st.booleans(), event=st.booleans())
def test_both_routes_prove_one_bound(make_problem: MakeProblem, seed: int, negative: bool, event: bool) -> None:
    problem = make_problem(seed, evs=1 + seed % 5, steps=8 + seed % 13, negative=negative, event=event)
    here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
    assert here.bound == pytest.approx(there.bound, rel=1e-6, abs=1e-6)
    assert check(problem, here) == ()
    assert here.status == "optimal"


@pytest.mark.parametrize("seed", range(8))
def test_without_minimums_both_plans_cost_the_same(make_problem: MakeProblem, seed: int) -> None:
    problem = make_problem(seed, minimums=False)
    here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
    assert here.objective == pytest.approx(there.objective, rel=1e-6, abs=1e-6)


def test_every_kind_of_limit_is_named_as_by_the_model(make_problem: MakeProblem) -> None:
    """On problems in which one limit alone can decide, so that its price is the only one."""
    whole = make_problem(4, evs=3, steps=12, event=True, cap_kw=18.0, minimums=False)
    first = whole.evs[0]
    row = FeederRow("line_overload", "line.a", first.arrive, {ev.id: 1.0 for ev in whole.evs}, 0.5)
    wish = replace(first, target_kwh=first.capacity_kwh)
    for problem in (
        replace(whole, base_kw=np.full(12, 17.0)), replace(whole, demand_price=50.0, peak_so_far_kw=0.0),
        replace(whole, evs=(wish, *whole.evs[1:])), replace(whole, feeder_rows=(row,)),
    ):
        here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
        assert {words.split(" ")[0] for words in here.binding} == {words.split(" ")[0] for words in there.binding}


def test_where_selling_pays_more_the_model_with_its_binaries_decides(make_problem: MakeProblem) -> None:
    problem = make_problem(5, evs=4, steps=12, cap_kw=200.0)
    problem = replace(problem, base_kw=np.full(12, -1.0), export_price=problem.import_price + 0.05,
                      export_cap_kw=np.full(12, 100.0))
    here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
    assert here.objective == pytest.approx(there.objective, rel=1e-5)
