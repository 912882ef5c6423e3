"""Cars that fall silent, talk nonsense, lie or ask the impossible: 0 A, one fault, and the next car charges."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from iso15118.shared.exceptions import EXIEncodingError
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.app_protocol import AppProtocol, SupportedAppProtocolReq
from iso15118.shared.messages.enums import Namespace

from twin.station.iso15118.ev import EvController
from twin.station.rail import Control, FaultKind, Language, SessionEnd, SessionFault, Speech, Transfer

pytestmark = pytest.mark.anyio

DC_BPT = Speech()
HELLO = bytes.fromhex("01fe8001")


def hello(*protocols: str, major: int = 1) -> bytes:
    """A SupportedAppProtocolReq as bytes."""
    request = SupportedAppProtocolReq(app_protocol=[
        AppProtocol(protocol_ns=name, major_version=major, minor_version=0, schema_id=k, priority=k)
        for k, name in enumerate(protocols, start=1)
    ])
    payload = EXI().to_exi(request, Namespace.SAP)
    return HELLO + struct.pack(">I", len(payload)) + payload


async def say(address: tuple[str, int], data: bytes, *, listens: bool = True) -> bytes:
    """Connect, say `data` and return what comes back until the station closes."""
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionResetError:  # sent away before the connection was told that it stands
        return b""
    writer.write(data)
    await writer.drain()
    answer = b""
    if listens:
        async with asyncio.timeout(60):
            try:
                answer = await reader.read(-1)
            except ConnectionError:
                answer = b""
    writer.close()
    return answer


async def charges(there: Any, bench: Any) -> None:
    """The next session on the same EVSE works, with a station that is patient again."""
    there.secc.options = replace(there.secc.options, station_patience=1.0)
    there.notes.ends.clear()
    there.car = bench.ScriptedCar(DC_BPT)
    there.relay.cut = lambda data, _: [data]
    there.plug()
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0)
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


async def faulted(there: Any, kind: FaultKind) -> SessionFault:
    fault = await there.over()
    assert isinstance(fault, SessionFault)
    assert fault.kind is kind, str(fault)
    assert there.car.present_kw == 0.0
    assert len(there.notes.ends) == 1
    return fault


async def test_a_car_of_an_unknown_protocol_is_told_that_there_is_no_common_one(stand: Any, bench: Any) -> None:
    there = await stand()
    answer = await say(there.address, hello("urn:iso:15118:9:2042:MsgDef"))
    (_, message), = bench.decoded(answer)
    assert message["supportedAppProtocolRes"]["ResponseCode"] == "Failed_NoNegotiation"
    assert (await faulted(there, FaultKind.VERSION)).state == "SupportedAppProtocol"
    await charges(there, bench)


async def test_a_car_of_another_major_version_is_refused(stand: Any, bench: Any) -> None:
    there = await stand()
    await say(there.address, hello("urn:iso:std:iso:15118:-20:DC", major=7))
    await faulted(there, FaultKind.VERSION)
    await charges(there, bench)


@pytest.mark.parametrize("nonsense", [
    b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, HELLO + b"\xff\xff\xff\xff", HELLO + b"\x00\x00\x00\x00",
    HELLO + struct.pack(">I", 30) + b"\x80" + bytes(29), HELLO + struct.pack(">I", 4) + b"\xff" * 4,
    b"\x01\xfe\x12\x34" + struct.pack(">I", 4) + b"\x80\x00\x00\x00",
], ids=["http", "zeros", "four-gigabytes", "empty", "no-exi", "no-header", "unknown-type"])
async def test_nonsense_ends_the_session_and_nothing_else(stand: Any, bench: Any, nonsense: bytes) -> None:
    there = await stand()
    await say(there.address, nonsense)
    await faulted(there, FaultKind.MALFORMED)
    await charges(there, bench)


async def test_random_bytes_after_the_handshake_end_the_session(stand: Any, bench: Any) -> None:
    there = await stand()
    rest = os.urandom(64)
    data = hello("urn:iso:std:iso:15118:-20:DC") + b"\x01\xfe\x80\x02" + struct.pack(">I", len(rest)) + rest
    await say(there.address, data)
    fault = await there.over()
    assert isinstance(fault, SessionFault)
    assert fault.kind in {FaultKind.MALFORMED, FaultKind.SEQUENCE}
    await charges(there, bench)


async def test_a_message_out_of_order_is_answered_with_a_sequence_error(stand: Any, bench: Any) -> None:
    there = await stand()
    answer = await say(there.address, hello("urn:iso:std:iso:15118:-20:DC") + session_stop())  # in one segment
    replies = [message for _, message in bench.decoded(answer)]
    assert replies[-1]["SessionStopRes"]["ResponseCode"] == "FAILED_SequenceError"
    assert (await faulted(there, FaultKind.SEQUENCE)).state == "SessionSetup"
    await charges(there, bench)


def session_stop() -> bytes:
    payload = EXI().get_exi_codec().encode(
        '{"SessionStopReq": {"Header": {"SessionID": "0000000000000000", "TimeStamp": 1700000000}, '
        '"ChargingSession": "Terminate"}}',
        Namespace.ISO_V20_COMMON_MSG,
    )
    return b"\x01\xfe\x80\x02" + struct.pack(">I", len(payload)) + payload


async def test_a_car_that_never_speaks_is_given_up_after_the_standards_time(stand: Any, bench: Any) -> None:
    there = await stand(options={"station_patience": 0.01})  # of 20 s for the set-up
    await say(there.address, b"")
    fault = await faulted(there, FaultKind.TIMEOUT)
    assert "0.2 s" in str(fault)
    await charges(there, bench)


@pytest.mark.parametrize("patience", [
    {"station_patience": 0.005}, {"loop_silence_s": 0.3},  # of 60 s between two requests; where power flows
])
async def test_a_car_that_falls_silent_in_the_loop_is_given_up_and_nothing_flows(
    stand: Any, bench: Any, patience: dict[str, float]
) -> None:
    there = await stand(options=patience)
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0)
    there.relay.cut = lambda data, is_from_car: [] if is_from_car else [data]
    fault = await faulted(there, FaultKind.TIMEOUT)
    assert fault.state == "DCChargeLoop"
    there.relay.sever()
    await driving
    await charges(there, bench)


async def test_the_line_breaks_after_every_message_and_the_next_car_charges(stand: Any, bench: Any) -> None:
    there = await stand()
    for count in range(1, 15):
        left = count

        def cut(data: bytes, is_from_car: bool) -> list[bytes] | None:
            nonlocal left
            left -= is_from_car
            return None if left <= 0 and is_from_car else [data]

        there.relay.cut = cut
        driving = there.drive()
        await faulted(there, FaultKind.LINK)
        await driving
        there.notes.ends.clear()
        there.plug()
    await charges(there, bench)


def spoiler(rng: random.Random) -> Callable[[bytes, bool], list[bytes]]:
    """Spoils one place in what the car says: a bit flipped, an octet lost or doubled, four octets of noise."""
    place, how, seen = rng.randrange(700), rng.choice(["flip", "lose", "double", "noise"]), 0

    def cut(data: bytes, is_from_car: bool) -> list[bytes]:
        nonlocal seen
        begin, seen = seen, seen + len(data) * is_from_car
        if not (is_from_car and begin <= place < seen):
            return [data]
        spoilt, index = bytearray(data), place - begin
        if how == "flip":
            spoilt[index] ^= 1 << rng.randrange(8)
        elif how == "lose":
            del spoilt[index]
        elif how == "double":
            spoilt.insert(index, spoilt[index])
        else:
            spoilt[index:index + 4] = rng.randbytes(4)
        return [bytes(spoilt)]

    return cut


@pytest.mark.parametrize("order_kw", [7.0, -5.0])
async def test_a_spoilt_message_never_hangs_the_station_nor_lets_other_power_flow_than_was_ordered(
    stand: Any, bench: Any, every_speech: Speech, order_kw: float
) -> None:
    rng = random.Random(f"{every_speech}{order_kw}")
    for _ in range(3):
        there = await stand(every_speech, order_kw=order_kw, options={"station_patience": 0.01, "loop_silence_s": 0.3})
        there.relay.cut = spoiler(rng)
        driving = there.drive()
        await bench.until(lambda there=there: bool(there.notes.ends) or len(there.car.taken) > 8)
        there.car.leave()
        await there.over()
        low, high = sorted((0.0, order_kw))
        assert all(low <= kw <= high for kw in there.car.taken)
        assert there.car.present_kw == 0.0
        there.relay.sever()
        await asyncio.gather(driving, return_exceptions=True)


async def test_every_failed_response_of_iso_20_can_be_written(stand: Any, bench: Any) -> None:
    there = await stand()
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0)
    unwritten = set()
    for response, namespace, _ in there.secc.session.failed_responses_isov20.values():
        response.header.session_id = "0" * 16
        try:
            assert EXI().to_exi(response, namespace)
        except EXIEncodingError:
            unwritten.add(str(response))
    assert unwritten == {"CertificateInstallationRes"}  # neither offered nor implemented by the package
    there.car.leave()
    await there.over()
    await driving


SAID_IN_ALL = ({"max_charge_kw": 32_000.0}, {"max_charge_kw": -11.0, "min_charge_kw": 0.0}, {"max_voltage_v": 100.0},
               {"max_current_a": 30_000.0})
SAID_IN_20 = ({"min_voltage_v": 1400.0, "max_voltage_v": 1500.0}, {"min_charge_kw": 20.0})


@pytest.mark.parametrize(("speech", "lie"), [
    *((DC_BPT, lie) for lie in SAID_IN_ALL + SAID_IN_20),
    *((Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED), lie) for lie in SAID_IN_ALL),
])
async def test_limits_that_no_car_can_have_are_answered_with_wrong_charge_parameter(
    stand: Any, bench: Any, speech: Speech, lie: dict[str, Any]
) -> None:
    there = await stand(speech)
    there.car.limits = replace(there.car.limits, **lie)
    driving = there.drive()
    fault = await faulted(there, FaultKind.IMPOSSIBLE)
    assert "ChargeParameterDiscovery" in fault.state
    await driving
    if speech is DC_BPT:
        answer = there.relay.messages(is_from_car=False)[-1]
        assert answer["DC_ChargeParameterDiscoveryRes"]["ResponseCode"] == "FAILED_WrongChargeParameter"
    await charges(there, bench)


async def test_energies_that_no_battery_has_are_refused_in_schedule_exchange(stand: Any, bench: Any) -> None:
    there = await stand()
    there.car.now = replace(there.car.now, target_energy_kwh=30_000.0, max_energy_kwh=30_000.0)
    driving = there.drive()
    assert (await faulted(there, FaultKind.IMPOSSIBLE)).state == "ScheduleExchange"
    await driving
    await charges(there, bench)


async def test_a_voltage_above_the_rating_in_the_loop_stops_the_session(stand: Any, bench: Any) -> None:
    there = await stand(Speech(control=Control.SCHEDULED))
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0)
    there.car.now = replace(there.car.now, voltage_v=1200.0)
    assert (await faulted(there, FaultKind.IMPOSSIBLE)).state == "DCChargeLoop"
    await driving
    await charges(there, bench)


class Greedy(EvController):
    """Asks for a thousand ampere, whatever it was given."""

    def target_current(self) -> float:
        return 1000.0


class Eager(EvController):
    """Gives back a thousand ampere, whatever it was given."""

    def target_current(self) -> float:
        return -1000.0


@pytest.mark.parametrize(("wanted", "order_kw", "flows"), [
    (1000.0, 4.0, 4.0), (-1000.0, 4.0, 0.0), (1000.0, -4.0, 0.0), (-1000.0, -4.0, -4.0), (-1000.0, 0.0, 0.0),
    (1000.0, 0.0, 0.0),
])
async def test_a_car_that_takes_a_limit_of_zero_for_an_invitation_gets_nothing(
    stand: Any, bench: Any, wanted: float, order_kw: float, flows: float
) -> None:
    there = await stand(Speech(control=Control.SCHEDULED), order_kw=order_kw)
    driving = there.drive(Greedy if wanted > 0.0 else Eager)
    await bench.until(lambda: len(there.car.taken) > 6)
    assert there.car.taken[-1] == flows
    assert all(min(0.0, flows) <= kw <= max(0.0, flows) for kw in there.car.taken)
    there.car.leave()
    await there.over()
    await driving
    answers = [m["DC_ChargeLoopRes"] for m in there.relay.messages(is_from_car=False) if "DC_ChargeLoopRes" in m]
    assert all(answer["EVSECurrentLimitAchieved"] for answer in answers)  # it is told that it gets less


async def test_a_car_whose_soc_jumps_stays_connected_and_is_heard(stand: Any, bench: Any) -> None:
    there = await stand()
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0 and there.notes.needs_told[-1].present_soc is not None)
    told = len(there.notes.needs_told)
    there.car.now = replace(there.car.now, soc=0.93)
    await bench.until(lambda: len(there.notes.needs_told) > told)
    assert there.notes.needs_told[-1].present_soc == 0.93
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


async def test_a_second_car_at_a_taken_plug_is_sent_away_and_the_first_goes_on(stand: Any, bench: Any) -> None:
    there = await stand()
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0)
    assert await say(there.address, hello("urn:iso:std:iso:15118:-20:DC")) == b""
    count = len(there.car.taken)
    await bench.until(lambda: len(there.car.taken) > count + 3)
    assert there.car.present_kw == 7.0
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


async def test_a_car_that_reads_nothing_does_not_keep_the_station(stand: Any, bench: Any) -> None:
    there = await stand(options={"station_patience": 0.005})
    _, writer = await asyncio.open_connection(*there.address)
    writer.write(hello("urn:iso:std:iso:15118:-20:DC"))
    await faulted(there, FaultKind.TIMEOUT)
    writer.transport.abort()
    await charges(there, bench)
