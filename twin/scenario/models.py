"""How drivers and hardware misbehave in a scenario: its tables `drivers` and `faults` become models.

`faults` has the fields of `twin.faults.FaultModel` itself, so that no second list of them has to be kept, and three
short-cuts: `preset`, `level` and `kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from twin.drivers import DriverModel, DriverModelError
from twin.drivers.departures import (
    AcnDepartures,
    DepartureModelError,
    Departures,
    ParametricDepartures,
    PerfectDepartures,
    RecordedDepartures,
)
from twin.faults import PUBLIC_CHARGING, FaultKind, FaultModel, FaultModelError
from twin.scenario.tables import DriversTable, ScenarioFile
from twin.scenario.wording import kind_in_words, one_of
from twin.scenario_error import ScenarioError

PRESETS: Mapping[str, FaultModel] = {"public_charging": PUBLIC_CHARGING}
SHORT_CUTS = ("preset", "level", "kinds")


def settled(file: ScenarioFile) -> DriversTable:
    """The drivers' table with its departures: a duty keeps its timetable, who comes otherwise is a person at work."""
    if file.drivers.departures is not None:
        return file.drivers
    is_all_by_rule = bool(file.duties) and file.sessions is None and not file.visits
    is_acn = file.drivers.acn_site != DriversTable().acn_site or not is_all_by_rule
    return msgspec.structs.replace(file.drivers, departures="acn" if is_acn else "perfect")


def driver_model(path: Path, table: DriversTable) -> DriverModel:
    """The model that the `settled` table describes. Raises a `ScenarioError` where its fields contradict each other."""
    try:
        return DriverModel(
            departures=_departures(table), no_show_share=table.no_show_share, unplug_share=table.unplug_share,
            retarget_share=table.retarget_share, retarget_factor=table.retarget_factor,
            correct_share=table.correct_share, correct_notice_s=table.correct_notice_s, min_stay_s=table.min_stay_s,
        )
    except (DriverModelError, DepartureModelError) as error:
        raise ScenarioError(path, "$.drivers", str(error), "possible drivers") from error


def _departures(table: DriversTable) -> Departures:
    match table.departures:
        case "acn" | None:
            return AcnDepartures(table.acn_site)
        case "perfect":
            return PerfectDepartures()
        case "replay":
            return RecordedDepartures()
        case "parametric":
            return ParametricDepartures(
                table.early_share, table.early_mean_min, table.late_share, table.late_mean_min
            )


def fault_model(path: Path, table: Mapping[str, Any]) -> FaultModel | None:
    """The model that the table describes; None where nothing can go wrong.

    Raises:
        ScenarioError: an unknown field, a value of the wrong kind or out of its range.
    """
    known = [field.name for field in fields(FaultModel)]
    for name in table:
        if name not in known and name not in SHORT_CUTS:
            raise ScenarioError(path, f"$.faults.{name}", name, one_of((*SHORT_CUTS, *known), name))
    preset = table.get("preset")
    if preset is not None and not (isinstance(preset, str) and preset in PRESETS):
        raise ScenarioError(path, "$.faults.preset", preset, f"one of {', '.join(PRESETS)}")
    base = {} if preset is None else {name: getattr(PRESETS[preset], name) for name in known}
    try:
        written = {name: value for name, value in table.items() if name not in SHORT_CUTS}
        model = msgspec.convert(base | written, FaultModel)
        kinds = [FaultKind(kind) for kind in _kinds(path, table.get("kinds", []))]
        level = table.get("level", 0.0)
        if not isinstance(level, int | float) or isinstance(level, bool):
            raise ScenarioError(path, "$.faults.level", level, "a fraction from 0 to below 1")
        if level:
            model = model.swept(level, *kinds)
    except msgspec.ValidationError as error:
        message, _, place = str(error).replace("`", "").partition(" - at ")
        where = "$.faults" + place.removeprefix("$")
        expected = kind_in_words(message.removeprefix("Expected ").partition(", got ")[0])
        raise ScenarioError(path, where, table.get(place.removeprefix("$.")), expected) from error
    except FaultModelError as error:
        raise ScenarioError(path, "$.faults", str(error), "possible faults") from error
    return None if model == FaultModel() else model


def _kinds(path: Path, kinds: object) -> list[str]:
    names = [kind.value for kind in FaultKind]
    if not isinstance(kinds, list) or not all(kind in names for kind in kinds):
        raise ScenarioError(path, "$.faults.kinds", kinds, f"a list of {', '.join(names)}")
    for number, kind in enumerate(kinds):
        if kind in kinds[:number]:
            raise ScenarioError(path, f"$.faults.kinds[{number}]", kind, "every kind once")
    return kinds
