"""The shipped feeder is the published one, and both engines agree about its day."""

import numpy as np
import pytest

from twin.feeder import Feeder, Flow, faults
from twin.feeder.on_disk.example import european_lv, european_lv_home_day
from twin.feeder.second_engine.check import Checker


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    return european_lv()


@pytest.fixture(scope="module")
def flow(feeder: Feeder) -> Flow:
    return Flow(feeder)


def test_it_has_the_published_size(feeder: Feeder) -> None:
    low = [bus for bus in feeder.buses if bus.volts == 416.0]
    assert (len(low), len(feeder.lines)) == (906, 905)
    assert sum(line.length_m or 0.0 for line in feeder.lines) == pytest.approx(1431.5, abs=1.0)
    homes = [point for point in feeder.connection_points if point.id.startswith("home")]
    evs = [point for point in feeder.connection_points if point.id.startswith("ev")]
    assert (len(homes), len(evs)) == (55, 40)
    assert [sum(point.phases == phase for point in homes) for phase in "abc"] == [21, 19, 15]
    assert {(ev.bus, ev.phases) for ev in evs} <= {(home.bus, home.phases) for home in homes}


def test_nothing_is_wrong_with_it_but_what_was_published_so(feeder: Feeder) -> None:
    """One cable's zero-sequence resistance is below its positive-sequence one in the original data."""
    found = faults(feeder)
    assert [fault.element for fault in found] == ["LINE888", "LINE892", "LINE897"]
    assert not any(fault.blocking for fault in found)
    assert all("R0/R1 = 0.876" in str(fault) for fault in found)


def test_every_assumed_ampacity_is_called_assumed(feeder: Feeder) -> None:
    assert all(line.ampacity is not None and line.ampacity.source.startswith("assumed") for line in feeder.lines)


def test_both_engines_agree_on_every_quarter_hour_of_the_day(feeder: Feeder, flow: Flow) -> None:
    day = european_lv_home_day()
    assert day.connection_points == tuple(point.id for point in feeder.connection_points[:55])
    power, reactive = np.zeros((2, 95, 96))
    power[:55], reactive[:55] = day.p_w, day.q_var
    power[55:, 70:84] = 3700.0
    power[55:, 84:90] = -3700.0
    solution = flow.solve(power, reactive)
    assert solution.has_solution.all()
    difference = Checker(feeder).check(solution)
    assert difference.voltage_pu < 1e-9
    assert difference.current_a < 1e-6
    assert difference.agrees
    assert solution.source_power().real == pytest.approx(power.sum(axis=0) + solution.losses_w(), rel=1e-7)


def test_too_much_for_the_feeder_is_too_much_in_both_engines(feeder: Feeder, flow: Flow) -> None:
    """All 55 homes at once: 12.5 kW each is close to the collapse, 15 kW beyond it."""
    power = np.zeros((95, 3))
    power[:55] = np.array([[1e3, 12.5e3, 15e3]])
    solution = flow.solve(power)
    assert solution.has_solution.tolist() == [True, True, False]
    assert Checker(feeder).check(solution).agrees
