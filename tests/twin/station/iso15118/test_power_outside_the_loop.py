"""Power flows in the charge loop alone, and never more than the newest set-point, whatever the car says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from iso15118.shared.messages.enums import Namespace

from twin.station.iso15118.ev import EvController
from twin.station.rail import Control, EvseRatings, FaultKind, Language, SessionEnd, Speech, Transfer

pytestmark = pytest.mark.anyio

V2_DC = Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED)
V2_AC = Speech(Language.ISO_15118_2, Transfer.AC_THREE_PHASE, Control.SCHEDULED)
DIN = Speech(Language.DIN_70121, Transfer.DC, Control.SCHEDULED)
AC_BPT = Speech(Language.ISO_15118_20, Transfer.AC_BPT)
PATIENT = {"loop_silence_s": 60.0}  # a busy machine is no silent car
STATUS = {"EVReady": True, "EVErrorCode": "NO_ERROR", "EVRESSSOC": 50}


async def taken_over(stand: Any, bench: Any, speech: Speech, order_kw: float) -> tuple[Any, asyncio.Task[Any]]:
    """A session in its charge loop, in which the test speaks from now on; its car hears nothing any more."""
    there = await stand(speech, order_kw=order_kw)
    driving = there.drive(car_patience=1000.0)
    await bench.until(lambda: abs(there.car.present_kw - order_kw) < 0.01)
    await there.relay.silence()
    return there, driving


async def left(there: Any, driving: asyncio.Task[Any]) -> None:
    there.relay.sever()
    await asyncio.gather(driving, return_exceptions=True)


def in_20(there: Any, **body: Any) -> dict[str, Any]:
    header = {"SessionID": there.secc.session.session_id, "TimeStamp": 1}
    return {"PowerDeliveryReq": {"Header": header, **body}}


def in_2(there: Any, **body: Any) -> dict[str, Any]:
    return {"V2G_Message": {"Header": {"SessionID": there.secc.session.session_id}, "Body": {"PowerDeliveryReq": body}}}


@pytest.mark.parametrize(("before", "after", "flows"), [
    (-5.0, 0.0, 0.0), (-5.0, -2.0, -2.0), (-5.0, 4.0, 0.0), (7.0, 3.0, 3.0), (7.0, -3.0, 0.0), (7.0, 9.0, 7.0),
])
async def test_over_dc_a_smaller_set_point_acts_at_once_and_a_larger_one_waits_for_the_loop(
    stand: Any, bench: Any, before: float, after: float, flows: float
) -> None:
    there, driving = await taken_over(stand, bench, Speech(), before)
    there.secc.order(after)
    assert there.car.present_kw == flows
    await left(there, driving)


@pytest.mark.parametrize("progress", ["Start", "Stop"])
async def test_a_power_delivery_that_goes_on_and_on_lets_nothing_flow(stand: Any, bench: Any, progress: str) -> None:
    there, driving = await taken_over(stand, bench, Speech(), -5.0)
    for _ in range(3):
        request = in_20(there, EVProcessing="Ongoing", ChargeProgress=progress)
        answer = await there.relay.ask(0x8002, request, Namespace.ISO_V20_COMMON_MSG)
        assert answer["PowerDeliveryRes"]["ResponseCode"] == "OK"
        assert there.car.present_kw == 0.0
        assert there.car.is_cut
        there.secc.order(-4.0)  # nor does a new set-point start it again
        assert there.car.present_kw == 0.0
    await left(there, driving)


async def test_over_ac_the_contactors_open_where_the_car_leaves_its_loop(stand: Any, bench: Any) -> None:
    there, driving = await taken_over(stand, bench, AC_BPT, -5.0)
    request = in_20(there, EVProcessing="Ongoing", ChargeProgress="Stop")
    await there.relay.ask(0x8002, request, Namespace.ISO_V20_COMMON_MSG)
    assert there.car.is_cut
    assert there.car.present_kw == 0.0
    await left(there, driving)


@pytest.mark.parametrize(("speech", "body"), [
    (V2_DC, {"ChargeProgress": "Renegotiate", "SAScheduleTupleID": 1,
             "DC_EVPowerDeliveryParameter": {"DC_EVStatus": STATUS, "ChargingComplete": False}}),
    (V2_AC, {"ChargeProgress": "Renegotiate", "SAScheduleTupleID": 1}),
], ids=["DC", "AC"])
async def test_a_renegotiation_of_iso_2_is_refused_and_nothing_flows(
    stand: Any, bench: Any, speech: Speech, body: dict[str, Any]
) -> None:
    there, driving = await taken_over(stand, bench, speech, 7.0 if speech is V2_AC else 4.0)
    answer = await there.relay.ask(0x8001, in_2(there, **body), Namespace.ISO_V2_MSG_DEF)
    assert answer["V2G_Message"]["Body"]["PowerDeliveryRes"]["ResponseCode"] == "FAILED"
    assert there.car.present_kw == 0.0
    fault = await there.over()
    assert fault.kind is FaultKind.IMPOSSIBLE
    assert "renegotiation" in fault.detail
    assert there.car.is_cut
    await left(there, driving)


async def test_a_second_start_of_din_is_refused_and_nothing_flows(stand: Any, bench: Any) -> None:
    there, driving = await taken_over(stand, bench, DIN, 4.0)
    body = {"ReadyToChargeState": True, "DC_EVPowerDeliveryParameter": {
        "DC_EVStatus": STATUS, "ChargingComplete": False,
    }}
    answer = await there.relay.ask(0x8001, in_2(there, **body), Namespace.DIN_MSG_DEF)
    assert answer["V2G_Message"]["Body"]["PowerDeliveryRes"]["ResponseCode"] == "FAILED"
    assert (await there.over()).kind is FaultKind.IMPOSSIBLE
    assert there.car.present_kw == 0.0
    await left(there, driving)


class Deaf(EvController):
    """Its charger stays at what it was first told."""

    first_kw: float | None = None

    def obey(self, target_kw: float) -> None:
        if not self.first_kw:
            self.first_kw = target_kw
        super().obey(self.first_kw)


@pytest.mark.parametrize(("before", "after"), [(7.0, 3.0), (-5.0, 0.0), (-5.0, 2.0)])
async def test_an_ac_car_that_does_not_follow_is_cut_off(
    stand: Any, bench: Any, before: float, after: float
) -> None:
    there = await stand(AC_BPT, order_kw=before, options=PATIENT | {"follow_s": 0.3})
    there.car.obeys_pilot = False
    driving = there.drive(Deaf, car_patience=1000.0)
    await bench.until(lambda: there.car.present_kw == before)
    there.secc.order(after)
    await bench.until(lambda: there.car.is_cut)
    fault = await there.over()
    assert fault.kind is FaultKind.IMPOSSIBLE
    assert "did not follow" in fault.detail
    assert there.car.present_kw == 0.0
    await left(there, driving)


class Boundless(EvController):
    """Its charger takes all it can in the direction it is offered."""

    def obey(self, target_kw: float) -> None:
        super().obey(11.0 if target_kw > 0.0 else -10.0)


@pytest.mark.parametrize("order_kw", [3.0, -3.0])
async def test_an_ac_car_that_takes_more_than_it_was_ever_offered_is_cut_off(
    stand: Any, order_kw: float
) -> None:
    there = await stand(AC_BPT, order_kw=order_kw)
    driving = there.drive(Boundless)
    fault = await there.over()
    assert fault.kind is FaultKind.IMPOSSIBLE
    assert there.car.present_kw == 0.0
    assert there.car.is_cut
    await left(there, driving)


async def test_an_ac_car_that_falls_silent_does_not_go_on_feeding_in(stand: Any, bench: Any) -> None:
    there = await stand(AC_BPT, order_kw=-5.0, options=PATIENT | {"follow_s": 0.3})
    driving = there.drive(car_patience=1000.0)
    await bench.until(lambda: there.car.present_kw == -5.0)
    there.relay.mute()
    there.secc.order(0.0)  # no duty cycle says anything about discharge
    await bench.until(lambda: there.car.is_cut)
    assert there.car.present_kw == 0.0
    await left(there, driving)


@pytest.mark.parametrize(("speech", "phases"), [
    (AC_BPT, 3), (V2_AC, 3), (Speech(Language.ISO_15118_2, Transfer.AC_SINGLE_PHASE, Control.SCHEDULED), 1),
], ids=lambda value: str(getattr(value, "transfer", value)))
@pytest.mark.parametrize("before", [11.0, 9.0])
async def test_the_pilot_lowers_an_ac_car_at_once_though_it_is_silent_on_the_line(
    stand: Any, bench: Any, speech: Speech, phases: int, before: float
) -> None:
    there = await stand(speech, order_kw=before, options=PATIENT | {"follow_s": 0.3})
    driving = there.drive(car_patience=1000.0)
    await bench.until(lambda: abs(there.car.present_kw - before) < 0.01)
    there.relay.mute()
    there.secc.order(6.5)
    assert there.car.present_kw == 6.5
    there.secc.order(0.0)
    assert there.car.present_kw == pytest.approx(6.0 * 230.0 * phases / 1000.0)  # the least that a pilot can say
    await bench.until(lambda: there.car.is_cut)
    await left(there, driving)


async def test_an_ac_car_that_obeys_the_pilot_is_not_cut_for_being_slow_on_the_line(stand: Any, bench: Any) -> None:
    there = await stand(AC_BPT, order_kw=9.0, options=PATIENT | {"follow_s": 0.1})
    driving = there.drive(pause_s=lambda: 0.5)
    await bench.until(lambda: there.car.present_kw == 9.0)
    there.secc.order(6.0)
    assert there.car.present_kw == 6.0
    loops = len(there.car.taken)
    await bench.until(lambda: len(there.car.taken) > loops + 2)
    assert not there.notes.ends
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


@pytest.mark.parametrize("speech", [Speech(), Speech(control=Control.SCHEDULED), V2_DC, DIN],
                         ids=lambda s: f"{s.language}-{s.control}")
async def test_over_dc_nothing_flows_while_the_car_is_silent_and_again_when_it_speaks(
    stand: Any, bench: Any, speech: Speech
) -> None:
    there = await stand(speech, order_kw=7.0, options=PATIENT | {"quiet_s": 0.2})
    driving = there.drive(car_patience=1000.0)
    await bench.until(lambda: there.car.present_kw == 7.0)
    said: list[bytes] = []
    there.relay.cut = lambda data, is_from_car: said.append(data) or [] if is_from_car else [data]
    await bench.until(lambda: there.car.present_kw == 0.0)
    await bench.until(lambda: bool(said))
    assert not there.notes.ends
    there.relay.cut = lambda data, _: [data]
    there.relay.say(b"".join(said))
    await bench.until(lambda: there.car.present_kw == 7.0)
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


async def test_an_ac_car_that_follows_a_falling_set_point_stays(stand: Any, bench: Any) -> None:
    there = await stand(AC_BPT, order_kw=8.0, options=PATIENT | {"follow_s": 0.5})
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 8.0)
    for k in range(30):  # longer than it may take to follow, and never at rest
        there.secc.order(8.0 - k / 4.0)
        await asyncio.sleep(0.02)
    await bench.until(lambda: there.car.present_kw == 0.75)
    assert not there.notes.ends
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


async def test_the_contactors_close_again_with_the_next_loop_request_unless_the_station_stops(bench: Any) -> None:
    car = bench.ScriptedCar(Speech())
    controller = bench.EvseController(EvseRatings(11.0), bench.Stage(car))
    controller.order(6.0)
    await controller.set_hlc_charging(True)
    assert controller.apply(6.0) == 6.0
    controller.heard(is_loop_request=False)
    assert (car.present_kw, car.is_cut) == (0.0, True)
    assert controller.apply(6.0) == 0.0
    controller.heard(is_loop_request=True)
    assert controller.apply(6.0) == 6.0
    controller.terminate()
    controller.heard(is_loop_request=True)
    assert (car.present_kw, car.is_cut) == (0.0, True)


async def test_a_car_that_asks_without_pause_waits_for_its_answers(stand: Any, bench: Any) -> None:
    there = await stand(options={"least_loop_s": 0.05})
    driving = there.drive(pause_s=lambda: 0.0)
    await bench.until(lambda: there.car.present_kw == 7.0)
    begin, count = time.monotonic(), len(there.car.taken)
    await bench.until(lambda: len(there.car.taken) >= count + 8)
    assert time.monotonic() - begin >= 7 * 0.05
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving
