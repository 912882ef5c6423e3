"""A scenario file becomes stations, cars, visits and a building: what a service may know, and what is true.

`Scenario.public()` is what an operator would write into the service's configuration. `Scenario.truth()` is
the world itself: real departures, batteries, the building's load. Nothing of the truth may reach a planner
before it happens; what a driver's app says on plug-in is `Truth.declared`.

Draws are keyed by (seed, visit, what), so that adding or dropping a visit changes no other one.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from twin.assets import (
    AssetError,
    Battery,
    Current,
    Evse,
    LossCurve,
    PowerCurve,
    Response,
    Site,
    TimeGrid,
    Vehicle,
    Visit,
    World,
)
from twin.battery import FleetState, usable_setpoint
from twin.scenario.tables import (
    ArrivalTable,
    BuildingTable,
    Protocol,
    ScenarioError,
    ScenarioFile,
    VehicleTable,
    VisitRow,
    read_acn_sessions,
    read_scenario_file,
)

__all__ = [
    "DeclaredVisit", "PublicScenario", "Scenario", "ScenarioError", "Station", "Truth",
    "load_scenario", "physically_possible_kwh", "resource_path",
]

Floats = NDArray[np.float64]
MINUTE = timedelta(minutes=1)


def resource_path(name: str) -> Path:
    """The path of a file shipped in `twin/data`; raises a `ScenarioError` if there is none of that name."""
    path = Path(str(resources.files("twin") / "data" / name))
    if not path.is_file():
        raise ScenarioError(path, "file", name, "a file shipped with the twin")
    return path


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station with one EVSE; the EVSE's id is the station's."""

    id: str
    protocol: Protocol
    vendor: str
    model: str
    evse: Evse


@dataclass(frozen=True, slots=True)
class DeclaredVisit:
    """What the driver's app says when the car plugs in.

    id_token: the card used at the station (personal data: never logged). requested_kwh: battery side.
    """

    visit_id: str
    evse_id: str
    id_token: str
    arrival: datetime
    departure: datetime
    requested_kwh: float
    vehicle_model: str
    v2g_consent: bool
    floor_soc: float


