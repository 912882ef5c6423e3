"""Faults of the parts of a scenario that can be judged without the others, where reading it stops at the first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from twin.assets import TimeGrid
from twin.scenario.feeder import feeder_faults
from twin.scenario.fleet import models_of, stations_of
from twin.scenario.loading import event_of, grid_of, span_of
from twin.scenario.reading import zone_of
from twin.scenario.tables import EventRow, FeederTable, RunTable, ScenarioFile, SiteTable
from twin.scenario_error import ScenarioError

_FLEET: Final = ("site", "stations", "station_groups", "station_types")
"""Tables without which nobody knows what hangs on a feeder."""
_PLACES: Final = ("example", "folder", "points", "groups")
"""Fields without which nobody knows where."""


def part_faults(path: Path, tables: dict[str, Any], damaged: Collection[str]) -> Iterator[ScenarioError]:
    """The first fault of every event, of stations, of vehicles and of each part of the feeder.

    damaged: places (`$.feeder.spread`) whose faults are known; what depends on them is not judged.
    """
    if _is_damaged(damaged, "start", "end", "run"):
        return
    try:
        start, end = (msgspec.convert(tables[name], datetime) for name in ("start", "end"))
        run = msgspec.convert(tables.get("run", {}), RunTable)
        begins, ends = span_of(path, ScenarioFile("any", start, end, SiteTable("UTC", 0.0)))
        grid = grid_of(path, begins, ends, run.step_s)
    except ScenarioError as fault:
        yield fault
    except (KeyError, msgspec.ValidationError):
        return  # faults of tables, which are known
    else:
        yield from _event_faults(path, tables, grid)
        if not _is_damaged(damaged, *_FLEET):
            yield from _fleet_faults(path, tables, damaged, grid)


def _event_faults(path: Path, tables: dict[str, Any], grid: TimeGrid) -> Iterator[ScenarioError]:
    events = tables.get("events")
    for index, row in enumerate(events if isinstance(events, list) else ()):
        try:
            event_of(path, index, msgspec.convert(row, EventRow), grid.start, grid.end, grid.step_s)
        except ScenarioError as fault:
            yield fault
        except msgspec.ValidationError:
            continue  # a fault of the row, which is known


def _fleet_faults(
    path: Path, tables: dict[str, Any], damaged: Collection[str], grid: TimeGrid
) -> Iterator[ScenarioError]:
    fleet: dict[str, Any] = {name: tables[name] for name in ("start", "end", *_FLEET) if name in tables}
    if "vehicles" in tables and not _is_damaged(damaged, "vehicles"):
        fleet["vehicles"] = tables["vehicles"]
    try:
        file = msgspec.convert({"name": "any", **fleet}, ScenarioFile)
    except msgspec.ValidationError:
        return
    try:
        models_of(path, file)
    except ScenarioError as fault:
        yield fault
    try:
        stations, zone = stations_of(path, file), zone_of(path, "$.site.timezone", file.site.timezone)
    except ScenarioError as fault:
        yield fault
        return
    feeder = tables.get("feeder")
    if not isinstance(feeder, dict) or _is_damaged(damaged, *(f"feeder.{name}" for name in _PLACES)):
        return
    own = {name: value for name, value in feeder.items()
           if not _is_damaged(damaged, f"feeder.{name}") and name in FeederTable.__struct_fields__}
    whole = msgspec.structs.replace(file, feeder=msgspec.convert(own, FeederTable))
    yield from feeder_faults(path, whole, stations, grid, zone,
                             knows_phases=not _is_damaged(damaged, "feeder.phases"))


def _is_damaged(damaged: Collection[str], *places: str) -> bool:
    return any(
        where == f"$.{place}" or where.startswith((f"$.{place}.", f"$.{place}[")) for where in damaged
        for place in places
    )
