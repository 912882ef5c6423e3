"""Minimum powers: every plan keeps them, what that costs is said, and in small fleets it is close to the least."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Alone
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.checker import energies, violations
from aggregator.planning.fleet.idle import idle_schedule
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.repair.by_hand import followed
from aggregator.planning.fleet.repair.minimums import _carried
from aggregator.planning.fleet.room import Limits

Make = Callable[..., Problem]


@given(seed=st.integers(0, 10_000), events=st.integers(0, 2), negative=st.booleans(), feeders=st.booleans())
@settings(max_examples=3, deadline=None)
def test_a_plan_of_one_program_or_of_blocks_keeps_every_minimum(
    make_fleet: Make, seed: int, events: int, negative: bool, feeders: bool,
) -> None:
    problem = make_fleet(seed, evs=12, sites=4, minimums=True, events=events, negative=negative, feeders=feeders)
    free = replace(problem, evs=replace(problem.evs, min_charge_kw=np.zeros(12), min_discharge_kw=np.zeros(12),
                                        sleeps=np.zeros(12)))
    whole, parts = solve_whole(problem, time_limit_s=10.0), decompose(
        problem, 1e-3, 2.0, executor=Alone(BlockService(problem, blocks_of(problem)))).plan
    for plan in (whole, parts):
        assert violations(problem, plan.schedule) == ()
        assert plan.objective >= solve_whole(free).bound - 1e-6 * max(1.0, abs(plan.objective))
        assert plan.bound <= min(whole.objective, parts.objective) + 1e-6 * max(1.0, abs(plan.objective))


@pytest.mark.parametrize("feeders", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_bound_lies_above_the_best_of_all_plans_and_no_plan_far_from_it(
    seed: int, feeders: bool, make_fleet: Make,
) -> None:
    problem = make_fleet(seed, evs=8, minimums=True, feeders=feeders)
    best = _best_of_all(problem)
    scale = 1e-6 * max(1.0, abs(best))
    executor = Alone(BlockService(problem, blocks_of(problem)))
    for plan in (solve_whole(problem), decompose(problem, 1e-3, 60.0, executor=executor).plan):
        assert plan.bound <= best + scale
        assert plan.objective >= best - scale
        assert violations(problem, plan.schedule) == ()
        # A twentieth in fleets of eight cars, where a minimum is a large part of what there is to plan.
        assert plan.objective <= best + 0.05 * max(1.0, abs(best))


def _best_of_all(problem: Problem) -> float:
    """The optimum with minimums and sleep as the checker has them, by a mixed-integer program of its own.

    By cell: on (charges), off (discharges), full (filled up, so that less than the minimum will do), awake.
    """
    program, evs, cells = assemble(problem), problem.evs, assemble(problem).cells
    width, count = len(program.cost), len(cells)
    on, off, full, awake = (width + way * count + np.arange(count) for way in range(4))
    charge = program.columns["charge"].start + np.arange(count)
    energy = program.columns["energy"].start + np.arange(count)
    rows: list[dict[int, float]] = []
    limits: list[float] = []

    def at_most(limit: float, **terms: float) -> None:
        rows.append({int(column): value for column, value in terms.items()})
        limits.append(limit)

    for cell in range(count):
        ev = int(cells.ev[cell])
        least, most, capacity = evs.min_charge_kw[ev], evs.max_charge_kw[ev], evs.capacity_kwh[ev]
        at_most(0.0, **{str(charge[cell]): 1.0, str(on[cell]): -most})
        at_most(0.0, **{str(on[cell]): least, str(full[cell]): -least, str(charge[cell]): -1.0})
        at_most(0.0, **{str(full[cell]): capacity, str(energy[cell]): -1.0})
        at_most(1.0, **{str(on[cell]): 1.0, str(off[cell]): 1.0})
        if cells.discharge[cell] >= 0:
            gives = program.columns["discharge"].start + int(cells.discharge[cell])
            at_most(0.0, **{str(gives): 1.0, str(off[cell]): -evs.max_discharge_kw[ev]})
            at_most(0.0, **{str(off[cell]): evs.min_discharge_kw[ev], str(gives): -1.0})
        if evs.sleeps[ev] > 0:
            at_most(0.0, **{str(on[cell]): 1.0, str(awake[cell]): -1.0})
            if cell > cells.first[ev]:
                before = cell - 1
                at_most(0.0, **{str(awake[cell]): 1.0, str(awake[before]): -1.0})
                at_most(0.0, **{str(awake[cell]): 1.0, str(on[before]): -1.0, str(off[before]): -1.0,
                                str(full[before]): -1.0})
    size = width + 4 * count
    at = [(row, column, value) for row, terms in enumerate(rows) for column, value in terms.items()]
    row, column, value = (np.array(part) for part in zip(*at, strict=True))
    own = csr_array((program.matrix.data, program.matrix.indices, program.matrix.indptr),
                    shape=(program.matrix.shape[0], size))
    more = csr_array((value, (row, column)), shape=(len(rows), size))
    found = milp(
        np.append(program.cost, np.zeros(4 * count)), integrality=np.append(np.zeros(width), np.ones(4 * count)),
        bounds=Bounds(np.append(program.lower, np.zeros(4 * count)), np.append(program.upper, np.ones(4 * count))),
        constraints=[LinearConstraint(own, program.row_lower, program.row_upper),
                     LinearConstraint(more, -np.inf, np.array(limits))], options={"mip_rel_gap": 1e-7})
    assert found.status == 0
    return float(found.fun + program.offset)


def test_what_minimums_cost_is_said(make_fleet: Make) -> None:
    plans = [solve_whole(make_fleet(seed, evs=12, minimums=True)) for seed in range(4)]
    assert all(plan.repair.minimums > 0 for plan in plans)
    for plan in plans:
        assert plan.objective == pytest.approx(plan.bound + plan.repair.cost, rel=1e-6, abs=1e-5)


def test_a_car_that_sleeps_is_charged_from_arrival_on_or_not_at_all(make_fleet: Make) -> None:
    seen = 0
    for seed in range(12):
        problem = make_fleet(seed, evs=12, minimums=True, events=0)
        charge = solve_whole(problem).schedule.charge_kw
        evs = problem.evs
        full = energies(problem, charge, np.zeros_like(charge)) >= evs.capacity_kwh[:, None] - 1e-6
        for ev in np.flatnonzero(evs.sleeps > 0):
            own = slice(evs.arrive[ev], evs.depart[ev])
            on = (charge[ev, own] > 1e-6) | full[ev, own]
            assert not (on[1:] & ~on[:-1]).any()
            seen += bool(on.any() and not on.all())
    assert seen


@given(seed=st.integers(0, 10_000), feeders=st.booleans(), tight=st.booleans())
@settings(max_examples=40, deadline=None)
def test_whatever_powers_are_asked_for_what_is_put_right_by_hand_breaks_nothing(
    make_fleet: Make, seed: int, feeders: bool, tight: bool,
) -> None:
    problem, draw = make_fleet(seed, minimums=True, feeders=feeders, tight=tight), np.random.default_rng(seed)
    if problem.feeders is not None:
        # So narrow that one site's export is what lets another import.
        narrow = problem.feeders.line_kw * draw.choice([0.1, 0.3, 1.0])
        problem = replace(problem, feeders=replace(problem.feeders, line_kw=narrow))
    evs, ticks = problem.evs, np.arange(problem.steps)
    there = (evs.arrive[:, None] <= ticks) & (ticks < evs.depart[:, None])
    most = np.stack([evs.max_charge_kw, np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)])[:, :, None] * there
    charge, discharge = most * draw.random(most.shape)
    asked = replace(idle_schedule(problem), charge_kw=charge, discharge_kw=discharge)
    for found in followed(problem, Limits(problem), asked):
        assert violations(problem, found) == ()


@given(shares=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=40), cars=st.integers(1, 4))
def test_rounding_keeps_each_cars_energy_to_half_a_minimum(shares: list[float], cars: int) -> None:
    share, ev = np.array(shares), np.sort(np.arange(len(shares)) % cars)
    raised = _carried(share, ev)
    for car in range(cars):
        assert abs(raised[ev == car].sum() - share[ev == car].sum()) <= 0.5 + 1e-9


@pytest.mark.parametrize("minimums", [False, True])
def test_a_plan_without_a_solver_keeps_minimums_too(minimums: bool, make_fleet: Make) -> None:
    for seed in range(20):
        problem = make_fleet(seed, minimums=minimums, tight=seed % 2 == 0)
        assert violations(problem, idle_schedule(problem)) == ()
