"""A scenario's feeder: which one, what its homes draw over the scenario's time, and where each EVSE hangs on it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import gcd, sqrt
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.assets import Current, Evse, TimeGrid
from twin.feeder.inverters.behaviour import Inverter
from twin.feeder.inverters.grid_codes import grid_code, grid_code_names
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.feeder.network.validity import faults
from twin.feeder.on_disk.example import european_lv, european_lv_home_day
from twin.feeder.on_disk.files import read
from twin.feeder.on_disk.pgm_json import FeederFileError
from twin.feeder.powerflow.flow import FeederInvalid
from twin.feeder.scene import Limits, Scene, SceneError
from twin.importers.cells import read_csv
from twin.scenario.fleet import group_ids
from twin.scenario.on_feeder import Inverters, OnFeeder
from twin.scenario.tables import FeederTable, ScenarioFile
from twin.scenario.world import Station
from twin.scenario_error import ScenarioError

Floats = NDArray[np.float64]

QUARTER_S: Final = 900
DAY_S: Final = 86_400
MINUTE_S: Final = 60
MOST_VALUES: Final = 60_000_000
"""Terminals x steps of the base load, 16 bytes each."""
TOLD: Final = 3
"""Remarks about a feeder that are told word for word."""
UNEVEN: Final = 2.0
"""A phase with so many times the EVSEs of one phase that any other one has is warned of."""


@dataclass(frozen=True)
class _Context:
    """Where faults are told, and over what time loads are needed."""

    path: Path
    grid: TimeGrid
    zone: ZoneInfo

    def fault(self, where: str, value: object, expected: str) -> ScenarioError:
        return ScenarioError(self.path, f"$.feeder{where}", value, expected)


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
    context = _Context(path, grid, zone)
    feeder, candidates, homes = _feeder(context, table)
    evses = {station.id: station.evse for station in stations.values()}
    points = _places(context, file, table, feeder, candidates, list(evses))
    wiring = _wiring(context, table, feeder, list(evses.values()), points)
    values = sum(len(point.phases) for point in feeder.connection_points) * grid.steps
    if values > MOST_VALUES:
        raise context.fault("", f"{values:,} values of load", f"at most {MOST_VALUES:,} terminals x steps")
    limits = _limits(context, table, feeder)
    inverters = _inverters(context, table, feeder, list(evses.values()))
    try:
        scene = Scene(
            feeder, grid, *_base(context, table, feeder, homes), evse_ids=tuple(evses), evse_points=tuple(points),
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
        assumed=(*_assumed(table, feeder, points, wiring, homes), *_inverters_assumed(table, inverters, wiring)),
        warnings=tuple(_warnings(feeder, list(evses.values()), points, wiring)),
    )


def feeder_faults(
    path: Path, file: ScenarioFile, stations: Mapping[str, Station], grid: TimeGrid, zone: ZoneInfo, *,
    knows_phases: bool,
) -> Iterator[ScenarioError]:
    """The first fault of each part of the table that can be judged without the others, where `feeder_of` stops."""
    table = file.feeder
    if table is None:
        return
    context = _Context(path, grid, zone)
    evses = {station.id: station.evse for station in stations.values()}
    try:
        feeder, candidates, homes = _feeder(context, table)
    except ScenarioError as fault:
        yield fault
        return

    def wired() -> object:
        return _wiring(context, table, feeder, list(evses.values()), places())

    def places() -> list[str]:
        return _places(context, file, table, feeder, candidates, list(evses))

    for part in (
        wired if knows_phases else places,
        lambda: _limits(context, table, feeder), lambda: _base(context, table, feeder, homes),
        lambda: _inverters(context, table, feeder, list(evses.values())),
    ):
        try:
            part()
        except ScenarioError as fault:
            yield fault
        except SceneError as error:
            yield context.fault("", str(error.value), f"{error.expected} ({error.field_name})")


def _inverters(
    context: _Context, table: FeederTable, feeder: Feeder, evses: Sequence[Evse]
) -> Inverters | None:
    own = table.inverters
    if own is None:
        return None
    if own.grid_code not in grid_code_names():
        raise context.fault(".inverters.grid_code", own.grid_code, f"one of {', '.join(grid_code_names())}")
    if own.nominal_volts is not None and len(_ratings(feeder)) > 1:
        raise context.fault(".inverters.nominal_volts", own.nominal_volts,
                            "none: the connection points are at buses of different ratings")
    code = grid_code(own.grid_code)
    if not own.lag:
        code = code.without_lag()
    kva = [own.rated_kva or max(evse.max_charge_kw, evse.max_discharge_kw) for evse in evses]
    each = tuple(Inverter(code, 1000.0 * rated) for rated in kva)
    return Inverters(each, table.nominal_volts if own.nominal_volts is None else own.nominal_volts)


def _inverters_assumed(
    table: FeederTable, inverters: Inverters | None, wiring: Sequence[str]
) -> Iterator[str]:
    if inverters is None or table.inverters is None or not inverters.each:
        return
    code = inverters.each[0].code
    volts = "each bus's rating" if inverters.nominal_volts is None else f"{inverters.nominal_volts:g} V"
    yield (
        f"The EVSEs' inverters keep to {code.name}, per unit of {volts}"
        + ("." if table.inverters.lag else "; their curves answer at once.")
    )
    yield from (f"{code.name}, {part.replace('_', '-')}: {text}." for part, text in code.assumed.items())
    if any(len(phases) > 1 for phases in wiring):
        yield "An inverter answers as if its car took all phases of the EVSE."


def _feeder(context: _Context, table: FeederTable) -> tuple[Feeder, list[str], list[str]]:
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


def _require_points(context: _Context, where: str, points: Sequence[str], known: Sequence[str]) -> None:
    seen = set[str]()
    for number, point in enumerate(points):
        if point not in known:
            few = ", ".join(known[:TOLD])
            raise context.fault(f"{where}[{number}]", point, f"a connection point of the feeder, such as {few}")
        if point in seen:
            raise context.fault(f"{where}[{number}]", point, "every connection point once")
        seen.add(point)


def _places(
    context: _Context, file: ScenarioFile, table: FeederTable, feeder: Feeder, candidates: list[str], evses: list[str]
) -> list[str]:
    """Connection point of each EVSE."""
    group_of = {evse: group.id for group in file.station_groups for evse in group_ids(group)}
    for name in table.groups:
        if name not in evses and name not in group_of.values():
            raise context.fault(".groups", name, "the id of a station group or station")
    parts: dict[str, list[str]] = {}
    for evse in evses:
        part = evse if evse in table.groups else group_of.get(evse, "")
        parts.setdefault(part if part in table.groups else "", []).append(evse)
    order = {point.id: number for number, point in enumerate(feeder.connection_points)}
    found: dict[str, str] = {}
    for part, members in parts.items():
        where = f".groups.{part}" if part else ".points"
        points = table.groups[part] if part else candidates
        match table.spread:
            case "listed":
                if len(points) < len(members):
                    raise context.fault(where, f"{len(points)} points", f"one for each of {len(members)} EVSEs")
                chosen = points[:len(members)]
            case "seeded":
                draw = random.Random(f"{file.truth.seed}/feeder/{part}")
                chosen = []
                while len(chosen) < len(members):
                    # Only `random()` is promised to give the same numbers in every Python version.
                    chosen += sorted(points, key=lambda _: draw.random())
            case "even":
                ordered = sorted(points, key=order.__getitem__)
                chosen = [ordered[(2 * k + 1) * len(ordered) // (2 * len(members))] for k in range(len(members))]
        found.update(zip(members, chosen, strict=False))
    return [found[evse] for evse in evses]


def _wiring(
    context: _Context, table: FeederTable, feeder: Feeder, evses: Sequence[Evse], points: Sequence[str]
) -> list[str]:
    """Phases of each EVSE, that of its first conductor first; a car of fewer phases takes the first ones."""
    there = {point.id: point.phases for point in feeder.connection_points}
    given: Sequence[str | None]
    if isinstance(table.phases, list):
        if len(table.phases) != len(evses):
            raise context.fault(".phases", f"{len(table.phases)} entries", f"one for each of {len(evses)} EVSEs")
        given = table.phases
    else:
        given = [table.phases] * len(evses)
    turns = dict.fromkeys(PHASES, 0)
    found = []
    for evse, point, phases in zip(evses, points, given, strict=True):
        wired = evse.ac_phases if evse.current is Current.AC else len(there[point])
        own = there[point] if phases is None else phases
        if not set(own) <= set(there[point]):
            raise context.fault(".phases", own, f"among the phases {there[point]} of {point}, where {evse.id} hangs")
        if phases is None and wired > len(own):
            raise context.fault(
                ".points", point, f"a point with {wired} phases for {evse.id}: it has {len(own)} (else say ac_phases "
                "of the station, or feeder.phases)",
            )
        # The least used phase comes first, as installers turn them; of equally used ones the first by name.
        first = own.index(min(own, key=turns.__getitem__)) if table.rotate else 0
        turns[own[first]] += 1
        turned = own[first:] + own[:first]
        found.append(turned if phases is not None else turned[:wired])
    return found


def _limits(context: _Context, table: FeederTable, feeder: Feeder) -> Limits:
    """In p.u. of the buses' rating, as a `Scene` has them."""
    own = table.limits
    low, high = own.voltage_pu
    if not low < high:
        raise context.fault(".limits.voltage_pu", list(own.voltage_pu), "the lowest below the highest")
    scale = 1.0
    if table.nominal_volts is not None:
        rated = _ratings(feeder)
        if len(rated) > 1:
            raise context.fault(".nominal_volts", table.nominal_volts,
                                "none: the connection points are at buses of different ratings")
        scale = table.nominal_volts * sqrt(3.0) / rated.pop()
    return Limits((low * scale, high * scale), own.line_loading, own.transformer_loading, own.unbalance)


