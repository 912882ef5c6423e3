"""Reserve is judged by the twin's battery, and the twin's battery by a plain integration in small steps."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet import solve, violations
from aggregator.planning.fleet.checker import energies, ev_headroom
from aggregator.planning.fleet.problem import Evs, Floats, Problem, ProblemFaults
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.reserve.call import held_reserve
from aggregator.planning.fleet.reserve.check import with_held_reserve
from aggregator.planning.fleet.reserve.twin_battery import TwinBatteries
from aggregator.planning.fleet.words import reserve_words

Make = Callable[..., Problem]


def bent(problem: Problem, seed: int) -> Problem:
    """The problem with cars whose batteries a linear program does not know; some stay as they are."""
    draw = np.random.default_rng(seed)
    count = len(problem.evs)
    taper, standby = draw.choice([0.0, 0.4, 0.8, 1.0], count), draw.choice([0.0, 0.2, 0.6], count)
    return replace(problem, evs=replace(problem.evs, taper_soc=taper, standby_kw=standby))


def integrated(evs: Evs, energy_kwh: Floats, ordered_kw: Floats, hours: float, slices: int = 4000) -> Floats:
    """Mean power, from the words of the columns: each slice takes or gives what the energy at its start allows."""
    energy, moved, slice_h = energy_kwh.copy(), np.zeros(len(evs)), hours / slices
    floor = np.minimum(np.minimum(evs.floor_kwh, evs.energy_kwh), energy_kwh)
    loss, standby = 1.0 / evs.charge_efficiency - 1.0, evs.standby_kw
    full = (evs.max_charge_kw - standby) / (1.0 + loss)
    for _ in range(slices):
        soc = energy / evs.capacity_kwh
        fall = np.where(evs.taper_soc < 1, (1.0 - soc) / np.maximum(1.0 - evs.taper_soc, 1e-12), np.inf)
        wanted = np.maximum(0.0, ordered_kw - standby) / (1.0 + loss)
        stored = np.minimum(wanted, full * np.minimum(1.0, fall))
        stored = np.where(energy < evs.capacity_kwh, np.maximum(stored, 0.0), 0.0)
        taken = np.where(stored >= wanted, np.minimum(ordered_kw, stored * (1.0 + loss) + standby),
                         np.where(stored > 0, stored * (1.0 + loss) + standby, 0.0))
        taken = np.where(energy < evs.capacity_kwh, taken, 0.0)
        drawn = np.where(energy > floor, (-ordered_kw + standby) / evs.discharge_efficiency, 0.0)
        gives = ordered_kw < 0
        through = np.where(gives, np.where(drawn > 0, ordered_kw, 0.0), np.where(ordered_kw > 0, taken, 0.0))
        energy = np.clip(energy + slice_h * np.where(gives, -drawn, np.where(ordered_kw > 0, stored, 0.0)), 0.0,
                         evs.capacity_kwh)
        moved += slice_h * through
    return moved / hours


@given(seed=st.integers(0, 10_000), hours=st.sampled_from([0.25, 1.0, 3.0]))
@settings(max_examples=3, deadline=None)
def test_the_twin_moves_what_a_plain_integration_moves(make_fleet: Make, seed: int, hours: float) -> None:
    evs = bent(make_fleet(seed, evs=30), seed).evs
    draw = np.random.default_rng(seed)
    energy = draw.uniform(0.2, 0.99, len(evs)) * evs.capacity_kwh
    judge = TwinBatteries(replace(make_fleet(seed, evs=30), evs=evs))
    for sign in (1.0, -1.0):
        most = evs.max_charge_kw if sign > 0 else evs.max_discharge_kw
        # What only feeds the losses is an order that no plan gives.
        ordered = sign * np.where(most > 1.0, draw.uniform(0.3, 1.0, len(evs)) * most, 0.0)
        ordered = np.where(np.abs(ordered) > 1.5 * evs.standby_kw, ordered, 0.0)
        for _ in range(2):  # a second call finds no trace of the first
            moved = judge(energy, ordered, hours)
            np.testing.assert_allclose(moved, integrated(evs, energy, ordered, hours), atol=0.02)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_what_a_plan_sells_is_given_in_small_steps_too(make_fleet: Make, seed: int) -> None:
    problem = bent(make_fleet(seed, reserve=True, evs=14), seed)
    schedule = solve_whole(problem).schedule
    found = held_reserve(problem, schedule, TwinBatteries(problem))
    assert found.judged == found.checks
    assert (found.reserve_kw <= schedule.reserve_kw + 1e-9).all()
    assert (found.reserve_kw >= -1e-9).all()
    assert problem.reserve is not None
    energy = energies(problem, schedule.charge_kw, schedule.discharge_kw)
    planned = schedule.charge_kw - schedule.discharge_kw
    for way, kw in enumerate(problem.reserve.asked(found.reserve_kw)):
        room = ev_headroom(problem, schedule)[way]
        for step in np.flatnonzero(kw > 1e-3)[:2]:
            before = energy[:, step - 1] if step else problem.evs.energy_kwh
            sustain = max(problem.reserve.sustain_h, 1 / 3600)
            start = before + (energy[:, step] - before) * (1.0 - problem.reserve.sustain_h / problem.step_h)
            was = integrated(problem.evs, before, planned[:, step], problem.step_h, 1000)
            # With every car called for all it has, in a fleet of which each gives what it can: no promise is above.
            full = planned[:, step] - (1.0, -1.0)[way] * room[:, step]
            real = integrated(problem.evs, start, full, sustain, 1000)
            moved = np.maximum(0.0, (1.0, -1.0)[way] * (was - real))
            assert kw[step] <= moved.sum() + 0.05 * len(moved)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_batteries_that_only_charge_and_lose_as_declared_hold_all_of_it(make_fleet: Make, seed: int) -> None:
    problem = make_fleet(seed, reserve=True, evs=12)
    assert problem.reserve is not None
    # Reserve for no time at all would count on the power of a car that is full.
    lasting = replace(problem.reserve, sustain_h=max(0.25, problem.reserve.sustain_h))
    problem = replace(problem, evs=replace(problem.evs, max_discharge_kw=np.zeros(12)), reserve=lasting)
    schedule = solve_whole(problem).schedule
    found = held_reserve(problem, schedule, TwinBatteries(problem))
    assert found.judged == found.checks
    np.testing.assert_allclose(found.reserve_kw, schedule.reserve_kw, atol=1e-5)


def test_without_reserve_nothing_is_judged(make_fleet: Make) -> None:
    plan = solve(make_fleet(7))
    assert plan.reserve_check is None
    assert reserve_words(plan) == ""


def test_a_plan_says_how_much_of_its_reserve_holds_and_costs_what_the_rest_earns(make_fleet: Make) -> None:
    problem = make_fleet(7, reserve=True, evs=12)
    problem = replace(problem, evs=replace(problem.evs, taper_soc=np.full(12, 0.2)))
    plan, linear = solve(problem), solve_whole(problem)
    check = plan.reserve_check
    assert check is not None
    np.testing.assert_allclose(check.sold_kw, linear.schedule.reserve_kw, atol=1e-6)
    lost = check.sold_kw - plan.schedule.reserve_kw
    assert lost.max() > 0.1
    assert problem.reserve is not None
    hours = problem.step_h * np.bincount(problem.reserve.block, minlength=len(problem.reserve))
    assert plan.objective - linear.objective == pytest.approx((problem.reserve.prices * lost).sum(axis=0) @ hours)
    assert plan.bound == linear.bound
    assert plan.status == "feasible"
    assert violations(problem, plan.schedule) == ()
    assert "cut back from" in reserve_words(plan)


def test_what_the_time_leaves_unjudged_is_counted(make_fleet: Make) -> None:
    problem = bent(make_fleet(7, reserve=True, evs=12), 1)
    plan = with_held_reserve(problem, solve_whole(problem), gap=1e-3, time_limit_s=0.0)
    assert plan.reserve_check is not None
    assert plan.reserve_check.judged == 0 < plan.reserve_check.checks
    assert f"0 of {plan.reserve_check.checks} calls were judged" in reserve_words(plan)
    np.testing.assert_array_equal(plan.schedule.reserve_kw, plan.reserve_check.sold_kw)


def test_a_judge_without_time_for_all_batteries_is_not_ready(make_fleet: Make) -> None:
    problem = bent(make_fleet(7, evs=12), 1)
    assert TwinBatteries(problem).is_ready
    assert not TwinBatteries(problem, time_limit_s=0.0).is_ready


def test_cars_of_one_model_share_its_tables_and_move_what_each_would_move_alone(make_fleet: Make) -> None:
    problem = make_fleet(3, evs=200)
    one = bent(make_fleet(3, evs=4), 2).evs
    model = np.arange(200) % 4
    alike = {name: getattr(one, name)[model] for name in (
        "capacity_kwh", "max_charge_kw", "max_discharge_kw", "charge_efficiency", "discharge_efficiency", "taper_soc",
        "standby_kw")}
    evs = replace(problem.evs, **alike, energy_kwh=0.5 * alike["capacity_kwh"], floor_kwh=np.zeros(200),
                  target_kwh=np.zeros(200))
    together, kinds = TwinBatteries(replace(problem, evs=evs)), int(evs.has_curves[:4].sum())
    assert [(len(cars), len(np.unique(classes))) for cars, _, classes in together._states] == [(50 * kinds, 2 * kinds)]
    energy = np.linspace(0.2, 0.95, 200) * evs.capacity_kwh
    ordered = np.where(np.arange(200) % 3 > 0, evs.max_charge_kw, -evs.max_discharge_kw)
    alone = np.zeros(200)
    for ev in range(200):
        own = replace(problem, evs=replace(evs, ids=(str(ev),), **{
            name: value[[ev]] for name, value in vars(evs).items() if isinstance(value, np.ndarray)}))
        alone[ev] = TwinBatteries(own)(energy[[ev]], ordered[[ev]], 0.5)[0]
    np.testing.assert_allclose(together(energy, ordered, 0.5), alone, atol=1e-9)


def test_a_battery_that_the_twin_does_not_have_is_a_fault(make_fleet: Make) -> None:
    problem = make_fleet(1)
    count = len(problem.evs)
    with pytest.raises(ProblemFaults) as refused:
        replace(problem, evs=replace(problem.evs, taper_soc=np.full(count, 1.5), standby_kw=np.full(count, -1.0)))
    assert "evs[car-0].taper_soc: is 1.5, expected from 0 to 1" in str(refused.value)
    assert "evs[car-0].standby_kw: is -1, expected 0 or more" in str(refused.value)
    with pytest.raises(ProblemFaults, match=r"above 0\.5 for a car with taper_soc"):
        replace(problem, evs=replace(problem.evs, taper_soc=np.full(count, 0.5), charge_efficiency=np.full(count, 0.4)))
