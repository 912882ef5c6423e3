"""The building's load and the PV behind the same meter: one value per minute of the scenario."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.importers.cells import read_csv
from twin.scenario.tables import BuildingTable, PvTable
from twin.scenario_error import ScenarioError

Floats = NDArray[np.float64]
MINUTE = timedelta(minutes=1)


def net_building_kw(
    path: Path, building: BuildingTable | None, pv: PvTable | None, seed: int, start: datetime, end: datetime,
    zone: ZoneInfo,
) -> Floats:
    """Load minus PV per minute; negative where the sun yields more than the building draws.

    Raises:
        ScenarioError: a table with neither hourly values nor a file, or with both; a bad row of the file.
    """
    minutes = (end - start) // MINUTE
    load = np.zeros(minutes)
    if building is not None:
        load = _profile(path, "$.building", building, start, minutes, zone)
        load = np.maximum(load + _noise(building, seed, minutes) + _machines(building, seed, minutes), 0.0)
    if pv is not None:
        load = load - _profile(path, "$.pv", pv, start, minutes, zone)
    return load


def _profile(
    path: Path, where: str, table: BuildingTable | PvTable, start: datetime, minutes: int, zone: ZoneInfo
) -> Floats:
    if (table.hourly_kw is None) == (table.file is None):
        both = "both" if table.file is not None else "neither"
        raise ScenarioError(path, where, both, "either hourly_kw or file")
    if table.file is not None:
        return table.scale * _minute_means(Path(table.file), start, minutes)
    hourly = table.hourly_kw or []
    local = [(start + minute * MINUTE).astimezone(zone) for minute in range(minutes)]
    hours = np.array([when.hour + when.minute / 60.0 for when in local])
    curve: Floats = table.scale * np.interp(hours, np.arange(25.0), [*hourly, hourly[0]])
    return curve


def _minute_means(path: Path, start: datetime, minutes: int) -> Floats:
    """Exact means over each minute of powers that hold from their row's time to the next row's."""
    times, powers = [], []
    _, rows = read_csv(path, None, ("time", "power_kw"))
    for row in rows:
        row.require_whole()
        times.append((row.time("time") - start).total_seconds())
        powers.append(row.number("power_kw", "kW"))
        if powers[-1] < 0.0:
            raise row.fault("power_kw", powers[-1], "0 kW or more", "negative power")
    for number, (earlier, later) in enumerate(pairwise(times), start=3):
        if later <= earlier:
            raise ScenarioError(path, f"row {number}, time", later, "rows in order of time")
    if not times or times[0] > 0.0:
        first = times[0] if times else None
        raise ScenarioError(path, "row 2, time", first, f"a first row at {start.isoformat()} or before")
    ends = np.array([*times[1:], max(times[-1], minutes * 60.0) + 60.0])
    energy = np.concatenate([[0.0], np.cumsum(np.array(powers) * (ends - np.array(times)))])
    at_edges = np.interp(np.arange(minutes + 1) * 60.0, np.concatenate([[times[0]], ends]), energy)
    means: Floats = np.diff(at_edges) / 60.0
    return means


def _noise(table: BuildingTable, seed: int, minutes: int) -> Floats:
    noise = np.zeros(minutes)
    if table.noise_sd_kw == 0.0:
        return noise
    draw = random.Random(f"{seed}/building/noise")
    normal = NormalDist()
    innovation_sd = table.noise_sd_kw * (1.0 - table.noise_memory**2) ** 0.5
    level = 0.0
    for minute in range(minutes):
        # Only `random()` is promised to give the same numbers in every Python version, so the normal is inverted.
        aim = min(max(draw.random(), 1e-9), 1 - 1e-9)
        level = table.noise_memory * level + innovation_sd * normal.inv_cdf(aim)
        noise[minute] = level
    return noise


def _machines(table: BuildingTable, seed: int, minutes: int) -> Floats:
    machines = np.zeros(minutes)
    draw = random.Random(f"{seed}/building/steps")
    for _ in range(table.steps):
        first = int(draw.random() * minutes)
        length = table.step_low_min + draw.random() * (table.step_high_min - table.step_low_min)
        kw = table.step_low_kw + draw.random() * (table.step_high_kw - table.step_low_kw)
        machines[first : first + round(length)] += kw
    return machines
