"""Cars behind broken chargers are noticed by their meters, left out, and tried again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from twin.assets import Battery, Current, Evse, PowerCurve, Site, TimeGrid, Vehicle, Visit, World, utc
from twin.controllers import Controller, EarliestDeadline, Proportional, ProportionalToLaxity, RoundRobin, Uncontrolled
from twin.controllers.watchful import Watchful
from twin.drivers import DriverModel
from twin.drivers.departures import AcnDepartures
from twin.engine import run
from twin.engine.of_world import ensemble_of
from twin.ensemble import Outcome
from twin.faults import FaultIntervals, FaultKind, FaultPlan
from twin.validation.fates import Fates

START = utc("2019-07-15T13:00:00Z")
HOURS = 4
GRID = TimeGrid(START, 900, 4 * HOURS)
FLAT = PowerCurve((0.0, 1.0), (11.0, 11.0))
CAR = Vehicle("car", Battery(60.0, FLAT, FLAT), 11.0, 11.0)


def world(*targets_kwh: float, cap_kw: float) -> World:
    """One car for each target, from 10 kWh on; the first one leaves first."""
    evses = tuple(Evse(f"E{k}", "S", Current.DC, 11.0, 0.0, 11.0) for k in range(len(targets_kwh)))
    visits = tuple(
        Visit(f"V{k}", f"E{k}", CAR, START, START + timedelta(hours=HOURS, minutes=k + 1), 10.0, target)
        for k, target in enumerate(targets_kwh)
    )
    steps = np.ones(GRID.steps)
    return World(Site("S", "UTC", cap_kw), evses, visits, GRID, 0.0 * steps, cap_kw * steps, 0.0 * steps)


def broken(place: World, kind: FaultKind, start_h: float, end_h: float) -> FaultPlan:
    """The first EVSE is faulty from `start_h` to `end_h`."""
    one, still = np.zeros(1, dtype=np.int64), np.zeros(len(place.evses))
    intervals = FaultIntervals(
        one + tuple(FaultKind).index(kind), one, np.array([start_h * 3600.0]), np.array([end_h * 3600.0]), np.zeros(1),
    )
    return FaultPlan(intervals, still, still, still + 1.0, still, fallback_kw=still)


def outcome(place: World, controller: Controller, faults: FaultPlan) -> Outcome:
    return run(*ensemble_of(place), controller, faults=faults)


def kw(result: Outcome, evse: int) -> list[float]:
    assert result.evse_kwh is not None
    return (result.evse_kwh[0, evse] / 0.25).tolist()


def test_power_reserved_for_a_broken_charger_goes_to_others_after_one_step() -> None:
    place = world(50.0, 50.0, cap_kw=11.0)
    dead = broken(place, FaultKind.DOWN, 0.0, HOURS)
    assert kw(outcome(place, EarliestDeadline(), dead), 1) == [0.0] * GRID.steps
    # After an hour the broken one is tried again, which costs the other one step.
    watched = kw(outcome(place, Watchful(EarliestDeadline()), dead), 1)
    assert watched[:7] == pytest.approx([0.0, 11.0, 11.0, 11.0, 11.0, 0.0, 11.0])


def test_a_repaired_charger_is_used_again() -> None:
    place = world(50.0, 50.0, cap_kw=11.0)
    rule = Watchful(EarliestDeadline(), retry_s=1800.0)
    watched = kw(outcome(place, rule, broken(place, FaultKind.DOWN, 0.0, 0.5)), 0)
    assert watched == pytest.approx([0.0] * 3 + [11.0] * 13)


def test_what_a_car_draws_that_is_told_to_discharge_is_taken_from_the_room() -> None:
    """The first car is to make up for 5 kW of missing room and charges with 11 kW instead; others then give 16 kW."""
    place = world(50.0, 55.0, 55.0, cap_kw=20.0)
    place.base_load_kw[:4] = 25.0
    place = replace(place, visits=tuple(replace(visit, energy_kwh=40.0) for visit in place.visits))
    wild = broken(place, FaultKind.IGNORES, 0.0, HOURS)
    unwatched = outcome(place, EarliestDeadline(discharges=True), wild)
    watched = outcome(place, Watchful(EarliestDeadline(discharges=True)), wild)
    assert kw(unwatched, 0)[:2] == pytest.approx([11.0, 11.0])
    assert unwatched.net_kw[0, 0, :2] == pytest.approx([36.0, 36.0])
    assert watched.net_kw[0, 0, :3] == pytest.approx([36.0, 20.0, 20.0])


@pytest.mark.parametrize("rule", [
    EarliestDeadline, Proportional, ProportionalToLaxity, RoundRobin, lambda: EarliestDeadline(discharges=True),
])
def test_where_nothing_fails_watching_changes_nothing(rule: Callable[[], Controller]) -> None:
    place = world(50.0, 30.0, 58.0, 12.0, 44.0, cap_kw=20.0)
    fates = Fates.draw(place, replicas=6, drivers=DriverModel(departures=AcnDepartures()), seed=2)
    assert fates.run(Watchful(rule())).digest() == fates.run(rule()).digest()


def test_a_time_to_retry_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="retry_s"):
        Watchful(Uncontrolled(), retry_s=0.0)
