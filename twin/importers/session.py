"""A recorded session in the twin's words, and what an importer hands back: rows, faults, and what it had to assume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from twin.scenario_error import ScenarioError

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Session:
    """One car at one station, as a file says it; None: the file does not say.

    source, label: where it stands ("row 7"), for messages. Times have an offset. declared_departure: what the driver
    said. requested_kwh: wanted on top of what is there; target_soc: wanted at departure. vehicle: a model.
    floor_soc: no discharge below it. delivered_kwh: what was really delivered, for comparison only.
    car: what the draw of a car is keyed by; the session's id where empty.
    """

    source: Path
    label: str
    id: str
    station: str
    arrival: datetime
    departure: datetime
    declared_departure: datetime | None = None
    requested_kwh: float | None = None
    target_soc: float | None = None
    arrival_soc: float | None = None
    vehicle: str | None = None
    floor_soc: float | None = None
    v2g_consent: bool | None = None
    delivered_kwh: float | None = None
    car: str = ""


@dataclass(frozen=True)
class ImportOptions:
    """How to read a file of sessions.

    claimed_only: leave out sessions without a driver's request. zone: where times without offset are local; None:
    they are faults. connector: grid connector of a SpiceEV scenario; None: its only one.
    """

    claimed_only: bool = True
    zone: ZoneInfo | None = None
    connector: str | None = None


@dataclass(frozen=True)
class Imported:
    """What a file held.

    faults: rows that cannot be used. left_out: rows left out on purpose, counted by reason. assumed: sentences for
    the report. tables: stations, vehicles, times and caps that the file gives, as tables of a scenario file.
    """

    sessions: tuple[Session, ...]
    faults: tuple[ScenarioError, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)


def each(rows: Iterable[Row], read: Callable[[Row], Session]) -> tuple[tuple[Session, ...], tuple[ScenarioError, ...]]:
    """Read every row; those that cannot be used come back as their faults."""
    sessions: list[Session] = []
    faults: list[ScenarioError] = []
    for row in rows:
        try:
            sessions.append(read(row))
        except ScenarioError as error:
            faults.append(error)
    return tuple(sessions), tuple(faults)
