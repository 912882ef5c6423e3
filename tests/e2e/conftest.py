"""Small sites that really run: the service and the stations as processes of their own, the people around them by HTTP.

Everything a test changes of the world stands in a scenario file of its own; the service gets what the demo gives it.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from aggregator.clock import ScaledClock, Segment, segments_through
from aggregator.config import load_clock
from aggregator.config.toml_writer import dump_assets
from aggregator.demo.configuration import Credentials, app_client, write_clock, write_configuration
from aggregator.demo.people import ApiClient, OutsideWorld
from aggregator.demo.processes import free_port
from aggregator.demo.scene import Scene, load_scene
from aggregator.stations import station_interpreter
from aggregator.store import Store
from twin.scenario import resource_path

HOST = "127.0.0.1"
NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
"""12:00 at the site, a boundary of planning steps."""
EVENTS = "/openadr3/3.1.0/events"
_START_S = 90.0
_USUAL_START_S = 6.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Car:
    """One car at the station of the same index. Times in hours from the start; soc is the hidden truth."""

    protocol: str
    soc: float
    request_kwh: float
    declared_h: float = 6.0
    stays_h: float = 8.0
    arrives_h: float = 0.0

    @property
    def is_dc(self) -> bool:
        return self.protocol == "ocpp2.1"


def write_scenario(
    path: Path, cars: Sequence[Car], *, start: datetime = NOON, hours: int = 9,
    building_kw: float | Sequence[float] = 30.0,
    import_cap_kw: float = 100.0, export_cap_kw: float = 0.0, incentive_per_kwh: float = 1.0,
) -> Scene:
    """A scenario of few stations, cut from the shipped one; its building is calm."""
    tables = tomllib.loads(resource_path("workplace_caltech.toml").read_text("utf-8"))
    hourly = [float(building_kw)] * 24 if isinstance(building_kw, (int, float)) else list(building_kw)
    del tables["sessions"]
    kinds = {"ocpp1.6": "ac_a", "ocpp2.0.1": "ac_b", "ocpp2.1": "dc_bidirectional"}
    for kind in tables["station_types"].values():
        kind["response_delay_s"] = 1.0
    tables |= {
        "start": start, "end": start + timedelta(hours=hours),
        "stations": [
            {"id": f"S{k:02}", "type": kinds[car.protocol], "protocol": car.protocol} for k, car in enumerate(cars)
        ],
        "visits": [
            {
                "id": f"visit-{k}", "station": f"S{k:02}", "arrival": start + timedelta(hours=car.arrives_h),
                "departure": start + timedelta(hours=car.arrives_h + car.stays_h),
                "declared_departure": start + timedelta(hours=car.arrives_h + car.declared_h),
                "requested_kwh": car.request_kwh, "arrival_soc": car.soc,
                "vehicle": "bidirectional-77" if car.is_dc else "sedan-75",
            }
            for k, car in enumerate(cars)
        ],
    }
    tables["site"] |= {"import_cap_kw": import_cap_kw, "export_cap_kw": export_cap_kw}
    tables["truth"]["building"] = {"hourly_kw": hourly}
    tables["forecast"] |= {"base_load_kw": [30.0] * 24, "arrivals_per_hour": [0.0] * 24}
    tables["tariff"]["peak_so_far_kw"] = import_cap_kw
    tables["permits"]["site_export_limit_kw"] = export_cap_kw
    tables["programmes"][0]["incentive_per_kwh"] = incentive_per_kwh
    tables["demo"]["fleet_change"] |= {
        "evse": "S00", "at": start + timedelta(hours=1), "departure": start + timedelta(hours=cars[0].declared_h),
    }
    path.write_text(dump_assets(tables), "utf-8")
    return load_scene(path)


def event_body(
    programme_id: str, name: str, start: datetime, hours: float, max_net_kw: float, site_id: str = "caltech-garage"
) -> dict[str, Any]:
    """An OpenADR 3.1 event: hold net import at or below `max_net_kw`."""
    return {
        "programID": programme_id, "eventName": name, "targets": [site_id],
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}
        ],
        "intervalPeriod": {"start": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "duration": f"PT{int(hours * 3600)}S"},
        "intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [max_net_kw]}]}],
    }


@dataclass
class RunningSite:
    """A folder with a configuration, and the processes that live from it."""

    folder: Path
    scene: Scene
    credentials: Credentials
    clock: ScaledClock
    http: httpx.AsyncClient
    ports: tuple[int, int]
    world: OutsideWorld
    lines: list[dict[str, Any]] = field(default_factory=list)
    service: asyncio.subprocess.Process | None = None
    stations: asyncio.subprocess.Process | None = None
    stations_python: str = sys.executable
    drivers_declare: bool = True
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    clients: dict[str, ApiClient] = field(default_factory=dict)

    @property
    def site_id(self) -> str:
        return self.scene.scenario.public().site.id

    # --- processes -----------------------------------------------------------------------------------------------

    async def start_service(self) -> None:
        with (self.folder / "service.log").open("ab") as log:
            self.service = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "aggregator.cli", "serve", "--config", str(self.folder / "v2g.toml"),
                stdout=log, stderr=log,
            )

        async def is_ready() -> bool:
            assert self.service is not None
            assert self.service.returncode is None, self.log()
            with contextlib.suppress(httpx.TransportError):
                return (await self.http.get("/readyz")).is_success
            return False

        await self.until(is_ready, "the service to be ready", _START_S)

    async def kill_service(self) -> None:
        """As a power cut would: no goodbye."""
        assert self.service is not None
        self.service.send_signal(signal.SIGKILL)
        await self.service.wait()

    async def start_stations(self) -> None:
        self.stations = await asyncio.create_subprocess_exec(
            self.stations_python, "-m", "twin.station", "--fleet", str(self.folder / "stations.json"),
            "--clock", str(self.folder / "clock.json"), "--ocpp", f"ws://{HOST}:{self.ports[1]}",
            "--truth", str(self.folder / "truth.jsonl"), "--ends-with-stdin",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22,
        )
        self.tasks += [asyncio.create_task(self._listen()), asyncio.create_task(self.world.meter())]

    async def _listen(self) -> None:
        assert self.stations is not None
        assert self.stations.stdout is not None
        while raw := await self.stations.stdout.readline():
            line = json.loads(raw)
            self.lines.append(line)
            if line["type"] == "site_meter":
                self.world.meter_says(line["at"], line["import_kw"], line["ev_kw"])
            elif line["type"] == "plugged" and self.drivers_declare:
                self.tasks.append(asyncio.create_task(self.world.driver_plugged_in(line["visit_id"])))

    def tell_stations(self, **order: Any) -> None:
        assert self.stations is not None
        assert self.stations.stdin is not None
        self.stations.stdin.write(json.dumps(order).encode() + b"\n")

    async def stop_stations(self) -> dict[str, Any]:
        """End the stations' process and return its summary."""
        assert self.stations is not None
        self.tell_stations(type="quit")
        await asyncio.wait_for(self.stations.wait(), 60)
        await self.until(lambda: self.lines[-1]["type"] == "summary", "the stations' summary")
        return self.lines[-1]

    async def stop_service(self) -> None:
        """Ask it to end; it must do so by itself, without a trace of trouble."""
        assert self.service is not None
        self.service.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.service.wait(), 60) == 0, self.log()
        assert "Traceback" not in self.log(), self.log()

    async def close(self) -> None:
        for process in (self.stations, self.service):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def log(self) -> str:
        return (self.folder / "service.log").read_text("utf-8")

    def planner_pids(self) -> list[int]:
        """Child processes of the service."""
        assert self.service is not None
        children = Path(f"/proc/{self.service.pid}/task/{self.service.pid}/children").read_text("ascii").split()
        return [int(pid) for pid in children]

    # --- people --------------------------------------------------------------------------------------------------

    def client(self, name: str) -> ApiClient:
        if name not in self.clients:
            self.clients[name] = ApiClient(self.http, name, self.credentials.clients[name])
        return self.clients[name]

    def driver(self, visit_id: str) -> ApiClient:
        return self.client(app_client(self.scene.declared()[visit_id].id_token))

    async def get(self, who: str, path: str) -> Any:
        return (await self.client(who).request("GET", path)).json()

    async def post_event(self, who: str, body: Mapping[str, Any]) -> str:
        return str((await self.client(who).request("POST", EVENTS, body)).json()["id"])

    async def signals(self, who: str, event_id: str) -> list[dict[str, Any]]:
        return list(await self.get(who, f"/v1/grid-signals?external_id={event_id}"))

    async def decided(self, event_id: str, revision: int = 1) -> dict[str, Any]:
        """The utility's signal once it is answered."""
        found: list[dict[str, Any]] = []

        async def is_answered() -> bool:
            found[:] = [s for s in await self.signals("utility", event_id) if s["revision"] == revision]
            return bool(found) and found[0]["decision"] is not None

        await self.until(is_answered, "a decision")
        return found[0]

    def programme(self, name: str) -> str:
        return self.world._programmes[name]

    async def declare(self, visit_id: str, **changes: Any) -> None:
        """The driver's app declares once more, with changes."""
        declared = self.scene.declared()[visit_id]
        await self.driver(visit_id).request("PUT", "/v1/departure-targets", {
            "id_token": declared.id_token, "departure": declared.departure.isoformat(),
            "requested_kwh": declared.requested_kwh, "vehicle_model": declared.vehicle_model,
            "v2g_consent": declared.v2g_consent, "floor_soc": declared.floor_soc, **changes,
        })

    # --- what is seen --------------------------------------------------------------------------------------------

    async def sessions(self) -> dict[str, dict[str, Any]]:
        return {s["evse_id"]: s for s in await self.get("fleet-manager", "/v1/sessions")}

    def readings(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == "site_meter"]

    def truth(self, station_id: str) -> list[dict[str, Any]]:
        """The car's true energy and power by the minute."""
        with (self.folder / "truth.jsonl").open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if line["type"] == "energy" and line["station_id"] == station_id]

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The service's database, beside the service."""
        async with await Store.open(f"sqlite+aiosqlite:///{self.folder / 'v2g.sqlite'}", clock=self.clock) as store:
            yield store

    async def until(self, is_so: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            seen = is_so()
            if await seen if asyncio.iscoroutine(seen) else seen:
                return
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}\n{self.log()[-3000:]}"
            await asyncio.sleep(_POLL_S)

    async def all_charging_sessions(self, count: int) -> None:
        """Every car has a transaction and its driver's declaration is known."""
        async def are_known() -> bool:
            known = await self.sessions()
            return len(known) == count and all(session["is_declared"] for session in known.values())

        await self.until(are_known, f"{count} declared sessions")


