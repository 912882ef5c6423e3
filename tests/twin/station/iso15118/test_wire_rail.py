"""The rail's contract: what the station may do at any time, and what it is told, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from twin.station.rail import Control, FaultKind, Language, SessionEnd, SessionFault, Speech, Transfer

pytestmark = pytest.mark.anyio


async def test_nothing_flows_before_the_driver_is_let_in(plug: Any) -> None:
    session = plug(order_kw=7.0, is_authorised=False)
    await asyncio.sleep(0.1)
    assert not session.rail.is_charging
    assert not any(session.car.taken)
    session.rail.authorise()
    await session.flows(7.0)


async def test_a_driver_who_comes_late_is_waited_for_without_a_storm_of_messages(plug: Any) -> None:
    seen = []
    session = plug(is_authorised=False, options={"tap": lambda data, is_sent: seen.append((data, is_sent))})
    await asyncio.sleep(1.6)  # longer than one authorisation request is held
    assert len(seen) < 30
    session.rail.authorise()
    await session.flows(7.0)


async def test_the_plug_is_pulled_at_once_and_told_once(plug: Any) -> None:
    session = await plug(order_kw=-6.0).charging()
    await session.flows(-6.0)
    session.rail.disconnect()
    assert session.notes.ends == [SessionEnd.UNPLUGGED]
    assert session.car.present_kw == 0.0
    assert session.notes.flows[-1] == 0.0
    count = len(session.car.taken)
    await asyncio.sleep(0.1)
    assert len(session.car.taken) == count
    assert len(session.notes.ends) == 1
    assert not session.rail.is_charging


async def test_the_plug_is_pulled_in_every_state_and_the_next_car_charges(plug: Any, bench: Any) -> None:
    # The relay of a message is the moment to pull: after the n-th message that the station has sent or read.
    for moment in range(34):
        count = 0
        session = None

        def pull(_data: bytes, _is_sent: bool, moment: int = moment) -> None:
            nonlocal count
            count += 1
            if count == moment + 1:
                session.rail.disconnect()  # noqa: B023 - bound below, before the first message

        session = plug(order_kw=5.0, options={"tap": pull})
        await bench.until(lambda s=session: bool(s.notes.ends))
        assert session.notes.ends == [SessionEnd.UNPLUGGED]
        assert session.car.present_kw == 0.0
        assert moment > 30 or not any(session.notes.flows)
        following = bench.ScriptedCar(session.car.speech)
        count = 1000
        session.rail.connect(following)
        session.rail.authorise()
        await bench.until(lambda car=following: car.present_kw == 5.0)
        await session.rail.close()


async def test_a_hard_stop_cuts_the_power_at_once_and_ends_as_the_stations(plug: Any) -> None:
    session = await plug(order_kw=8.0).charging()
    await session.flows(8.0)
    session.rail.stop()
    assert session.car.present_kw == 0.0
    assert await session.over() is SessionEnd.STATION
    taken = session.car.taken
    assert not any(taken[taken.index(0.0, taken.index(8.0)):])


@pytest.mark.parametrize("speech", [
    Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED), Speech(Language.ISO_15118_20, Transfer.AC_BPT),
    Speech(Language.ISO_15118_2, Transfer.AC_THREE_PHASE, Control.SCHEDULED),
    Speech(Language.DIN_70121, Transfer.DC, Control.SCHEDULED),
], ids=lambda s: f"{s.language}-{s.transfer}")
async def test_a_hard_stop_ends_the_session_in_every_language(plug: Any, speech: Speech) -> None:
    session = await plug(speech, order_kw=8.0).charging()
    await session.flows(8.0, 0.01)
    session.rail.stop()
    assert session.car.present_kw == 0.0
    assert await session.over() is SessionEnd.STATION


async def test_a_stop_while_the_session_is_set_up_ends_it_before_anything_flows(plug: Any) -> None:
    session = plug(order_kw=8.0, is_authorised=False)
    await asyncio.sleep(0.05)
    session.rail.stop()
    assert await session.over() is SessionEnd.STATION
    assert not any(session.car.taken)


async def test_a_stop_before_the_line_stands_ends_the_session_at_once(plug: Any) -> None:
    session = plug()
    session.rail.stop()
    assert session.notes.ends == [SessionEnd.STATION]


async def test_a_car_that_ignores_the_stop_is_cut_off(plug: Any, bench: Any) -> None:
    session = await plug(order_kw=8.0, options={"terminate_s": 0.1, "pause_s": lambda: 30.0}).charging()
    await bench.until(lambda: session.rail.is_charging)
    await asyncio.sleep(0.05)
    session.rail.stop()
    assert await session.over() is SessionEnd.STATION


async def test_one_session_at_a_time_and_the_set_point_stays_for_the_next(plug: Any, bench: Any) -> None:
    session = await plug(order_kw=5.0).charging()
    with pytest.raises(RuntimeError, match="a session runs"):
        session.rail.connect(session.car)
    await session.flows(5.0)
    session.car.leave()
    assert await session.over() is SessionEnd.CAR
    following = bench.ScriptedCar(Speech(Language.ISO_15118_20, Transfer.DC, Control.SCHEDULED))
    session.rail.connect(following)
    session.rail.authorise()
    await bench.until(lambda: following.present_kw == 5.0)
    session.rail.disconnect()
    assert session.notes.ends == [SessionEnd.CAR, SessionEnd.UNPLUGGED]


async def test_the_station_hears_what_the_car_really_takes(plug: Any) -> None:
    session = plug(order_kw=7.0)
    session.car.most_kw = 3.2
    await session.flows(3.2)
    assert session.notes.flows == [3.2]


async def test_a_set_point_flows_as_the_wire_can_carry_it(plug: Any) -> None:
    session = plug(order_kw=33.3337, max_charge_kw=50.0, max_current_a=200.0)
    session.car.limits = replace(session.car.limits, max_charge_kw=50.0, max_current_a=200.0)
    await session.flows(33.33)


async def test_needs_come_before_the_charge_loop_and_what_is_only_said_in_it_comes_then(plug: Any) -> None:
    session = await plug(order_kw=7.0).charging()
    first = session.notes.needs_told[0]
    assert (first.language, first.transfer, first.control) == (
        Language.ISO_15118_20, Transfer.DC_BPT, Control.DYNAMIC,
    )
    assert first.departure_s == pytest.approx(7200.0, abs=1.0)
    assert (first.target_soc, first.min_soc) == (0.8, 0.2)
    assert (first.target_energy_kwh, first.max_energy_kwh, first.min_energy_kwh) == (18.0, 24.0, -18.0)
    assert (first.max_v2x_energy_kwh, first.min_v2x_energy_kwh) == (20.0, -10.0)
    assert (first.max_charge_kw, first.max_discharge_kw, first.min_charge_kw) == (11.0, 10.0, 0.1)
    assert (first.max_charge_current_a, first.max_voltage_v) == (40.0, 500.0)
    await session.flows(7.0)
    last = session.notes.needs_told[-1]
    assert (last.present_soc, last.max_soc, last.capacity_kwh) == (0.5, 0.9, 60.0)
    assert len(session.notes.needs_told) == 2


async def test_a_driver_who_leaves_earlier_is_told_in_the_loop(plug: Any, bench: Any) -> None:
    session = await plug(order_kw=7.0).charging()
    await session.flows(7.0)
    told = len(session.notes.needs_told)
    session.car.now = replace(session.car.now, departure_s=3600.0, target_soc=0.7, target_energy_kwh=12.0)
    await bench.until(lambda: len(session.notes.needs_told) > told)
    assert session.notes.needs_told[-1].departure_s == pytest.approx(3600.0, abs=1.0)
    assert session.notes.needs_told[-1].target_soc == 0.7


async def test_a_departure_that_is_not_known_is_not_invented(plug: Any, every_speech: Speech, bench: Any) -> None:
    car = bench.ScriptedCar(every_speech, departure_s=None)
    session = await plug(car=car).charging()
    await session.flows(7.0, 0.01)
    assert session.notes.needs_told[0].departure_s is None


async def test_an_ac_car_discharges_only_into_an_evse_that_is_permitted_to_let_it(plug: Any, bench: Any) -> None:
    session = await plug(Speech(Language.ISO_15118_20, Transfer.AC_BPT), order_kw=-5.0, permits_ac_bpt=False).charging()
    await bench.until(lambda: len(session.car.taken) > 5)
    assert not any(session.car.taken)
    assert session.notes.needs_told[0].transfer is Transfer.AC_THREE_PHASE  # it fell back on plain AC
    session.rail.order(4.0)
    await session.flows(4.0)


async def test_a_dc_evse_without_discharge_offers_none(plug: Any, bench: Any) -> None:
    session = await plug(Speech(), order_kw=-5.0, max_discharge_kw=0.0).charging()
    await bench.until(lambda: len(session.car.taken) > 5)
    assert not any(session.car.taken)
    assert session.notes.needs_told[0].transfer is Transfer.DC


@pytest.mark.parametrize("control", list(Control))
async def test_a_car_below_its_minimum_energy_is_not_discharged(plug: Any, bench: Any, control: Control) -> None:
    car = bench.ScriptedCar(Speech(control=control), soc=0.1, min_energy_kwh=6.0)
    session = await plug(car=car, order_kw=-5.0).charging()
    await bench.until(lambda: len(car.taken) > 5)
    assert not any(car.taken)
    session.rail.order(5.0)
    await session.flows(5.0)


async def test_four_cars_at_once_keep_their_limits_apart(plug: Any, bench: Any) -> None:
    cars = []
    for k in range(4):
        car = bench.ScriptedCar(Speech(control=list(Control)[k % 2]))
        car.limits = replace(car.limits, max_discharge_kw=2.0 + k, max_charge_kw=6.0 + k)
        cars.append(car)
    sessions = [plug(car=car, order_kw=-10.0) for car in cars]
    for k, session in enumerate(sessions):
        await session.flows(-2.0 - k)
    for session in sessions:
        session.rail.order(11.0)
    for k, session in enumerate(sessions):
        await session.flows(6.0 + k)
        assert {needs.max_discharge_kw for needs in session.notes.needs_told} == {2.0 + k}
        assert {needs.max_charge_kw for needs in session.notes.needs_told} == {6.0 + k}
        assert min(session.car.taken) == -2.0 - k


async def test_a_station_that_cannot_be_reached_is_a_fault_and_no_hang(plug: Any) -> None:
    session = plug(options={"host": "192.0.2.1"})  # TEST-NET-1: nothing may be bound to it
    fault = await session.over()
    assert isinstance(fault, SessionFault)
    assert fault.kind is FaultKind.LINK


async def test_cars_that_are_pulled_out_before_they_are_heard_take_no_one_elses_place(plug: Any) -> None:
    session = plug(order_kw=5.0)
    for beat in range(40):
        for _ in range(beat % 8):  # let the connection get a little further each time
            await asyncio.sleep(0)
        session.rail.disconnect()
        session.rail.connect(session.car)
        session.rail.authorise()
    await session.flows(5.0)
    assert set(session.notes.ends) == {SessionEnd.UNPLUGGED}
    assert len(session.notes.ends) == 40
