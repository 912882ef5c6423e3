"""Which feeder a scenario names, at which of its points EVSEs and homes hang, and what its limits are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Final

from twin.feeder.network.model import Feeder
from twin.feeder.on_disk.example import european_lv, european_lv_home_day
from twin.feeder.on_disk.files import read
from twin.feeder.on_disk.pgm_json import FeederFileError
from twin.feeder.scene import Limits
from twin.scenario.feeder.context import Context
from twin.scenario.tables import FeederTable

SHOWN: Final = 3
"""Names of points that a message gives as examples."""


def network_of(context: Context, table: FeederTable) -> tuple[Feeder, list[str], list[str]]:
    """The feeder, the points at which EVSEs hang, and those of the homes."""
    if (table.example is None) == (table.folder is None):
        both = "both" if table.folder is not None else "neither"
        raise context.fault("", both, "either example or folder")
    if table.folder is not None:
        try:
            feeder = read(Path(table.folder))
        except FeederFileError as error:
            raise context.fault(".folder", str(table.folder), f"the folder of a feeder ({error})") from error
    else:
        feeder = european_lv()
    if table.source_pu is not None:
        feeder = replace(feeder, source=replace(feeder.source, u_pu=table.source_pu))
    every = [point.id for point in feeder.connection_points]
    for name in ("points", "homes"):
        _require_points(context, f".{name}", getattr(table, name), every)
    at_home = list(european_lv_home_day().connection_points) if table.example is not None else []
    candidates = table.points or [point for point in every if point not in set(at_home)]
    for group, points in table.groups.items():
        if not points:
            raise context.fault(f".groups.{group}", "no points", "at least one connection point")
        _require_points(context, f".groups.{group}", points, every)
    taken = {*candidates, *(point for points in table.groups.values() for point in points)}
    homes = table.homes or at_home or [point for point in every if point not in taken] or every
    return feeder, candidates, homes


def _require_points(context: Context, where: str, points: Sequence[str], known: Sequence[str]) -> None:
    seen = set[str]()
    for number, point in enumerate(points):
        if point not in known:
            few = ", ".join(known[:SHOWN])
            raise context.fault(f"{where}[{number}]", point, f"a connection point of the feeder, such as {few}")
        if point in seen:
            raise context.fault(f"{where}[{number}]", point, "every connection point once")
        seen.add(point)


def limits_of(context: Context, table: FeederTable, feeder: Feeder) -> Limits:
    """In p.u. of the buses' rating, as a `Scene` has them."""
    own = table.limits
    low, high = own.voltage_pu
    if not low < high:
        raise context.fault(".limits.voltage_pu", list(own.voltage_pu), "the lowest below the highest")
    scale = 1.0
    if table.nominal_volts is not None:
        rated = ratings(feeder)
        if len(rated) > 1:
            raise context.fault(".nominal_volts", table.nominal_volts,
                                "none: the connection points are at buses of different ratings")
        scale = table.nominal_volts * sqrt(3.0) / rated.pop()
    return Limits((low * scale, high * scale), own.line_loading, own.transformer_loading, own.unbalance)


def ratings(feeder: Feeder) -> set[float]:
    """Rated volts of the buses at which somebody is connected."""
    volts = {bus.id: bus.volts for bus in feeder.buses}
    return {volts[point.bus] for point in feeder.connection_points}
