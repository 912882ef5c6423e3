"""The whole program: the same optimum as the readable model, judged by the checker, never below the bound."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aggregator.planning.fleet.checker import Schedule, curtailment_of, evaluate, violations
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.monolith import duals_of, schedule_of, solve_whole
from aggregator.planning.fleet.program.reference import Reference
from aggregator.planning.fleet.program.solver import NoPlan, Solver
from aggregator.planning.fleet.repair.certificate import burn_price, uncertified
from aggregator.planning.fleet.reserve.headroom import Headroom
from aggregator.planning.linear_program import lower_bound

Make = Callable[..., Problem]
SEEDS = range(14)  # times the sorts of the conftest: 238 problems


@pytest.mark.parametrize("seed", SEEDS)
def test_the_arrays_are_the_pyomo_model(seed: int, kind: dict[str, Any], make_fleet: Make) -> None:
    problem = make_fleet(seed, **kind)
    program = assemble(problem)
    by_arrays, by_model = Solver(program), Reference(problem)
    try:
        found = by_arrays.run(10.0, Headroom(problem, program))
    except NoPlan:
        with pytest.raises(NoPlan):
            by_model.run(10.0)
        return
    assert found.objective == pytest.approx(by_model.run(10.0).objective, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_checker_finds_the_plan_sound_and_its_cost_that_of_the_solver(
    seed: int, kind: dict[str, Any], make_fleet: Make
) -> None:
    problem = make_fleet(seed, **kind)
    try:
        plan = solve_whole(problem)
    except NoPlan:
        assert problem.limit_per_kwh is None or problem.feeders is not None
        return
    assert violations(problem, plan.schedule) == ()
    assert plan.bound <= plan.objective + 1e-7 * max(1.0, abs(plan.objective))
    if plan.repair.cells == plan.repair.meters == plan.repair.minimums == 0:
        assert plan.objective == pytest.approx(plan.bound, rel=1e-6, abs=1e-6)
    else:
        assert plan.objective == pytest.approx(plan.bound + plan.repair.cost, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_the_pyomo_models_own_schedule_costs_what_the_checker_says(seed: int, make_fleet: Make) -> None:
    problem = make_fleet(seed, feeders=seed % 2 == 0)
    reference = Reference(problem)
    try:
        answer = reference.run(10.0)
    except NoPlan:
        return
    schedule = reference.schedule(answer)
    assert evaluate(problem, schedule).objective == pytest.approx(answer.objective, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_no_schedule_that_the_checker_accepts_costs_less_than_the_bound(seed: int, make_fleet: Make) -> None:
    problem = make_fleet(seed, negative=seed % 2 == 0, events=2)
    bound = solve_whole(problem).bound
    draw = np.random.default_rng(seed)
    accepted = 0
    for share in (0.0, 0.02, 0.05, 0.2, 0.5):
        charge, discharge = _random_powers(problem, draw, share)
        none = np.zeros_like(problem.sites.base_kw)
        schedule = Schedule(charge, discharge, curtailment_of(problem, charge, discharge), none, none, np.zeros(0))
        if violations(problem, schedule):
            continue
        accepted += 1
        assert evaluate(problem, schedule).objective >= bound - 1e-6
    assert accepted or problem.sites.export_cap_kw.max() == 0


def _random_powers(problem: Problem, draw: np.random.Generator, share: float) -> tuple[Floats, Floats]:
    """Powers in one direction per cell that keep the batteries within their bounds, step by step."""
    evs, hours = problem.evs, problem.step_h
    charge, discharge = np.zeros((2, len(evs), problem.steps))
    for k in range(len(evs)):
        energy = evs.energy_kwh[k]
        for t in range(evs.arrive[k], evs.depart[k]):
            if evs.may_discharge[k] and draw.random() < 0.3:
                most = (energy - evs.floor_kwh[k]) * evs.discharge_efficiency[k] / hours
                discharge[k, t] = share * draw.random() * min(evs.max_discharge_kw[k], most)
            else:
                most = (evs.capacity_kwh[k] - energy) / evs.charge_efficiency[k] / hours
                charge[k, t] = share * draw.random() * min(evs.max_charge_kw[k], most)
            energy += hours * (charge[k, t] * evs.charge_efficiency[k] - discharge[k, t] / evs.discharge_efficiency[k])
    return charge, discharge


@pytest.mark.parametrize("seed", range(8))
def test_any_prices_of_the_rows_prove_a_bound(seed: int, kind: dict[str, Any], make_fleet: Make) -> None:
    program = assemble(make_fleet(seed, **kind))
    try:
        best = Solver(program).run(10.0)
    except NoPlan:
        return
    draw = np.random.default_rng(seed)
    for noise in (0.0, 0.01, 1.0):
        dual = best.row_dual * (1 + noise * draw.normal(size=len(best.row_dual)))
        assert lower_bound(program, dual) <= best.objective + 1e-7 * max(1.0, abs(best.objective))
    assert lower_bound(program, best.row_dual) == pytest.approx(best.objective, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("seed", range(30))
def test_only_uncertified_cells_burn_energy(seed: int, make_fleet: Make) -> None:
    problem = make_fleet(seed, negative=True, events=0)
    program = assemble(problem)
    answer = Solver(program).run(10.0)
    schedule = schedule_of(problem, program, answer.x)
    burns = np.minimum(schedule.charge_kw, schedule.discharge_kw) > 1e-6
    allowed = uncertified(problem, duals_of(problem, program, answer).site.total)
    assert not (burns & ~allowed).any()


def test_burning_does_occur_and_is_put_right(make_fleet: Make) -> None:
    burning = [plan for seed in range(30)
               if (plan := solve_whole(make_fleet(seed, negative=True, events=0))).repair.cells]
    assert burning
    for plan in burning:
        assert np.minimum(plan.schedule.charge_kw, plan.schedule.discharge_kw).max() <= 1e-6
        assert plan.repair.cells <= plan.repair.uncertified


def test_without_loss_nothing_is_ever_burnt(make_fleet: Make) -> None:
    assert np.isneginf(burn_price(make_fleet(0, lossless=True).evs)).all()


def test_the_price_of_a_site_is_what_one_kw_more_of_its_load_costs(make_fleet: Make) -> None:
    checked = 0
    for seed in range(6):
        problem = make_fleet(seed, feeders=True, events=1)
        try:
            plan = solve_whole(problem)
        except NoPlan:
            continue
        for site, step in ((0, 2), (1, 4), (2, 6)):
            more = problem.sites.base_kw.copy()
            more[site, step] += 1e-4
            dearer = solve_whole(replace(problem, sites=replace(problem.sites, base_kw=more)))
            slope = (dearer.bound - plan.bound) / 1e-4 / problem.step_h
            assert slope == pytest.approx(plan.duals.site.total[site, step], abs=2e-3)
            checked += 1
    assert checked >= 6


def test_a_block_is_the_problem_of_its_sites_alone(make_fleet: Make) -> None:
    for seed in range(10):
        problem = make_fleet(seed, events=0, sites=4)
        parts = sum(solve_whole(problem.part(np.array(sites))).bound for sites in ([0], [2, 1], [3]))
        assert parts == pytest.approx(solve_whole(problem).bound, rel=1e-6)


def test_a_feeder_is_never_cut_in_two(make_fleet: Make) -> None:
    problem = make_fleet(3, feeders=True, sites=5)
    together = np.flatnonzero(problem.feeders.feeder == problem.feeders.feeder[0])
    assert len(problem.part(together).sites) == len(together) > 1
    with pytest.raises(ValueError, match="whole feeders"):
        problem.part(together[:-1])


def test_a_building_above_its_cap_still_has_a_plan_that_says_so(make_fleet: Make) -> None:
    problem = make_fleet(1, evs=2, events=0)
    narrow = replace(problem, sites=replace(problem.sites, import_cap_kw=np.full_like(problem.sites.base_kw, 1.0),
                                            pv_kw=np.zeros_like(problem.sites.pv_kw)))
    plan = solve_whole(narrow)
    assert violations(narrow, plan.schedule) == ()
    assert plan.schedule.unserved_kw.sum() > 0
    assert plan.outcome.costs["limits"] > 0
    with pytest.raises(NoPlan):
        solve_whole(replace(narrow, limit_per_kwh=None))


def test_a_car_that_arrives_below_its_floor_charges_first_and_never_discharges(make_fleet: Make) -> None:
    seen = 0
    for seed in range(20):
        problem = make_fleet(seed, below_floor=True)
        plan, low = solve_whole(problem), problem.evs.energy_kwh < problem.evs.floor_kwh
        seen += int(low.sum())
        assert not plan.schedule.discharge_kw[low].any()
        assert plan.outcome.costs["below_floor"] >= 0
    assert seen


def test_without_time_a_plan_without_a_solver_comes_back_with_a_bound(make_fleet: Make) -> None:
    problem = make_fleet(2, evs=40, sites=4, steps=96)
    plan = solve_whole(problem, time_limit_s=0.0)
    assert plan.status == "time_limit"
    assert np.isfinite(plan.bound)
    assert plan.bound <= plan.objective
    assert violations(problem, plan.schedule) == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_solver_kept_warm_finds_what_a_new_one_finds(seed: int, make_fleet: Make) -> None:
    problem = make_fleet(seed)
    reference = Reference(problem)
    reference.run(10.0)
    other = replace(problem, import_price=problem.import_price * 1.1, export_price=problem.export_price * 0.9,
                    sites=replace(problem.sites, base_kw=problem.sites.base_kw * 1.02))
    reference.reprice(other.import_price, other.export_price)
    reference.reload(other.sites.base_kw - other.sites.pv_kw)
    assert reference.run(10.0).objective == pytest.approx(Reference(other).run(10.0).objective, rel=1e-7, abs=1e-7)
