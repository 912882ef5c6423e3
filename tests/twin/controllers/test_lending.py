"""What cars give for an event comes back in time, for all of them together, and nothing is given without an event."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Site, TimeGrid, Vehicle, Visit, World, utc
from twin.controllers import EarliestDeadline, Metered, Proportional, ProportionalToLaxity, RoundRobin
from twin.engine import run
from twin.engine.of_world import ensemble_of
from twin.ensemble import Outcome

START = utc("2025-01-14T17:00:00Z")
GRID = TimeGrid(START, 900, 56)
EVENT = slice(8, 16)
RULES = [EarliestDeadline, Proportional, ProportionalToLaxity, RoundRobin]
FLAT = PowerCurve((0.0, 1.0), (11.0, 11.0))
SHORT_KWH = 0.05


def car(max_kw: float = 7.4, loss: LossCurve | None = None) -> Vehicle:
    battery = Battery(52.0, FLAT, FLAT, loss or LossCurve(0.1, 0.05))
    return Vehicle("car", battery, max_kw, max_kw)


def visit(number: int, arrives_min: float, leaves_min: float, soc: float, target: float, vehicle: Vehicle) -> Visit:
    return Visit(
        f"V{number}", f"E{number}", vehicle, START + timedelta(minutes=arrives_min),
        START + timedelta(minutes=leaves_min), 52.0 * soc, 52.0 * target, floor_kwh=10.0,
    )


def site(visits: list[Visit], building_kw: np.ndarray, cap_kw: float) -> World:
    evses = tuple(Evse(each.evse_id, "S", Current.DC, 11.0, 0.0, 11.0) for each in visits)
    steps = np.ones(GRID.steps)
    return World(Site("S", "UTC", cap_kw), evses, tuple(visits), GRID, building_kw, cap_kw * steps, 5.0 * steps)


def called(place: World, level_kw: float) -> World:
    cap = place.import_cap_kw.copy()
    cap[EVENT] = np.minimum(cap[EVENT], level_kw)
    return replace(place, import_cap_kw=cap)


def course(place: World, rule: type[EarliestDeadline], *, discharges: bool, between: bool = False) -> Outcome:
    controller = rule(discharges=discharges) if rule is RoundRobin else rule(
        discharges=discharges, asks_between=between)
    return run(*ensemble_of(place), Metered(controller))


def is_short(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.visits.shortfall_kwh > SHORT_KWH)


def given_kwh(outcome: Outcome) -> np.ndarray:
    """What all cars together gave in each step."""
    assert outcome.evse_kwh is not None
    return np.asarray(-np.minimum(outcome.evse_kwh[0], 0.0).sum(axis=0))


@st.composite
def sites(draw: st.DrawFn) -> World:
    """Cars that are all there when the event begins and leave as they declare, in quarter hours."""
    count = draw(st.integers(2, 8))
    visits = [
        visit(
            number, 15.0 * draw(st.integers(0, 8)), 15.0 * draw(st.integers(18, 54)), draw(st.floats(0.3, 0.9)),
            draw(st.floats(0.3, 0.9)), car(draw(st.sampled_from([3.7, 7.4, 11.0]))),
        )
        for number in range(count)
    ]
    building = np.full(GRID.steps, draw(st.floats(0.0, 20.0)))
    building[EVENT] += draw(st.floats(0.0, 10.0))
    return site(visits, building, building.max() + draw(st.floats(0.0, 8.0)) * count)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=10, deadline=None)
@given(place=sites(), level_kw=st.floats(-20.0, 20.0))
def test_nobody_pays_for_what_is_given(rule: type[EarliestDeadline], place: World, level_kw: float) -> None:
    """Whoever is ready though the event keeps the cars from charging is ready when they discharge for it as well."""
    event = called(place, level_kw)
    waiting = course(event, rule, discharges=False)
    assume(not is_short(waiting).any())
    giving = course(event, rule, discharges=True)
    assert not is_short(giving).any()
    assert given_kwh(giving)[: EVENT.start].max() < 1e-9
    assert given_kwh(giving)[EVENT.stop :].max() < 1e-9
    assert giving.net_kw[0, 0, EVENT].sum() <= waiting.net_kw[0, 0, EVENT].sum() + 1e-6


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=6, deadline=None)
@given(place=sites(), level_kw=st.floats(-20.0, 20.0))
def test_an_event_that_can_be_waited_for_leaves_nobody_short(
        rule: type[EarliestDeadline], place: World, level_kw: float) -> None:
    """Paired: with room for all at once after the event and hours to use it, whoever is short is so without it too."""
    roomy = site(list(place.visits), place.base_load_kw, place.base_load_kw.max() + 11.0 * len(place.evses))
    late = tuple(
        replace(each, departure=max(each.departure, START + timedelta(
            hours=4.5 + 1.4 * max(each.target_kwh - each.energy_kwh, 0.0) / each.vehicle.max_charge_kw)))
        for each in roomy.visits
    )
    late = tuple(each for each in late if each.departure <= GRID.end)
    assume(len(late) == len(roomy.visits))
    roomy = replace(roomy, visits=late)
    short_without = is_short(course(roomy, rule, discharges=True))
    event = course(called(roomy, level_kw), rule, discharges=True)
    assert not (is_short(event) & ~short_without).any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("between", [False, True])
@settings(max_examples=4, deadline=None)
@given(place=sites())
def test_nothing_discharges_under_an_ordinary_cap(
        rule: type[EarliestDeadline], between: bool, place: World) -> None:
    with_leave, without = (course(place, rule, discharges=may, between=between) for may in (True, False))
    assert given_kwh(with_leave).max() == 0.0
    assert with_leave.digest() == without.digest()


@pytest.mark.parametrize("rule", RULES)
def test_lenders_share_the_room_in_which_they_get_it_back(rule: type[EarliestDeadline]) -> None:
    """Ten full cars, each of which could regain by itself all that it gave; together they find 4 kW for six hours."""
    building = np.full(GRID.steps, 20.0)
    building[EVENT] = 60.0
    visits = [visit(number, 0.0, 600.0, 0.8, 0.8, car(11.0)) for number in range(10)]
    event = called(site(visits, building, 24.0), 0.0)
    event.import_cap_kw[: EVENT.start] = 24.0
    outcome = course(event, rule, discharges=True)
    assert not is_short(outcome).any()
    # 24 kWh through the connectors, less two times 5 % and 0.1 kW of standby; by themselves they would give 120 kWh.
    assert 14.0 < given_kwh(outcome).sum() < 24.0


def test_energy_beyond_what_drivers_want_is_given_for_good() -> None:
    building = np.full(GRID.steps, 30.0)
    visits = [visit(number, 0.0, 280.0, 0.9, 0.5, car()) for number in range(5)]
    outcome = course(called(site(visits, building, 30.0), 0.0), EarliestDeadline, discharges=True)
    # Two hours of 30 kW, all that the building draws.
    assert given_kwh(outcome)[EVENT] == pytest.approx(np.full(8, 7.5))
    assert outcome.net_kw[0, 0, EVENT] == pytest.approx(np.zeros(8), abs=1e-6)


def test_a_car_in_a_hurry_charges_in_the_event_from_those_that_can_wait() -> None:
    building = np.full(GRID.steps, 5.0)
    visits = [
        visit(0, 120.0, 240.0, 0.5, 0.7, car()), *(visit(number, 0.0, 800.0, 0.8, 0.8, car()) for number in (1, 2, 3)),
    ]
    event = called(site(visits, building, 30.0), 5.0)
    waits, helped = (course(event, EarliestDeadline, discharges=may) for may in (False, True))
    assert is_short(waits).tolist() == [False, False, False, True]  # in order of arrival
    assert not is_short(helped).any()
    assert helped.net_kw[0, 0, EVENT].max() <= 5.0 + 1e-6


@pytest.mark.parametrize("between", [False, True])
def test_a_street_that_needs_its_night_to_charge_gives_little_and_nothing_at_night(between: bool) -> None:
    """Thirty cars of 0.5 to 0.8 of 52 kWh under 60 kW, of which homes leave some 20 to 45: an event at 0 kW."""
    rng = np.random.default_rng(3)
    hours = np.arange(GRID.steps) / 4.0
    building = 20.0 + 20.0 * np.exp(-(((hours - 3.0) / 1.5) ** 2))
    visits = [
        visit(number, float(rng.integers(0, 120)), float(rng.integers(720, 830)), float(rng.uniform(0.35, 0.65)), 0.8,
              car())
        for number in range(30)
    ]
    place = site(visits, building, 60.0)
    event = called(place, 0.0)
    waits, gives = (course(event, EarliestDeadline, discharges=may, between=between) for may in (False, True))
    assert gives.visits.shortfall_kwh.sum() <= waits.visits.shortfall_kwh.sum() + 1.0
    assert is_short(gives).sum() <= is_short(waits).sum()
    assert given_kwh(gives)[: EVENT.start].max() == 0.0
    assert given_kwh(gives)[EVENT.stop :].max() == 0.0
