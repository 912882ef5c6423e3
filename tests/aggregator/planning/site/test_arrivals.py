"""Cars still to come: what past visits let expect, and what they do to a plan."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.gate import PlanRequest, plan_through_gate
from aggregator.planning.site.anticipation import expected_load
from aggregator.planning.site.array_route import ArrayRelaxation
from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.arrivals import LearntArrivals, PastVisit, at_once
from aggregator.planning.site.problem import EvDemand, Problem
from aggregator.planning.site.windows import step_hours
from twin.assets import TimeGrid, World

MakeProblem = Callable[..., Problem]
MakeWorld = Callable[..., World]
ZONE = "America/Los_Angeles"
MONDAY = datetime(2019, 7, 15, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RANDOM = st.integers(0, 100_000)


def visit(days_ago: int, hour: float, *, stay_h: float = 6.0, kwh: float = 12.0) -> PastVisit:
    arrival = MONDAY - days_ago * DAY + hour * HOUR
    return PastVisit(arrival, arrival + stay_h * HOUR, kwh)


def learnt(visits: list[PastVisit], before: datetime = MONDAY) -> LearntArrivals:
    found = LearntArrivals.learnt(visits, before=before, power_kw=7.0, timezone=ZONE)
    assert found is not None
    return found


def working_days(count: int) -> list[int]:
    """How many days before the Monday."""
    return [days for days in range(1, 100) if (MONDAY - days * DAY).weekday() < 5][:count]


def test_a_site_with_the_same_visits_every_working_day_expects_them_again() -> None:
    every = learnt([visit(days, 8.5) for days in working_days(60) for _ in range(3)])
    assert every.expected(weekend=False, hour=8).count == pytest.approx(3.0, abs=0.05)
    assert every.expected(weekend=True, hour=8).count < 0.5
    assert every.expected(weekend=False, hour=9).count == 0.0
    assert every.expected(weekend=False, hour=8).energy_kwh == 12.0
    assert set(every.expected(weekend=False, hour=8).stays_h) == {6.0}


def test_few_days_lean_on_all_days() -> None:
    """Two weekends say less than the ten working days beside them."""
    seen = [visit(days, 8.5) for days in range(1, 15)]
    empty_weekends = [each for each in seen if each.arrival.astimezone(ZoneInfo(ZONE)).weekday() < 5]
    expected = learnt(empty_weekends).expected(weekend=True, hour=8).count
    assert 0.0 < expected < learnt(empty_weekends).expected(weekend=False, hour=8).count


@settings(max_examples=40)
@given(seed=RANDOM)
def test_the_expected_count_lies_between_that_of_the_weekday_type_and_that_of_all_days(seed: int) -> None:
    draw = np.random.default_rng(seed)
    visits = [visit(28, 0.5)] + [
        visit(int(draw.integers(1, 28)), float(draw.integers(6, 12)) + 0.5) for _ in range(int(draw.integers(1, 80)))]
    arrivals = learnt(visits)
    for hour in range(24):
        for weekend in (False, True):
            there = [
                each for each in visits if each.arrival.astimezone(ZoneInfo(ZONE)).hour == hour]
            same = [e for e in there if (e.arrival.astimezone(ZoneInfo(ZONE)).weekday() >= 5) == weekend]
            rates = len(same) / arrivals.days[weekend], len(there) / sum(arrivals.days)
            assert min(rates) - 1e-9 <= arrivals.expected(weekend=weekend, hour=hour).count <= max(rates) + 1e-9


def test_only_days_before_the_day_teach() -> None:
    """What happens on the day itself, or ends in it, changes nothing."""
    past = [visit(days, 8.5) for days in working_days(30)]
    on_the_day = [visit(0, 1.5, stay_h=0.5), visit(0, 9.5), visit(1, 22.0, stay_h=5.0), visit(-3, 8.5)]
    afternoon = MONDAY + 15 * HOUR
    assert learnt(past + on_the_day, before=afternoon).visits == learnt(past, before=afternoon).visits
    assert learnt(past + on_the_day, before=afternoon) == learnt(past)


def test_a_site_that_was_seen_for_less_than_five_days_expects_nothing() -> None:
    assert LearntArrivals.learnt([visit(4, 8.0)], before=MONDAY, power_kw=7.0, timezone=ZONE) is None
    assert LearntArrivals.learnt([], before=MONDAY, power_kw=7.0, timezone=ZONE) is None


@settings(max_examples=40)
@given(now_h=st.floats(0.0, 23.99), steps=st.integers(1, 96))
def test_virtual_evs_come_later_fit_into_their_stay_and_carry_what_is_expected(now_h: float, steps: int) -> None:
    arrivals = learnt([visit(days, hour + 0.5) for days in working_days(40) for hour in (7, 8, 8, 9, 13)])
    now = MONDAY + now_h * HOUR
    grid = TimeGrid(datetime.fromtimestamp(now.timestamp() // 900 * 900, UTC), 900, steps)
    virtual = arrivals.virtual_evs(grid, now)
    for ev in virtual:
        assert 0 <= ev.arrive < steps
        assert ev.max_discharge_kw == ev.energy_kwh == 0.0
        assert ev.target_kwh <= ev.max_charge_kw * (ev.depart - ev.arrive) * grid.step_hours + 1e-9
    whole_hours = sum(
        arrivals.expected(weekend=False, hour=hour).count * 12.0 for hour in range(24)
        if now <= MONDAY + hour * HOUR and MONDAY + (hour + 1) * HOUR <= grid.end)
    assert sum(ev.target_kwh for ev in virtual) >= whole_hours - 0.5 * 48 - 1e-9


def test_virtual_evs_are_those_of_a_busy_day() -> None:
    """Ten days with one car and ten with three: the mean is two, a busy day has three."""
    days = working_days(20)
    arrivals = learnt([visit(day, 8.5) for day in days] + [visit(day, 8.5) for day in days[::2] for _ in range(2)])
    assert arrivals.busy == pytest.approx(1.5, rel=0.05)
    virtual = arrivals.virtual_evs(TimeGrid(MONDAY, 900, 96), MONDAY)
    mean = arrivals.expected(weekend=False, hour=8).count
    assert sum(ev.target_kwh for ev in virtual) == pytest.approx(arrivals.busy * mean * 12.0)


def test_the_running_hour_counts_as_far_as_it_lies_ahead() -> None:
    arrivals = learnt([visit(days, 8.5) for days in working_days(60) for _ in range(4)])
    grid = TimeGrid(MONDAY + 8 * HOUR, 900, 48)
    whole, half = (
        sum(ev.target_kwh for ev in arrivals.virtual_evs(grid, MONDAY + at * HOUR)) for at in (8.0, 8.5))
    assert half == pytest.approx(whole / 2)


def expected_cars(seed: int, steps: int) -> tuple[EvDemand, ...]:
    draw = np.random.default_rng(seed)
    found = []
    for number in range(3):
        arrive = int(draw.integers(0, steps - 2))
        depart = min(arrive + int(draw.integers(1, steps)), steps)
        power_kw = float(draw.uniform(1.0, 8.0))
        kwh = float(draw.uniform(0.1, 0.9)) * power_kw * (depart - arrive) * 0.25
        found.append(EvDemand(
            f"expected-{number}", "", arrive, depart, 0.0, kwh, kwh, 0.0, power_kw, 0.0, 1.0, 1.0, 0.0))
    return tuple(found)


def optimum(problem: Problem) -> float:
    answer = ArrayRelaxation(assemble(problem)).run(20.0)
    assert answer is not None
    return answer.objective


@settings(max_examples=25, deadline=None)
@given(seed=RANDOM, event=st.booleans())
def test_their_load_costs_what_planning_them_with_the_others_costs(
    make_problem: MakeProblem, seed: int, event: bool
) -> None:
    problem, steps = make_problem(seed, evs=4, steps=16, event=event), 16
    expected = expected_cars(seed, steps)
    load_kw = expected_load(problem, expected, time_limit_s=20.0)
    assert (load_kw >= 0.0).all()
    joint = optimum(replace(problem, evs=problem.evs + expected))
    with_load = optimum(replace(problem, base_kw=problem.base_kw + load_kw))
    missing_kwh = sum(ev.target_kwh for ev in expected) - float(step_hours(problem) @ load_kw)
    assert with_load + problem.shortfall_per_kwh * missing_kwh == pytest.approx(joint, rel=1e-6, abs=1e-6)


def test_under_a_tight_cap_plugged_cars_make_way_before_the_expected_ones_come(make_problem: MakeProblem) -> None:
    """One car with all day, two hours of full site ahead: it charges before, and the cap holds for both."""
    steps, flat = 16, np.ones(16)
    car = EvDemand("car", "E", 0, steps, 0.0, 60.0, 22.0, 0.0, 11.0, 0.0, 1.0, 1.0, 0.0)
    later = EvDemand("later", "", 8, steps, 0.0, 20.0, 20.0, 0.0, 10.0, 0.0, 1.0, 1.0, 0.0)
    problem = replace(make_problem(1, evs=1, steps=steps, event=False), evs=(car,), base_kw=10.0 * flat,
                      import_cap_kw=21.0 * flat, import_price=np.r_[0.3 * flat[:8], 0.1 * flat[8:]],
                      export_price=0.0 * flat, demand_price=0.0, first_step_fraction=1.0)
    load_kw = expected_load(problem, (later,), time_limit_s=5.0)
    assert load_kw.sum() * 0.25 == pytest.approx(20.0)
    alone, together = (ArrayRelaxation(assemble(each)).run(5.0) for each in (
        problem, replace(problem, base_kw=problem.base_kw + load_kw)))
    assert alone is not None
    assert together is not None
    early = [assemble(problem).powers(answer.x)[0][0, :8].sum() for answer in (alone, together)]
    assert early[0] == pytest.approx(0.0, abs=1e-6), "alone it waits for the cheap hours"
    assert early[1] * 0.25 == pytest.approx(22.0 - (11.0 * 8 * 0.25 - 20.0), abs=1e-6)


def test_charging_at_once_delivers_all_that_is_expected() -> None:
    problem = Problem(TimeGrid(MONDAY, 900, 16), (), np.zeros(16), np.full(16, 5.0), np.zeros(16), np.ones(16),
                      np.zeros(16), 0.0, 0.0)
    load_kw = at_once(problem, expected_cars(3, 16))
    assert load_kw.sum() * 0.25 == pytest.approx(sum(ev.target_kwh for ev in expected_cars(3, 16)), rel=1e-6)
    assert (at_once(problem, ()) == 0.0).all()


def test_the_gate_examines_their_load_and_gives_no_charger_a_profile_for_them(
    make_problem: MakeProblem, make_world: MakeWorld
) -> None:
    problem = make_problem(3, evs=3, steps=16, event=False)
    request = PlanRequest(problem, make_world(problem), discharge_allowed_kw={
        ev.evse_id: ev.max_discharge_kw for ev in problem.evs})
    expected = expected_cars(5, 16)
    outcome = plan_through_gate(replace(request, expected=expected))
    assert outcome.plan.ev_ids == tuple(ev.id for ev in problem.evs)
    assert set(outcome.schedule.evse_ids) == {evse.id for evse in request.world.evses}
    load_kw = outcome.plan.net_kw - outcome.plan.power_kw.sum(axis=0) - problem.base_kw
    assert load_kw.min() >= -1e-9
    assert load_kw.sum() * 0.25 > 0.0
