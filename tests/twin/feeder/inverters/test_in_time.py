"""Inverters in time: lag, trip, wait, ramp; followed from event to event as a running twin does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid
from twin.feeder.inverters.behaviour import Inverter
from twin.feeder.inverters.fixed_point import solve_with_inverters
from twin.feeder.inverters.grid_codes import Curve, GridCode, Reconnection, Trip, grid_code
from twin.feeder.inverters.in_time import STAIR_S, Answer, GridResponse
from twin.feeder.scene import Scene, SceneError

BASE_V = 400.0 / np.sqrt(3.0)
RATED_VA = 10_000.0
MINUTE_S = 60
TRIPPING = GridCode(
    "tripping", trips=(Trip(True, 1.10, 13.0), Trip(False, 0.80, 3.0)),
    reconnection=Reconnection((0.9, 1.05), 60.0, 0.2),
)


def street(build: Any, volts_pu: list[float], *, impedance: complex = 0.2 + 0.1j, evses: int = 1) -> Scene:
    """An EVSE at the end of a line whose base load, minute by minute, leaves phase a at these voltages by itself."""
    volts = BASE_V * np.array(volts_pu)
    resistance = impedance.real
    # V^2 + 2 R P + |Z|^2 P^2 / V^2 = E^2 at the end of the line, solved for P.
    size = abs(impedance) ** 2 / volts**2
    base_w = (-resistance + np.sqrt(resistance**2 - size * (volts**2 - BASE_V**2))) / size
    base = np.zeros((3, len(volts)))
    base[0] = base_w
    ids = tuple(f"evse-{number}" for number in range(evses))
    return Scene(
        build.two_buses(impedance=impedance), TimeGrid(datetime(2026, 1, 1, tzinfo=UTC), MINUTE_S, len(volts)), base,
        0.0 * base, ids, ("load",) * evses, ("a",) * evses,
    )


def follow(
    response: GridResponse, until_s: float, order: Callable[[float], float]
) -> list[tuple[float, Answer]]:
    """Ask at every event, and every minute."""
    found, now = [], 0.0
    while now < until_s:
        shape = (len(response.inverters), response.replicas)
        answer = response.answer(now, np.full(shape, order(now)))
        assert answer.next_event_s > now
        found.append((now, answer))
        now = min(answer.next_event_s, 60.0 * (now // 60.0 + 1.0))
    return found


def delivered(course: list[tuple[float, Answer]]) -> dict[float, float]:
    return {now: float(answer.delivered_kw[0, 0]) for now, answer in course}


def test_without_a_code_every_order_is_delivered_and_the_next_base_load_is_the_next_event(build: Any) -> None:
    response = GridResponse(street(build, [1.0, 0.97, 1.02]), [None])
    answer = response.answer(10.0, np.array([-7.0]))
    assert answer.delivered_kw.tolist() == [[-7.0]]
    assert answer.next_event_s == 60.0
    assert response.answer(150.0, np.array([3.0])).next_event_s == np.inf


def test_it_trips_when_the_time_is_up_waits_inside_the_band_and_comes_back_on_a_ramp(build: Any) -> None:
    # Minute 2 and 3 at 1.12: trip 13 s into minute 2; inside the band from minute 4; back after 60 s; 20 % a minute.
    scene = street(build, [1.0, 1.0, 1.12, 1.12] + [1.0] * 12)
    response = GridResponse(scene, [Inverter(TRIPPING, RATED_VA)])
    course = follow(response, 900.0, lambda _: 5.0)
    kw = delivered(course)
    assert all(kw[now] == 5.0 for now in kw if now < 133.0)
    assert 133.0 in kw
    assert all(kw[now] == 0.0 for now in kw if 133.0 <= now < 300.0 + STAIR_S)
    for now, power in kw.items():
        if now >= 300.0:
            stairs = (now - 300.0) // STAIR_S
            assert power == pytest.approx(min(stairs * STAIR_S / 60.0 * 0.2 * 10.0, 5.0))
    assert {300.0, 300.0 + STAIR_S, 450.0} <= kw.keys()
    assert response.trips.tolist() == [[1]]
    assert [answer.is_connected[0, 0] for now, answer in course if now in {120.0, 133.0, 300.0}] == [True, False, True]


def test_a_short_excursion_does_not_trip(build: Any) -> None:
    # 1.12 because it discharges; it stops 12.9 s after that, so the 13 s are never full.
    scene = street(build, [1.0] * 5, impedance=1.0 + 0.0j)
    response = GridResponse(scene, [Inverter(TRIPPING, RATED_VA)])
    for now, order in ((0.0, -7.0), (12.9, 0.0), (20.0, -7.0), (32.8, 0.0), (100.0, 0.0)):
        answer = response.answer(now, np.array([order]))
        assert (answer.voltage_pu[0, 0] > 1.1) == (order < 0.0)
    assert response.trips.tolist() == [[0]]


def test_the_wait_begins_anew_when_the_voltage_leaves_the_band(build: Any) -> None:
    volts = [1.12, 1.0, 1.07, 1.0] + [1.0] * 8
    code = replace(TRIPPING, reconnection=Reconnection((0.9, 1.05), 90.0, 0.2))
    response = GridResponse(street(build, volts), [Inverter(code, RATED_VA)])
    kw = delivered(follow(response, 600.0, lambda _: 1.0))
    assert min(now for now, power in kw.items() if now > 13.0 and power > 0.0) == 180.0 + 90.0 + STAIR_S


def test_a_trip_without_a_way_back_is_for_good(build: Any) -> None:
    code = GridCode("once", trips=(Trip(True, 1.10, 13.0),))
    response = GridResponse(street(build, [1.12] + [1.0] * 20), [Inverter(code, RATED_VA)])
    kw = delivered(follow(response, 1200.0, lambda _: -5.0))
    assert all(power == 0.0 for now, power in kw.items() if now >= 13.0)


def test_the_mean_of_ten_minutes_decides_not_the_moment(build: Any) -> None:
    # From 1.00 to 1.12: the mean passes 1.10 after 10/12 of ten minutes = 500 s, and is judged every 30 s.
    code = GridCode("mean", trips=(Trip(True, 1.10, 0.1, 600.0),))
    response = GridResponse(street(build, [1.0] * 5 + [1.12] * 20), [Inverter(code, RATED_VA)])
    kw = delivered(follow(response, 1200.0, lambda _: 0.01))
    assert min(now for now, power in kw.items() if power == 0.0) == pytest.approx(300.0 + 510.0)
    short = GridResponse(street(build, [1.0] * 5 + [1.12] * 8 + [1.0] * 12), [Inverter(code, RATED_VA)])
    follow(short, 1500.0, lambda _: 0.01)
    assert short.trips.tolist() == [[0]]


def test_ninety_percent_of_a_curves_answer_is_there_after_its_response_time(build: Any) -> None:
    # No reactance and hardly any resistance seen by the vars: the voltage steps from 1.0 to 1.05 and stays.
    code = GridCode("slow", volt_var=Curve((1.0, 1.1), (0.0, -0.44), 10.0), full_var_from_pu=0.1)
    scene = street(build, [1.0, 1.05, 1.05], impedance=1e-3 + 0j)
    for times in ([70.0], [60.5, 61.0, 64.0, 70.0]):
        response = GridResponse(scene, [Inverter(code, RATED_VA)])
        response.answer(0.0, np.array([-2.0]))
        response.answer(60.0, np.array([-2.0]))
        for now in times:
            answer = response.answer(now, np.array([-2.0]))
        assert answer.q_kvar[0, 0] == pytest.approx(0.9 * 2.2, rel=2e-3)
    early = GridResponse(scene, [Inverter(code, RATED_VA)])
    early.answer(0.0, np.array([-2.0]))
    early.answer(60.0, np.array([-2.0]))
    assert early.answer(61.0, np.array([-2.0])).q_kvar[0, 0] == pytest.approx(
        2.2 * (1.0 - exp(-np.log(10.0) / 10.0)), rel=5e-3
    )


def test_curves_that_lag_ask_to_be_looked_at_until_they_have_arrived_at_the_steady_state(build: Any) -> None:
    code = grid_code("ieee-1547-2018-b")
    scene = street(build, [1.0] * 10, impedance=0.4 + 0.3j, evses=2)
    response = GridResponse(scene, [Inverter(code, RATED_VA)] * 2)
    response.answer(0.0, np.zeros((2, 1)))
    now, asked = 30.0, 0
    while now < 60.0:
        answer = response.answer(now, np.array([[-6.0], [-4.0]]))
        now, asked = answer.next_event_s, asked + 1
    steady = solve_with_inverters(
        scene.flow(), scene.base_w[:, :1], scene.base_var[:, :1], np.array([[-6000.0], [-4000.0]]), scene.spread(),
        [Inverter(code, RATED_VA)] * 2,
    )
    assert 3 <= asked <= 10
    assert answer.q_kvar[:, 0] == pytest.approx(steady.q_var[:, 0] / 1000.0, abs=0.05)
    assert answer.delivered_kw[:, 0] == pytest.approx(steady.delivered_w[:, 0] / 1000.0, abs=0.05)
    assert steady.q_var[0, 0] > 500.0


def test_replicas_do_not_know_of_each_other(build: Any) -> None:
    scene = street(build, [1.0] * 20, impedance=0.8 + 0.2j)
    inverters = [Inverter(TRIPPING, RATED_VA)]
    together = GridResponse(scene, inverters, 2)
    alone = together.part(0, 1)
    kw = {0.0: (-9.0, 2.0), 20.0: (-9.0, 2.0), 40.0: (2.0, 2.0), 200.0: (2.0, -9.0), 500.0: (4.0, 4.0)}
    for now, orders in kw.items():
        both = together.answer(now, np.array([orders]))
        one = alone.answer(now, np.array([[orders[0]]]))
        assert both.delivered_kw[:, :1] == pytest.approx(one.delivered_kw)
    assert together.trips.tolist() == [[1, 1]]
    assert alone.trips.tolist() == [[1]]


def test_a_collapse_is_counted_delivers_nothing_and_trips(build: Any) -> None:
    scene = street(build, [1.0] * 5, impedance=1.0 + 0.2j)
    response = GridResponse(scene, [Inverter(TRIPPING, 60_000.0)])
    first = response.answer(0.0, np.array([60.0]))
    assert (first.has_solution.tolist(), first.delivered_kw.tolist(), first.next_event_s) == ([False], [[0.0]], 3.0)
    after = response.answer(3.0, np.array([60.0]))
    assert (after.has_solution.tolist(), after.delivered_kw.tolist()) == ([True], [[0.0]])
    assert response.unsolved_s.tolist() == [3.0]
    assert response.trips.tolist() == [[1]]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-12.0, 12.0), min_size=3, max_size=6),
    st.sampled_from(["ieee-1547-2018-b", "vde-ar-n-4105-2018"]),
)
def test_no_more_energy_flows_than_was_ordered(build: Any, orders: list[float], name: str) -> None:
    response = GridResponse(
        street(build, [1.0, 1.04, 0.95, 1.06, 1.0, 1.0], impedance=0.6 + 0.2j), [Inverter(grid_code(name), RATED_VA)]
    )
    for now, answer in follow(response, 60.0 * len(orders), lambda now: orders[int(now // 60.0)]):
        order, power = orders[int(now // 60.0)], answer.delivered_kw[0, 0]
        assert abs(power) <= abs(order) + 1e-9
        assert power * order >= 0.0
        assert answer.settled.all()


def test_what_does_not_fit_is_refused(build: Any) -> None:
    scene = street(build, [1.0, 1.0])
    with pytest.raises(SceneError, match="inverters: 2, expected one for each of 1"):
        GridResponse(scene, [None, None])
    response = GridResponse(scene, [None])
    response.answer(30.0, np.array([1.0]))
    with pytest.raises(ValueError, match=r"now_s: 29\.0, expected 30\.0 or later"):
        response.answer(29.0, np.array([1.0]))
    with pytest.raises(ValueError, match="2 replicas, expected 1"):
        response.answer(31.0, np.array([[1.0, 1.0]]))


@pytest.mark.parametrize("name", ["ieee-1547-2018-b", "vde-ar-n-4105-2018"])
def test_what_others_ask_changes_no_replica_whose_curves_lag(build: Any, name: str) -> None:
    scene = street(build, [1.02, 1.03, 0.97, 1.05], evses=2)
    inverters = [Inverter(grid_code(name), RATED_VA)] * 2
    draw = np.random.default_rng(4)
    times = np.sort(draw.uniform(0.0, 239.0, 40))
    orders = np.repeat(draw.uniform(-10.0, 10.0, (1, 2, 3)), len(times), axis=0)
    for at in range(1, len(times)):
        orders[at:, :, at % 3] = draw.uniform(-10.0, 10.0, 2)
    together = GridResponse(scene, inverters, 3)
    found = [together.answer(now, kw) for now, kw in zip(times, orders, strict=True)]
    for replica in range(3):
        alone = GridResponse(scene, inverters)
        for now, kw, answer in zip(times, orders, found, strict=True):
            own = alone.answer(now, kw[:, replica])
            assert answer.delivered_kw[:, replica] == pytest.approx(own.delivered_kw[:, 0], abs=1e-6)
            assert answer.q_kvar[:, replica] == pytest.approx(own.q_kvar[:, 0], abs=1e-6)


def test_an_inverter_set_to_another_nominal_voltage_has_its_curves_there(build: Any) -> None:
    scene = street(build, [1.0])
    code = GridCode("b", volt_var=Curve((0.92, 1.08), (0.44, -0.44)), volt_watt=Curve((0.98, 1.06), (1.0, 0.0)))
    nominal = 220.0
    moved = replace(
        code, volt_var=Curve((0.92 * nominal / BASE_V, 1.08 * nominal / BASE_V), (0.44, -0.44)),
        volt_watt=Curve((0.98 * nominal / BASE_V, 1.06 * nominal / BASE_V), (1.0, 0.0)),
    )
    order = np.array([-9.0])
    found = GridResponse(scene, [Inverter(code, RATED_VA)], nominal_volts=nominal).answer(0.0, order)
    same = GridResponse(scene, [Inverter(moved, RATED_VA)]).answer(0.0, order)
    plain = GridResponse(scene, [Inverter(code, RATED_VA)]).answer(0.0, order)
    assert found.delivered_kw == pytest.approx(same.delivered_kw)
    assert found.q_kvar == pytest.approx(same.q_kvar)
    assert found.voltage_pu * nominal == pytest.approx(same.voltage_pu * BASE_V)
    assert abs(found.delivered_kw[0, 0] - plain.delivered_kw[0, 0]) > 0.5
