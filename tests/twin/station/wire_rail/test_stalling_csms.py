"""A CSMS that falls silent, and profiles that end, while ISO 15118 sessions run: the car is led on by what is left.

    central plan (TxProfile) --ends--> fallback share (TxDefaultProfile) --ends--> rating of the EVSE
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from twin.station import link

pytestmark = pytest.mark.anyio

FACTOR = 1200.0
PLAN_KW, SHARE_KW, RATED_KW = -5.0, 3.0, 11.0
PLAN_S = 1800  # of domain time: long enough for the line to be given up before it ends, on any machine


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A station that gives its CSMS up sooner than after 15 s, and looks for it again sooner."""
    monkeypatch.setattr(link, "CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(link, "OPEN_TIMEOUT_S", 0.5)
    monkeypatch.setattr(link, "LAST_BACKOFF_S", 0.5)


def on_the_wire(kit: Any, version: str = "ocpp2.1") -> Any:
    return msgspec.structs.replace(
        kit.station(version, kit.visit(v2g=True, for_min=840), v2g=True), rail="wire"
    )


def power_kw(running: Any) -> float:
    return float(running.process.plant.fleet.power_kw[0])


def offered_kw(running: Any) -> float | None:
    """What the car was told over the wire."""
    told: float | None = running.process.stations["CA-1"].outlet.sessions.offered_kw
    return told


def station(running: Any) -> Any:
    return running.process.stations["CA-1"]


def pace(running: Any, factor: float) -> None:
    """Let domain time run at another pace from now on."""
    running.clock.beat(factor)
    running.process.timeline.act(lambda: None)  # its timer was set at the pace before


def profile(version: str, number: int, purpose: str, start: Any, kw: float, **changes: Any) -> dict[str, Any]:
    """A profile of one period: a set-point where OCPP has one, else a limit."""
    is_plan = purpose == "TxProfile" and version == "ocpp2.1"
    period = {"startPeriod": 0, "operationMode": "CentralSetpoint", "setpoint": kw * 1000.0} if is_plan else {
        "startPeriod": 0, "limit": kw * 1000.0}
    schedule: dict[str, Any] = {"chargingRateUnit": "W", "startSchedule": start.isoformat(),
                                "chargingSchedulePeriod": [period]}
    if "duration" in changes:
        schedule["duration"] = changes.pop("duration")
    body = {"stackLevel": 1, "chargingProfilePurpose": purpose, "chargingProfileKind": "Absolute", **changes}
    if version == "ocpp1.6":
        body |= {"chargingProfileId": number, "chargingSchedule": schedule}
        return {"connectorId": 1, "csChargingProfiles": body}
    return {"evseId": 1, "chargingProfile": body | {"id": number, "chargingSchedule": [schedule | {"id": 1}]}}


async def install(csms: Any, running: Any, *requests: dict[str, Any]) -> None:
    for request in requests:
        if request.get("chargingProfile", {}).get("chargingProfilePurpose") == "TxProfile":
            request["chargingProfile"]["transactionId"] = (
                csms.of("TransactionEvent")[0]["transactionInfo"]["transactionId"])
        answer = await csms.peers["CA-1"].call("SetChargingProfile", request)
        assert answer["status"] == "Accepted", answer
    await csms.until(lambda: station(running).outlet.sessions.is_charging)


def started(csms: Any, version: str) -> bool:
    return bool(csms.of("StartTransaction" if version == "ocpp1.6" else "TransactionEvent"))


@pytest.mark.parametrize("ends", ["duration", "validTo"])
@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"])
async def test_a_profile_that_ends_in_the_middle_of_the_loop_gives_way_to_the_next_one_on_the_wire(
    csms: Any, emulate: Any, kit: Any, version: str, ends: str
) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit, version)), factor=FACTOR)
    await csms.until(lambda: started(csms, version))
    plan_kw = PLAN_KW if version == "ocpp2.1" else 6.0
    pace(running, 1.0)  # until both are in force
    begin = datetime.fromtimestamp(running.clock.now(), UTC)
    end = begin + timedelta(seconds=PLAN_S)
    last: Any = {"duration": PLAN_S} if ends == "duration" else {"validTo": end.isoformat()}
    share_ends = {"validTo": (end + timedelta(seconds=PLAN_S)).isoformat()}
    await install(
        csms, running, profile(version, 2, "TxDefaultProfile", begin, SHARE_KW, **share_ends),
        profile(version, 1, "TxProfile", begin, plan_kw, **last),
    )
    await csms.until(lambda: power_kw(running) == plan_kw and offered_kw(running) == plan_kw)
    for expected in (SHARE_KW, RATED_KW):
        pace(running, FACTOR)
        await csms.until(lambda expected=expected: power_kw(running) == expected)
        assert offered_kw(running) == expected
    assert not running.lines.facts("session_broke")
    assert len(running.lines.facts("session_charges")) == 1  # one session, in which the set-point changed


