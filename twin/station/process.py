"""A process of many emulated stations: one timeline, one plant, one meter, and a WebSocket for each station."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import threading
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from twin.station.clock import DomainClock, iso
from twin.station.fleetfile import FleetFile
from twin.station.outlet import Outlet
from twin.station.plant import Building, Plant
from twin.station.rails import rails_of
from twin.station.reporter import Reporter
from twin.station.site_meter import MINUTE_S, SiteMeter
from twin.station.station import Station
from twin.station.timeline import Timeline

log = logging.getLogger(__name__)

FLUSH_S = 5.0
"""Wall seconds that a finished day waits for the CSMS to confirm its last messages."""


class Drop(msgspec.Struct, tag="drop"):
    """Lose a station's line; it comes back after `hold_s` of wall time at the earliest."""

    station_id: str
    hold_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


class Quit(msgspec.Struct, tag="quit"):
    """End the process as SIGTERM does."""


class Fault(msgspec.Struct, frozen=True):
    """What is said about a command that cannot be read or names an unknown station."""

    detail: str
    type: Literal["command_refused"] = "command_refused"


class StationProcess:
    """Everything one process emulates. `run` returns when the day is over or it is told to quit."""

    def __init__(
        self, fleet: FleetFile, clock: DomainClock, csms_url: str, reporter: Reporter, *, seed: int = 0
    ) -> None:
        self.timeline = Timeline(clock)
        self.plant = Plant(len(fleet.stations), self.timeline)
        self.reporter = reporter
        rng = random.Random(seed)
        self.stations: dict[str, Station] = {}
        makers = rails_of(fleet, self.timeline)
        for slot, (spec, make_rail) in enumerate(zip(fleet.stations, makers, strict=True)):
            outlet = Outlet(spec.evse.asset(fleet.site_id), slot, self.plant, self.timeline, make_rail)
            self.stations[spec.id] = Station(
                spec, outlet, csms_url=csms_url, timeline=self.timeline, plant=self.plant, reporter=reporter,
                meter_interval_s=fleet.meter_interval_s, meter_max_wall_s=fleet.meter_max_wall_s,
                rng=random.Random(rng.random()),
            )
        building = Building(fleet.building.start.timestamp(), fleet.building.step_s, fleet.building.kw)
        self._meter = SiteMeter(self.plant, building, self.timeline, reporter, fleet.site_meter_period_s)
        self._end = max(
            [fleet.end.timestamp()] + [v.departure.timestamp() for s in fleet.stations for v in s.visits]
        )
        self._quit = asyncio.Event()
        self.timeline.after_events = self._settle

    def quit(self) -> None:
        """End soon; what stations have not delivered is lost with them."""
        self._quit.set()

    def command(self, line: bytes) -> None:
        """Obey one line of JSON from stdin."""
        try:
            order = msgspec.json.decode(line, type=Drop | Quit)
        except msgspec.MsgspecError as fault:
            self._refuse(str(fault))
            return
        if isinstance(order, Quit):
            self.quit()
        elif (station := self.stations.get(order.station_id)) is not None:
            station.link.drop(order.hold_s)
        else:
            self._refuse(f"station_id: {order.station_id!r}, expected a station of this process")

    async def run(self) -> None:
        """Follow the clock until the end. Raises what went wrong if an event or a link failed."""
        for station in self.stations.values():
            station.expect_visits()
        self._meter.start()
        if self.reporter.keeps_truth:
            self.timeline.at((self.timeline.now // MINUTE_S + 1) * MINUTE_S, self._tell_truth)
        self.timeline.at(self._end, lambda _: self._quit_when_delivered())
        self.timeline.start()
        links = [asyncio.create_task(station.link.run()) for station in self.stations.values()]
        waits = [asyncio.create_task(self._quit.wait()), asyncio.create_task(self.timeline.failed.wait())]
        try:
            await asyncio.wait([*links, *waits], return_when=asyncio.FIRST_COMPLETED)
            for link in links:
                if link.done():
                    link.result()
            if self.timeline.failure is not None:
                raise self.timeline.failure
        finally:
            self.timeline.stop()
            for task in [*links, *waits]:
                task.cancel()
            await asyncio.gather(*links, *waits, return_exceptions=True)
            try:
                for station in self.stations.values():
                    await station.outlet.sessions.rail.close()  # time goes on meanwhile, and there may be more to tell
            finally:
                self._summarise()

    def _settle(self) -> None:
        self.plant.watch()
        powers = self.plant.fleet.power_kw
        for slot, station in enumerate(self.stations.values()):
            station.settle(float(powers[slot]))

    def _quit_when_delivered(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FLUSH_S

        def look() -> None:
            if loop.time() >= deadline or not any(s.waiting_messages for s in self.stations.values()):
                self.quit()
            else:
                loop.call_later(0.05, look)

        look()

    def _tell_truth(self, at: float) -> None:
        """What no meter shows: the energy in each car, every domain minute, for the truth file."""
        fleet = self.plant.fleet
        energies, powers = fleet.energy_kwh, fleet.power_kw
        for slot, station in enumerate(self.stations.values()):
            if station.visit_id is not None:
                self.reporter.report_truth({
                    "type": "energy", "at": iso(at), "visit_id": station.visit_id, "station_id": station.spec.id,
                    "energy_kwh": float(energies[slot]), "power_kw": float(powers[slot]),
                })
        self.timeline.at(at + MINUTE_S, self._tell_truth)

    def _summarise(self) -> None:
        ledger = self.plant.fleet.ledger()
        self.reporter.report({
            "type": "summary",
            "at": iso(self.timeline.now),
            "visits": [visit for station in self.stations.values() for visit in station.visits_so_far()],
            "import_kwh": float(ledger.import_kwh.sum()),
            "export_kwh": float(ledger.export_kwh.sum()),
            "loss_kwh": float(ledger.loss_kwh.sum()),
            "ledger_residual_relative": ledger.relative_residual,
            "undelivered_messages": sum(station.waiting_messages for station in self.stations.values()),
            "dropped_messages": sum(station.link.dropped for station in self.stations.values()),
        })

    def _refuse(self, detail: str) -> None:
        self.reporter.report(msgspec.to_builtins(Fault(detail)))


async def serve(
    fleet: FleetFile, clock: DomainClock, csms_url: str, *, truth: Path | None = None, ends_with_stdin: bool = False,
    seed: int = 0,
) -> None:
    """Run a fleet with stdin, stdout and signals wired up, until its end."""
    loop = asyncio.get_running_loop()
    reporter = Reporter(truth=truth, on_broken=lambda: loop.call_soon_threadsafe(process.quit))
    process = StationProcess(fleet, clock, csms_url, reporter, seed=seed)
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, process.quit)
    threading.Thread(
        target=_read_commands, args=(loop, process, ends_with_stdin), name="commands", daemon=True
    ).start()
    # What is loaded by now lives as long as the process: a full collection that looks through all of it would hold up
    # the charge loops of every car for some 50 ms.
    gc.collect()
    gc.freeze()
    try:
        await process.run()
    finally:
        reporter.close()


def _read_commands(loop: asyncio.AbstractEventLoop, process: StationProcess, ends_with_stdin: bool) -> None:
    """Hand lines of stdin to the loop. In a thread, because stdin may be a file, which no event loop can watch.

    Reads the descriptor itself: a daemon thread inside sys.stdin would abort the interpreter at its end.
    """
    rest = b""
    while chunk := os.read(0, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            loop.call_soon_threadsafe(process.command, line)
    if ends_with_stdin:
        loop.call_soon_threadsafe(process.quit)
