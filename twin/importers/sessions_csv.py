"""Sessions of any charging network as a plain CSV file: one row per session, columns by name, in any order."""

from __future__ import annotations

from pathlib import Path

from twin.importers.cells import Cells, read_csv
from twin.importers.session import Imported, ImportOptions, Session, each
from twin.scenario_error import ScenarioError

REQUIRED = ("session_id", "station_id", "arrival", "departure")
OPTIONAL = (
    "declared_departure", "requested_kwh", "delivered_kwh", "arrival_soc", "target_soc", "floor_soc", "vehicle",
)


def read_sessions_csv(path: Path, options: ImportOptions) -> Imported:
    """Read a CSV file of sessions; other columns are ignored and named in the assumptions.

    Required: session_id, station_id, arrival, departure. Optional: declared_departure, requested_kwh or target_soc
    (without both: what was delivered, delivered_kwh), arrival_soc, floor_soc, vehicle. Empty cells: not known.
    """
    header, rows = read_csv(path, options.zone, REQUIRED)
    ignored = sorted(set(header) - set(REQUIRED) - set(OPTIONAL))
    if not {"requested_kwh", "target_soc", "delivered_kwh"} & set(header):
        raise ScenarioError(
            path, "row 1", ",".join(header), "a column requested_kwh, target_soc or delivered_kwh"
        )
    sessions, faults = each(rows, _session)
    taken = sum(not row.has("requested_kwh") and not row.has("target_soc") and row.has("delivered_kwh") for row in rows)
    assumed = []
    if ignored:
        assumed.append(f"Columns of {path.name} that were not read: {', '.join(ignored)}.")
    if taken:
        assumed.append(f"{taken} sessions of {path.name} do not say what was wanted: they want what was delivered.")
    return Imported(sessions, faults, assumed=tuple(assumed))


def _session(row: Cells) -> Session:
    row.require_whole()
    delivered = row.energy("delivered_kwh") if row.has("delivered_kwh") else None
    requested = row.energy("requested_kwh") if row.has("requested_kwh") else None
    target = row.fraction("target_soc") if row.has("target_soc") else None
    if requested is not None and target is not None:
        raise row.fault("target_soc", target, "nothing, as requested_kwh is given", "energy wanted given twice")
    if requested is None and target is None:
        if delivered is None:
            raise row.fault("requested_kwh", None, "a number of kWh, or a target_soc", "no energy wanted")
        requested = delivered
    return Session(
        row.path, row.label, id=row.text("session_id"), station=row.text("station_id"),
        arrival=row.time("arrival"), departure=row.time("departure"),
        declared_departure=row.time("declared_departure") if row.has("declared_departure") else None,
        requested_kwh=requested, target_soc=target,
        arrival_soc=row.fraction("arrival_soc") if row.has("arrival_soc") else None,
        floor_soc=row.fraction("floor_soc") if row.has("floor_soc") else None,
        vehicle=row.text("vehicle") if row.has("vehicle") else None, delivered_kwh=delivered,
    )
