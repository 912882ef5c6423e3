"""The demo itself: set the stage, let the day run, judge it by what was measured.

service (v2g serve)  <--HTTP--  utility, grid operator, drivers' apps, fleet manager, meter (people.py)
     ^ OCPP
stations (python -m twin.station): batteries, chargers, the building
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aggregator.clock import ScaledClock, Segment, segments_through
from aggregator.config import ConfigError, load_clock
from aggregator.demo.configuration import Credentials, fleet_file, write_clock, write_configuration, write_fleet
from aggregator.demo.evidence import day_facts
from aggregator.demo.pacing import Pacer
from aggregator.demo.paired import load_day, uncontrolled_day
from aggregator.demo.people import ClientFault, OutsideWorld
from aggregator.demo.processes import Process, free_port
from aggregator.demo.resume import interrupted, resumed_clock, resumed_fleet
from aggregator.demo.scene import Scene, load_scene
from aggregator.demo.stored import read_store
from aggregator.demo.wire import WireLog, WirePlan, wire_plan
from aggregator.refusal import Refused
from aggregator.reports.day import judge, render_report, result_json
from twin.lease import LeaseError, LeaseKeeper
from twin.scenario import ScenarioError, resource_path

HOST = "127.0.0.1"
SCENARIO = "workplace_caltech.toml"
_MARKER = "demo.json"
_LEASE = "clock.lease"
_LEAD_WALL_S = 2.0
"""The clock starts this long before the day, so that the building is known when the first car comes."""
_USUAL_START_S = 12.0
"""A first start compiles its modules and takes twice as long as the next; that alone is no sign of a slow machine."""
_SLOWEST_DAY = 1.0 / 3.0
"""Of the speed asked for: no machine makes the day slower than this."""
_SLOW_BEFORE_S = 3.0
_SLOW_WALL_S = 20.0
"""Around the mandatory limit the clock runs at factor 1, so that its seconds are seconds."""
_READY_WALL_S = 60.0
_SETTLE_WALL_S = 1.5
_RESTARTS = 5
_NOTED_HOLD_S = 1.0


@dataclass(frozen=True)
class DemoOptions:
    """speed: domain seconds per wall second. resume: continue the run in `data`."""

    speed: float
    data: Path
    http_port: int
    ocpp_port: int
    resume: bool = False


@dataclass(frozen=True)
class DemoOutcome:
    succeeded: bool
    result: dict[str, Any]
    report: Path


@dataclass
class _Stage:
    """Everything that stands while the day runs."""

    options: DemoOptions
    scene: Scene
    http_port: int
    ocpp_port: int
    console: Console
    world: OutsideWorld
    pacer: Pacer
    wire: WirePlan
    sessions: WireLog
    online: set[str] = field(default_factory=set)
    plugged: set[str] = field(default_factory=set)
    summary: dict[str, Any] = field(default_factory=dict)
    service: Process | None = None
    stations: Process | None = None
    paired: Process | None = None
    restarts: int = 0

    @property
    def folder(self) -> Path:
        return self.options.data

    @property
    def clock(self) -> ScaledClock:
        return self.pacer.clock


async def run_demo(options: DemoOptions, console: Console) -> DemoOutcome:
    """Run the day and write `report/index.html` and `report/result.json` below the data folder.

    Raises:
        Refused: an occupied port, a folder that is not the demo's, nothing to resume, a faulty scenario.
    """
    began = time.time()
    try:
        scene = load_scene(resource_path(SCENARIO))
    except ScenarioError as error:
        raise Refused(str(error)) from None
    http_port, ocpp_port = free_port(HOST, options.http_port), free_port(HOST, options.ocpp_port)
    wire = wire_plan(scene)
    credentials, pacer = _set_up(options, scene, http_port, ocpp_port, wire)
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{http_port}", timeout=20.0) as http:
        world = OutsideWorld(scene, credentials, pacer.clock, http)
        pacer.seen_to = world.seen_to
        if options.resume and (before := interrupted(options.data)) is not None:
            world.already_kwh = before.delivered_kwh(scene.scenario.truth().visits)
        if wire.missing:
            console.print(f"[yellow]No car is on the ISO 15118 wire: {wire.missing}", soft_wrap=True)
            world.notes.append(f"no car was on the ISO 15118 wire, all on the fast rail: {wire.missing}")
        sessions = WireLog(options.data / "wire.jsonl")
        stage = _Stage(options, scene, http_port, ocpp_port, console, world, pacer, wire, sessions)
        try:
            await _raise_curtain(stage, http)
            await _run_day(stage)
            await _finish_pair(stage)
        finally:
            for process in (stage.stations, stage.service, stage.paired):
                if process is not None:
                    await process.stop()
    return await _report(stage, time.time() - began)


# --- before ------------------------------------------------------------------------------------------------------


def _set_up(
    options: DemoOptions, scene: Scene, http_port: int, ocpp_port: int, wire: WirePlan
) -> tuple[Credentials, Pacer]:
    """A fresh folder with everything the processes need, or the clock and credentials of the run to continue.

    Time stands until the pacer is opened.
    """
    folder = options.data
    marker = folder / _MARKER
    if options.resume:
        if not marker.is_file():
            raise Refused(f"--data: {folder} holds no demo to resume")
        credentials = Credentials.load(folder / "credentials.json")
        write_configuration(
            folder, scene, credentials, host=HOST, http_port=http_port, ocpp_port=ocpp_port, wire=wire.stations
        )
        return credentials, _resume(options, scene, credentials, wire)
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise Refused(f"--data: {folder} is not empty and holds no demo; choose another folder")
    shutil.rmtree(folder, ignore_errors=True)
    credentials = Credentials.make(scene)
    write_configuration(
        folder, scene, credentials, host=HOST, http_port=http_port, ocpp_port=ocpp_port, wire=wire.stations
    )
    marker.write_text(json.dumps({"speed": options.speed}), "utf-8")
    return credentials, _begin(options, scene)


def _begin(options: DemoOptions, scene: Scene) -> Pacer:
    keeper = LeaseKeeper.create(options.data / _LEASE, time.time())
    return Pacer(keeper, _new_clock(options.data, scene, options.speed, keeper))


def _resume(options: DemoOptions, scene: Scene, credentials: Credentials, wire: WirePlan) -> Pacer:
    """The clock of a day that goes on where it was interrupted; the stations' file says how the cars stood."""
    folder = options.data
    world = interrupted(folder)
    if world is None:
        return _begin(options, scene)
    if world.at >= scene.scenario.public().end:
        raise Refused(f"--resume: the day in {folder} is over; run without --resume to start a new one")
    try:
        old = load_clock(folder / "clock.json")
    except ConfigError as error:
        raise Refused(str(error)) from None
    # Time stood since the run ended: its lease did. A run without one went on until now.
    lease = folder / _LEASE
    keeper = LeaseKeeper.take_over(lease) if old.lease is not None else LeaseKeeper.create(lease, time.time())
    going = Segment(keeper.run_at(time.time()), world.at, options.speed)
    segments = resumed_clock(old, [going, *_slow_again(scene, going)])
    write_clock(folder / "clock.json", segments, _LEASE)
    write_fleet(folder, resumed_fleet(fleet_file(scene, credentials, wire.stations), world))
    return Pacer(keeper, ScaledClock(segments, keeper))


