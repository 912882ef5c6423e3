"""Who gets in, who is replaced, and what survives a bad frame."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from aggregator.ocpp import GatewayOptions
from aggregator.ocpp.events import (
    ConnectorState,
    ConnectorStatus,
    DeliveryState,
    OcppVersion,
    ProfileCommand,
    ProfilePeriod,
    Purpose,
    StationBooted,
    StationOffline,
    StationOnline,
)

pytestmark = pytest.mark.anyio

STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
HEARTBEAT = {"currentTime": "2019-07-15T13:00:00.000Z"}


@pytest.mark.parametrize(("user", "password"), [("S16", "wrong"), ("S21", "61S"), ("S16", ""), ("S16", "12S")])
async def test_a_wrong_password_or_a_borrowed_one_is_refused(bench: Any, user: str, password: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await bench.open("S16", "ocpp1.6", user=user, password=password)
    assert refused.value.response.status_code == 401
    assert "Basic" in refused.value.response.headers["WWW-Authenticate"]
    assert bench.gateway.counters.faults["unauthorized"] == 1
    assert not bench.events.events


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic !!"}])
async def test_without_credentials_nobody_enters(bench: Any, header: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await bench.stack.enter_async_context(connect(bench.url("S16"), additional_headers=header))
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("path", ["", "a/b", "..%2Fetc", "x" * 49])
async def test_a_path_that_is_no_station_id_is_not_found(bench: Any, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await bench.open(path, "ocpp1.6", user="x", password="x")
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("ocpp1.6", "ocpp2.0.1", "ocpp2.1"), "ocpp2.1"),
        (("ocpp1.6", "ocpp2.0.1"), "ocpp2.0.1"),
        (("ocpp1.6", "other"), "ocpp1.6"),
    ],
)
async def test_the_newest_common_version_is_chosen(bench: Any, offered: tuple[str, ...], chosen: str) -> None:
    assert (await bench.open("S21", *offered)).subprotocol == chosen


async def test_a_station_that_offers_no_subprotocol_speaks_1_6(bench: Any) -> None:
    connection = await bench.open("S16")
    await connection.send('[2,"h","Heartbeat",{}]')
    assert json.loads(await connection.recv()) == [3, "h", HEARTBEAT]
    await bench.events.until(lambda: bool(bench.events.of(StationOnline)))
    assert bench.events.of(StationOnline)[0].version is OcppVersion.V16


async def test_a_station_without_a_common_version_is_closed_after_the_handshake(bench: Any) -> None:
    connection = await bench.open("S16", "ocpp9.9")
    with pytest.raises(ConnectionClosed):
        await connection.recv()
    assert connection.close_code == 1002


async def test_a_verified_password_is_remembered_and_forgotten_on_demand(bench: Any) -> None:
    for _ in range(3):
        await (await bench.open("S16", "ocpp1.6")).close()
    assert bench.auth.asked == 1
    with pytest.raises(InvalidStatus):
        await bench.open("S16", "ocpp1.6", password="wrong")
    bench.gateway.forget_credentials("S16")
    await bench.open("S16", "ocpp1.6")
    assert bench.auth.asked == 3


async def test_a_station_that_is_not_commissioned_waits_and_is_told_to_no_one(bench: Any) -> None:
    station = await bench.station("NEW", OcppVersion.V16, boot=False)
    answer = await station.boot()
    assert answer["status"] == "Pending"
    assert (await station.begin("StatusNotification", STATUS))[2] == "SecurityError"
    assert await station.ask("Heartbeat", {}) == HEARTBEAT
    await station.connection.close()
    assert not bench.events.events


async def test_boot_is_answered_with_domain_time_and_a_spread_interval(bench: Any) -> None:
    bench.clock.time = bench.clock.time.replace(hour=20, microsecond=123456)
    station = await bench.station("S21", OcppVersion.V21, boot=False)
    answer = await station.boot()
    assert answer["currentTime"] == "2019-07-15T20:00:00.123Z"
    assert 240 <= answer["interval"] <= 360
    told = bench.events.of(StationBooted)[0]
    assert (told.version, told.vendor, told.model, told.firmware) == (OcppVersion.V21, "Maker", "Two", "1.0")
    assert isinstance(bench.events.events[0], StationOnline)


@pytest.mark.parametrize("options", [GatewayOptions(boot_patience_s=0.1)])
async def test_a_station_that_never_boots_is_asked_to(bench: Any) -> None:
    station = await bench.station("S201", OcppVersion.V201, boot=False)
    await station.asked()
    assert station.requests == [("TriggerMessage", {"requestedMessage": "BootNotification"})]


async def test_no_command_overtakes_the_answer_to_a_boot(bench: Any) -> None:
    connection = await bench.open("S16", "ocpp1.6")
    bench.events.hold = asyncio.Event()
    await connection.send('[2,"b","BootNotification",{"chargePointVendor":"v","chargePointModel":"m"}]')
    start = bench.clock.now()
    fallback = ProfileCommand("E16", Purpose.FALLBACK, 1, (ProfilePeriod(start, 1.5),), start, None)
    async with asyncio.timeout(30):
        while not bench.gateway.is_online("E16"):  # noqa: ASYNC110 - the state of a real connection has no event
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    sending = asyncio.create_task(bench.gateway.set_profile(fallback))
    await asyncio.sleep(0.02)
    bench.events.hold.set()
    frames = [json.loads(await connection.recv()) for _ in range(2)]
    assert [frame[0] for frame in frames] == [3, 2]
    await connection.send(json.dumps([3, frames[1][1], {"status": "Accepted"}]))
    assert (await sending).state is DeliveryState.ACCEPTED


async def test_the_newest_connection_replaces_the_older(bench: Any) -> None:
    first = await bench.station("S16", OcppVersion.V16)
    second = await bench.station("S16", OcppVersion.V16)
    async with asyncio.timeout(30):
        await first.connection.wait_closed()
    assert await second.ask("StatusNotification", STATUS) == {}
    assert bench.gateway.is_online("E16")
    epochs = [event.epoch for event in bench.events.of(StationOnline)]
    assert epochs == [1, 2]
    assert not bench.events.of(StationOffline)  # the station was never away
    await second.connection.close()
    await bench.events.until(lambda: bool(bench.events.of(StationOffline)))
    assert [event.epoch for event in bench.events.of(StationOffline)] == [2]
    assert not bench.gateway.is_online("E16")


async def test_what_a_replaced_connection_still_says_changes_nothing(bench: Any) -> None:
    first = await bench.station("S16", OcppVersion.V16)
    bench.events.hold = asyncio.Event()
    running = first.begin("StatusNotification", STATUS)  # being stored when the connection is replaced
    waiting = first.begin("StatusNotification", STATUS | {"status": "Charging"})  # still in the queue
    async with asyncio.timeout(30):
        while bench.gateway.counters.messages_in["ocpp1.6", "StatusNotification"] < 2:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)
        await bench.open("S16", "ocpp1.6")
        await first.connection.wait_closed()
    bench.events.hold.set()
    await bench.events.until(lambda: len(bench.events.of(StationOnline)) == 2)
    for task in (running, waiting):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    assert [event.state for event in bench.events.of(ConnectorStatus)] == [ConnectorState.AVAILABLE]
    assert bench.gateway.counters.faults["fenced"] == 1


async def test_an_oversized_frame_closes_its_connection_and_the_station_may_return(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    other = await bench.station("S21", OcppVersion.V21)
    await station.connection.send('[2,"x","DataTransfer",{"vendorId":"' + "x" * 70_000 + '"}]')
    await station.connection.wait_closed()
    assert station.connection.close_code == 1009
    assert "currentTime" in await other.ask("Heartbeat", {})
    assert "currentTime" in await (await bench.station("S16", OcppVersion.V16)).ask("Heartbeat", {})


@pytest.mark.parametrize("version", list(OcppVersion))
async def test_a_malformed_frame_gets_a_callerror_and_the_connection_is_kept(bench: Any, version: OcppVersion) -> None:
    connection = await bench.open(f"S{version.value[4:].replace('.', '')}", version.value)
    for raw, code in (
        ("[2,", "FormationViolation" if version is OcppVersion.V16 else "RpcFrameworkError"),
        ('[2,"x","MakeCoffee",{}]', "NotImplemented"),
        ('[2,"x","GetLog",{"logType":"DiagnosticsLog","requestId":1,"log":{"remoteLocation":"x"}}]', "NotSupported"),
        ('[2,"x","Heartbeat",{"x":1}]', "FormationViolation" if version is OcppVersion.V16 else "FormatViolation"),
    ):
        await connection.send(raw)
        frame = json.loads(await connection.recv())
        while frame[0] == 2:  # the gateway asks for a boot in between
            frame = json.loads(await connection.recv())
        assert (frame[0], frame[2]) == (4, code)
    assert bench.gateway.counters.wire.malformed == 1
    assert bench.gateway.counters.wire.schema_faults == 2


async def test_heartbeats_are_answered_while_the_store_is_slow_and_order_is_kept(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    bench.events.hold = asyncio.Event()
    states = ["Preparing", "Charging", "SuspendedEV", "Charging", "Finishing"]
    told = [station.begin("StatusNotification", STATUS | {"status": state}) for state in states]
    for _ in range(3):
        assert await station.ask("Heartbeat", {}) == HEARTBEAT
    assert not any(task.done() for task in told)  # a station is answered only when its word is safe
    bench.events.hold.set()
    await asyncio.gather(*told)
    assert [event.state for event in bench.events.of(ConnectorStatus)] == [
        ConnectorState.PREPARING, ConnectorState.CHARGING, ConnectorState.SUSPENDED_EV, ConnectorState.CHARGING,
        ConnectorState.FINISHING,
    ]


async def test_a_station_whose_word_could_not_be_stored_hears_so_and_may_repeat(bench: Any) -> None:
    station = await bench.station("S16", OcppVersion.V16)
    bench.events.fail = True
    assert (await station.begin("StatusNotification", STATUS))[2] == "InternalError"
    bench.events.fail = False
    assert await station.ask("StatusNotification", STATUS) == {}
    assert len(bench.events.of(ConnectorStatus)) == 1


async def test_an_occupied_port_is_an_os_error(bench: Any) -> None:
    other = type(bench.gateway)(
        events=bench.events, auth=bench.auth, clock=bench.clock, directory=bench.gateway._directory
    )
    with pytest.raises(OSError, match="in use"):
        await other.start("127.0.0.1", bench.gateway.port)


async def test_a_command_to_a_station_that_leaves_is_offline_and_never_raises(bench: Any) -> None:
    start = bench.clock.now()
    command = ProfileCommand("E16", Purpose.FALLBACK, 1, (ProfilePeriod(start, 1.5),), start, None)
    assert (await bench.gateway.set_profile(command)).state is DeliveryState.OFFLINE
    station = await bench.station("S16", OcppVersion.V16)
    station.answers["SetChargingProfile"] = None
    sending = asyncio.create_task(bench.gateway.set_profile(command))
    await station.asked()
    await station.connection.close()
    delivery = await sending
    assert delivery.state is DeliveryState.OFFLINE
    assert delivery.sent_wall is not None
    assert delivery.answered_wall is None


async def test_stopping_the_gateway_says_goodbye_to_every_station(bench: Any) -> None:
    stations = [await bench.station("S16", OcppVersion.V16), await bench.station("S21", OcppVersion.V21)]
    await bench.gateway.stop()
    for station in stations:
        await station.connection.wait_closed()
        assert station.connection.close_code == 1001
    assert {event.station_id for event in bench.events.of(StationOffline)} == {"S16", "S21"}
