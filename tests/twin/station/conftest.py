"""A small recording CSMS on a real socket, and fleets to emulate against it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from twin.assets import Current
from twin.station.clock import ClockSegment, DomainClock
from twin.station.fleetfile import (
    CurveSpec,
    EvseSpec,
    FleetFile,
    LoadSeries,
    LossSpec,
    StationSpec,
    VehicleSpec,
    VisitSpec,
)
from twin.station.process import StationProcess
from twin.station.reporter import Reporter
from twin.wire.ocpp import Peer, WebSocketTransport

DAY = datetime(2019, 7, 15, 13, tzinfo=UTC)
BEAT_S = 0.005
LEASE_S = 0.02


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class LivingClock(DomainClock):
    """Domain time that runs only while the event loop does: each `beat` lets it run for LEASE_S of wall time.

    At factor 6000 a machine that stalls for half a second would else put fifty minutes between two messages.
    """

    def __init__(self, start: datetime) -> None:
        super().__init__([ClockSegment(time.time(), start, 1.0)])

    def beat(self, factor: float | None = None) -> None:
        """Go on from here, at another factor if one is given."""
        wall = time.time()
        self._starts[0], self._walls[0] = self.at_wall(wall), wall
        if factor is not None:
            self._factors[0] = factor

    def at_wall(self, wall: float) -> float:
        return super().at_wall(min(wall, self._walls[0] + LEASE_S))

    def next_change(self, when: float) -> float:  # noqa: ARG002 - a beat changes no factor that was known before
        return math.inf

    def wall_at(self, when: float) -> float:
        wall = super().wall_at(when)
        # Beyond the lease nobody knows: not before the next beat.
        return wall if wall <= self._walls[0] + LEASE_S else max(wall, time.time() + BEAT_S)


@dataclass
class Request:
    station_id: str
    action: str
    payload: dict[str, Any]


@dataclass
class RecordingCsms:
    """Accepts everything, remembers it in order, and lets a test ask stations for things."""

    requests: list[Request] = field(default_factory=list)
    peers: dict[str, Peer] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    boot_answers: list[dict[str, Any]] = field(default_factory=list)
    token_status: str = "Accepted"
    start_status: str = "Accepted"
    next_transaction_id: int = 41
    port: int = 0
    deaf_to: str | None = None
    """A request ("*": any) that is not answered as long as its line stands."""
    _server: Server | None = None

    async def start(self) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, subprotocols=["ocpp2.1", "ocpp2.0.1", "ocpp1.6"], compression=None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close(close_connections=True)
            await self._server.wait_closed()
            self._server = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        station_id = connection.request.path.rsplit("/", 1)[-1]
        self.headers[station_id] = connection.request.headers
        version = str(connection.subprotocol)

        async def handle(action: str, payload: dict[str, Any]) -> dict[str, Any]:
            self.requests.append(Request(station_id, action, payload))
            if self.deaf_to in {action, "*"}:
                await connection.wait_closed()
            return self._answer(version, action, payload)

        peer = Peer(WebSocketTransport(connection), version, handle, call_timeout_s=30)
        self.peers[station_id] = peer
        await peer.run()

    def _answer(self, version: str, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        word = "idTagInfo" if version == "ocpp1.6" else "idTokenInfo"
        verdict = {"status": self.token_status if action == "Authorize" else self.start_status}
        match action:
            case "BootNotification":
                answer = {"status": "Accepted", "interval": 300}
                if self.boot_answers:
                    answer = self.boot_answers.pop(0)
                return {"currentTime": _now()} | answer
            case "Heartbeat":
                return {"currentTime": _now()}
            case "StartTransaction":
                self.next_transaction_id += 1
                return {"transactionId": self.next_transaction_id, word: verdict}
            case "Authorize" | "TransactionEvent" if {"idTag", "idToken"} & set(payload):
                return {word: verdict}
            case "NotifyEVChargingNeeds":
                return {"status": "Accepted"}
            case _:
                return {}

    def of(self, action: str, station_id: str | None = None) -> list[dict[str, Any]]:
        return [
            r.payload for r in self.requests if r.action == action and station_id in (None, r.station_id)
        ]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [payload for payload in self.of("TransactionEvent") if payload["eventType"] == kind]

    async def until(self, what: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := what()):
            if time.monotonic() > deadline:
                pytest.fail(f"did not happen in {timeout_s} s; last: {[(r.action) for r in self.requests[-12:]]}")
            await asyncio.sleep(0.005)
        return found


class Lines(io.BytesIO):
    """Where a process reports to."""

    def facts(self, kind: str | None = None) -> list[dict[str, Any]]:
        facts = [json.loads(line) for line in self.getvalue().splitlines()]
        return [fact for fact in facts if kind in (None, fact["type"])]


@dataclass
class Running:
    process: StationProcess
    lines: Lines
    clock: DomainClock
    task: asyncio.Task[None]
    reporter: Reporter

    async def finish(self) -> dict[str, Any]:
        """Quit and return the summary."""
        self.process.quit()
        await self.task
        self.reporter.close()
        return self.lines.facts("summary")[0]


def vehicle(*, v2g: bool = False, **changes: Any) -> VehicleSpec:
    base: dict[str, Any] = {
        "model": "Test car", "capacity_kwh": 50.0, "max_charge_kw": 11.0 if v2g else 6.656,
        "charge": CurveSpec(soc=(0.0, 0.8, 1.0), kw=(11.0, 11.0, 2.0)),
        "discharge": CurveSpec(soc=(0.0, 1.0), kw=(12.0, 12.0)) if v2g else None,
        "max_discharge_kw": 11.0 if v2g else 0.0,
        "loss": LossSpec(standby_kw=0.1, proportional=0.04, quadratic_per_kw=0.001),
        "soc_min": 0.1,
    }
    return VehicleSpec(**base | changes)


def visit(
    name: str = "visit-1", *, at_min: float = 1, for_min: float = 600, v2g: bool = False, **changes: Any
) -> VisitSpec:
    base: dict[str, Any] = {
        "id": name, "id_token": f"token-{name}"[:20], "vehicle": vehicle(v2g=v2g), "energy_kwh": 20.0,
        "arrival": DAY + timedelta(minutes=at_min), "departure": DAY + timedelta(minutes=at_min + for_min),
        "reports_soc": v2g,
    }
    return VisitSpec(**base | changes)


def station(version: str, *visits: VisitSpec, name: str = "CA-1", v2g: bool = False) -> StationSpec:
    evse = EvseSpec(id=name, current=Current.AC, max_charge_kw=6.656, min_charge_kw=1.248, voltage_v=208.0)
    if v2g:
        evse = EvseSpec(id=name, current=Current.DC, max_charge_kw=11.0, max_discharge_kw=11.0, voltage_v=400.0)
    return StationSpec(
        id=name, version=version, vendor="Emulated", model="One", password="secret", evse=evse, visits=visits
    )


def fleet(*stations: StationSpec, **changes: Any) -> FleetFile:
    base: dict[str, Any] = {
        "site_id": "site", "end": DAY + timedelta(hours=14), "stations": stations,
        "building": LoadSeries(start=DAY, step_s=60.0, kw=tuple(40.0 + (k % 7) for k in range(840))),
    }
    return FleetFile(**base | changes)


@pytest.fixture
async def csms() -> AsyncIterator[RecordingCsms]:
    server = RecordingCsms()
    await server.start()
    yield server
    await server.stop()


Emulate = Callable[..., Awaitable[Running]]


@pytest.fixture
async def emulate(csms: RecordingCsms) -> AsyncIterator[Emulate]:
    """Start a fleet in this event loop at DAY: at factor 1 until every station is accepted, then at `factor`.

    is_heard: false if there is nobody to accept them.
    """
    started: list[Running] = []
    paces: list[asyncio.Task[None]] = []

    async def pace(clock: LivingClock, process: StationProcess, factor: float, *, is_heard: bool) -> None:
        while is_heard and not all(station.link.is_online for station in process.stations.values()):
            clock.beat()
            await asyncio.sleep(BEAT_S)
        clock.beat(factor)
        process.timeline.act(lambda: None)  # its timer was set at factor 1
        while True:
            await asyncio.sleep(BEAT_S)
            clock.beat()

    async def start(fleet_file: FleetFile, factor: float = 6000.0, *, is_heard: bool = True) -> Running:
        clock = LivingClock(DAY)
        lines = Lines()
        reporter = Reporter(lines)
        process = StationProcess(fleet_file, clock, csms.url, reporter)
        running = Running(process, lines, clock, asyncio.create_task(process.run()), reporter)
        started.append(running)
        paces.append(asyncio.create_task(pace(clock, process, factor, is_heard=is_heard)))
        await asyncio.sleep(0)
        return running

    yield start
    for task in paces:
        task.cancel()
    for running in started:
        running.process.quit()
        with contextlib.suppress(asyncio.CancelledError):
            await running.task


class Kit:
    """The makers above, handed to tests (test folders are no packages)."""

    day = DAY
    vehicle = staticmethod(vehicle)
    visit = staticmethod(visit)
    station = staticmethod(station)
    fleet = staticmethod(fleet)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