def _slow_again(scene: Scene, going: Segment) -> list[Segment]:
    """The slow phase around the mandatory limit, if it is still to come."""
    limit = scene.tables.signals.limit.start.astimezone(UTC) - timedelta(seconds=_SLOW_BEFORE_S)
    if limit <= going.domain_start or going.factor == 1.0:
        return []
    return segments_through(going.wall_start, going.domain_start, going.factor, [(limit, _SLOW_WALL_S)])[1:]


def _new_clock(folder: Path, scene: Scene, speed: float, keeper: LeaseKeeper) -> ScaledClock:
    """A clock that begins shortly before the day where the lease stands, for every process of the demo."""
    start = scene.scenario.public().start - timedelta(seconds=_LEAD_WALL_S * speed)
    limit = scene.tables.signals.limit.start.astimezone(UTC) - timedelta(seconds=_SLOW_BEFORE_S)
    slow = [] if speed == 1.0 else [(limit, _SLOW_WALL_S)]
    segments = segments_through(keeper.run_at(time.time()), start, speed, slow)
    write_clock(folder / "clock.json", segments, _LEASE)
    return ScaledClock(segments, keeper)


# --- the day -----------------------------------------------------------------------------------------------------


async def _raise_curtain(stage: _Stage, http: httpx.AsyncClient) -> None:
    """Service, programmes, stations: all started before time is; where that takes long, the day is slower too."""
    began = time.monotonic()
    stage.service = await _start_service(stage)
    await _until_ready(stage, http)
    took_s = time.monotonic() - began
    if not stage.options.resume and affordable_speed(stage.options.speed, took_s) < stage.options.speed:
        await stage.service.stop()
        _slow_down(stage, took_s)
        (stage.folder / "v2g.sqlite").unlink(missing_ok=True)
        stage.service = await _start_service(stage)
        await _until_ready(stage, http)
    stage.console.print(
        f"Live page  http://{HOST}:{stage.http_port}/   OCPP  ws://{HOST}:{stage.ocpp_port}/<station id>"
    )
    await stage.world.register_programmes()
    stage.stations = await Process.start(
        "stations", [
            "-m", "twin.station", "--fleet", str(stage.folder / "stations.json"),
            "--clock", str(stage.folder / "clock.json"), "--ocpp", f"ws://{HOST}:{stage.ocpp_port}",
            "--truth", str(stage.folder / "truth.jsonl"), "--ends-with-stdin",
        ], stage.folder / "logs/stations.log", has_lines=True, interpreter=stage.wire.interpreter,
    )
    stage.paired = await Process.start(
        "paired run", ["-m", "aggregator.demo.paired", str(stage.folder)], stage.folder / "logs/paired.log", nice=15
    )


