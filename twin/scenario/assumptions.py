"""What a scenario takes for granted without its file saying so, and what in it cannot have an effect, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from twin.assets import Current, Evse, LossCurve, Site, Vehicle, pair_limits
from twin.faults import FaultModel
from twin.importers import Session
from twin.scenario.fleet import Model
from twin.scenario.tables import ControlTable, DriversTable, EventRow, ScenarioFile, SocTable
from twin.scenario.world import Station

Floats = NDArray[np.float64]


def assumed(
    file: ScenarioFile, stations: Mapping[str, Station], models: Mapping[str, Model], faults: FaultModel | None,
    fixed: Sequence[Session], cut: int,
) -> Iterator[str]:
    """Of drivers, of states of charge, of cars that cannot take what their EVSE gives, of losses, of chargers without
    contact.

    fixed: recorded and written visits. cut: how many wishes were cut to what the battery holds.
    """
    yield from _drivers(file.drivers)
    unknown = sum(session.arrival_soc is None for session in fixed)
    if unknown:
        rule = file.truth.arrival
        yield (
            f"How full {unknown} of {len(fixed)} recorded or written visits arrive is not known: drawn around "
            f"{_percent(rule.soc_mean)} (standard deviation {_percent(rule.soc_sd)}) between {_percent(rule.soc_low)} "
            f"and {_percent(rule.soc_high)}, and lowered until the wish fits."
        )
    if cut:
        wishes = "1 visit asks" if cut == 1 else f"{cut} visits ask"
        yield f"{wishes} for more than the battery can take: there it is to be full."
    for duty in file.duties:
        yield f"Cars of {duty.id} arrive {_soc(duty.arrival_soc)} full and want {_percent(duty.target_soc)}."
    yield from _slower_cars(stations, models)
    yield (
        "Losses grow with power: on AC those of the car's charger, on DC those of the station where its losses are "
        "known, else the car's."
    )
    lossless = [name for name, model in models.items() if model.vehicle.battery.loss == LossCurve()]
    if lossless:
        yield f"Charging {', '.join(lossless)} on AC loses nothing, as no loss is given."
    if faults is not None:
        yield (
            f"A charger without contact for {faults.fallback_after_s:g} s charges with {faults.fallback_kw:g} kW and "
            "does not discharge."
        )


def without_effect(
    file: ScenarioFile, stations: Mapping[str, Station], models: Mapping[str, Model],
) -> Iterator[str]:
    """Settings that can change nothing in this scenario."""
    has_pair = any(
        pair_limits(station.evse, model.vehicle).max_discharge_kw > 0.0
        for station in stations.values() for model in models.values()
    )
    control, drivers = file.control, file.drivers
    if control.discharges and control.name in {"uncontrolled", "schedule"}:
        yield f"control.discharges has no effect: {control.name} does not ask for it."
    elif control.discharges and not has_pair:
        yield "control.discharges has no effect: no station and car of the scenario can discharge together."
    elif control.discharges and drivers.v2g_consent_share == 0.0 and not _consents(file):
        yield "control.discharges has no effect: no driver consents to discharge (drivers.v2g_consent_share = 0)."
    yield from _unused(control, drivers)
    for number, event in enumerate(file.events):
        yield from _unreachable(f"events[{number}] ({event.id})", event, file)


def overloads(site: Site, building_kw: Floats) -> Iterator[str]:
    """That the building alone draws more than the connection carries; building_kw by minute."""
    over = building_kw > site.import_cap_kw
    if over.any():
        yield (
            f"The building alone draws more than site.import_cap_kw = {site.import_cap_kw:g} in {int(over.sum())} of "
            f"{over.size} minutes, {float(building_kw.max()):.1f} kW at most: no control of cars can keep that cap."
        )


def _drivers(drivers: DriversTable) -> Iterator[str]:
    match drivers.departures:
        case "perfect":
            yield "Cars leave exactly when they said they would."
        case "parametric":
            errors = [
                (drivers.early_share, "early", drivers.early_mean_min),
                (drivers.late_share, "late", drivers.late_mean_min),
            ]
            wrong = [
                f"{_percent(share)} leave {when}, by {minutes:g} min on average"
                for share, when, minutes in errors if share > 0.0
            ]
            said = f"{', '.join(wrong)}, the others on time" if wrong else "all leave when they said"
            yield f"Of the drivers {said}."
        case "replay":
            yield "Drivers leave when the recording says, whatever they had declared."
        case _:
            yield (
                f"Drivers leave as those of ACN-Data did at their workplaces ({drivers.acn_site}): 3 in 10 leave more "
                "than half an hour before the time they declare."
            )
    shares = [
        (drivers.no_show_share, "of the visits do not take place"),
        (drivers.unplug_share, "of the cars are unplugged at some moment of their stay"),
        (drivers.retarget_share, "of the drivers change the energy they want during their stay"),
    ]
    happens = [f"{_percent(share)} {words}" for share, words in shares if share > 0.0]
    yield f"{'; '.join(happens)}." if happens else "Everybody comes, stays plugged in and keeps to the wish."


def _slower_cars(stations: Mapping[str, Station], models: Mapping[str, Model]) -> Iterator[str]:
    """AC stations whose power some car cannot take, one sentence for each kind of station and car."""
    kinds: dict[Evse, list[Station]] = {}
    for station in stations.values():
        if station.evse.current is Current.AC:
            kinds.setdefault(replace(station.evse, id="any"), []).append(station)
    for evse, alike in kinds.items():
        for name, model in models.items():
            most_kw = pair_limits(evse, model.vehicle).max_charge_kw
            if Current.AC.value not in model.plugs or most_kw >= evse.max_charge_kw * (1.0 - 1e-9):
                continue
            names = ", ".join(sorted({station.model for station in alike}))
            yield (
                f"{name} takes at most {most_kw:.4g} kW of the {evse.max_charge_kw:g} kW at {len(alike)} "
                f"EVSE{'' if len(alike) == 1 else 's'} ({names}): {_held_by(evse, model.vehicle, most_kw)}."
            )


def _held_by(evse: Evse, car: Vehicle, most_kw: float) -> str:
    phases = min(evse.ac_phases, car.ac_phases)
    if most_kw >= car.max_charge_kw:
        return "more the car cannot take"
    on = f"{phases} phase{'' if phases == 1 else 's'}"
    if car.ac_max_current_a is not None and car.ac_max_current_a <= (evse.ac_max_current_a or inf):
        return f"the car takes {car.ac_max_current_a:g} A on each phase, and here it has {on}"
    return f"car and EVSE have {on} in common"


def _unused(control: ControlTable, drivers: DriversTable) -> Iterator[str]:
    defaults = DriversTable()
    groups = {"parametric": ("early_share", "early_mean_min", "late_share", "late_mean_min"), "acn": ("acn_site",)}
    for name, fields in groups.items():
        changed = [field for field in fields if getattr(drivers, field) != getattr(defaults, field)]
        if changed and drivers.departures != name:
            yield f"drivers.{', '.join(changed)} has no effect: drivers.departures is {drivers.departures}, not {name}."
    if control.horizon_h != ControlTable().horizon_h and control.name != "planner":
        yield f"control.horizon_h has no effect: {control.name} does not look ahead."


def _unreachable(where: str, event: EventRow, file: ScenarioFile) -> Iterator[str]:
    if event.enabled and event.max_net_kw is not None and event.max_net_kw < -file.site.export_cap_kw:
        yield (
            f"{where}.max_net_kw = {event.max_net_kw:g} cannot be reached: site.export_cap_kw is "
            f"{file.site.export_cap_kw:g}."
        )


def _consents(file: ScenarioFile) -> bool:
    return any(row.v2g_consent for row in file.visits) or any(duty.v2g_consent for duty in file.duties)


def _soc(table: SocTable) -> str:
    between = f"{_percent(table.low)} to {_percent(table.high)}"
    return between if table.mean is None else (
        f"around {_percent(table.mean)} (standard deviation {_percent(table.sd)}, {between})"
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.4g} %"
