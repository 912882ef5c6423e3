"""Room is booked for what cars draw and chargers make of it, and never more than there is."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, Current, Evse, PowerCurve, Response, Site, TimeGrid, Vehicle, Visit, World, utc
from twin.controllers import Controller, EarliestDeadline, Proportional, ProportionalToLaxity, RoundRobin
from twin.controllers.metered import Metered
from twin.engine import run
from twin.engine.of_world import ensemble_of
from twin.ensemble import Outcome

START = utc("2019-07-15T13:00:00Z")
TAPERING = PowerCurve((0.0, 0.6, 1.0), (22.0, 22.0, 0.5))
GRAIN_KW = 0.69
RULES = [EarliestDeadline, Proportional, ProportionalToLaxity, RoundRobin]


def world(
    energies_kwh: list[float], cap_kw: float, *, grain_kw: float = 0.0, least_kw: float = 0.0, hours: float = 6.0,
    curve: PowerCurve = TAPERING, most_kw: float = 22.0, step_s: int = 900,
) -> World:
    """One car of 40 kWh for each energy on arrival; the first one leaves first, all want to be full."""
    car = Vehicle("car", Battery(40.0, curve), most_kw)
    evses = tuple(
        Evse(f"E{k}", "S", Current.DC, most_kw, least_kw, response=Response(granularity_kw=grain_kw))
        for k in range(len(energies_kwh))
    )
    visits = tuple(
        Visit(f"V{k}", f"E{k}", car, START, START + timedelta(hours=hours, minutes=k + 1), energy, 39.9)
        for k, energy in enumerate(energies_kwh)
    )
    grid = TimeGrid(START, step_s, int(hours * 3600) // step_s)
    steps = np.ones(grid.steps)
    return World(Site("S", "UTC", cap_kw), evses, visits, grid, 0.0 * steps, cap_kw * steps, 0.0 * steps)


def outcome(place: World, controller: Controller) -> Outcome:
    return run(*ensemble_of(place), controller)


def site_kw(result: Outcome) -> np.ndarray:
    """Mean net power of the cars by step."""
    assert result.evse_kwh is not None
    return np.asarray(result.evse_kwh[0].sum(axis=0) / result.ensemble.grid.step_hours)


@pytest.mark.parametrize(("rule", "still_lost"), [
    (EarliestDeadline, 0.45), (RoundRobin, 0.65), (Proportional, 0.7), (ProportionalToLaxity, 1.1),
])
def test_what_tapering_cars_leave_is_given_to_cars_that_wait(
        rule: type[EarliestDeadline], still_lost: float) -> None:
    """Twelve cars, of which in the first two hours some can always take what is left of 100 kW.

    By laxity full cars wait anyway, so there is next to nothing to be won.
    """
    place = world(np.linspace(4.0, 36.0, 12).tolist(), 100.0)
    blind, seeing = (100.0 - site_kw(outcome(place, controller))[:8] for controller in (rule(), Metered(rule())))
    assert seeing.sum() < still_lost * blind.sum()
    assert seeing.min() >= -1e-6


def test_a_car_whose_power_rises_gets_it_back_within_the_room() -> None:
    """Between 30 and 40 % the battery takes 5 kW, before and after 22 kW."""
    dip = PowerCurve((0.0, 0.28, 0.3, 0.4, 0.42, 1.0), (22.0, 22.0, 5.0, 5.0, 22.0, 22.0))
    place = world([10.5, 4.0], 30.0, curve=dip)
    result = outcome(place, Metered(EarliestDeadline()))
    assert result.evse_kwh is not None
    first, second = result.evse_kwh[0] * 4.0
    assert first.min() < 8.0
    assert first.max() == pytest.approx(22.0)
    assert second[:6].max() > 20.0  # while the first one is in its dip
    assert (first + second).max() <= 30.0 + 1e-6


def test_room_for_all_is_shared_as_without_meters() -> None:
    place = world([30.0, 20.0, 4.0], 66.0)
    plain, metered = outcome(place, EarliestDeadline()), outcome(place, Metered(EarliestDeadline()))
    assert plain.evse_kwh is not None
    assert metered.evse_kwh is not None
    assert plain.evse_kwh.tobytes() == metered.evse_kwh.tobytes()


@pytest.mark.parametrize("rule", RULES)
def test_chargers_of_coarse_steps_use_the_room_but_for_less_than_one_step(rule: type[EarliestDeadline]) -> None:
    flat = PowerCurve((0.0, 1.0), (11.0, 11.0))
    place = world([4.0] * 9, 53.0, grain_kw=GRAIN_KW, least_kw=4.14, curve=flat, most_kw=11.0, hours=2.0)
    blind, seeing = (site_kw(outcome(place, controller)) for controller in (rule(), Metered(rule())))
    # Five cars at 15 steps of 0.69 kW leave 1.25 kW, of which a sixth car's minimum can use nothing.
    assert blind.max() < seeing.min()
    assert seeing.min() > 53.0 - 2 * GRAIN_KW
    assert seeing.max() <= 53.0 + 1e-6


ENERGIES = st.lists(st.floats(2.0, 38.0), min_size=1, max_size=6)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=15, deadline=None)
@given(energies=ENERGIES, cap_kw=st.floats(5.0, 80.0), grain_kw=st.sampled_from([0.0, 0.69, 1.0]),
       between=st.booleans())
def test_the_room_is_never_exceeded(
        rule: type[EarliestDeadline], energies: list[float], cap_kw: float, grain_kw: float, between: bool) -> None:
    metered = Metered(rule() if rule is RoundRobin else rule(asks_between=between))
    place = world(energies, cap_kw, grain_kw=grain_kw, least_kw=1.38)
    late = tuple(
        replace(visit, arrival=visit.arrival + timedelta(minutes=7 * k)) for k, visit in enumerate(place.visits)
    )
    result = outcome(replace(place, visits=late), metered)
    assert site_kw(result).max() <= cap_kw + 1e-6


def test_a_car_that_draws_nothing_is_left_out_after_two_steps_and_offered_everything_again_each_hour() -> None:
    """Held to nothing for good, a sleeping car would never be offered the power that wakes it."""
    place = world([38.0, 4.0], 22.0)
    nothing = replace(place, visits=tuple(
        replace(visit, vehicle=replace(visit.vehicle, battery=replace(
            visit.vehicle.battery, charge=PowerCurve((0.0, 0.94, 0.95, 1.0), (22.0, 22.0, 0.0, 0.0))
        ))) for visit in place.visits
    ))
    seen: list[float] = []

    class Notes:
        charges_to_target, asks_between = True, False

        def setpoints(self, view: object) -> np.ndarray:
            seen.append(float(view.max_charge_kw[0]))  # type: ignore[attr-defined]
            return np.asarray(view.max_charge_kw)  # type: ignore[attr-defined]

    outcome(nothing, Metered(Notes()))
    assert seen[:12] == [22.0, 22.0, 0.0, 0.0, 0.0, 0.0, 22.0, 0.0, 0.0, 0.0, 0.0, 22.0]


def test_a_car_that_is_told_to_draw_next_to_nothing_and_does_is_not_left_out() -> None:
    """The second one takes all but 10 W of the room until it leaves after 45 min; then the first has it at once."""
    place = world([20.0, 10.0], 3.71, curve=PowerCurve((0.0, 1.0), (22.0, 22.0)))
    slow = replace(place.visits[1].vehicle, max_charge_kw=3.7)
    second = replace(place.visits[1], vehicle=slow, departure=START + timedelta(minutes=45))
    result = outcome(replace(place, visits=(place.visits[0], second)), Metered(EarliestDeadline()))
    assert site_kw(result) == pytest.approx(np.full(24, 3.71), abs=1e-6)