def _ratings(feeder: Feeder) -> set[float]:
    """Rated volts of the buses at which somebody is connected."""
    volts = {bus.id: bus.volts for bus in feeder.buses}
    return {volts[point.bus] for point in feeder.connection_points}


def _base(
    context: _Context, table: FeederTable, feeder: Feeder, homes: Sequence[str]
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


def _over_days(day: Floats, part_s: int, context: _Context) -> Floats:
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


def _from_file(path: Path, context: _Context, known: Sequence[str]) -> dict[str, Floats]:
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


def _assumed(
    table: FeederTable, feeder: Feeder, points: Sequence[str], wiring: Sequence[str], homes: Sequence[str]
) -> Iterator[str]:
    licence = f" ({feeder.licence})" if feeder.licence else ""
    yield f"The grid is {feeder.name}{licence}. {feeder.provenance}".rstrip(". ") + "."
    if table.source_pu is not None:
        yield f"The grid above it stands at {table.source_pu:g} p.u., as the scenario says."
    where = {"even": "evenly spread over", "seeded": "drawn among", "listed": "in the order of"}[table.spread]
    counts = {phase: sum(phase in phases for phases in wiring) for phase in PHASES}
    yield (
        f"The {len(points)} EVSEs hang at {len(set(points))} connection points, {where} those given; on phases a, b "
        f"and c are {counts['a']}, {counts['b']} and {counts['c']}. They draw at power factor {table.power_factor:g}."
    )
    if any(len(phases) > 1 for phases in wiring):
        yield (
            "A car with fewer phases than its EVSE takes the first of them"
            + (", which are turned from EVSE to EVSE so that all phases carry alike" if table.rotate else "")
            + "; a step in which one car leaves and another comes counts as the latter's."
        )
    if table.file is not None:
        yield f"What the grid carries without EVs is read from {Path(table.file).name}."
    elif table.hourly_kw is not None:
        yield f"Each of {len(homes)} homes draws the same hourly powers on every local day."
    elif table.example is not None:
        yield f"Each of {len(homes)} homes draws the example's assumed day on every local day."
    else:
        yield "Nothing but EVs hangs on the feeder, as no load is given: every violation is theirs."
    if table.file is not None or table.hourly_kw is not None or table.example is not None:
        yield f"Homes draw at power factor {table.load_power_factor:g}; what they feed in has no reactive power."
    yield (
        "The site's load is that of all homes together; its caps are on the sum of what homes and cars draw, without "
        "the losses of the cables."
    )


def _warnings(
    feeder: Feeder, evses: Sequence[Evse], points: Sequence[str], wiring: Sequence[str]
) -> Iterator[str]:
    found = [str(fault) for fault in faults(feeder) if not fault.blocking]
    yield from (f"feeder {feeder.name}: {fault}" for fault in found[:TOLD])
    if len(found) > TOLD:
        yield f"feeder {feeder.name}: {len(found) - TOLD} more remarks of this kind (v2g feeder check tells them all)."
    alone = [phases for phases in wiring if len(phases) == 1]
    counts = {phase: alone.count(phase) for phase in PHASES}
    most = max(counts, key=counts.__getitem__)
    if counts[most] >= UNEVEN * max(2, *(counts[phase] for phase in PHASES if phase != most)):
        yield (
            f"{counts[most]} of {len(alone)} EVSEs of one phase hang on phase {most} ("
            + ", ".join(f"{counts[phase]} on {phase}" for phase in PHASES if phase != most)
            + "): it fills up first. EVSEs take the phase of their point: feeder.points or groups choose others."
        )
    fuses = {point.id: point.fuse_a for point in feeder.connection_points}
    volts = {point.id: bus.volts / sqrt(3.0) for point in feeder.connection_points for bus in feeder.buses
             if bus.id == point.bus}
    over = []
    for evse, point, phases in zip(evses, points, wiring, strict=True):
        amperes = 1000.0 * max(evse.max_charge_kw, evse.max_discharge_kw) / len(phases) / volts[point]
        fuse = fuses[point]
        if fuse is not None and amperes > fuse:
            over.append((amperes / fuse, f"{evse.id} can draw {amperes:.0f} A at {point}, whose fuse is {fuse:g} A"))
    if over:
        more = f" ({len(over)} EVSEs in all)" if len(over) > 1 else ""
        yield f"{max(over)[1]}{more}."
