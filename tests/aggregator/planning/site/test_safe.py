"""The plan without a solver."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.site.checker import check
from aggregator.planning.site.problem import Problem
from aggregator.planning.site.safe import safe_plan

MakeProblem = Callable[..., Problem]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), cap=st.floats(0, 90))
def test_the_safe_plan_crosses_the_cap_only_where_the_building_alone_does(make_problem: MakeProblem, seed: int,
                                                                         cap: float) -> None:
    problem = make_problem(seed, cap_kw=cap)
    plan = safe_plan(problem)
    assert (plan.net_kw <= np.maximum(problem.import_cap_kw, problem.base_kw) + 1e-9).all()
    assert plan.discharge_kw.max() == 0.0
    assert check(problem, plan) == ()


def test_the_safe_plan_charges_as_early_as_it_can_and_stops_at_the_target(make_problem: MakeProblem) -> None:
    problem = make_problem(4, evs=1, cap_kw=1e4, minimums=False)
    car = replace(problem.evs[0], arrive=0, depart=20, energy_kwh=5.0, capacity_kwh=60.0, target_kwh=15.0,
                  floor_kwh=0.0, max_charge_kw=11.0, charge_efficiency=1.0)
    plan = safe_plan(replace(problem, evs=(car,), first_step_fraction=1.0))
    assert plan.charge_kw[0, :3] == pytest.approx(11.0)
    assert plan.energy_kwh[0, -1] == pytest.approx(15.0)
    assert plan.charge_kw[0, 4:].max() == 0.0


def test_an_unknown_building_load_leaves_no_room(make_problem: MakeProblem) -> None:
    problem = make_problem(4)
    assert safe_plan(replace(problem, base_kw=np.full(24, np.nan))).charge_kw.max() == 0.0
