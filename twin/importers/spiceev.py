"""SpiceEV scenarios (JSON, version 1): vehicles, charging stations, a grid connector, and the vehicles' comings.

The format is that of the scenario generator of SpiceEV (rl-institut/spice_ev, MIT): `components` (before version 1
`constants`) and `events`. SpiceEV's charging curves are powers at the connector; the battery gets them times its
efficiency, which is what our battery-side curves hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from twin.importers.cells import Cells, read_json
from twin.importers.session import Imported, ImportOptions, Session
from twin.scenario_error import ScenarioError

DEFAULT_EFFICIENCY = 0.95
DEFAULT_V2G_FACTOR = 0.5
DEFAULT_DISCHARGE_LIMIT = 0.5
LARGEST_AC_KW = 44.0
"""63 A on three phases: IEC 61851-1 knows no larger AC connector."""


def read_spiceev(path: Path, options: ImportOptions) -> Imported:
    """Read a SpiceEV scenario: its stations at one grid connector, vehicle types, and one session per stay.

    A vehicle that is connected from the beginning stays from the beginning. SoC on arrival is not in the file but a
    change since departure: the car is taken to have left with its desired SoC, as SpiceEV does for past events.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise ScenarioError(path, "$", type(document).__name__, "an object")
    file = _File(path, document, options)
    sessions: list[Session] = []
    faults: list[ScenarioError] = []
    for vehicle in file.vehicles:
        for stay in file.stays(vehicle):
            try:
                session = file.session(vehicle, stay)
            except ScenarioError as error:
                faults.append(error)
                continue
            if session is not None:
                sessions.append(session)
    return Imported(tuple(sessions), tuple(faults), dict(file.left_out), tuple(file.assumed()), file.tables())


@dataclass(frozen=True, slots=True)
class _Stay:
    """arrived: the arrival event; for the first stay the vehicle's own object. departed: the departure event."""

    label: str
    arrived: Cells
    start: datetime
    departed: Cells | None