@dataclass(frozen=True)
class PublicScenario:
    """What a real service would be configured with. vehicles: by model; assumptions: sentences for the report."""

    name: str
    start: datetime
    end: datetime
    site: Site
    stations: tuple[Station, ...]
    vehicles: Mapping[str, Vehicle]
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """What really happens.

    visits: in order of arrival, with real departure and true energies; target_kwh is the request as far as it fits.
    declared: by visit id. building_kw: one value per minute from `start`, constant within the minute.
    """

    site: Site
    evses: tuple[Evse, ...]
    start: datetime
    end: datetime
    visits: tuple[Visit, ...]
    declared: Mapping[str, DeclaredVisit]
    building_kw: Floats

    def building_at(self, when: datetime) -> float:
        """The building's load in kW; the first or last value outside the scenario's time."""
        minute = int((when - self.start) // MINUTE)
        return float(self.building_kw[min(max(minute, 0), self.building_kw.size - 1)])

    def possible_kwh(self, visit: Visit) -> float:
        """Battery energy that physics allows until the earlier of declared and real departure."""
        evse = next(evse for evse in self.evses if evse.id == visit.evse_id)
        return physically_possible_kwh(visit, self.declared[visit.id].departure, evse)

    def world(self, step_s: int = 60) -> World:
        """The true world over the scenario's time in steps of `step_s`, a divisor of its length."""
        length_s = int((self.end - self.start).total_seconds())
        if step_s <= 0 or length_s % step_s or (step_s % 60 and 60 % step_s):
            raise ValueError(f"step_s: {step_s}, expected a divisor or multiple of 60 that divides {length_s}")
        grid = TimeGrid(self.start, step_s, length_s // step_s)
        seconds = np.arange(self.building_kw.size + 1) * 60.0
        kwh = np.concatenate([[0.0], np.cumsum(self.building_kw)]) / 60.0
        base = np.diff(np.interp(np.arange(grid.steps + 1) * float(step_s), seconds, kwh)) / grid.step_hours
        return World(
            site=self.site, evses=self.evses, visits=self.visits, grid=grid, base_load_kw=base,
            import_cap_kw=np.full(grid.steps, self.site.import_cap_kw),
            export_cap_kw=np.full(grid.steps, self.site.export_cap_kw),
        )


@dataclass(frozen=True)
class Scenario:
    """A loaded scenario. dropped: sessions of the file that are not part of it, counted by reason."""

    _public: PublicScenario
    _truth: Truth
    dropped: Mapping[str, int]

    def public(self) -> PublicScenario:
        return self._public

    def truth(self) -> Truth:
        return self._truth


def physically_possible_kwh(visit: Visit, until: datetime, evse: Evse) -> float:
    """Largest gain of battery energy in kWh at full power from arrival to the earlier of `until` and departure."""
    seconds = (min(until, visit.departure) - visit.arrival).total_seconds()
    if seconds <= 0:
        return 0.0
    alone = FleetState(1)
    alone.plug(0, visit.vehicle, visit.energy_kwh)
    alone.set_power(0, usable_setpoint(evse, visit.vehicle, evse.max_charge_kw))
    alone.advance(seconds)
    return float(alone.energy_kwh[0]) - visit.energy_kwh


def load_scenario(path: Path | str) -> Scenario:
    """Read a scenario file and everything it names.

    Raises:
        ScenarioError: the first thing that cannot be true, with file, row or field, value and what was expected.
    """
    path = Path(path)
    file = read_scenario_file(path)
    try:
        zone = ZoneInfo(file.site.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ScenarioError(path, "$.site.timezone", file.site.timezone, "a name of the tz database") from None
    start = _aware(path, "$.start", file.start)
    end = _aware(path, "$.end", file.end)
    if end <= start or (end - start) % MINUTE:
        raise ScenarioError(path, "$.end", file.end.isoformat(), "whole minutes after the start")
    site = Site(file.site.id, file.site.timezone, file.site.import_cap_kw, file.site.export_cap_kw)
    stations = tuple(_stations(path, file))
    vehicles = {table.model: _vehicle(path, index, table) for index, table in enumerate(file.vehicles)}
    if len(vehicles) != len(file.vehicles):
        raise ScenarioError(path, "$.vehicles", len(file.vehicles), "every model once")
    draw = _Draw(path, file, {station.id: station for station in stations}, vehicles)
    rows, dropped = _chosen_rows(path, file, draw.stations, start, end)
    drawn = sorted((draw.visit(source, label, row) for source, label, row in rows), key=lambda pair: pair[0].arrival)
    _require_no_overlap(path, [visit for visit, _ in drawn])
    return Scenario(
        PublicScenario(file.name, start, end, site, stations, vehicles, tuple(file.assumptions)),
        Truth(
            site=site, evses=tuple(station.evse for station in stations), start=start, end=end,
            visits=tuple(visit for visit, _ in drawn),
            declared={visit.id: declared for visit, declared in drawn},
            building_kw=_building_kw(file.truth.building, file.truth.seed, start, end, zone),
        ),
        dropped,
    )


def _aware(path: Path, where: str, when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ScenarioError(path, where, when.isoformat(), "a time with offset")
    return when.astimezone(UTC)


def _stations(path: Path, file: ScenarioFile) -> Iterator[Station]:
    seen: set[str] = set()
    for index, row in enumerate(file.stations):
        kind = file.station_types.get(row.type)
        if kind is None:
            raise ScenarioError(path, f"$.stations[{index}].type", row.type, "a name in station_types")
        if row.id in seen:
            raise ScenarioError(path, f"$.stations[{index}].id", row.id, "every station once")
        seen.add(row.id)
        try:
            evse = Evse(
                row.id, file.site.id, Current(kind.current), kind.max_charge_kw, kind.min_charge_kw,
                kind.max_discharge_kw, Response(kind.response_delay_s, kind.response_ramp_kw_per_s),
            )
        except AssetError as error:
            raise ScenarioError(path, f"$.station_types.{row.type}", str(error), "a possible station type") from error
        yield Station(row.id, row.protocol, kind.vendor, kind.model, evse)


def _vehicle(path: Path, index: int, table: VehicleTable) -> Vehicle:
    try:
        discharge = (
            PowerCurve(tuple(table.discharge_soc), tuple(table.discharge_kw)) if table.discharge_soc else None
        )
        battery = Battery(
            table.capacity_kwh, PowerCurve(tuple(table.charge_soc), tuple(table.charge_kw)), discharge,
            LossCurve(table.loss_standby_kw, table.loss_proportional, table.loss_quadratic_per_kw),
            table.soc_min, table.soc_max,
        )
        return Vehicle(table.model, battery, table.max_charge_kw, table.max_discharge_kw, table.min_discharge_kw)
    except (AssetError, IndexError) as error:
        raise ScenarioError(path, f"$.vehicles[{index}]", str(error), "a possible vehicle") from error


def _chosen_rows(
    path: Path, file: ScenarioFile, stations: Mapping[str, Station], start: datetime, end: datetime
) -> tuple[list[tuple[Path, str, VisitRow]], dict[str, int]]:
    """Checked rows (file, label, row) that lie inside the scenario, and how many of the session file do not."""
    rows = [(path, f"$.visits[{index}]", row) for index, row in enumerate(file.visits)]
    skips = False
    if file.sessions is not None:
        skips = file.sessions.other_stations == "skip"
        recorded = path.parent / file.sessions.file
        rows += [(recorded, label, row) for label, row in read_acn_sessions(recorded, file.sessions)]
    chosen, dropped = [], Counter[str]()
    for source, label, row in rows:
        if row.station not in stations and not (skips and source != path):
            raise ScenarioError(source, f"{label}, station", row.station, "a station of the scenario")
        arrival, departure = (
            _aware(source, f"{label}, {name}", getattr(row, name)) for name in ("arrival", "departure")
        )
        _aware(source, f"{label}, declared_departure", row.declared_departure)
        if departure <= arrival:
            raise ScenarioError(
                source, f"{label}, departure", row.departure.isoformat(), f"after arrival {row.arrival.isoformat()}"
            )
        if row.requested_kwh < 0:
            raise ScenarioError(source, f"{label}, requested_kwh", row.requested_kwh, "0 kWh or more")
        if row.station not in stations:
            dropped["other station"] += 1
        elif arrival < start or departure > end:
            dropped["outside the scenario's time"] += 1
        else:
            chosen.append((source, label, row))
    return chosen, dict(dropped)


def _require_no_overlap(path: Path, visits: list[Visit]) -> None:
    by_evse: dict[str, list[Visit]] = {}
    ids: set[str] = set()
    for visit in visits:
        if visit.id in ids:
            raise ScenarioError(path, "visit", visit.id, "every visit id once")
        ids.add(visit.id)
        by_evse.setdefault(visit.evse_id, []).append(visit)
    for evse_id, there in by_evse.items():
        for earlier, later in pairwise(there):
            if later.arrival < earlier.departure:
                raise ScenarioError(
                    path, f"visit {later.id} at {evse_id}, arrival", later.arrival.isoformat(),
                    f"not before {earlier.departure.isoformat()}, when visit {earlier.id} leaves",
                )


class _Draw:
    """Seeded draws of what a recording does not hold: the car, its SoC on arrival, the driver's consent."""

    def __init__(
        self, path: Path, file: ScenarioFile, stations: Mapping[str, Station], vehicles: Mapping[str, Vehicle]
    ) -> None:
        self.path = path
        self.file = file
        self.stations = stations
        self.vehicles = vehicles

    def visit(self, source: Path, label: str, row: VisitRow) -> tuple[Visit, DeclaredVisit]:
        vehicle = self._car(source, label, row)
        capacity = vehicle.battery.capacity_kwh
        soc = row.arrival_soc if row.arrival_soc is not None else self._arrival_soc(row, vehicle)
        drivers = self.file.drivers
        evse = self.stations[row.station].evse
        can_discharge = evse.max_discharge_kw > 0 and vehicle.max_discharge_kw > 0
        declared = DeclaredVisit(
            visit_id=row.id, evse_id=evse.id,
            id_token="ACN" + hashlib.sha256(row.id.encode()).hexdigest()[:13].upper(),
            arrival=row.arrival.astimezone(UTC), departure=row.declared_departure.astimezone(UTC),
            requested_kwh=row.requested_kwh, vehicle_model=vehicle.model,
            v2g_consent=can_discharge and self._uniform(row.id, "consent") < drivers.v2g_consent_share,
            floor_soc=drivers.floor_soc,
        )
        energy = soc * capacity
        return Visit(
            id=row.id, evse_id=evse.id, vehicle=vehicle, arrival=declared.arrival,
            departure=row.departure.astimezone(UTC), energy_kwh=energy,
            target_kwh=max(min(energy + row.requested_kwh, vehicle.battery.soc_max * capacity), energy),
            floor_kwh=drivers.floor_soc * capacity,
        ), declared

    def _uniform(self, visit_id: str, what: str) -> float:
        return random.Random(f"{self.file.truth.seed}/{visit_id}/{what}").random()

    def _car(self, source: Path, label: str, row: VisitRow) -> Vehicle:
        """The named car, or one drawn by weight among those of the station's current that hold the request."""
        if row.vehicle is not None:
            if row.vehicle not in self.vehicles:
                raise ScenarioError(source, f"{label}, vehicle", row.vehicle, "a model of the scenario")
            return self.vehicles[row.vehicle]
        current = self.stations[row.station].evse.current.value
        fitting = [table for table in self.file.vehicles if current in table.plugs]
        if not fitting:
            raise ScenarioError(self.path, "$.vehicles", current, f"a model for the {current} station {row.station}")
        roomy = [table for table in fitting if self._room_kwh(table) >= row.requested_kwh]
        fitting = roomy or [max(fitting, key=lambda table: table.capacity_kwh)]
        aim = self._uniform(row.id, "vehicle") * sum(table.weight for table in fitting)
        for table in fitting:
            aim -= table.weight
            if aim < 0:
                return self.vehicles[table.model]
        return self.vehicles[fitting[-1].model]

    def _room_kwh(self, table: VehicleTable) -> float:
        arrival = self.file.truth.arrival
        return (arrival.fits_below_soc - arrival.soc_low) * table.capacity_kwh

    def _arrival_soc(self, row: VisitRow, vehicle: Vehicle) -> float:
        rule: ArrivalTable = self.file.truth.arrival
        share = row.requested_kwh / vehicle.battery.capacity_kwh
        if self._uniform(row.id, "overask") < rule.overask_share:
            return min(max(vehicle.battery.soc_max - rule.overask_fits * share, vehicle.battery.soc_min), 1.0)
        # Only `random()` is promised to give the same numbers in every Python version, so the normal is inverted.
        aim = min(max(self._uniform(row.id, "soc"), 1e-9), 1 - 1e-9)
        soc = rule.soc_mean + (NormalDist().inv_cdf(aim) * rule.soc_sd if rule.soc_sd else 0.0)
        soc = min(max(soc, rule.soc_low), rule.soc_high)
        return max(min(soc, rule.fits_below_soc - share), rule.soc_low, vehicle.battery.soc_min)


def _building_kw(table: BuildingTable, seed: int, start: datetime, end: datetime, zone: ZoneInfo) -> Floats:
    """One value per minute: the hourly curve of the local day, AR(1) noise and machines; never below 0."""
    minutes = (end - start) // MINUTE
    local = [(start + minute * MINUTE).astimezone(zone) for minute in range(minutes)]
    hours = np.array([when.hour + when.minute / 60.0 for when in local])
    curve = np.interp(hours, np.arange(25.0), [*table.hourly_kw, table.hourly_kw[0]])
    noise_draw = random.Random(f"{seed}/building/noise")
    normal = NormalDist()
    innovation_sd = table.noise_sd_kw * (1.0 - table.noise_memory**2) ** 0.5
    noise = np.zeros(minutes)
    level = 0.0
    for minute in range(minutes):
        aim = min(max(noise_draw.random(), 1e-9), 1 - 1e-9)
        level = table.noise_memory * level + innovation_sd * normal.inv_cdf(aim)
        noise[minute] = level
    machines = np.zeros(minutes)
    machine_draw = random.Random(f"{seed}/building/steps")
    for _ in range(table.steps):
        first = int(machine_draw.random() * minutes)
        length = table.step_low_min + machine_draw.random() * (table.step_high_min - table.step_low_min)
        kw = table.step_low_kw + machine_draw.random() * (table.step_high_kw - table.step_low_kw)
        machines[first : first + round(length)] += kw
    load: Floats = np.maximum(curve + noise + machines, 0.0)
    return load
