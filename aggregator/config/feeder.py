"""The [feeder] section of the assets file, made into the street that planning knows; faults are named by place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from aggregator.config.faults import SectionReader
from aggregator.config.sections import EvseSection, FeederSection, SiteSection
from aggregator.dispatch.feeder_share import fallback_fault, fitted_fallback
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.street.known import Neighbour, Street
from twin.feeder import Feeder, faults
from twin.feeder.on_disk.example import european_lv, european_lv_home_day
from twin.feeder.on_disk.files import read
from twin.feeder.on_disk.pgm_json import FeederFileError
from twin.feeder.scene import Limits, SceneError
from twin.feeder.second_engine.check import Checker, NotCheckable

_QUARTERS = 4
_FEW = 3


def street_of(
    reader: SectionReader, folder: Path, section: FeederSection, site: SiteSection, evses: Mapping[int, EvseSection]
) -> Street | None:
    """The street; None, with faults at the reader, if the section cannot be used.

    folder: of the assets file, from which paths count.
    """
    if (section.folder is None) == (section.example is None):
        both = "neither" if section.folder is None else "both"
        reader.fault("feeder", both, "either folder or example")
        return None
    known_faults = len(reader.faults)
    feeder = _feeder(reader, folder, section)
    limits = _limits(reader, section)
    if feeder is None or limits is None:
        return None
    phases = {point.id: point.phases for point in feeder.connection_points}
    _require_point(reader, "feeder.building_point", section.building_point, phases)
    places = _places(reader, section, evses, phases)
    loads = _loads(reader, section, site, phases)
    if len(reader.faults) > known_faults:
        return None
    street = Street(
        feeder, section.building_point, places, loads, section.power_factor, section.load_power_factor, limits
    )
    _check_fallback(reader, street, site, evses)
    return street


def _check_fallback(
    reader: SectionReader, street: Street, site: SiteSection, evses: Mapping[int, EvseSection]
) -> None:
    """Chargers that all lost contact must not break the feeder, whatever the hour."""
    worst_kw = max(site.base_load_forecast_kw)
    wished = {evse.id: evse.fallback_kw for evse in evses.values()}
    broken = fallback_fault(street, worst_kw, site.timezone, wished)
    if broken is None:
        return
    least = {evse.id: evse.min_charge_kw for evse in evses.values()}
    fitting = fitted_fallback(street, worst_kw, site.timezone, wished, least)
    lower = [f"{evse_id} {kw:g} kW" for evse_id, kw in fitting.items() if kw < wished[evse_id]]
    more = f" and {len(lower) - _FEW} more" if len(lower) > _FEW else ""
    reader.fault(
        "evses.fallback_kw", broken,
        f"shares that the feeder bears: chargers that lost contact, and the worst base load ({worst_kw:g} kW); "
        + (f"it would bear {', '.join(lower[:_FEW])}{more}" if lower else "without any charger it is there too"),
    )


def _feeder(reader: SectionReader, folder: Path, section: FeederSection) -> Feeder | None:
    place = "feeder.example" if section.folder is None else "feeder.folder"
    value = section.example or str(section.folder)
    try:
        feeder = european_lv() if section.folder is None else read(folder / section.folder)
    except FeederFileError as error:
        reader.fault(place, value, f"the folder of a feeder ({error})")
        return None
    blocking = [fault for fault in faults(feeder) if fault.blocking]
    for fault in blocking:
        reader.fault(place, value, f"a feeder that can be solved ({fault})")
    if blocking:
        return None
    try:
        Checker(feeder)
    except NotCheckable as error:
        reader.fault(place, value, f"a feeder that a second engine can check ({error})")
        return None
    return feeder


def _limits(reader: SectionReader, section: FeederSection) -> Limits | None:
    own = section.limits
    try:
        return Limits(own.voltage_pu, own.line_loading, own.transformer_loading, own.unbalance)
    except SceneError as error:
        reader.fault(f"feeder.{error.field_name}", str(error.value), error.expected)
        return None


def _require_point(reader: SectionReader, place: str, point: str, phases: Mapping[str, str]) -> bool:
    if point not in phases:
        few = ", ".join(list(phases)[:_FEW])
        reader.fault(place, point, f"a connection point of the feeder, such as {few}")
    return point in phases


def _places(
    reader: SectionReader, section: FeederSection, evses: Mapping[int, EvseSection], phases: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Every EVSE's point and phases."""
    known, listed = reader.names("evses", "id"), {one.evse_id: one for one in section.evses}
    for at, one in enumerate(section.evses):
        place = f"feeder.evses[{at}]"
        if one.evse_id not in known:
            reader.fault(f"{place}.evse_id", one.evse_id, "an EVSE of [[evses]]")
        if _require_point(reader, f"{place}.point", one.point, phases) and not set(one.phases or "") <= set(
                phases[one.point]):
            reader.fault(f"{place}.phases", one.phases, f"among the phases {phases[one.point]} of {one.point}")
    for evse_id, count in Counter(one.evse_id for one in section.evses).items():
        if count > 1:
            reader.fault("feeder.evses", evse_id, "one place, not several")
    found = {}
    for evse in evses.values():
        place_of = listed.get(evse.id)
        point = section.building_point if place_of is None else place_of.point
        own = None if place_of is None else place_of.phases
        found[evse.id] = (point, own or phases.get(point, "abc"))
    return found


def _loads(
    reader: SectionReader, section: FeederSection, site: SiteSection, phases: Mapping[str, str]
) -> tuple[Neighbour, ...]:
    if section.loads is None and section.example is not None:
        day = european_lv_home_day()
        hourly = day.p_w.reshape(len(day.connection_points), -1, _QUARTERS).mean(axis=2) / 1000.0
        return tuple(
            Neighbour(point, BaseLoadForecast(tuple(kw.tolist()), site.timezone))
            for point, kw in zip(day.connection_points, hourly, strict=True)
        )
    found = []
    for at, load in enumerate(section.loads or ()):
        if _require_point(reader, f"feeder.loads[{at}].point", load.point, phases):
            found.append(Neighbour(load.point, BaseLoadForecast(load.hourly_kw, site.timezone)))
    return tuple(found)
