"""Recorded and written visits of a scenario, checked against its stations, its time and each other.

A row that cannot be true is reported: the reader decides whether that ends the reading or is counted. A row that is
merely not part of the scenario is dropped and counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from twin.catalogue import names as catalogue_names
from twin.importers import Session
from twin.scenario.tables import ScenarioFile, VisitRow
from twin.scenario.wording import one_of
from twin.scenario_error import ScenarioError

Report = Callable[[ScenarioError], None]

OTHER_STATION = "other station"
OUTSIDE = "outside the scenario's time"
UNFINISHED = "not over at the end (see run.unfinished)"
BACKWARDS = "departure not after arrival (visits by rule)"
OCCUPIED = "EVSE still occupied (visits by rule)"


@dataclass(frozen=True)
class Frame:
    """What visits are checked against. skips_others: recorded rows of stations not listed are dropped."""

    path: Path
    stations: frozenset[str]
    models: frozenset[str]
    start: datetime
    end: datetime
    skips_others: bool
    keeps_unfinished: bool


def known_vehicles(models: Collection[str], written: str) -> str:
    """What may stand where a car is named: a model of the scenario or of the catalogue."""
    return one_of(dict.fromkeys((*sorted(models), *catalogue_names()[0])), written)


def written_sessions(path: Path, file: ScenarioFile, report: Report) -> list[Session]:
    """The rows of `[[visits]]`, each of which wants energy in exactly one way."""
    sessions = []
    for index, row in enumerate(file.visits):
        label = f"$.visits[{index}]"
        if (row.requested_kwh is None) == (row.target_soc is None):
            given = "neither" if row.target_soc is None else "both"
            report(ScenarioError(path, f"{label}, requested_kwh", given, "either requested_kwh or target_soc",
                                 "no energy wanted" if given == "neither" else "energy wanted given twice"))
        else:
            sessions.append(_written(path, label, row))
    return sessions


def _written(path: Path, label: str, row: VisitRow) -> Session:
    return Session(
        path, label, id=row.id, station=row.station, arrival=row.arrival, departure=row.departure,
        declared_departure=row.declared_departure, requested_kwh=row.requested_kwh, target_soc=row.target_soc,
        arrival_soc=row.arrival_soc, vehicle=row.vehicle, floor_soc=row.floor_soc, v2g_consent=row.v2g_consent,
    )


def chosen(sessions: Iterable[Session], frame: Frame, report: Report, dropped: Counter[str]) -> list[Session]:
    """Sessions that are part of the scenario, in order of arrival, times in UTC. Adds to `dropped` by reason."""
    ids: set[str] = set()
    kept: list[Session] = []
    for session in sessions:
        try:
            _require_possible(session, frame, ids)
        except ScenarioError as fault:
            report(fault)
            continue
        ids.add(session.id)
        arrival, departure = session.arrival.astimezone(UTC), session.departure.astimezone(UTC)
        if session.station not in frame.stations:
            dropped[OTHER_STATION] += 1
        elif arrival < frame.start or arrival >= frame.end:
            dropped[OUTSIDE] += 1
        elif departure > frame.end and not frame.keeps_unfinished:
            dropped[UNFINISHED] += 1
        else:
            said = session.declared_departure
            kept.append(replace(
                session, arrival=arrival, departure=departure,
                declared_departure=departure if said is None else said.astimezone(UTC),
            ))
    kept.sort(key=lambda session: session.arrival)
    return _one_at_a_time(kept, report)


def _require_possible(session: Session, frame: Frame, ids: set[str]) -> None:
    """Raise a `ScenarioError` if the session cannot be true in this scenario."""

    def fault(field: str, value: object, expected: str, reason: str) -> ScenarioError:
        return ScenarioError(session.source, f"{session.label}, {field}", value, expected, reason)

    is_foreign = session.source != frame.path
    if session.station not in frame.stations and not (is_foreign and frame.skips_others):
        raise fault("station", session.station, "a station of the scenario", "unknown station")
    for name in ("arrival", "departure", "declared_departure"):
        when = getattr(session, name)
        if when is not None and when.tzinfo is None:
            raise fault(name, when.isoformat(), "a time with offset", "time without offset")
    if session.departure <= session.arrival:
        raise fault(
            "departure", session.departure.isoformat(), f"after arrival {session.arrival.isoformat()}",
            "departure not after arrival",
        )
    if session.requested_kwh is not None and session.requested_kwh < 0:
        raise fault("requested_kwh", session.requested_kwh, "0 kWh or more", "negative energy")
    if session.vehicle is not None and session.vehicle not in frame.models:
        raise fault("vehicle", session.vehicle, known_vehicles(frame.models, session.vehicle), "unknown vehicle")
    if session.id in ids:
        raise fault("id", session.id, "every visit id once", "visit id twice")


def _one_at_a_time(sessions: list[Session], report: Report) -> list[Session]:
    """Sessions without those that come while another car stands there, which is a fault of their file."""
    last: dict[str, Session] = {}
    kept: list[Session] = []
    for session in sessions:
        there = last.get(session.station)
        if there is not None and session.arrival < there.departure:
            report(ScenarioError(
                session.source, f"{session.label}, visit {session.id} at {session.station}, arrival",
                session.arrival.isoformat(),
                f"not before {there.departure.isoformat()}, when visit {there.id} leaves", "overlapping visits",
            ))
            continue
        last[session.station] = session
        kept.append(session)
    return kept
