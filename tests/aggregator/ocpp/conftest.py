"""A gateway on a real socket, a listener that records, and stations that speak raw frames."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from aggregator.ocpp import CommissionedStations, EvseAddress, Gateway, GatewayOptions
from aggregator.ocpp.events import ChargerEvent, OcppVersion
from twin.wire.ocpp import check

Told = TypeVar("Told")
START = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
PATIENCE_S = 30.0
"""How long a test waits for what must happen: it says that it did not, never how fast."""


class SteppingClock:
    """Domain time that moves only when a test says so."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def wall_seconds_until(self, when: datetime) -> float:
        return max(0.0, (when - self.time).total_seconds())

    async def sleep_until(self, when: datetime) -> None:
        self.time = max(self.time, when)

    async def sleep(self, domain_seconds: float) -> None:
        self.time += timedelta(seconds=domain_seconds)


class Recorder:
    """A `ChargerEvents` that keeps what it was told; `hold` makes it slow, `fail` makes it break."""

    def __init__(self) -> None:
        self.events: list[ChargerEvent] = []
        self.starts: dict[tuple[str, str, datetime], str] = {}
        self.hold: asyncio.Event | None = None
        self.fail = False
        self._news = asyncio.Event()

    async def handle(self, event: ChargerEvent) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.fail:
            raise RuntimeError("the store is away")
        self.events.append(event)
        self._news.set()

    async def accept_transaction_start(
        self, evse_id: str, id_token: str, at: datetime, import_wh: float, export_wh: float
    ) -> str:
        assert import_wh >= 0
        assert export_wh >= 0
        return self.starts.setdefault((evse_id, id_token, at), str(1000 + len(self.starts)))

    def of(self, kind: type[Told]) -> list[Told]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not claim():
                self._news.clear()
                await self._news.wait()


class Passwords:
    """A `StationAuth`: the password of a station is its id backwards. Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def verify(self, station_id: str, password: str) -> bool:
        self.asked += 1
        return password == station_id[::-1]


class RawStation:
    """A charging station of plain frames. Every request it gets is checked against the schema before it answers."""

    def __init__(self, connection: ClientConnection, version: OcppVersion) -> None:
        self.connection = connection
        self.version = version
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self._count = 0
        self._news = asyncio.Event()

    async def run(self) -> None:
        with suppress(ConnectionClosedError):
            await self._read()

    async def asked(self, times: int = 1) -> None:
        """Wait until the gateway has sent this many requests."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) < times:
                self._news.clear()
                await self._news.wait()

    async def _read(self) -> None:
        async for raw in self.connection:
            frame = json.loads(raw)
            if frame[0] == 2:
                check(self.version.value, frame[2], "Request", frame[3], exact=True)
                self.requests.append((frame[2], frame[3]))
                self._news.set()
                answer = self.answers.get(frame[2], {"status": "Accepted"})
                if answer is not None:
                    reply = [4, frame[1], answer, "", {}] if isinstance(answer, str) else [3, frame[1], answer]
                    await self.connection.send(json.dumps(reply))
            elif frame[1] in self._waiting:
                self._waiting.pop(frame[1]).set_result(frame)

    def begin(self, action: str, payload: dict[str, Any]) -> "asyncio.Task[list[Any]]":
        """Send a request now and return the task that waits for the frame that answers it."""
        self._count += 1
        unique_id = f"m{self._count}"
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[unique_id] = answer

        async def go() -> list[Any]:
            await self.connection.send(json.dumps([2, unique_id, action, payload]))
            async with asyncio.timeout(PATIENCE_S):
                return await answer

        return asyncio.get_running_loop().create_task(go())

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request; fails if it is an error or breaks its schema."""
        frame = await self.begin(action, payload)
        assert frame[0] == 3, frame
        check(self.version.value, action, "Response", frame[2], exact=True)
        answer: dict[str, Any] = frame[2]
        return answer

    async def boot(self) -> dict[str, Any]:
        if self.version is OcppVersion.V16:
            return await self.ask("BootNotification", {"chargePointVendor": "Maker", "chargePointModel": "One"})
        station = {"vendorName": "Maker", "model": "Two", "firmwareVersion": "1.0"}
        return await self.ask("BootNotification", {"reason": "PowerUp", "chargingStation": station})


def basic(station_id: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{station_id}:{password}".encode()).decode()}


class Bench:
    """Everything a test needs: the gateway, its listener, its clock, and ways to connect."""

    def __init__(self, gateway: Gateway, events: Recorder, clock: SteppingClock, auth: Passwords) -> None:
        self.gateway = gateway
        self.events = events
        self.clock = clock
        self.auth = auth
        self.stack = AsyncExitStack()

    def url(self, station_id: str) -> str:
        return f"ws://127.0.0.1:{self.gateway.port}/{station_id}"

    async def open(
        self, station_id: str, *subprotocols: str, password: str | None = None, user: str | None = None
    ) -> ClientConnection:
        return await self.stack.enter_async_context(connect(
            self.url(station_id),
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            additional_headers=basic(user or station_id, station_id[::-1] if password is None else password),
            compression=None,
        ))

    async def station(self, station_id: str, version: OcppVersion, *, boot: bool = True) -> RawStation:
        station = RawStation(await self.open(station_id, version.value), version)
        task = asyncio.get_running_loop().create_task(station.run())

        async def finish() -> None:
            await station.connection.close()
            await task

        self.stack.push_async_callback(finish)
        if boot:
            assert (await station.boot())["status"] == "Accepted"
        return station


@pytest.fixture
def options() -> GatewayOptions:
    """Patient by default, so that a stalled machine changes no answer; a test of impatience says its own seconds."""
    return GatewayOptions(call_timeout_s=PATIENCE_S, boot_patience_s=PATIENCE_S, max_frame_bytes=64 * 1024)


@pytest.fixture
async def bench(options: GatewayOptions) -> AsyncIterator[Bench]:
    stations = CommissionedStations([
        EvseAddress("E16", "S16", 1, OcppVersion.V16),
        EvseAddress("E201", "S201", 1, OcppVersion.V201),
        EvseAddress("E21", "S21", 1, OcppVersion.V21),
        EvseAddress("TWO-A", "TWO", 1, OcppVersion.V16),
        EvseAddress("TWO-B", "TWO", 2, OcppVersion.V16),
    ])
    events, clock, auth = Recorder(), SteppingClock(), Passwords()
    gateway = Gateway(events=events, auth=auth, clock=clock, directory=stations, options=options)
    await gateway.start("127.0.0.1", 0)
    bench = Bench(gateway, events, clock, auth)
    try:
        yield bench
    finally:
        await bench.stack.aclose()
        await gateway.stop()


