"""The assets file: what stands at the site, what it may do, and who may talk to the service.

Read section by section, so that one reading names every fault: file, field, value and what was expected.
Shapes and names are checked here; physical limits by `twin.assets`, whose complaints are passed on with their place.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel

from aggregator.config.faults import ConfigError, ConfigFault, SectionReader
from aggregator.config.sections import (
    ClientSection,
    EvseSection,
    FeederSection,
    PermitsSection,
    ProgrammeSection,
    SiteSection,
    StationSection,
    VehicleSection,
)
from aggregator.config.toml_writer import dump_assets
from aggregator.ocpp.events import OcppVersion
from aggregator.signals.model import Programme
from aggregator.store.records import ClientRecord
from twin import assets as world

if TYPE_CHECKING:
    from aggregator.planning.street.known import Street

__all__ = ["AssetsFile", "dump_assets"]


@dataclass(frozen=True)
class AssetsFile:
    """A validated assets file. The sections hold what was written; the methods give the words of the other rooms.

    street: the grid beyond the connection point, where the file has a [feeder].
    """

    path: Path
    site_section: SiteSection
    evse_sections: tuple[EvseSection, ...]
    vehicle_sections: tuple[VehicleSection, ...]
    permits: PermitsSection
    programme_sections: tuple[ProgrammeSection, ...] = ()
    client_sections: tuple[ClientSection, ...] = field(default=(), repr=False)
    station_sections: tuple[StationSection, ...] = field(default=(), repr=False)
    street: Street | None = field(default=None, repr=False)

    @classmethod
    def load(cls, path: Path) -> AssetsFile:
        """Read and check `path`.

        Raises:
            ConfigError: with every fault of the file.
        """
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError([ConfigFault(str(path), "", error.strerror, "a readable assets file")]) from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError([ConfigFault(str(path), "", "not TOML", str(error))]) from error
        reader = SectionReader(str(path), raw)
        site = reader.one("site", SiteSection)
        evses = reader.many("evses", EvseSection, at_least=1)
        vehicles = reader.many("vehicle_models", VehicleSection, at_least=1)
        permits = reader.one("permits", PermitsSection, default=PermitsSection())
        programmes = reader.many("programmes", ProgrammeSection)
        clients = reader.many("clients", ClientSection)
        stations = reader.many("stations", StationSection)
        feeder = reader.maybe("feeder", FeederSection)
        reader.refuse_unknown()
        for section, items, key in (
            ("evses", evses, "id"), ("vehicle_models", vehicles, "id"), ("programmes", programmes, "name"),
            ("clients", clients, "client_id"), ("stations", stations, "id"),
        ):
            reader.require_unique(section, items, key)
        _check_evses(reader, evses, stations)
        _check_vehicles(reader, vehicles)
        if permits is not None:
            _check_permits(reader, permits, evses, vehicles, programmes)
        street = None
        if site is not None:
            _check_site(reader, site, evses)
            if feeder is not None:
                # Power flows take half a second to load: sites without a feeder do not wait for them.
                from aggregator.config.feeder import street_of  # noqa: PLC0415

                street = street_of(reader, path.parent, feeder, site, evses)
        if reader.faults or site is None or permits is None:
            raise ConfigError(reader.faults)
        return cls(
            path, site, tuple(evses.values()), tuple(vehicles.values()), permits, tuple(programmes.values()),
            tuple(clients.values()), tuple(stations.values()), street,
        )

    def site(self) -> world.Site:
        section = self.site_section
        return world.Site(section.id, section.timezone, section.import_cap_kw, section.export_cap_kw)

    def evses(self) -> tuple[world.Evse, ...]:
        """In the order of the file."""
        return tuple(_evse(section, self.site_section.id) for section in self.evse_sections)

    def vehicle(self, model: str) -> world.Vehicle:
        """Raise a `KeyError` if the file has no such model."""
        return self.vehicles()[model]

    def vehicles(self) -> dict[str, world.Vehicle]:
        return {section.id: _vehicle(section) for section in self.vehicle_sections}

    def wear_per_kwh(self) -> dict[str, float]:
        """By vehicle model."""
        return {section.id: section.wear_per_kwh for section in self.vehicle_sections}

    def fallback_kw(self) -> dict[str, float]:
        """By EVSE id."""
        return {section.id: section.fallback_kw for section in self.evse_sections}

    def programmes(self) -> tuple[Programme, ...]:
        return tuple(
            Programme(p.name, p.party, p.obligation, p.incentive_per_kwh, p.shortfall_per_kwh)
            for p in self.programme_sections
        )

    def clients(self) -> tuple[ClientRecord, ...]:
        return tuple(
            ClientRecord(c.client_id, c.role.value, c.scopes, c.secret_sha256, c.party) for c in self.client_sections
        )

    def station_passwords(self) -> dict[str, str]:
        """SHA-256 digests by station id, for `operations.StationPasswords`."""
        return {section.id: section.password_sha256 for section in self.station_sections}


def _check_evses(
    reader: SectionReader, evses: Mapping[int, EvseSection], stations: Mapping[int, StationSection]
) -> None:
    known = reader.names("stations", "id")
    places = Counter((evse.station_id, evse.evse_number) for evse in evses.values())
    for at, evse in evses.items():
        place = f"evses[{at}]"
        try:
            _evse(evse, "site")
        except world.AssetError as error:
            _pass_on(reader, place, evse, error)
        if stations and evse.station_id not in known:
            reader.fault(f"{place}.station_id", evse.station_id, "a station of [[stations]]")
        if places[evse.station_id, evse.evse_number] > 1:
            reader.fault(f"{place}.evse_number", evse.evse_number, f"a number used once at station {evse.station_id}")
        if evse.max_discharge_kw > 0 and evse.version != OcppVersion.V21:
            reader.fault(f"{place}.max_discharge_kw", evse.max_discharge_kw,
                         f"0 kW: {evse.version.value} cannot carry a discharge set-point")
        if not (evse.fallback_kw == 0 or evse.min_charge_kw <= evse.fallback_kw <= evse.max_charge_kw):
            reader.fault(f"{place}.fallback_kw", evse.fallback_kw, "0 kW, or between min_charge_kw and max_charge_kw")


def _check_vehicles(reader: SectionReader, vehicles: Mapping[int, VehicleSection]) -> None:
    for at, vehicle in vehicles.items():
        try:
            _vehicle(vehicle)
        except world.AssetError as error:
            _pass_on(reader, f"vehicle_models[{at}]", vehicle, error)


def _check_permits(
    reader: SectionReader, permits: PermitsSection, evses: Mapping[int, EvseSection],
    vehicles: Mapping[int, VehicleSection], programmes: Mapping[int, ProgrammeSection],
) -> None:
    evse_ids, models = reader.names("evses", "id"), reader.names("vehicle_models", "id")
    ratings = {evse.id: evse.max_discharge_kw for evse in evses.values()}
    able = {vehicle.id: vehicle.max_discharge_kw for vehicle in vehicles.values()}
    for at, permit in enumerate(permits.evses):
        place = f"permits.evses[{at}]"
        if permit.evse_id not in evse_ids:
            reader.fault(f"{place}.evse_id", permit.evse_id, "an EVSE of [[evses]]")
        elif permit.max_discharge_kw > ratings.get(permit.evse_id, permit.max_discharge_kw):
            reader.fault(f"{place}.max_discharge_kw", permit.max_discharge_kw,
                         f"at most the EVSE's {ratings[permit.evse_id]:g} kW")
    _refuse_repeats(reader, "permits.evses", [permit.evse_id for permit in permits.evses])
    for at, vehicle in enumerate(permits.vehicles):
        place = f"permits.vehicles[{at}]"
        if vehicle.model not in models:
            reader.fault(f"{place}.model", vehicle.model, "a model of [[vehicle_models]]")
        elif able.get(vehicle.model, 1.0) == 0:
            reader.fault(f"{place}.model", vehicle.model, "a model that can discharge")
        if vehicle.current == world.Current.AC and not vehicle.evse_ids:
            reader.fault(f"{place}.evse_ids", "missing", "the approved EVSEs: an AC approval is for EVSE-vehicle pairs")
        for evse_id in vehicle.evse_ids or ():
            if evse_id not in evse_ids:
                reader.fault(f"{place}.evse_ids", evse_id, "an EVSE of [[evses]]")
    _refuse_repeats(reader, "permits.vehicles", [f"{item.model}/{item.current}" for item in permits.vehicles])
    known = reader.names("programmes", "name") or {programme.name for programme in programmes.values()}
    for name in permits.programmes:
        if name not in known:
            reader.fault("permits.programmes", name, "a programme of [[programmes]]")


def _refuse_repeats(reader: SectionReader, place: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            reader.fault(place, name, "one permit, not several")


def _check_site(reader: SectionReader, site: SiteSection, evses: Mapping[int, EvseSection]) -> None:
    try:
        ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        reader.fault("site.timezone", site.timezone, "a name of the tz database, such as America/Los_Angeles")
    fallback = sum(evse.fallback_kw for evse in evses.values())
    worst = max(site.base_load_forecast_kw)
    if fallback + worst > site.import_cap_kw:
        reader.fault(
            "evses.fallback_kw", round(fallback, 3),
            f"a sum of at most {max(0.0, site.import_cap_kw - worst):g} kW: chargers that lost contact and the worst "
            f"base load ({worst:g} kW) must stay under import_cap_kw ({site.import_cap_kw:g} kW)",
        )


def _pass_on(reader: SectionReader, place: str, section: BaseModel, error: world.AssetError) -> None:
    """Give the twin's complaint its place in the file."""
    names = {"soc": "charge_curve", "kw": "charge_curve"}
    name = error.field_name if error.field_name in type(section).model_fields else names.get(error.field_name, "loss")
    reader.fault(f"{place}.{name}", "refused", str(error))


def _evse(section: EvseSection, site_id: str) -> world.Evse:
    return world.Evse(
        section.id, site_id, section.current, section.max_charge_kw, section.min_charge_kw, section.max_discharge_kw,
        world.Response(section.response_delay_s, section.response_ramp_kw_per_s),
    )


def _vehicle(section: VehicleSection) -> world.Vehicle:
    discharge = section.discharge_curve
    battery = world.Battery(
        section.capacity_kwh,
        world.PowerCurve(section.charge_curve.soc, section.charge_curve.kw),
        None if discharge is None else world.PowerCurve(discharge.soc, discharge.kw),
        world.LossCurve(**section.loss.model_dump()), section.soc_min, section.soc_max,
    )
    return world.Vehicle(
        section.id, battery, section.max_charge_kw, section.max_discharge_kw, section.min_discharge_kw
    )
