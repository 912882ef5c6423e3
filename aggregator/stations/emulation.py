"""A scenario as the file of emulated stations: its truth, with what drivers told their cars.

More stations than the scenario has are further rounds of the same, with ids and cards of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from itertools import groupby

from aggregator.refusal import Refused
from twin.assets import Current, Visit
from twin.scenario import DeclaredVisit, Scenario, Station, Truth
from twin.station.fleetfile import (
    ID_TAG_LENGTH,
    EvseSpec,
    FleetFile,
    LoadSeries,
    StationSpec,
    ToldSpec,
    VehicleSpec,
    VisitSpec,
)

DC_VOLTAGE_V = 400.0
AC_VOLTAGE_V = 208.0


def fleet_of(
    scenario: Scenario, *, count: int | None = None, wire: Collection[str] = (), protocol: str | None = None,
    password_of: Callable[[str], str] = lambda _: "", later: timedelta = timedelta(0),
) -> FleetFile:
    """What a station process emulates.

    Args:
        scenario: its stations, visits and building.
        count: how many stations; the scenario's own if None.
        wire: ids of the stations whose EVSE speaks ISO 15118 with its cars.
        protocol: the OCPP version of all of them, as a WebSocket subprotocol; each one's own if None.
        password_of: the Basic-auth password by station id.
        later: by how much everything happens later than in the scenario.
    """
    truth, public = scenario.truth(), scenario.public()
    visits: dict[str, list[Visit]] = {
        evse_id: list(group)
        for evse_id, group in groupby(sorted(truth.visits, key=_place), key=lambda visit: visit.evse_id)
    }
    stations = [
        _station(
            station, number, visits.get(station.evse.id, []), truth, wire=wire, protocol=protocol,
            password_of=password_of, later=later,
        )
        for station, number in _rounds(public.stations, len(public.stations) if count is None else count)
    ]
    return FleetFile(
        site_id=public.site.id, end=truth.end + later,
        building=LoadSeries(start=truth.start + later, step_s=60.0, kw=tuple(truth.building_kw.tolist())),
        stations=tuple(stations), site_meter_period_s=1.0, meter_interval_s=60.0, meter_max_wall_s=1.0,
    )


def on_the_wire(scenario: Scenario, wanted: int, count: int | None = None) -> frozenset[str]:
    """The ids of `wanted` stations for the wire: those with most use of it first (bidirectional, DC, many cars).

    Raises:
        Refused: more are wanted than there are.
    """
    public, truth = scenario.public(), scenario.truth()
    rounds = _rounds(public.stations, len(public.stations) if count is None else count)
    if wanted > len(rounds):
        raise Refused(f"--wire: {wanted}, expected at most the number of stations, {len(rounds)}")

    def use(item: tuple[Station, int]) -> tuple[bool, bool, bool, int]:
        station, number = item
        cars = sum(visit.evse_id == station.evse.id for visit in truth.visits)
        return cars == 0, station.evse.max_discharge_kw == 0, station.evse.current is not Current.DC, number

    return frozenset(_named(station.id, number) for station, number in sorted(rounds, key=use)[:wanted])


def _rounds(stations: tuple[Station, ...], count: int) -> list[tuple[Station, int]]:
    return [(stations[index % len(stations)], index // len(stations) + 1) for index in range(count)]


def _named(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _place(visit: Visit) -> tuple[str, float]:
    return visit.evse_id, visit.arrival.timestamp()


def _station(
    station: Station, number: int, visits: list[Visit], truth: Truth, *, wire: Collection[str],
    protocol: str | None, password_of: Callable[[str], str], later: timedelta,
) -> StationSpec:
    name = _named(station.id, number)
    is_dc, is_wire = station.evse.current is Current.DC, name in wire
    evse = EvseSpec.of(station.evse, voltage_v=DC_VOLTAGE_V if is_dc else AC_VOLTAGE_V)
    return StationSpec(
        id=name, version=protocol or station.protocol,  # type: ignore[arg-type]  # msgspec checks it in the file
        vendor=station.vendor, model=station.model, password=password_of(name), evse=evse,
        rail="wire" if is_wire else "fast",
        visits=tuple(
            _visit(visit, truth.declared[visit.id], number, reports_soc=is_dc, is_wire=is_wire, later=later)
            for visit in visits
        ),
    )


def _visit(
    visit: Visit, declared: DeclaredVisit, number: int, *, reports_soc: bool, is_wire: bool, later: timedelta
) -> VisitSpec:
    token = declared.id_token
    if number > 1:
        mark = f"-{number}"
        token = token[: ID_TAG_LENGTH - len(mark)] + mark
    return VisitSpec(
        id=_named(visit.id, number), id_token=token, vehicle=VehicleSpec.of(visit.vehicle),
        arrival=visit.arrival + later, departure=visit.departure + later, energy_kwh=visit.energy_kwh,
        reports_soc=reports_soc, told=_told(visit, declared, later) if is_wire else ToldSpec(),
    )


def _told(visit: Visit, declared: DeclaredVisit, later: timedelta) -> ToldSpec:
    """What the driver set in the car: the same as in the app."""
    capacity_kwh = visit.vehicle.battery.capacity_kwh
    wanted = (visit.energy_kwh + max(0.0, declared.requested_kwh)) / capacity_kwh
    return ToldSpec(
        departure=declared.departure + later, target_soc=min(wanted, visit.vehicle.battery.soc_max),
        min_soc=declared.floor_soc,
    )
