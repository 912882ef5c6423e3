"""Continue a day that was interrupted: the clock goes on where the last meter reading left it, the cars as they stood.

The service continues from its database by itself. The emulated world does not remember, so its truth file says how much
each car held, and the stored registers where each charger's meter stood.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from aggregator.clock import ScaledClock, Segment
from twin.assets import Visit
from twin.station.fleetfile import FleetFile


@dataclass(frozen=True)
class Interrupted:
    """How the world stood.

    energy_kwh: by visit id, of cars still plugged in. registers_wh: (import, export) by EVSE.
    """

    at: datetime
    energy_kwh: Mapping[str, float]
    registers_wh: Mapping[str, tuple[float, float]]

    def delivered_kwh(self, visits: Iterable[Visit]) -> dict[str, float]:
        """What the cars still plugged in had been given, by visit id."""
        return {v.id: self.energy_kwh[v.id] - v.energy_kwh for v in visits if v.id in self.energy_kwh}


def interrupted(folder: Path) -> Interrupted | None:
    """What the files of the run say; None if it had not begun."""
    truth = folder / "truth.jsonl"
    if not truth.is_file() or not (folder / "v2g.sqlite").is_file():
        return None
    at, registers = _stored(folder / "v2g.sqlite")
    if at is None:
        return None
    energy: dict[str, float] = {}
    for line in truth.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that was being written when the process died
        if entry["type"] in ("plugged", "energy") and datetime.fromisoformat(entry["at"]) <= at:
            energy[entry["visit_id"]] = float(entry["energy_kwh"])
        elif entry["type"] == "unplugged":
            energy.pop(entry["visit_id"], None)
    return Interrupted(at, energy, registers)


def _stored(path: Path) -> tuple[datetime | None, dict[str, tuple[float, float]]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (last,) = connection.execute("SELECT max(ts_us) FROM site_readings").fetchone()
        registers = {
            evse_id: (float(imported), float(exported or 0.0))
            for evse_id, imported, exported in connection.execute(
                "SELECT evse_id, max(import_wh), max(export_wh) FROM meter_values WHERE import_wh IS NOT NULL"
                " GROUP BY evse_id"
            )
        }
    finally:
        connection.close()
    return None if last is None else datetime.fromtimestamp(last / 1e6, UTC), registers


def resumed_clock(old: ScaledClock, fresh: list[Segment]) -> list[Segment]:
    """The segments lived through so far, then `fresh` ones; what was lived but not stored happens again."""
    begin = fresh[0]
    lived = [s for s in old.segments if s.wall_start < begin.wall_start and s.domain_start < begin.domain_start]
    return [*lived, *fresh]


def resumed_fleet(fleet: FleetFile, world: Interrupted) -> FleetFile:
    """The stations as they stood: without the cars that left, with the energy and registers of the others."""
    stations = []
    for station in fleet.stations:
        imported, exported = world.registers_wh.get(station.evse.id, (0.0, 0.0))
        visits = tuple(
            structs.replace(visit, energy_kwh=world.energy_kwh.get(visit.id, visit.energy_kwh))
            for visit in station.visits
            if visit.id in world.energy_kwh or visit.arrival > world.at
        )
        stations.append(structs.replace(station, visits=visits, import_wh=imported, export_wh=exported))
    return structs.replace(fleet, stations=tuple(stations))
