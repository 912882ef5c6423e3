"""What really went over the socket, decoded from the bytes that a relay in the middle saw."""

from __future__ import annotations

import json
from typing import Any

import pytest
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import Namespace

from twin.station.iso15118 import Step
from twin.station.rail import Control, Language, SessionEnd, Speech, Transfer

pytestmark = pytest.mark.anyio


def number(rational: dict[str, int]) -> float:
    return rational["Value"] * 10.0 ** rational["Exponent"]


def loops(relay: Any, name: str, part: str, *, is_from_car: bool) -> list[dict[str, Any]]:
    """The control mode part of every loop message."""
    return [m[name][part] for m in relay.messages(is_from_car=is_from_car) if name in m and part in m[name]]


async def discharge(stand: Any, bench: Any, speech: Speech, order_kw: float=-5.0) -> Any:
    there = await stand(speech, order_kw=order_kw)
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == order_kw)
    count = len(there.car.taken)
    await bench.until(lambda: len(there.car.taken) > count + 6)
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving
    return there.relay


async def test_ac_bpt_dynamic_carries_a_negative_target_and_negative_measurements(stand: Any, bench: Any) -> None:
    relay = await discharge(stand, bench, Speech(Language.ISO_15118_20, Transfer.AC_BPT, Control.DYNAMIC))
    said = loops(relay, "AC_ChargeLoopRes", "BPT_Dynamic_AC_CLResControlMode", is_from_car=False)
    assert {number(part["EVSETargetActivePower"]) for part in said} == {-5000.0}
    assert number(said[-1]["EVSEPresentActivePower"]) == -5000.0
    told = loops(relay, "AC_ChargeLoopReq", "BPT_Dynamic_AC_CLReqControlMode", is_from_car=True)
    assert number(told[-1]["EVPresentActivePower"]) == -5000.0


async def test_dc_bpt_scheduled_carries_a_negative_target_current_of_the_car(stand: Any, bench: Any) -> None:
    relay = await discharge(stand, bench, Speech(Language.ISO_15118_20, Transfer.DC_BPT, Control.SCHEDULED))
    told = loops(relay, "DC_ChargeLoopReq", "BPT_Scheduled_DC_CLReqControlMode", is_from_car=True)
    assert number(told[0]["EVTargetCurrent"]) == 0.0  # before it has read a limit it asks for nothing
    assert number(told[-1]["EVTargetCurrent"]) == -12.5
    assert number(told[-1]["EVTargetVoltage"]) == 400.0
    measured = [m["DC_ChargeLoopRes"] for m in relay.messages(is_from_car=False) if "DC_ChargeLoopRes" in m]
    assert number(measured[-1]["EVSEPresentCurrent"]) == -12.5


async def test_dc_bpt_dynamic_carries_limits_that_leave_only_discharge_and_a_negative_current(
    stand: Any, bench: Any
) -> None:
    relay = await discharge(stand, bench, Speech(Language.ISO_15118_20, Transfer.DC_BPT, Control.DYNAMIC))
    said = loops(relay, "DC_ChargeLoopRes", "BPT_Dynamic_DC_CLResControlMode", is_from_car=False)
    assert {number(part["EVSEMaximumChargePower"]) for part in said} == {0.0}
    assert {number(part["EVSEMaximumDischargePower"]) for part in said} == {5000.0}
    measured = [m["DC_ChargeLoopRes"] for m in relay.messages(is_from_car=False) if "DC_ChargeLoopRes" in m]
    assert number(measured[-1]["EVSEPresentCurrent"]) == -12.5


@pytest.mark.parametrize("control", list(Control))
async def test_a_car_that_writes_discharge_limits_below_zero_is_answered_in_its_sign(
    stand: Any, bench: Any, control: Control
) -> None:
    speech = Speech(Language.ISO_15118_20, Transfer.DC_BPT, control, is_discharge_negative=True)
    relay = await discharge(stand, bench, speech)
    mode = "Dynamic" if control is Control.DYNAMIC else "Scheduled"
    told = loops(relay, "DC_ChargeLoopReq", f"BPT_{mode}_DC_CLReqControlMode", is_from_car=True)
    assert number(told[-1]["EVMaximumDischargePower"]) == -10000.0
    said = loops(relay, "DC_ChargeLoopRes", f"BPT_{mode}_DC_CLResControlMode", is_from_car=False)
    assert number(said[-1]["EVSEMaximumDischargePower"]) == -5000.0
    assert number(said[-1]["EVSEMaximumDischargeCurrent"]) < 0.0


