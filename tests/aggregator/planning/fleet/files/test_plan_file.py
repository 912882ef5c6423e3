"""A plan's file says what the plan says, to any reader of JSON."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aggregator.planning.fleet import Problem, solve
from aggregator.planning.fleet.files import plan_file

Make = Callable[..., Problem]


def test_a_plan_of_which_nothing_is_proven_is_json_too(make_fleet: Make) -> None:
    problem = make_fleet(4)
    written = json.dumps(plan_file.as_json(problem, replace(solve(problem), bound=-np.inf)), allow_nan=False)
    assert json.loads(written)["bound"] is None
    assert json.loads(written)["gap"] is None


def test_all_who_fall_short_are_named_and_the_worst_are_looked_into(
    make_fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_fleet(4, evs=30, tight=True)
    plan = solve(problem)
    monkeypatch.setattr(plan_file, "_LOOKED_INTO", 3)
    found = plan_file.summary(problem, plan)["shortfalls"]
    missing = plan.outcome.shortfall_kwh
    assert len(found) == np.count_nonzero(missing > 1e-6) > 3
    assert [one["missing_kwh"] for one in found] == sorted(missing[missing > 1e-6], reverse=True)
    assert ["in_words" in one for one in found] == [k < 3 for k in range(len(found))]


def test_an_event_has_its_missing_energy(make_fleet: Make) -> None:
    problem = make_fleet(4)
    problem = replace(problem, events=(replace(problem.events[0], max_net_kw=problem.events[0].max_net_kw - 1e3),))
    event, = plan_file.summary(problem, solve(problem))["events"]
    assert event["shortfall_kwh"] == pytest.approx(problem.step_h * sum(event["shortfall_kw"]))
    assert event["shortfall_kwh"] > 1e3
