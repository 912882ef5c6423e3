"""Replays: exact means, ledgers that close, and the same answer however time is cut."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import (
    Battery,
    Current,
    Evse,
    LossCurve,
    PowerCurve,
    Response,
    Schedule,
    Site,
    TimeGrid,
    Vehicle,
    Visit,
    World,
    utc,
)
from twin.battery import FleetState, usable_setpoint
from twin.replay import FollowSchedule, Run, Uncontrolled, VisitsOverlap, WorldView, simulate
from twin.response import Follower

START = utc("2019-07-15T13:00:00Z")
LOSS = LossCurve(0.12, 0.03, 0.0033)
TAPER = PowerCurve((0.0, 0.8, 1.0), (30.0, 30.0, 1.5))
BOTH_WAYS = Vehicle("both", Battery(60.0, TAPER, PowerCurve((0.0, 0.1, 1.0), (0.0, 20.0, 20.0)), LOSS), 11.0, 11.0)
DC = Response(7.0, 3.3)


def evse(name: str, response: Response | None = None) -> Evse:
    return Evse(name, "S", Current.DC, 11.0, 0.0, 11.0, response or Response())


def visit(name: str, at: str, begin_min: float, end_min: float, **energy: float) -> Visit:
    values = {"energy_kwh": 30.0, "target_kwh": 50.0, "floor_kwh": 12.0} | energy
    return Visit(
        name, at, BOTH_WAYS, START + timedelta(minutes=begin_min), START + timedelta(minutes=end_min), **values
    )


def world(evses: list[Evse], visits: list[Visit], *, steps: int = 12, step_s: int = 900, base_kw: float = 40.0,
          begin: datetime | None = None) -> World:
    ones = np.ones(steps)
    return World(
        Site("S", "UTC", 100.0, 100.0), tuple(evses), tuple(visits), TimeGrid(START, step_s, steps),
        base_kw * ones, 100.0 * ones, 100.0 * ones, begin,
    )


def replay(place: World, rows: list[list[float]], *, response: bool = True) -> Run:
    ids = tuple(evse.id for evse in place.evses)
    return simulate(place, FollowSchedule(Schedule(place.grid, ids, np.array(rows))), response=response)


def test_minute_means_are_exact_and_not_samples() -> None:
    place = world([evse("A", Response(delay_s=30.0))], [visit("v", "A", 0, 180)])
    run = replay(place, [[6.0] * 12])
    # 30 s of silence in the first minute: half of 6 kW.
    np.testing.assert_allclose(run.net_kw[:3], [43.0, 46.0, 46.0], rtol=1e-12)
    assert run.evse_step_kw[0, 0] == pytest.approx(6.0 * 870 / 900, rel=1e-12)
    assert run.step_net_kw[1] == pytest.approx(46.0, rel=1e-12)


def test_minutes_and_steps_add_up_to_the_registers() -> None:
    place = world([evse("A", DC), evse("B", DC)], [visit("a", "A", 3.3, 100), visit("b", "B", 20, 151.7)])
    rows = np.random.default_rng(4).uniform(-11, 11, (2, 12)).tolist()
    run = replay(place, rows)
    hours = np.diff(run.minute_edges_s) / 3600
    metered = sum(out.imported_kwh - out.exported_kwh for out in run.visits.values())
    assert (run.ev_kw * hours).sum() == pytest.approx(metered, rel=1e-12)
    assert run.evse_step_kw.sum() * 0.25 == pytest.approx(metered, rel=1e-12)
    assert run.ledger_residual <= 1e-9
    assert run.visits["a"].has_left


def test_the_engine_and_the_station_model_give_the_same_energy() -> None:
    """The replay against Follower and FleetState driven by hand, second by second, as a station does."""
    rows = [11.0, -11.0, -4.0, 0.0, 7.0, 11.0, 11.0, 11.0, -11.0, -11.0, -11.0, -11.0]
    place = world([evse("A", DC)], [visit("v", "A", 0, 180)])
    run = replay(place, [rows])
    follower, fleet = Follower(DC), FleetState(1)
    fleet.plug(0, BOTH_WAYS, 30.0, floor_kwh=12.0)
    for second in range(180 * 60):
        if second % 900 == 0:
            follower.order(float(second), usable_setpoint(place.evses[0], BOTH_WAYS, rows[second // 900]))
        fleet.set_power(0, follower.power_at(float(second)))
        fleet.advance(1.0)
    out = run.visits["v"]
    assert out.energy_kwh == pytest.approx(float(fleet.energy_kwh[0]), rel=1e-9)
    assert out.imported_kwh == pytest.approx(float(fleet.import_kwh[0]), rel=1e-9)
    assert out.exported_kwh == pytest.approx(float(fleet.export_kwh[0]), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-11, 11), min_size=3, max_size=3), st.floats(0, 80), st.floats(90, 170))
def test_energy_is_conserved_and_finer_steps_change_nothing(levels: list[float], come: float, go: float) -> None:
    results = []
    for step_s in (60, 900, 3600):
        per_hour = 3600 // step_s
        place = world([evse("A", DC)], [visit("v", "A", come, go)], steps=3 * per_hour, step_s=step_s)
        run = replay(place, [np.repeat(levels, per_hour).tolist()])
        assert run.ledger_residual <= 1e-9
        results.append((run.visits["v"].energy_kwh, run.visits["v"].imported_kwh, run.visits["v"].exported_kwh))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(results[0], results[2], rtol=1e-9, atol=1e-12)


def test_a_replay_is_deterministic_to_the_last_bit() -> None:
    place = world([evse("A", DC), evse("B")], [visit("a", "A", 3, 100), visit("b", "B", 0, 180)])
    rows = np.random.default_rng(5).uniform(-11, 11, (2, 12)).tolist()
    first, second = replay(place, rows), replay(place, rows)
    assert first.net_kw.tobytes() == second.net_kw.tobytes()
    assert first.energy_kwh.tobytes() == second.energy_kwh.tobytes()


def test_discharge_ends_exactly_at_the_drivers_floor() -> None:
    run = replay(world([evse("A", DC)], [visit("v", "A", 0, 180)]), [[-11.0] * 12])
    assert run.visits["v"].energy_kwh == 12.0
    assert run.energy_kwh[0, -1] == 12.0
    assert run.evse_step_kw[0, -1] == 0.0


def test_uncontrolled_charging_stops_at_the_target() -> None:
    place = world([evse("A"), evse("B")], [visit("a", "A", 0, 170), visit("b", "B", 0, 30)])
    run = simulate(place, Uncontrolled())
    assert run.visits["a"].energy_kwh == 50.0
    assert run.visits["b"].energy_kwh == pytest.approx(30.0 + 0.5 * 10.23, abs=0.01)
    assert run.net_kw.max() == pytest.approx(62.0)


def test_a_replay_may_begin_inside_the_first_step() -> None:
    begin = START + timedelta(seconds=400)
    place = world([evse("A")], [visit("v", "A", 400 / 60, 180)], begin=begin)
    run = replay(place, [[6.0] * 12])
    assert run.minute_edges_s[:2].tolist() == [400.0, 420.0]
    np.testing.assert_allclose(run.net_kw, 46.0, rtol=1e-12)
    assert run.evse_step_kw[0, 0] == pytest.approx(6.0)
    assert run.visits["v"].imported_kwh == pytest.approx(6.0 * (10800 - 400) / 3600)


def test_one_car_leaves_and_the_next_arrives_in_the_same_second() -> None:
    place = world([evse("A", DC)], [visit("first", "A", 0, 60), visit("next", "A", 60, 120, energy_kwh=20.0)])
    run = replay(place, [[11.0] * 12])
    assert run.visits["first"].imported_kwh == pytest.approx(run.visits["next"].imported_kwh, rel=1e-9)
    assert run.energy_kwh[0, 3] == pytest.approx(run.visits["first"].energy_kwh)
    assert np.isnan(run.energy_kwh[0, 9])


def test_two_cars_at_one_evse_are_refused() -> None:
    place = world([evse("A")], [visit("first", "A", 0, 61), visit("next", "A", 60, 120)])
    with pytest.raises(VisitsOverlap, match="first and next at EVSE A"):
        simulate(place, Uncontrolled())


def test_a_controller_is_asked_at_steps_and_at_plugs_and_may_answer_by_name() -> None:
    asked: list[float] = []

    class Recorder:
        def setpoints(self, now: datetime, view: WorldView) -> dict[str, float]:
            asked.append((now - START).total_seconds())
            return {"A": 5.0} if view.visits[0] is not None else {}

        def ceiling_kwh(self, visit: Visit) -> float:
            return visit.target_kwh

    run = simulate(world([evse("A")], [visit("v", "A", 20, 40)], steps=4), Recorder())
    assert asked == [0.0, 900.0, 1200.0, 1800.0, 2400.0, 2700.0]
    assert run.visits["v"].imported_kwh == pytest.approx(5.0 / 3)