@pytest.mark.parametrize(("transfer", "expected"), [
    (Transfer.DC_BPT, {"Connector": 2, "MobilityNeedsMode": 1, "BPTChannel": 1, "GeneratorMode": 1}),
    (Transfer.AC_BPT, {
        "Connector": 3, "MobilityNeedsMode": 1, "EVSENominalVoltage": 230, "BPTChannel": 1, "GeneratorMode": 1,
        "GridCodeIslandingDetectionMethod": 2,
    }),
])
async def test_the_parameter_sets_are_those_of_tables_206_and_208(
    stand: Any, bench: Any, transfer: Transfer, expected: dict[str, int]
) -> None:
    relay = await discharge(stand, bench, Speech(Language.ISO_15118_20, transfer, Control.DYNAMIC))
    service = 6 if transfer is Transfer.DC_BPT else 5
    details = [m["ServiceDetailRes"] for m in relay.messages(is_from_car=False) if "ServiceDetailRes" in m]
    sets = next(d for d in details if d["ServiceID"] == service)["ServiceParameterList"]["ParameterSet"]
    by_mode = {}
    for one in sets:
        values = {p["Name"]: p["intValue"] for p in one["Parameter"]}
        by_mode[values.pop("ControlMode")] = values
    assert by_mode == {1: {**expected, "Pricing": 2}, 2: {**expected, "Pricing": 0}}


async def test_a_new_set_point_needs_no_renegotiation(stand: Any, bench: Any) -> None:
    there = await stand(Speech(), order_kw=4.0)
    driving = there.drive()
    for order_kw in (4.0, -3.0, 0.0, 2.5, -10.0):
        there.secc.order(order_kw)
        await bench.until(lambda kw=order_kw: there.car.present_kw == kw and bool(there.car.taken))
    there.car.leave()
    await there.over()
    await driving
    names = [next(iter(m)) for m in there.relay.messages(is_from_car=True)]
    assert names.count("ScheduleExchangeReq") == names.count("ServiceSelectionReq") == 1
    assert names.count("PowerDeliveryReq") == 2  # start and stop


async def test_a_hard_stop_is_a_terminate_notification_and_the_car_ends_the_session(stand: Any, bench: Any) -> None:
    there = await stand(Speech(), order_kw=6.0)
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 6.0)
    assert there.secc.stop()
    assert there.car.present_kw == 0.0  # at once, before the car knows
    assert await there.over() is SessionEnd.STATION
    await driving
    answers = [m["DC_ChargeLoopRes"] for m in there.relay.messages(is_from_car=False) if "DC_ChargeLoopRes" in m]
    assert answers[-1]["EVSEStatus"]["EVSENotification"] == "Terminate"
    assert [next(iter(m)) for m in there.relay.messages(is_from_car=True)][-1] == "SessionStopReq"
    assert there.car.present_kw == 0.0


async def test_a_schedule_of_a_thousand_steps_passes_although_it_is_longer_than_7000_bytes(
    stand: Any, bench: Any
) -> None:
    steps = tuple(Step(60 + k % 7, 3.0 + k / 300.0, 1.0 + k / 300.0) for k in range(1024))
    speech = Speech(Language.ISO_15118_20, Transfer.DC_BPT, Control.SCHEDULED)
    there = await stand(speech, order_kw=5.0, options={"offer": lambda: steps})
    # Cut the stream into pieces of 700 bytes: none of them is a message.
    there.relay.cut = lambda data, _: [data[k:k + 700] for k in range(0, len(data), 700)]
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 5.0)
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving
    assert max(len(payload) for _, payload in bench.frames(bytes(there.relay.seen[False]))) > 7000
    answer = next(m for m in there.relay.messages(is_from_car=False) if "ScheduleExchangeRes" in m)
    offered = answer["ScheduleExchangeRes"]["Scheduled_SEResControlMode"]["ScheduleTuple"][0]
    entries = offered["ChargingSchedule"]["PowerSchedule"]["PowerScheduleEntries"]["PowerScheduleEntry"]
    assert [e["Duration"] for e in entries] == [s.duration_s for s in steps]


@pytest.mark.parametrize("transfer", [Transfer.DC, Transfer.AC_THREE_PHASE])
async def test_iso_2_offers_its_schedule_as_power_limits_by_time(stand: Any, bench: Any, transfer: Transfer) -> None:
    steps = tuple(Step(900, 11.0 - k / 4.0) for k in range(20))
    there = await stand(
        Speech(Language.ISO_15118_2, transfer, Control.SCHEDULED), order_kw=5.0, options={"offer": lambda: steps}
    )
    driving = there.drive()
    await bench.until(lambda: abs(there.car.present_kw - 5.0) < 0.01)
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving
    codec, space = EXI().get_exi_codec(), Namespace.ISO_V2_MSG_DEF
    bodies = {}
    for side in (False, True):
        for _, payload in list(bench.frames(bytes(there.relay.seen[side])))[1:]:  # the first is the handshake
            bodies |= json.loads(codec.decode(payload, space))["V2G_Message"]["Body"]
    chosen, = bodies["ChargeParameterDiscoveryRes"]["SAScheduleList"]["SAScheduleTuple"]
    entries = chosen["PMaxSchedule"]["PMaxScheduleEntry"]
    assert [e["RelativeTimeInterval"]["start"] for e in entries] == [900 * k for k in range(20)]
    assert [e["PMax"]["Value"] * 10.0 ** e["PMax"]["Multiplier"] for e in entries] == [
        step.charge_kw * 1000.0 for step in steps
    ]
    assert entries[-1]["RelativeTimeInterval"]["duration"] == 900
