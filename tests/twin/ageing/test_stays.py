"""Wear read from the record of a run: the kWh of the ledger, the hours of the visit, the laws of `twin.ageing`."""

from datetime import UTC, datetime

import numpy as np
import pytest

from twin.ageing import AgeingError, wear
from twin.ageing.stays import day_around_stay, stay_wear
from twin.assets import Battery, Current, Evse, PowerCurve, Schedule, Site, TimeGrid, Vehicle
from twin.controllers import FollowSchedule, Uncontrolled
from twin.engine import run
from twin.ensemble import Ensemble
from twin.visits import VisitTable

HOUR = 3600.0
FLAT = PowerCurve((0.0, 1.0), (50.0, 50.0))
CAR = Vehicle("lossless", Battery(50.0, FLAT, FLAT), 10.0, 10.0)
OTHER = Vehicle("larger", Battery(100.0, FLAT, FLAT), 10.0, 10.0)
GRID = TimeGrid(datetime(2026, 1, 5, tzinfo=UTC), 900, 4 * 48)


def fleet(evses: int, replicas: int = 1) -> Ensemble:
    caps = np.full((1, GRID.steps), 1e3)
    plugs = tuple(Evse(f"E{k}", "S", Current.DC, 10.0, 0.0, 10.0) for k in range(evses))
    return Ensemble((Site("S", "UTC", 1e3, 1e3),), plugs, (CAR, OTHER), GRID, np.zeros_like(caps), caps, caps, replicas)


def table(*rows: tuple[int, int, float, float, float, float]) -> VisitTable:
    """Visits as (EVSE, vehicle, arrival in h, departure in h, kWh on arrival, kWh wanted)."""
    evse, vehicle, arrival, departure, energy, target = (np.array(column) for column in zip(*rows, strict=True))
    return VisitTable(evse, vehicle, arrival * HOUR, departure * HOUR, departure * HOUR, energy * 1.0, target * 1.0,
                      np.zeros(len(rows)))


def test_a_stay_bears_its_hours_of_the_calendar_and_its_kwh_of_the_cycles() -> None:
    """Charge 30 kWh in 3 h from 01:00, wait, leave at 13:00: the day written out by hand gives the same figures."""
    visits = table((0, 0, 1.0, 13.0, 10.0, 40.0))
    outcome = run(fleet(1), visits, Uncontrolled(), response=False)
    found = stay_wear(outcome, visits, ["nmc", "nmc"], temperature_c=25.0)
    day = np.interp(np.linspace(1.0, 25.0, 49), [1.0, 4.0, 13.0, 25.0], [0.2, 0.8, 0.8, 0.2])[None]
    by_hand = wear("nmc", day, 25.0, 50.0)
    assert found.battery_kwh[0] == pytest.approx(30.0, rel=1e-9)
    assert found.calendar[0] == pytest.approx(by_hand.calendar_per_day[0] * 0.5, rel=1e-9)
    assert found.cycle[0] == pytest.approx(by_hand.per_kwh[0] * 30.0, rel=1e-9)
    assert found.life[0] == found.calendar[0] + found.cycle[0]
    assert found.per_kwh == pytest.approx(by_hand.per_kwh[0], rel=1e-9)


def test_the_trace_follows_the_record_between_odd_times_and_past_midnight() -> None:
    visits = table((0, 0, 0.13, 7.77, 5.0, 50.0), (0, 1, 7.77, 40.1, 60.0, 80.0))
    outcome = run(fleet(1), visits, Uncontrolled(), response=False)
    soc, hours, span_h = day_around_stay(outcome, visits, np.array([0]), 50.0)
    at = 0.13 + np.linspace(0.0, 24.0, 49)
    expected = np.interp(at, [0.13, 4.63, 7.77, 24.13], [0.1, 1.0, 1.0, 0.1])
    assert hours[0] == pytest.approx(7.64)
    assert span_h[0] == 24.0
    assert soc[0] == pytest.approx(expected, abs=0.0126), "a line over a quarter hour cuts a corner of 0.2/h"
    soc, hours, span_h = day_around_stay(outcome, visits, np.array([1]), 100.0)
    assert span_h[0] == pytest.approx(hours[0] + 1.0), "a stay of more than a day leaves an hour to drive"
    assert soc[0, 0] == pytest.approx(0.6)
    assert soc[0].max() == pytest.approx(0.8)
    assert soc[0, -1] == pytest.approx(0.6)


def test_discharged_and_charged_kwh_both_count_and_cars_that_follow_each_other_do_not_mix() -> None:
    power = np.zeros((2, GRID.steps))
    power[0, 8:16], power[0, 20:28], power[0, 50:58] = -10.0, 10.0, 5.0
    schedule = Schedule(GRID, ("E0", "E1"), power)
    visits = table((0, 0, 1.0, 12.0, 30.0, 0.0), (1, 1, 1.0, 12.0, 30.0, 0.0), (0, 1, 12.0, 20.0, 90.0, 0.0))
    outcome = run(fleet(2, replicas=2), visits, FollowSchedule(schedule), response=False)
    found = stay_wear(outcome, visits, ["lfp", "nmc"])
    assert outcome.visits.row.size == 6
    by_visit = dict(zip(zip(outcome.visits.replica.tolist(), outcome.visits.row.tolist(), strict=True),
                        range(6), strict=True))
    for replica in (0, 1):
        used, idle, after = (by_visit[replica, row] for row in (0, 1, 2))
        assert found.battery_kwh[used] == pytest.approx(40.0)
        assert found.battery_kwh[after] == pytest.approx(10.0)
        assert found.battery_kwh[idle] == pytest.approx(0.0, abs=1e-12)
        assert found.cycle[idle] == pytest.approx(0.0, abs=1e-15)
        assert found.calendar[idle] > 0.0
    assert found.battery_kwh.sum() == pytest.approx(outcome.import_kwh.sum() + outcome.export_kwh.sum())


def test_a_run_without_a_record_or_a_missing_cell_model_is_refused() -> None:
    visits = table((0, 0, 1.0, 5.0, 10.0, 40.0))
    blind = run(fleet(1), visits, Uncontrolled(), response=False, record_evses=False)
    with pytest.raises(AgeingError, match="expected a run with record_evses"):
        stay_wear(blind, visits, ["nmc", "nmc"])
    with pytest.raises(AgeingError, match="1 models, expected one for each of the 2 vehicle classes"):
        stay_wear(blind, visits, ["nmc"])


def test_each_stay_is_judged_at_its_own_temperature() -> None:
    visits = table((0, 0, 1.0, 12.0, 30.0, 40.0), (1, 1, 1.0, 12.0, 30.0, 40.0), (0, 1, 12.0, 20.0, 60.0, 90.0))
    outcome = run(fleet(2), visits, Uncontrolled(), response=False)
    mixed = stay_wear(outcome, visits, ["nmc", "lfp"], temperature_c=np.array([5.0, 25.0, 40.0]))
    for stay, celsius in enumerate((5.0, 25.0, 40.0)):
        alone = stay_wear(outcome, visits, ["nmc", "lfp"], temperature_c=celsius)
        assert (mixed.calendar[stay], mixed.cycle[stay]) == (alone.calendar[stay], alone.cycle[stay])
    with pytest.raises(AgeingError, match=r"shape \(2,\), expected one number, or one for each stay \(3\)"):
        stay_wear(outcome, visits, ["nmc", "lfp"], temperature_c=np.array([5.0, 25.0]))