class _File:
    """The parts of a SpiceEV scenario, checked as far as they are used."""

    def __init__(self, path: Path, document: dict[str, Any], options: ImportOptions) -> None:
        self.path = path
        self.zone = options.zone
        self.left_out = Counter[str]()
        scenario = self._cells("$.scenario", _object(path, document, "$.scenario"))
        self.start = scenario.time("start_time")
        self.end = scenario.steps_after("n_intervals", self.start, scenario.number("interval", "minutes"))
        self.discharge_limit = (
            scenario.fraction("discharge_limit") if scenario.has("discharge_limit") else DEFAULT_DISCHARGE_LIMIT
        )
        root = "components" if "components" in document else "constants"
        parts = _object(path, document, f"$.{root}")
        self.types = self._named(parts, root, "vehicle_types")
        self.stations = self._named(parts, root, "charging_stations")
        self.vehicles = self._named(parts, root, "vehicles")
        self.connectors = self._named(parts, root, "grid_connectors")
        self.connector = self._connector(options.connector)
        for kind in ("batteries", "photovoltaics"):
            self.left_out.update({f"{kind} of the file": _count(path, parts, f"$.{root}.{kind}")})
        events = _object(path, document, "$.events") if "events" in document else {}
        for kind in ("grid_operator_signals", "fixed_load", "external_load", "local_generation", "energy_feed_in"):
            self.left_out.update({f"{kind} of the file": _count(path, events, f"$.events.{kind}")})
        self.left_out = +self.left_out
        self.events = [
            self._cells(f"$.events.vehicle_events[{number}]", event)
            for number, event in enumerate(_entries(path, events, "$.events.vehicle_events"))
        ]
        self.by_vehicle = self._events_by_vehicle()
        self.soc = {
            cells.label: cells.fraction("soc") if cells.has("soc") else 0.0 for cells in self.vehicles.values()
        }

    def _cells(self, label: str, values: object) -> Cells:
        return Cells(self.path, label, values if isinstance(values, dict) else {}, self.zone)

    def _named(self, parts: Mapping[str, Any], root: str, kind: str) -> dict[str, Cells]:
        found = _object(self.path, {kind: parts.get(kind)}, f"$.{root}.{kind}")
        return {name: self._cells(f"$.{root}.{kind}.{name}", values) for name, values in found.items()}

    def _connector(self, wanted: str | None) -> str:
        known = ", ".join(self.connectors)
        if wanted is None and len(self.connectors) == 1:
            return next(iter(self.connectors))
        if wanted is None or wanted not in self.connectors:
            raise ScenarioError(self.path, "grid connector", wanted, f"sessions.connector, one of {known}")
        return wanted

    def _events_by_vehicle(self) -> dict[str, list[tuple[datetime, Cells]]]:
        found: dict[str, list[tuple[datetime, Cells]]] = {name: [] for name in self.vehicles}
        for event in self.events:
            name = event.text("vehicle_id")
            if name not in found:
                raise event.fault("vehicle_id", name, "a vehicle of the file")
            if event.text("event_type") not in ("arrival", "departure"):
                raise event.fault("event_type", event.values["event_type"], "arrival or departure")
            found[name].append((event.time("start_time"), event))
        for events in found.values():
            events.sort(key=lambda pair: pair[0])
        return found

    def stays(self, vehicle: str) -> Iterator[_Stay]:
        """From each arrival to the next departure; the first stay may begin before the scenario does."""
        cells = self.vehicles[vehicle]
        arrived: tuple[Cells, datetime] | None = None
        if cells.has("connected_charging_station"):
            arrived = (cells, self.start)
        for when, event in self.by_vehicle[vehicle]:
            is_arrival = event.values["event_type"] == "arrival"
            if arrived is not None and (not is_arrival or when > arrived[1]):
                yield _Stay(arrived[0].label, arrived[0], arrived[1], None if is_arrival else event)
                arrived = None
            if is_arrival:
                update = self._cells(f"{event.label}.update", event.values.get("update"))
                arrived = (update, when) if update.has("connected_charging_station") else None
                if arrived is None:
                    self.left_out["arrivals without a charging station"] += 1
                    self._drive(vehicle, update)
        if arrived is not None:
            yield _Stay(arrived[0].label, arrived[0], arrived[1], None)

    def _drive(self, vehicle: str, update: Cells) -> None:
        key = self.vehicles[vehicle].label
        if update.has("soc_delta"):
            self.soc[key] += update.number("soc_delta", "")

    def session(self, vehicle: str, stay: _Stay) -> Session | None:
        """The session of one stay; None at another grid connector or outside the scenario's time."""
        key = self.vehicles[vehicle].label
        self._drive(vehicle, stay.arrived)
        soc, wanted = self.soc[key], stay.arrived.fraction("desired_soc")
        self.soc[key] = max(soc, wanted)
        if not 0.0 <= soc <= 1.0:
            raise stay.arrived.fault(
                "soc_delta", stay.arrived.values.get("soc_delta"), f"a change that leaves 0 to 1, not {soc:.3f}",
                "state of charge outside 0 to 1",
            )
        station = stay.arrived.text("connected_charging_station")
        if station not in self.stations:
            raise stay.arrived.fault("connected_charging_station", station, "a charging station of the file",
                                     "unknown station")
        if self.stations[station].text("parent") != self.connector:
            self.left_out["at another grid connector"] += 1
            return None
        declared = stay.arrived.time("estimated_time_of_departure")
        kind = self.types[self._type(vehicle)]
        return Session(
            self.path, stay.label, id=f"{vehicle}@{stay.start.isoformat()}", station=station, arrival=stay.start,
            departure=stay.departed.time("start_time") if stay.departed is not None else declared,
            declared_departure=declared, target_soc=wanted, arrival_soc=soc, vehicle=self._type(vehicle),
            floor_soc=kind.fraction("discharge_limit") if kind.has("discharge_limit") else self.discharge_limit,
        )

    def _type(self, vehicle: str) -> str:
        name = self.vehicles[vehicle].text("vehicle_type")
        if name not in self.types:
            raise self.vehicles[vehicle].fault("vehicle_type", name, "a vehicle type of the file")
        return name

    def tables(self) -> dict[str, Any]:
        """Site, stations, vehicles and time as tables of a scenario file."""
        ours = {name: cells for name, cells in self.stations.items() if cells.text("parent") == self.connector}
        return {
            "start": self.start, "end": self.end,
            "site": {
                "id": self.connector, "timezone": self.zone.key if self.zone is not None else "UTC",
                "import_cap_kw": self.connectors[self.connector].number("max_power", "kW"),
                "export_cap_kw": self.connectors[self.connector].number("max_power", "kW"),
            },
            "station_types": {f"type-{name}": _station_type(cells) for name, cells in ours.items()},
            "stations": [{"id": name, "type": f"type-{name}"} for name in ours],
            "vehicles": [_vehicle(name, cells) for name, cells in self.types.items()],
            "run": {"unfinished": "keep"},
        }

    def assumed(self) -> Iterator[str]:
        yield "A car leaves with at least its desired state of charge before it drives again (SpiceEV)."
        yield "A station may discharge with the power it may charge with; the connector may export what it imports."
        yield "Losses are the same share of battery power both ways: 1 / efficiency - 1."
        if any(cells.has("loss_rate") for cells in self.types.values()):
            yield "Standing losses of batteries (loss_rate) are not read."


