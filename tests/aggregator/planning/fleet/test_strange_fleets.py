"""Whatever a problem looks like, it has a plan: no exception, nothing the checker objects to, its limits in words."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Alone
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.checker import violations
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Event, Problem
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.program.reference import Reference
from aggregator.planning.fleet.program.solver import NoPlan
from aggregator.planning.fleet.solving import solve

Make = Callable[..., Problem]


def strange(make_fleet: Make, seed: int) -> Problem:
    """Full and dead batteries, closed sites, lines that carry nothing, prices for being paid, events upon events."""
    draw = np.random.default_rng(seed)
    flags = {name: bool(draw.random() < 0.4) for name in (
        "feeders", "reserve", "negative", "below_floor", "lossless", "tight", "minimums")}
    problem = make_fleet(seed, evs=int(draw.integers(1, 14)), sites=int(draw.integers(1, 5)),
                         steps=int(draw.choice([2, 3, 8, 12])), events=int(draw.integers(0, 4)), **flags)
    evs, sites = problem.evs, problem.sites
    count, full = len(evs), draw.random(len(evs)) < 0.2
    evs = replace(evs, energy_kwh=np.where(full, evs.capacity_kwh, evs.energy_kwh),
                  target_kwh=np.where(draw.random(count) < 0.3, evs.capacity_kwh, evs.target_kwh),
                  depart=np.where(draw.random(count) < 0.3, evs.arrive + 1, evs.depart))
    closed = draw.random((len(sites), 1)) < 0.2
    sites = replace(sites, import_cap_kw=np.where(closed, 0.0, sites.import_cap_kw),
                    export_cap_kw=np.where(draw.random((len(sites), 1)) < 0.3, 0.0, sites.export_cap_kw))
    if draw.random() < 0.3:
        problem = replace(problem, events=(*problem.events, Event(
            "all day", np.arange(problem.steps), np.full(problem.steps, -50.0), 5.0)))
    if problem.feeders is not None and draw.random() < 0.5:
        problem = replace(problem, feeders=replace(
            problem.feeders, line_kw=problem.feeders.line_kw * draw.choice([0.0, 0.1, 1.0]),
            x_per_kw=problem.feeders.x_per_kw * draw.choice([1.0, 50.0])))
    if draw.random() < 0.2:
        problem = replace(problem, export_price=problem.import_price + draw.uniform(-0.1, 0.3, problem.steps))
    return replace(problem, evs=evs, sites=sites)


def in_blocks(problem: Problem, gap: float = 1e-3, time_limit_s: float = 0.5) -> Plan:
    return decompose(problem, gap, time_limit_s, executor=Alone(BlockService(problem, blocks_of(problem)))).plan


@given(seed=st.integers(0, 1_000_000))
@settings(max_examples=12, deadline=None)
def test_there_is_always_a_plan(make_fleet: Make, seed: int) -> None:
    problem = strange(make_fleet, seed)
    for plan in (solve_whole(problem, time_limit_s=3.0), in_blocks(problem)):
        assert violations(problem, plan.schedule) == ()
        assert np.isfinite(plan.bound)
        assert plan.bound <= plan.objective + 1e-6 * max(1.0, abs(plan.objective))
        slack = plan.schedule.unserved_kw.sum() + plan.schedule.spilled_kw.sum()
        assert slack <= 1e-4 or any("beyond what its limits have room for" in line for line in plan.alarms)


def test_a_reactive_load_that_breaks_the_voltage_alone_is_alarmed_and_planned_around(make_fleet: Make) -> None:
    problem = make_fleet(4, feeders=True)
    feeders = replace(problem.feeders, x_per_kw=np.full(3, 5e-3))
    narrow = replace(problem, feeders=feeders)
    plan = solve_whole(narrow)
    assert [line for line in violations(narrow, plan.schedule) if "no room for" not in line] == []
    assert any("by the reactive load alone" in line for line in plan.alarms)
    assert plan.bound == pytest.approx(Reference(narrow).run(10.0).objective, rel=1e-6)


def test_a_floor_out_of_reach_is_reached_as_far_as_it_can_be(make_fleet: Make) -> None:
    problem = make_fleet(2, below_floor=True, events=0)
    low = replace(problem.evs, energy_kwh=np.zeros(6), max_charge_kw=np.full(6, 0.01), target_kwh=np.zeros(6),
                  max_discharge_kw=np.zeros(6))
    poor = replace(problem, evs=low)
    plan = solve_whole(poor)
    assert violations(poor, plan.schedule) == ()
    assert sum("below its floor" in line for line in plan.alarms) == 6
    stay = poor.step_h * (low.depart - low.arrive)
    np.testing.assert_allclose(plan.outcome.energy_kwh[:, -1], 0.01 * stay * low.charge_efficiency, atol=1e-6)


def test_hard_limits_are_kept_or_refused_whatever_the_time(make_fleet: Make) -> None:
    kept = 0
    for seed in range(20):
        problem = make_fleet(seed, feeders=True, minimums=True, tight=True, limit_per_kwh=None)
        try:
            plan = solve(problem, time_limit_s=0.0)
        except NoPlan:
            continue
        assert violations(problem, plan.schedule) == ()
        kept += 1
    assert kept


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_where_burning_pays_blocks_keep_hard_lines_and_voltages_or_say_where_not(make_fleet: Make, seed: int) -> None:
    """What is held to one direction runs into other lines than what goes both ways."""
    problem = make_fleet(seed, evs=16, sites=5, feeders=True, negative=True, events=1, limit_per_kwh=None)
    narrow = replace(problem, feeders=replace(problem.feeders, line_kw=0.5 * problem.feeders.line_kw))
    try:
        plan = decompose(narrow, 1e-2, 3.0, executor=Alone(BlockService(narrow, blocks_of(narrow)))).plan
    except NoPlan:
        return
    assert [line for line in violations(narrow, plan.schedule) if "no room for" not in line] == []