def _slow_down(stage: _Stage, took_s: float) -> None:
    """Let the day pass more slowly where everything takes longer: a plan that needs seconds would cost half an hour."""
    speed = affordable_speed(stage.options.speed, took_s)
    stage.console.print(
        f"[yellow]The service needed {took_s:.0f} s to start: the day runs {speed:.0f} times faster than the wall "
        f"instead of {stage.options.speed:.0f} times."
    )
    stage.options = replace(stage.options, speed=speed)
    stage.pacer.clock = _new_clock(stage.folder, stage.scene, speed, stage.pacer.keeper)
    stage.world.clock = stage.pacer.clock


def affordable_speed(wanted: float, took_s: float) -> float:
    """Domain seconds per wall second on a machine whose service needed `took_s` to start; 1 and less stays as it is."""
    return min(wanted, max(1.0, wanted * max(_SLOWEST_DAY, min(1.0, _USUAL_START_S / took_s))))


async def _run_day(stage: _Stage) -> None:
    if stage.stations is None:
        return
    try:
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(work) for work in (
                    _listen(stage, group), stage.pacer.run(), stage.world.meter(), stage.world.operator(),
                    _keep_service(stage), *_future(stage),
                )
            ]
            await _watch_clock(stage)
            stage.world.is_metered = False
            await stage.stations.stop()
            await asyncio.sleep(_SETTLE_WALL_S)
            for task in background:
                task.cancel()
        for trace in (stage.world.event, stage.world.limit):
            if trace.event_id:
                await stage.world.read_signal(trace, wants_decision=False)
    except* (ClientFault, Refused, LeaseError) as faults:
        raise Refused(str(faults.exceptions[0])) from None
    if stage.service is not None:
        await stage.service.stop()
    times, seconds = stage.pacer.held()
    if seconds >= _NOTED_HOLD_S:
        stage.world.notes.append(
            f"the machine was busy: the day stood still {times} times until everybody caught up, {seconds:.1f} s in all"
        )


def _future(stage: _Stage) -> list[Coroutine[Any, Any, None]]:
    """What people will still do today. On a resumed day they repeat what still matters: sent twice, it counts once."""
    tables, now = stage.scene.tables, stage.clock.now()
    plans = [
        (tables.demo.fleet_change.departure, stage.world.fleet_manager),
        (tables.signals.event.end, stage.world.utility),
        (tables.signals.limit.end, stage.world.grid_operator),
    ]
    return [person() for matters_until, person in plans if matters_until.astimezone(UTC) > now]


async def _start_service(stage: _Stage) -> Process:
    return await Process.start(
        "service", ["-m", "aggregator.cli", "serve", "--config", str(stage.folder / "v2g.toml"), "--ends-with-stdin"],
        stage.folder / "logs/service.log",
    )


async def _keep_service(stage: _Stage) -> None:
    """Start the service again if it dies, as a supervisor would: nothing accepted may be lost by it."""
    while True:
        service = stage.service
        if service is None:
            return
        code = await service.wait()
        stage.restarts += 1
        if stage.restarts > _RESTARTS:
            raise Refused(f"the service ended {stage.restarts} times:\n{service.last_words()}")
        stage.console.print(f"[yellow]The service ended (code {code}); started again on the same data.")
        stage.world.notes.append(f"the service was restarted at {stage.clock.now():%H:%M:%S} UTC after code {code}")
        stage.service = await _start_service(stage)


