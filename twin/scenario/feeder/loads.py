"""What a feeder carries without EVs over a scenario's time: from a file, by the hour, or the example's day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import gcd, sqrt
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Feeder
from twin.feeder.on_disk.example import european_lv_home_day
from twin.importers.cells import read_csv
from twin.scenario.feeder.context import Context
from twin.scenario.tables import FeederTable
from twin.scenario_error import ScenarioError

Floats = NDArray[np.float64]

QUARTER_S: Final = 900
DAY_S: Final = 86_400
MINUTE_S: Final = 60


def base_of(
    context: Context, table: FeederTable, feeder: Feeder, homes: Sequence[str]
) -> tuple[Floats, Floats]:
    """What is drawn without EVs, W and var, (terminal, step)."""
    if table.hourly_kw is not None and table.file is not None:
        raise context.fault("", "both", "either hourly_kw or file")
    if table.file is not None:
        kw = _from_file(Path(table.file), context, [point.id for point in feeder.connection_points])
    elif table.hourly_kw is not None:
        hours = np.interp(np.arange(0, DAY_S, MINUTE_S) / 3600.0, np.arange(25.0),
                          [*table.hourly_kw, table.hourly_kw[0]])
        kw = dict.fromkeys(homes, _over_days(hours[None], MINUTE_S, context)[0])
    elif table.example is not None:
        day = european_lv_home_day()
        profile = _over_days(day.p_w / 1000.0, QUARTER_S, context)
        kw = {point: profile[row] for row, point in enumerate(day.connection_points) if point in set(homes)}
    else:
        kw = {}
    rows = [(point.id, len(point.phases)) for point in feeder.connection_points for _ in point.phases]
    power = np.zeros((len(rows), context.grid.steps))
    for row, (point, phases) in enumerate(rows):
        if point in kw:
            power[row] = 1000.0 * table.scale / phases * kw[point]
    # What is fed in comes from inverters, which by default make no reactive power.
    return power, sqrt(1.0 / table.load_power_factor**2 - 1.0) * np.maximum(power, 0.0)


def _over_days(day: Floats, part_s: int, context: Context) -> Floats:
    """A local day (row, part of `part_s`) over the grid: exact means over each step."""
    grid = context.grid
    start_s = int(grid.start.timestamp())
    tick_s = gcd(gcd(grid.step_s, part_s), start_s % part_s or part_s)
    per_step = grid.step_s // tick_s
    firsts = start_s + grid.step_s * np.arange(grid.steps, dtype=np.int64)
    found = np.zeros((len(day), grid.steps))
    for tick in range(per_step):
        at = firsts + tick * tick_s
        local = (at + _offsets(at, context.zone)) % DAY_S
        found += day[:, local // part_s]
    found /= per_step
    return found


def _offsets(seconds: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.int64]:
    """Of local time from UTC, s, at these instants; clocks change on quarter hours of UTC."""
    quarters, of = np.unique(seconds // QUARTER_S, return_inverse=True)
    days, day_of = np.unique(quarters * QUARTER_S // DAY_S, return_inverse=True)
    edges = np.append(days, days[-1] + 1) * DAY_S
    at_edge = np.array([_offset(int(edge), zone) for edge in edges], dtype=np.int64)
    offsets = at_edge[day_of]
    changes = at_edge[day_of] != np.array([_offset(int(end), zone) for end in (days + 1) * DAY_S])[day_of]
    for quarter in np.flatnonzero(changes):
        offsets[quarter] = _offset(int(quarters[quarter]) * QUARTER_S, zone)
    shifted: NDArray[np.int64] = offsets[of.reshape(-1)]
    return shifted


def _offset(seconds: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(seconds, zone).utcoffset() or timedelta()
    return round(offset.total_seconds())


def _from_file(path: Path, context: Context, known: Sequence[str]) -> dict[str, Floats]:
    """Exact means over the steps of powers (kW) that hold from their row's time to the next row's."""
    header, rows = read_csv(path, None, ("time",))
    columns = [name for name in header if name != "time"]
    for name in columns:
        if name not in known:
            raise ScenarioError(path, "row 1", name, f"a connection point of the feeder, such as {known[0]}")
    times: list[float] = []
    values = np.empty((len(rows), len(columns)))
    for number, row in enumerate(rows):
        row.require_whole()
        times.append((row.time("time") - context.grid.start).total_seconds())
        values[number] = [row.number(name, "kW") for name in columns]
    for number, (earlier, later) in enumerate(pairwise(times), start=3):
        if later <= earlier:
            raise ScenarioError(path, f"row {number}, time", later, "rows in order of time")
    if not times or times[0] > 0.0:
        first = times[0] if times else None
        raise ScenarioError(path, "row 2, time", first, f"a first row at {context.grid.start.isoformat()} or before")
    step_s, steps = context.grid.step_s, context.grid.steps
    ends = np.array([*times[1:], max(times[-1], float(steps * step_s)) + MINUTE_S])
    at = np.concatenate([[times[0]], ends])
    edges = np.arange(steps + 1) * float(step_s)
    found = {}
    for column, name in enumerate(columns):
        energy = np.concatenate([[0.0], np.cumsum(values[:, column] * np.diff(at))])
        found[name] = np.diff(np.interp(edges, at, energy)) / step_s
    return found
