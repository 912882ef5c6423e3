"""A scenario's EVSEs on its feeder, put together from its parts, or every fault of these parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from twin.assets import TimeGrid
from twin.feeder.powerflow.flow import FeederInvalid
from twin.feeder.scene import Scene, SceneError
from twin.scenario.feeder.context import Context
from twin.scenario.feeder.inverters import inverters_assumed, inverters_of
from twin.scenario.feeder.loads import base_of
from twin.scenario.feeder.network import limits_of, network_of
from twin.scenario.feeder.places import places_of, wiring_of
from twin.scenario.feeder.words import assumed, warnings_of
from twin.scenario.on_feeder import OnFeeder
from twin.scenario.tables import ScenarioFile
from twin.scenario.world import Station
from twin.scenario_error import ScenarioError

MOST_VALUES: Final = 60_000_000
"""Terminals x steps of the base load, 16 bytes each."""


def feeder_of(
    path: Path, file: ScenarioFile, stations: Mapping[str, Station], grid: TimeGrid, zone: ZoneInfo
) -> OnFeeder | None:
    """The scenario's EVSEs on its feeder; None where it has none.

    Raises:
        ScenarioError: a feeder that cannot be read or solved, loads or places that do not fit it, a building beside it.
    """
    table = file.feeder
    if table is None:
        return None
    for name, other in (("building", file.building), ("truth.building", file.truth.building), ("pv", file.pv)):
        if other is not None:
            raise ScenarioError(path, f"$.{name}", "a table beside [feeder]",
                                "none: the load of the site is that of the feeder's homes")
    context = Context(path, grid, zone)
    feeder, candidates, homes = network_of(context, table)
    evses = {station.id: station.evse for station in stations.values()}
    points = places_of(context, file, table, feeder, candidates, list(evses))
    wiring = wiring_of(context, table, feeder, list(evses.values()), points)
    values = sum(len(point.phases) for point in feeder.connection_points) * grid.steps
    if values > MOST_VALUES:
        raise context.fault("", f"{values:,} values of load", f"at most {MOST_VALUES:,} terminals x steps")
    limits = limits_of(context, table, feeder)
    inverters = inverters_of(context, table, feeder, list(evses.values()))
    try:
        scene = Scene(
            feeder, grid, *base_of(context, table, feeder, homes), evse_ids=tuple(evses), evse_points=tuple(points),
            evse_phases=tuple("".join(sorted(phases)) for phases in wiring), power_factor=table.power_factor,
            limits=limits,
        )
    except FeederInvalid as error:
        raise context.fault("", feeder.name, f"a feeder that can be solved ({error})") from error
    except SceneError as error:
        raise context.fault("", str(error.value), f"{error.expected} ({error.field_name})") from error
    monthly = table.ambient_c if isinstance(table.ambient_c, list) else [table.ambient_c] * 12
    return OnFeeder(
        scene, tuple(wiring), table.nominal_volts, tuple(monthly), zone.key, inverters,
        assumed=(*assumed(table, feeder, points, wiring, homes), *inverters_assumed(table, inverters, wiring)),
        warnings=tuple(warnings_of(feeder, list(evses.values()), points, wiring)),
    )


def feeder_faults(
    path: Path, file: ScenarioFile, stations: Mapping[str, Station], grid: TimeGrid, zone: ZoneInfo, *,
    knows_phases: bool,
) -> Iterator[ScenarioError]:
    """The first fault of each part of the table that can be judged without the others, where `feeder_of` stops."""
    table = file.feeder
    if table is None:
        return
    context = Context(path, grid, zone)
    evses = {station.id: station.evse for station in stations.values()}
    try:
        feeder, candidates, homes = network_of(context, table)
    except ScenarioError as fault:
        yield fault
        return

    def wired() -> object:
        return wiring_of(context, table, feeder, list(evses.values()), places())

    def places() -> list[str]:
        return places_of(context, file, table, feeder, candidates, list(evses))

    for part in (
        wired if knows_phases else places,
        lambda: limits_of(context, table, feeder), lambda: base_of(context, table, feeder, homes),
        lambda: inverters_of(context, table, feeder, list(evses.values())),
    ):
        try:
            part()
        except ScenarioError as fault:
            yield fault
        except SceneError as error:
            yield context.fault("", str(error.value), f"{error.expected} ({error.field_name})")
