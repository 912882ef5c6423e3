"""A peer answers whatever can be answered, keeps the connection, and waits for nobody but its one call."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from twin.wire.ocpp import (
    CallFailed,
    CallRefused,
    CallTimeout,
    Peer,
    PeerClosed,
    SchemaFault,
    TransportClosed,
    WebSocketTransport,
)

pytestmark = pytest.mark.anyio

NOW = "2019-07-15T13:00:00Z"
Handle = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


async def heartbeat_only(action: str, _payload: dict[str, Any]) -> dict[str, Any]:
    if action == "Heartbeat":
        return {"currentTime": NOW}
    raise CallRefused("NotSupported", action)


@asynccontextmanager
async def line(
    version: str, handle: Handle = heartbeat_only, **options: Any
) -> AsyncIterator[tuple[Peer, ClientConnection]]:
    """A peer on a real server socket, and a raw client at its other end."""
    ready: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    async def run(connection: ServerConnection) -> None:
        peer = Peer(WebSocketTransport(connection), version, handle, **options)
        ready.set_result(peer)
        await peer.run()

    async with serve(run, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
            yield await ready, client


async def ask(client: ClientConnection, raw: str | bytes) -> Any:
    await client.send(raw)
    async with asyncio.timeout(60):
        return json.loads(await client.recv())


@pytest.mark.parametrize(
    ("version", "raw", "answer"),
    [
        ("ocpp1.6", "{", [4, "-1", "FormationViolation"]),
        ("ocpp2.0.1", "{", [4, "-1", "RpcFrameworkError"]),
        ("ocpp2.1", "{", [4, "-1", "RpcFrameworkError"]),
        ("ocpp2.1", "[2]", [4, "-1", "RpcFrameworkError"]),
        ("ocpp2.1", '[2,"x","Heartbeat"]', [4, "x", "RpcFrameworkError"]),
        ("ocpp1.6", '[2,"x","Heartbeat",7]', [4, "x", "FormationViolation"]),
        ("ocpp2.0.1", '[2,"x","Heartbeat",7]', [4, "x", "FormatViolation"]),
        ("ocpp2.0.1", '[9,"x"]', [4, "x", "MessageTypeNotSupported"]),
        ("ocpp2.0.1", '[6,"x","Heartbeat",{}]', [4, "x", "MessageTypeNotSupported"]),
        ("ocpp2.1", '[3,"x"]', [5, "x", "FormatViolation"]),
        ("ocpp1.6", '[2,"x","MakeCoffee",{}]', [4, "x", "NotImplemented"]),
        ("ocpp1.6", '[2,"x","StatusNotification",{}]', [4, "x", "OccurenceConstraintViolation"]),
        ("ocpp1.6", '[2,"x","Authorize",{"idTag":"a"}]', [4, "x", "NotSupported"]),
    ],
)
async def test_a_bad_frame_is_answered_with_the_right_code_and_the_connection_stays(
    version: str, raw: str, answer: list[Any]
) -> None:
    async with line(version) as (_, client):
        assert (await ask(client, raw))[:3] == answer
        assert await ask(client, '[2,"h","Heartbeat",{}]') == [3, "h", {"currentTime": NOW}]


@pytest.mark.parametrize(
    ("version", "raw"),
    [("ocpp1.6", '[9,"x"]'), ("ocpp1.6", '[3,"x"]'), ("ocpp2.0.1", '[4,"x"]'), ("ocpp2.1", '[6,"x"]')],
)
async def test_what_no_answer_exists_for_is_counted_and_passed_over(version: str, raw: str) -> None:
    async with line(version) as (peer, client):
        await client.send(raw)
        assert (await ask(client, '[2,"h","Heartbeat",{}]'))[:2] == [3, "h"]
        assert peer.counters.malformed == 1


@pytest.mark.parametrize("depth", [200, 300, 600, 900, 1010])
async def test_a_nested_payload_of_any_depth_is_answered(depth: int) -> None:
    async with line("ocpp2.1") as (_, client):
        nested = '{"a":' * depth + "1" + "}" * depth
        frame = '[2,"x","Heartbeat",{"customData":{"vendorId":"v","a":' + nested + "}}]"
        assert (await ask(client, frame))[:2] in ([3, "x"], [4, "x"])
        assert (await ask(client, '[2,"h","Heartbeat",{}]'))[:2] == [3, "h"]


async def test_a_bomb_of_brackets_is_answered() -> None:
    async with line("ocpp2.1") as (_, client):
        bomb = '[2,"x","Heartbeat",' + '{"a":' * 5000 + "1" + "}" * 5001 + "]"
        assert (await ask(client, bomb))[:2] == [4, "-1"]


async def test_a_handler_that_fails_is_answered_with_internal_error_and_tells_nothing() -> None:
    async def broken(_action: str, _payload: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("password of the database")

    async with line("ocpp2.1", broken) as (peer, client):
        answer = await ask(client, '[2,"h","Heartbeat",{}]')
        assert answer[:3] == [4, "h", "InternalError"]
        assert "password" not in json.dumps(answer)
        assert peer.counters.handler_faults == 1


async def test_an_answer_of_ours_that_breaks_its_schema_never_leaves() -> None:
    async def wrong(_action: str, _payload: dict[str, Any]) -> dict[str, Any]:
        return {"currentTime": 5}

    async with line("ocpp2.1", wrong) as (_, client):
        assert (await ask(client, '[2,"h","Heartbeat",{}]'))[:3] == [4, "h", "InternalError"]


async def test_a_request_of_ours_that_breaks_its_schema_never_leaves() -> None:
    async with line("ocpp2.1") as (peer, client):
        with pytest.raises(SchemaFault):
            await peer.call("Reset", {"type": "Later"})
        assert (await ask(client, '[2,"h","Heartbeat",{}]'))[:2] == [3, "h"]
        assert peer.counters.frames_out == 1


async def test_a_handler_may_call_back_and_the_reader_is_never_blocked() -> None:
    peers: list[Peer] = []

    async def calling_back(action: str, _payload: dict[str, Any]) -> dict[str, Any]:
        if action == "BootNotification":
            answer = await peers[0].call("TriggerMessage", {"requestedMessage": "Heartbeat"})
            assert answer == {"status": "Accepted"}
            return {"currentTime": NOW, "interval": 1, "status": "Accepted"}
        return {"currentTime": NOW}

    async with line("ocpp1.6", calling_back) as (peer, client):
        peers.append(peer)
        boot = '[2,"b","BootNotification",{"chargePointVendor":"v","chargePointModel":"m"}]'
        trigger = await ask(client, boot)
        assert trigger[2] == "TriggerMessage"
        assert (await ask(client, '[2,"h","Heartbeat",{}]'))[:2] == [3, "h"]
        assert (await ask(client, json.dumps([3, trigger[1], {"status": "Accepted"}])))[:2] == [3, "b"]


async def test_only_one_call_is_outstanding_and_the_next_waits_its_turn() -> None:
    async with line("ocpp2.1") as (peer, client):
        calls = [asyncio.create_task(peer.call("GetVariables", {"getVariableData": [
            {"component": {"name": "c"}, "variable": {"name": str(n)}}]})) for n in range(3)]
        for n in range(3):
            request = json.loads(await client.recv())
            assert request[3]["getVariableData"][0]["variable"]["name"] == str(n)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await client.recv()
            await client.send(json.dumps([4, request[1], "InternalError", "", {}]))
            with pytest.raises(CallFailed, match="InternalError"):
                await calls[n]


async def test_a_late_answer_is_dropped_and_counted_and_answers_no_other_call() -> None:
    async with line("ocpp2.1", call_timeout_s=0.05) as (peer, client):
        with pytest.raises(CallTimeout):
            await peer.call("ClearCache", {})
        late = json.loads(await client.recv())
        second = asyncio.create_task(peer.call("ClearCache", {}, timeout_s=5))
        request = json.loads(await client.recv())
        await client.send(json.dumps([3, late[1], {"status": "Rejected"}]))
        await client.send(json.dumps([3, request[1], {"status": "Accepted"}]))
        assert await second == {"status": "Accepted"}
        assert peer.counters.late_answers == 1


async def test_an_answer_that_breaks_its_schema_fails_the_call_and_is_reported_in_2_1() -> None:
    async with line("ocpp2.1") as (peer, client):
        call = asyncio.create_task(peer.call("ClearCache", {}))
        request = json.loads(await client.recv())
        await client.send(json.dumps([3, request[1], {"status": "Perhaps"}]))
        with pytest.raises(CallFailed, match="PropertyConstraintViolation"):
            await call
        assert json.loads(await client.recv())[:3] == [5, request[1], "PropertyConstraintViolation"]


async def test_a_waiting_call_learns_that_the_other_side_left() -> None:
    async with line("ocpp2.1") as (peer, client):
        call = asyncio.create_task(peer.call("ClearCache", {}))
        await client.recv()
        await client.close()
        with pytest.raises(PeerClosed):
            await call
        with pytest.raises(PeerClosed):
            await peer.call("ClearCache", {})
        assert peer.is_closed


async def test_a_line_that_breaks_while_a_call_is_being_written_leaves_nothing_unheard() -> None:
    """The reader may learn of it before the writer: the call then fails by its writing, and no answer is awaited."""

    class BreakingLine:
        def __init__(self) -> None:
            self.is_written_to, self.breaks = asyncio.Event(), asyncio.Event()

        async def send(self, _text: str, /) -> None:
            self.is_written_to.set()
            await self.breaks.wait()
            await asyncio.sleep(0)
            raise TransportClosed("broken")

        async def recv(self) -> str | bytes:
            await self.breaks.wait()
            raise TransportClosed("broken")

        async def close(self) -> None: ...

    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    transport = BreakingLine()
    peer = Peer(transport, "ocpp2.1", heartbeat_only)
    running = asyncio.create_task(peer.run())
    call = asyncio.create_task(peer.call("ClearCache", {}))
    await transport.is_written_to.wait()
    transport.breaks.set()
    with pytest.raises(PeerClosed, match="ClearCache"):
        await call
    await running
    del call, running
    gc.collect()
    await asyncio.sleep(0)
    assert unheard == []


async def test_a_send_message_is_handled_and_never_answered() -> None:
    seen: list[str] = []

    async def note(action: str, _payload: dict[str, Any]) -> dict[str, Any]:
        seen.append(action)
        return {"currentTime": NOW}

    stream = {"id": 1, "pending": 0, "basetime": NOW, "data": [{"t": 0, "v": "1"}]}
    async with line("ocpp2.1", note) as (peer, client):
        await client.send(json.dumps([6, "s", "NotifyPeriodicEventStream", stream]))
        assert (await ask(client, '[2,"h","Heartbeat",{}]'))[:2] == [3, "h"]
        assert seen == ["NotifyPeriodicEventStream", "Heartbeat"]
        await peer.send("NotifyPeriodicEventStream", stream)
        assert json.loads(await client.recv())[0] == 6


async def test_only_2_1_has_send_messages() -> None:
    async with line("ocpp2.0.1") as (peer, _):
        with pytest.raises(ValueError, match=r"expected ocpp2\.1"):
            await peer.send("NotifyPeriodicEventStream", {})


async def test_a_flood_of_unanswered_calls_is_refused_and_not_queued_without_end() -> None:
    release = asyncio.Event()

    async def slow(_action: str, _payload: dict[str, Any]) -> dict[str, Any]:
        await release.wait()
        return {"currentTime": NOW}

    async with line("ocpp1.6", slow) as (_, client):
        for n in range(70):
            await client.send(json.dumps([2, str(n), "Heartbeat", {}]))
        refused = [json.loads(await client.recv()) for _ in range(6)]
        assert {frame[2] for frame in refused} == {"GenericError"}
        release.set()
        served = [json.loads(await client.recv()) for _ in range(64)]
        assert [frame[0] for frame in served] == [3] * 64


async def test_a_mender_may_repair_what_breaks_its_schema_and_the_repair_is_checked() -> None:
    async def echo(_action: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"idTagInfo": {"status": "Accepted" if payload == {"idTag": "mended"} else "Invalid"}}

    def mend(_action: str, payload: dict[str, Any], _fault: SchemaFault) -> dict[str, Any]:
        return {"idTag": "mended"} if "odd" in payload else payload

    async with line("ocpp1.6", echo, mend=mend) as (peer, client):
        assert await ask(client, '[2,"a","Authorize",{"odd":1}]') == [3, "a", {"idTagInfo": {"status": "Accepted"}}]
        assert (await ask(client, '[2,"b","Authorize",{}]'))[:3] == [4, "b", "OccurenceConstraintViolation"]
        assert (peer.counters.mended, peer.counters.schema_faults) == (1, 2)
