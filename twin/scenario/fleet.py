"""Stations and vehicles of a scenario file become assets; what the catalogue knows need not be written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twin.assets import AssetError, Battery, Current, Evse, LossCurve, PowerCurve, Vehicle
from twin.catalogue import CatalogueError, charger, vehicle, vehicle_entry
from twin.scenario.tables import ScenarioFile, StationGroup, StationRow, StationType, VehicleTable
from twin.scenario.world import Station
from twin.scenario_error import ScenarioError


@dataclass(frozen=True, slots=True)
class Model:
    """A class of cars and how it is drawn: for which plugs, how often. chemistry: of its cells, where it is known."""

    vehicle: Vehicle
    plugs: tuple[str, ...]
    weight: float
    chemistry: str | None = None


def stations_of(path: Path, file: ScenarioFile) -> dict[str, Station]:
    """All stations by id, those of groups after those written out.

    Raises:
        ScenarioError: an id twice, a type that neither the file nor the catalogue knows, an impossible type.
    """
    stations: dict[str, Station] = {}
    for where, row in _rows(file):
        if row.id in stations:
            raise ScenarioError(path, f"{where}.id", row.id, "every station once")
        kind = file.station_types.get(row.type)
        if kind is None:
            kind = StationType(charger=row.type)
        try:
            evse = _evse(row.id, file.site.id, kind)
        except CatalogueError as error:
            place = f"$.station_types.{row.type}.charger" if row.type in file.station_types else f"{where}.type"
            known = "a name in station_types or of the catalogue"
            raise ScenarioError(path, place, kind.charger, f"{known} ({error})") from error
        except AssetError as error:
            raise ScenarioError(path, f"$.station_types.{row.type}", str(error), "a possible station type") from error
        model = kind.model if kind.model is not None else kind.charger or row.type
        stations[row.id] = Station(row.id, row.protocol, kind.vendor, model, evse)
    return stations


def _rows(file: ScenarioFile) -> Iterator[tuple[str, StationRow]]:
    for index, row in enumerate(file.stations):
        yield f"$.stations[{index}]", row
    for index, group in enumerate(file.station_groups):
        for station_id in group_ids(group):
            yield f"$.station_groups[{index}]", StationRow(station_id, group.type, group.protocol)


def group_ids(group: StationGroup) -> list[str]:
    """Ids of the group's stations, numbered from 1 with as many digits as the last one needs, at least two."""
    prefix = group.prefix if group.prefix is not None else f"{group.id}-"
    digits = max(len(str(group.count)), 2)
    return [f"{prefix}{number:0{digits}}" for number in range(1, group.count + 1)]


def _evse(evse_id: str, site_id: str, kind: StationType) -> Evse:
    if kind.charger is not None:
        base = charger(kind.charger, evse_id, site_id)
    elif kind.current is None or kind.max_charge_kw is None:
        missing = "current" if kind.current is None else "max_charge_kw"
        raise AssetError(missing, None, "a value, or a charger of the catalogue")
    else:
        base = Evse(evse_id, site_id, Current(kind.current), kind.max_charge_kw)
    return replace(
        base,
        **_given(
            current=None if kind.current is None else Current(kind.current), max_charge_kw=kind.max_charge_kw,
            min_charge_kw=kind.min_charge_kw, max_discharge_kw=kind.max_discharge_kw, ac_phases=kind.ac_phases,
            ac_volts=kind.ac_volts, ac_max_current_a=kind.ac_max_current_a,
        ),
        response=replace(base.response, **_given(
            delay_s=kind.response_delay_s, ramp_kw_per_s=kind.response_ramp_kw_per_s,
            granularity_kw=kind.response_granularity_kw, charge_bias_kw=kind.charge_bias_kw,
            discharge_bias_kw=kind.discharge_bias_kw, idle_bias_kw=kind.idle_bias_kw,
        )),
        loss=_loss(base.loss, kind),
    )


def _loss(base: LossCurve | None, table: StationType | VehicleTable) -> LossCurve | None:
    given = _given(
        standby_kw=table.loss_standby_kw, proportional=table.loss_proportional,
        quadratic_per_kw=table.loss_quadratic_per_kw,
    )
    return replace(base or LossCurve(), **given) if given else base


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def models_of(path: Path, file: ScenarioFile) -> dict[str, Model]:
    """All vehicle classes by model; models that duties and visits name need no row if the catalogue has them.

    Raises:
        ScenarioError: a model twice, one that is impossible or incomplete, a name that the catalogue does not know.
    """
    models: dict[str, Model] = {}
    for index, table in enumerate(file.vehicles):
        where = f"$.vehicles[{index}]"
        if table.model in models:
            raise ScenarioError(path, f"{where}.model", table.model, "every model once")
        try:
            car = _vehicle(table)
        except CatalogueError as error:
            raise ScenarioError(path, f"{where}.catalogue", table.catalogue, f"a vehicle ({error})") from error
        except (AssetError, IndexError) as error:
            raise ScenarioError(path, where, str(error), "a possible vehicle") from error
        plugs = tuple(table.plugs) or tuple(sorted(current.value for current in car.charges_on))
        cells = table.chemistry
        if cells is None and table.catalogue is not None:
            cells = vehicle_entry(table.catalogue).chemistry
        models[table.model] = Model(car, plugs, table.weight, cells)
    for name in _named(file):
        if name not in models:
            try:
                car = replace(vehicle(name), model=name)
            except CatalogueError:
                continue  # the row that names it is told where it stands
            models[name] = Model(car, (), 1.0, vehicle_entry(name).chemistry)
    return models


def _named(file: ScenarioFile) -> list[str]:
    names = [row.vehicle for row in file.visits] + [duty.vehicle for duty in file.duties]
    return list(dict.fromkeys(name for name in names if name is not None))


def _vehicle(table: VehicleTable) -> Vehicle:
    base = vehicle(table.catalogue) if table.catalogue is not None else _written_out(table)
    battery = replace(
        base.battery,
        **_given(capacity_kwh=table.capacity_kwh, soc_min=table.soc_min, soc_max=table.soc_max),
        charge=_curve(table.charge_soc, table.charge_kw) or base.battery.charge,
        discharge=_curve(table.discharge_soc, table.discharge_kw) or base.battery.discharge,
        loss=_loss(base.battery.loss, table) or LossCurve(),
    )
    return replace(
        base, model=table.model, battery=battery,
        **_given(
            max_charge_kw=table.max_charge_kw, max_discharge_kw=table.max_discharge_kw,
            min_discharge_kw=table.min_discharge_kw, ac_phases=table.ac_phases,
            ac_max_current_a=table.ac_max_current_a,
        ),
    )


def _written_out(table: VehicleTable) -> Vehicle:
    for name in ("capacity_kwh", "max_charge_kw"):
        if getattr(table, name) is None:
            raise AssetError(name, None, "a value, or a vehicle of the catalogue")
    charge = _curve(table.charge_soc, table.charge_kw)
    if charge is None or table.capacity_kwh is None or table.max_charge_kw is None:
        raise AssetError("charge_soc", table.charge_soc, "a charging curve, or a vehicle of the catalogue")
    return Vehicle(table.model, Battery(table.capacity_kwh, charge), table.max_charge_kw)


def _curve(soc: list[float], kw: list[float]) -> PowerCurve | None:
    return PowerCurve(tuple(soc), tuple(kw)) if soc or kw else None


def models_by_plug(models: Mapping[str, Model], current: str) -> list[tuple[str, Model]]:
    """Models that are drawn for a plug of that current, in file order."""
    return [(name, model) for name, model in models.items() if current in model.plugs]