def _new_clock(folder: Path, scene: Scene, speed: float, faster: tuple[float, float] | None) -> ScaledClock:
    """A clock on which the day begins now, written for every process."""
    begin, wall = scene.scenario.public().start, time.time()
    segments = segments_through(wall, begin, speed if faster is None else 1.0)
    if faster is not None:
        after_s, factor = faster
        segments.append(Segment(wall + after_s, begin + timedelta(seconds=after_s), factor))
    write_clock(folder / "clock.json", segments)
    return load_clock(folder / "clock.json")


@contextlib.asynccontextmanager
async def running(
    folder: Path, cars: Sequence[Car], *, speed: float = 60.0, faster: tuple[float, float] | None = None,
    change_assets: Callable[[dict[str, Any]], None] | None = None, wire: Collection[str] = (),
    drivers_declare: bool = True, **scenario: Any,
) -> AsyncIterator[RunningSite]:
    """A site whose service is ready and whose stations are connecting; its day begins about now.

    faster: (wall seconds at factor 1, factor from then on) in the place of `speed`; where the service needs long to
    start, the seconds are more. wire: stations that speak ISO 15118 with their cars, in the environment that can.
    """
    scene = write_scenario(folder / "scenario.toml", cars, **scenario)
    ports = (free_port(HOST, 0), free_port(HOST, 0))
    credentials = Credentials.make(scene)
    write_configuration(folder, scene, credentials, host=HOST, http_port=ports[0], ocpp_port=ports[1], wire=wire)
    if change_assets is not None:
        assets = tomllib.loads((folder / "assets.toml").read_text("utf-8"))
        change_assets(assets)
        (folder / "assets.toml").write_text(dump_assets(assets), "utf-8")
    fleet = json.loads((folder / "stations.json").read_text("utf-8"))
    fleet["site_meter_period_s"] = 1.0
    (folder / "stations.json").write_text(json.dumps(fleet), "utf-8")
    clock = _new_clock(folder, scene, speed, faster)
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{ports[0]}", timeout=60.0) as http:
        world = OutsideWorld(scene, credentials, clock, http)
        site = RunningSite(
            folder, scene, credentials, clock, http, ports, world, drivers_declare=drivers_declare,
            stations_python=str(station_interpreter()) if wire else sys.executable,
        )
        try:
            began = time.monotonic()
            await site.start_service()
            took_s = time.monotonic() - began
            if faster is not None and took_s > _USUAL_START_S:  # all that comes will take as much longer
                await site.stop_service()
                (folder / "v2g.sqlite").unlink()
                slow = min(3.0, took_s / _USUAL_START_S)
                site.clock = site.world.clock = _new_clock(folder, scene, speed, (faster[0] * slow, faster[1]))
                await site.start_service()
            await site.world.register_programmes()
            await site.start_stations()
            yield site
        finally:
            await site.close()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the tests of a file, so that they can share a running site."""
    return "asyncio"


@pytest.fixture(autouse=True)
def no_foreign_settings() -> Iterator[None]:
    """V2G_* variables of whoever runs the tests must not reach the service."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("V2G_")}
    yield
    os.environ.update(saved)
