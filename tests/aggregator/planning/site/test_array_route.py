"""A plan made by arrays is the plan that the readable model makes, with its repairs and its explanation."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.checker import check
from aggregator.planning.site.problem import Commitment, Cut, FeederRow, Problem
from aggregator.planning.site.solve import solve

MakeProblem = Callable[..., Problem]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), negative=st.booleans(), event=st.booleans(), minimums=st.booleans())
def test_both_routes_find_one_plan(
    make_problem: MakeProblem, seed: int, negative: bool, event: bool, minimums: bool
) -> None:
    """To the last bit, with repairs and words: the arrays stand as the compiled model does."""
    problem = make_problem(
        seed, evs=1 + seed % 5, steps=8 + seed % 13, negative=negative, event=event, minimums=minimums)
    cars = {ev.id: 1.0 for ev in problem.evs}
    if seed % 3 == 0:
        problem = replace(
            problem, cuts=(Cut("taper", 14.0, ev_id="car-0", slope_per_h=0.3),),
            feeder_rows=(FeederRow("line_overload", "line.a", 5, cars, 3.0),),
            commitments=(*problem.commitments, Commitment("second", (2, 3), (5.0, 6.0), 1.0)))
    here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
    np.testing.assert_array_equal(here.charge_kw, there.charge_kw)
    np.testing.assert_array_equal(here.discharge_kw, there.discharge_kw)
    assert here.binding == there.binding
    assert here.bound == pytest.approx(there.bound, rel=1e-9, abs=1e-9)
    assert check(problem, here) == ()
    assert here.status == "optimal"


def test_every_kind_of_limit_is_named_as_by_the_model(make_problem: MakeProblem) -> None:
    """On problems in which one limit alone can decide."""
    whole = make_problem(4, evs=3, steps=12, event=True, cap_kw=18.0, minimums=False)
    first = whole.evs[0]
    row = FeederRow("line_overload", "line.a", first.arrive, {ev.id: 1.0 for ev in whole.evs}, 0.5)
    wish = replace(first, target_kwh=first.capacity_kwh)
    for problem in (
        replace(whole, base_kw=np.full(12, 17.0)), replace(whole, demand_price=50.0, peak_so_far_kw=0.0),
        replace(whole, evs=(wish, *whole.evs[1:])), replace(whole, feeder_rows=(row,)),
    ):
        here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
        assert here.binding
        assert here.binding == there.binding


def test_where_selling_pays_more_the_model_with_its_binaries_decides(make_problem: MakeProblem) -> None:
    problem = make_problem(5, evs=4, steps=12, cap_kw=200.0)
    problem = replace(problem, base_kw=np.full(12, -1.0), export_price=problem.import_price + 0.05,
                      export_cap_kw=np.full(12, 100.0))
    here, there = solve(problem, route="arrays"), solve(problem, route="pyomo")
    assert here.objective == pytest.approx(there.objective, rel=1e-5)