async def _until_ready(stage: _Stage, http: httpx.AsyncClient) -> None:
    until = time.monotonic() + _READY_WALL_S
    while time.monotonic() < until:
        if stage.service is not None and stage.service.returncode is not None:
            raise Refused(f"the service did not start:\n{stage.service.last_words()}")
        with contextlib.suppress(httpx.TransportError):
            if (await http.get("/readyz")).is_success:
                return
        await asyncio.sleep(0.1)
    raise Refused(f"the service was not ready within {_READY_WALL_S:g} s:\n"
                  f"{stage.service.last_words() if stage.service else ''}")


async def _listen(stage: _Stage, group: asyncio.TaskGroup) -> None:
    """What the stations' process says of the physical world; apps and meter pass on what is theirs to tell."""
    if stage.stations is None:
        return
    async for line in stage.stations.lines():
        match line["type"]:
            case "site_meter":
                stage.world.meter_says(line["at"], line["import_kw"], line["ev_kw"])
            case "station_online":
                stage.online.add(line["station_id"])
                if len(stage.online) == len(stage.scene.scenario.public().stations):
                    stage.pacer.open()
            case "plugged":
                stage.plugged.add(line["visit_id"])
                group.create_task(stage.world.driver_plugged_in(line["visit_id"]))
            case "unplugged":
                stage.plugged.discard(line["visit_id"])
            case "session_charges" | "session_broke":
                stage.sessions.take(line)
            case "summary":
                stage.summary = line


async def _watch_clock(stage: _Stage) -> None:
    """Show the day passing until it is over."""
    public = stage.scene.scenario.public()
    zone = ZoneInfo(public.site.timezone)
    total = (public.end - public.start).total_seconds()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeElapsedColumn(),
        console=stage.console,
    ) as progress:
        task = progress.add_task(f"{public.start.astimezone(zone):%H:%M}", total=total, words="")
        while (now := stage.clock.now()) < public.end:
            if stage.stations is not None and stage.stations.returncode not in (None, 0):
                raise Refused(f"the stations' process ended:\n{stage.stations.last_words()}")
            local = now.astimezone(zone)
            progress.update(
                task, completed=max(0.0, (now - public.start).total_seconds()), description=f"{local:%H:%M}",
                words=_words(stage, now),
            )
            await asyncio.sleep(0.25)
        progress.update(task, completed=total)


def _words(stage: _Stage, now: datetime) -> str:
    event = stage.world.event.signal
    words = f"{len(stage.plugged)} cars"
    if event and event.get("decision"):
        decision = event["decision"]
        words += f", event {decision['state']} {decision['committed_kw']:.0f} of {decision['requested_kw']:.0f} kW"
    table = stage.scene.tables.signals
    if table.limit.start <= now < table.limit.end:
        words += ", mandatory limit in force"
    return words


# --- after -------------------------------------------------------------------------------------------------------


async def _finish_pair(stage: _Stage) -> None:
    """Wait for the paired run, which has been going on beside the day."""
    if stage.paired is None:
        return
    if stage.paired.returncode is None:
        with stage.console.status("Paired run without the grid's signals"):
            await stage.paired.wait()
    if stage.paired.returncode != 0:
        raise Refused(f"the paired run failed:\n{stage.paired.last_words()}")


async def _report(stage: _Stage, wall_s: float) -> DemoOutcome:
    folder, scene = stage.folder, stage.scene
    stored = await read_store(folder, scene)
    facts = day_facts(
        folder, scene, stored, paired=load_day(folder / "paired.json"), uncontrolled=uncontrolled_day(scene),
        limit=stage.world.limit, speed=stage.options.speed, wall_s=wall_s, notes=stage.world.notes,
        wire=stage.sessions.facts(scene),
    )
    verdict, result = judge(facts), result_json(facts)
    report = folder / "report" / "index.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text(render_report(facts), "utf-8")
    (report.parent / "result.json").write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    table = Table(title="The day, judged by what was measured", show_lines=False)
    table.add_column("")
    table.add_column("Criterion")
    table.add_column("Measured")
    for check in verdict.checks:
        table.add_row("[green]pass" if check.passed else "[red]FAIL", check.title, check.measured)
    stage.console.print(table)
    stage.console.print(f"Report  {report}   ({wall_s:.0f} s)")
    for check in verdict.failed:
        stage.console.print(f"[red]Failed: {check.title}: {check.measured}")
    return DemoOutcome(verdict.succeeded, result, report)
