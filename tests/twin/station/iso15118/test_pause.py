"""A car pauses its session: contactors open, its place is kept, and it goes on with the same session."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import Namespace

from twin.station.iso15118.wire_rail import drive
from twin.station.rail import CarIntent, Control, FaultKind, Language, SessionEnd, Speech, Transfer

pytestmark = pytest.mark.anyio

V2_DC = Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED)
V2_AC = Speech(Language.ISO_15118_2, Transfer.AC_THREE_PHASE, Control.SCHEDULED)
PAUSING = [Speech(), Speech(control=Control.SCHEDULED), Speech(transfer=Transfer.AC_BPT), V2_DC, V2_AC]


def named(speech: Speech) -> str:
    return f"{speech.language}-{speech.transfer}-{speech.control}"


def setups(there: Any, bench: Any, speech: Speech) -> list[str]:
    """Response codes of all SessionSetupRes so far, from the bytes."""
    space = Namespace.ISO_V2_MSG_DEF if speech.language is Language.ISO_15118_2 else Namespace.ISO_V20_COMMON_MSG
    found = []
    for kind, payload in bench.frames(bytes(there.relay.seen[False])):
        if kind in {0x8001, 0x8002}:
            try:
                message = EXI().get_exi_codec().decode_message(payload, space)
            except (ValueError, KeyError):  # the handshake
                continue
            body = message.get("V2G_Message", {}).get("Body", message)
            if "SessionSetupRes" in body:
                found.append(body["SessionSetupRes"]["ResponseCode"])
    return found


async def paused(there: Any, bench: Any) -> str:
    """A session that charges, and is then paused by its car; its id."""
    driving = there.drive()
    await bench.until(lambda: abs(there.car.present_kw - 7.0) < 0.01)
    session_id: str = there.secc.session.session_id
    there.car.now = replace(there.car.now, intent=CarIntent.PAUSE)
    assert await there.over() is SessionEnd.PAUSED
    assert await driving is SessionEnd.PAUSED
    assert there.car.present_kw == 0.0
    assert there.car.is_cut
    there.notes.ends.clear()
    there.car.now = replace(there.car.now, intent=CarIntent.STAY)
    return session_id


def come_again(there: Any, bench: Any, session_id: str) -> asyncio.Task[Any]:
    wires = bench.WireOptions(pause_s=lambda: bench.PAUSE_S)
    return asyncio.create_task(drive(there.car, bench.Stage(there.car), *there.address, wires, resumes=session_id))


@pytest.mark.parametrize("speech", PAUSING, ids=named)
async def test_a_paused_session_is_joined_again_without_asking_the_driver(
    stand: Any, bench: Any, speech: Speech
) -> None:
    there = await stand(speech)
    for _ in range(2):  # it may pause again
        session_id = await paused(there, bench)
        driving = come_again(there, bench, session_id)
        await bench.until(lambda: abs(there.car.present_kw - 7.0) < 0.01)
        assert there.secc.session.session_id == session_id
        assert setups(there, bench, speech)[-1] == "OK_OldSessionJoined"
        there.car.now = replace(there.car.now, intent=CarIntent.PAUSE)
        assert await driving is SessionEnd.PAUSED
        await there.over()
        there.notes.ends.clear()
        there.car.now = replace(there.car.now, intent=CarIntent.STAY)
    driving = come_again(there, bench, session_id)
    await bench.until(lambda: abs(there.car.present_kw - 7.0) < 0.01)
    there.car.leave()
    assert await driving is SessionEnd.CAR
    assert await there.over() is SessionEnd.CAR


@pytest.mark.parametrize("speech", [Speech(), V2_DC], ids=named)
async def test_a_car_that_comes_with_another_id_begins_a_new_session(stand: Any, bench: Any, speech: Speech) -> None:
    there = await stand(speech)
    session_id = await paused(there, bench)
    driving = come_again(there, bench, "0123456789ABCDEF")
    await bench.until(lambda: abs(there.car.present_kw - 7.0) < 0.01)
    assert there.secc.session.session_id not in {session_id, "0123456789ABCDEF"}
    assert setups(there, bench, speech)[-1] == "OK_NewSessionEstablished"
    there.car.leave()
    assert await driving is SessionEnd.CAR


@pytest.mark.parametrize("speech", [Speech(), V2_DC], ids=named)
async def test_a_session_is_forgotten_with_its_plug(stand: Any, bench: Any, speech: Speech) -> None:
    there = await stand(speech)
    session_id = await paused(there, bench)
    there.secc.unplug()
    there.plug()
    driving = come_again(there, bench, session_id)
    await bench.until(lambda: abs(there.car.present_kw - 7.0) < 0.01)
    assert setups(there, bench, speech)[-1] == "OK_NewSessionEstablished"
    there.car.leave()
    assert await driving is SessionEnd.CAR


async def test_a_rail_tells_of_a_pause_and_the_next_session_charges(plug: Any, bench: Any) -> None:
    session = await plug().charging()
    await session.flows(7.0)
    session.car.now = replace(session.car.now, intent=CarIntent.PAUSE)
    assert await session.over() is SessionEnd.PAUSED
    assert session.car.present_kw == 0.0
    session.car.now = replace(session.car.now, intent=CarIntent.STAY)
    session.rail.connect(session.car)
    session.rail.authorise()
    await bench.until(lambda: session.car.present_kw == 7.0)


async def test_services_are_not_offered_anew(stand: Any, bench: Any) -> None:
    there = await stand()
    driving = there.drive(car_patience=1000.0)
    await bench.until(lambda: there.car.present_kw == 7.0)
    await there.relay.silence()
    header = {"SessionID": there.secc.session.session_id, "TimeStamp": 1}
    # The loop ends in order, and then the car asks for another service.
    for request in (
        {"PowerDeliveryReq": {"Header": header, "EVProcessing": "Finished", "ChargeProgress": "Stop"}},
        {"SessionStopReq": {"Header": header, "ChargingSession": "ServiceRenegotiation"}},
    ):
        answer = await there.relay.ask(0x8002, request, Namespace.ISO_V20_COMMON_MSG)
    assert answer["SessionStopRes"]["ResponseCode"] == "FAILED_NoServiceRenegotiationSupported"
    fault = await there.over()
    assert fault.kind is FaultKind.IMPOSSIBLE
    assert "service renegotiation" in fault.detail
    assert there.car.is_cut
    there.relay.sever()
    await asyncio.gather(driving, return_exceptions=True)