def _station_type(cells: Cells) -> dict[str, Any]:
    most = cells.number("max_power", "kW")
    return {
        "vendor": "SpiceEV", "model": cells.label.rpartition(".")[2],
        "current": "ac" if most <= LARGEST_AC_KW else "dc",
        "max_charge_kw": most, "max_discharge_kw": most,
        "min_charge_kw": min(cells.number("min_power", "kW") if cells.has("min_power") else 0.0, most),
    }


def _vehicle(name: str, cells: Cells) -> dict[str, Any]:
    efficiency = cells.number("battery_efficiency", "") if cells.has("battery_efficiency") else DEFAULT_EFFICIENCY
    if not 0.0 < efficiency <= 1.0:
        raise cells.fault("battery_efficiency", efficiency, "a share above 0, at most 1")
    charge = _curve(cells, "charging_curve")
    table = {
        "model": name, "plugs": ["ac", "dc"], "capacity_kwh": cells.number("capacity"),
        "charge_soc": [soc for soc, _ in charge], "charge_kw": [kw * efficiency for _, kw in charge],
        "max_charge_kw": max(kw for _, kw in charge), "loss_proportional": 1.0 / efficiency - 1.0,
    }
    if cells.values.get("v2g") is not True:
        return table
    factor = cells.number("v2g_power_factor", "") if cells.has("v2g_power_factor") else DEFAULT_V2G_FACTOR
    back = (
        _curve(cells, "discharge_curve") if cells.values.get("discharge_curve")
        else [(soc, kw * factor) for soc, kw in charge]
    )
    return table | {
        "discharge_soc": [soc for soc, _ in back], "discharge_kw": [kw / efficiency for _, kw in back],
        "max_discharge_kw": max(kw for _, kw in back),
    }


def _curve(cells: Cells, column: str) -> list[tuple[float, float]]:
    value = cells.values.get(column)
    try:
        points = [(float(soc), float(kw)) for soc, kw in value or []]
    except (TypeError, ValueError, OverflowError):
        points = []
    if len(points) < 2:  # noqa: PLR2004 - a line needs two points
        raise cells.fault(column, value, "a list of [state of charge, kW]")
    return points


def _entries(path: Path, document: Mapping[str, Any], label: str) -> list[Any]:
    value = document.get(label.rpartition(".")[2], [])
    if not isinstance(value, list):
        raise ScenarioError(path, label, value if value is None else type(value).__name__, "a list")
    return value


def _count(path: Path, document: Mapping[str, Any], label: str) -> int:
    value = document.get(label.rpartition(".")[2], ())
    if not isinstance(value, list | dict | tuple):
        raise ScenarioError(path, label, value if value is None else type(value).__name__, "a list or an object")
    return len(value)


def _object(path: Path, document: Mapping[str, Any], label: str) -> dict[str, Any]:
    value = document.get(label.rpartition(".")[2])
    if not isinstance(value, dict):
        raise ScenarioError(path, label, value if value is None else type(value).__name__, "an object")
    return value