@pytest.mark.parametrize("gives_up", ["duration", "maxOfflineDuration"])
async def test_a_csms_that_stalls_leaves_the_car_with_its_plan_then_with_its_share_and_loses_no_message(
    csms: Any, emulate: Any, kit: Any, gives_up: str
) -> None:
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR)
    await csms.until(lambda: started(csms, "ocpp2.1"))
    pace(running, 1.0)
    begin = datetime.fromtimestamp(running.clock.now(), UTC)
    await install(
        csms, running, profile("ocpp2.1", 2, "TxDefaultProfile", begin, SHARE_KW),
        profile("ocpp2.1", 1, "TxProfile", begin, PLAN_KW, **{gives_up: PLAN_S}),
    )
    await csms.until(lambda: power_kw(running) == PLAN_KW)
    csms.deaf_to = "*"  # it accepts lines, and answers nothing
    heard = len(csms.events("Updated"))
    pace(running, 60.0)
    await csms.until(lambda: running.lines.facts("station_offline"))
    assert power_kw(running) == PLAN_KW  # what was agreed holds without whoever agreed to it
    waiting = station(running).link.waiting
    pace(running, FACTOR)
    await csms.until(lambda: power_kw(running) == SHARE_KW)
    await csms.until(lambda: station(running).link.waiting > waiting)
    assert not running.lines.facts("session_broke")
    assert not running.lines.facts("station_online")[1:]
    csms.deaf_to = None
    await csms.until(lambda: len(running.lines.facts("station_online")) == 2)
    pace(running, 1.0)  # no meter value is due from here on
    await csms.until(lambda: station(running).link.waiting == 0)
    told = csms.events("Updated")[heard:]
    assert any(event.get("offline") for event in told)
    numbers = sorted({event["seqNo"] for event in csms.of("TransactionEvent")})
    assert numbers == list(range(numbers[-1] + 1))  # one that was not answered was told again, none is missing
    assert len({event["transactionInfo"]["transactionId"] for event in csms.of("TransactionEvent")}) == 1
    summary = await running.finish()
    assert summary["undelivered_messages"] == summary["dropped_messages"] == 0
    assert summary["ledger_residual_relative"] < 1e-9


@pytest.mark.parametrize("is_deaf", [True, False], ids=["never-answers-boot", "never-answers-http"])
async def test_a_csms_that_takes_the_line_and_says_nothing_keeps_no_car_from_charging(
    csms: Any, emulate: Any, kit: Any, is_deaf: bool
) -> None:
    mute = None
    lines: list[asyncio.StreamWriter] = []
    if is_deaf:
        csms.deaf_to = "*"
    else:
        await csms.stop()
        mute = await asyncio.start_server(lambda _, writer: lines.append(writer), "127.0.0.1", csms.port)
    running = await emulate(kit.fleet(on_the_wire(kit)), factor=FACTOR, is_heard=False)
    await csms.until(lambda: power_kw(running) == RATED_KW)  # the driver is let in without a line
    await csms.until(lambda: station(running).link.waiting > 2)
    csms.deaf_to = None
    if mute is not None:
        mute.close()
        for line in lines:
            line.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await mute.wait_closed()
        await csms.start()
    await csms.until(lambda: running.lines.facts("station_online"))
    await csms.until(lambda: station(running).link.waiting == 0)
    begun, = {event["transactionInfo"]["transactionId"]: event for event in csms.events("Started")}.values()
    assert begun["offline"]
    assert power_kw(running) == RATED_KW
    assert not running.lines.facts("session_broke")
