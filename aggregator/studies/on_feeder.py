"""From what the twin says of a feeder to what a report says of it: bands over courses, rows, one figure per course."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import sqrt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.feeder import heat_strip, one_line
from aggregator.reports.simulation import Band
from aggregator.reports.simulation.feeder import CarriedRows, FeederFact, LineRows, PointRows, TransformerRow
from aggregator.studies.inverters import inverter_result
from twin.ensemble import Outcome
from twin.feeder.impact.judging import KINDS, Course, Impact
from twin.feeder.impact.result import Loaded
from twin.feeder.powerflow.flow import Solution
from twin.feeder.powerflow.parts import most_loaded
from twin.feeder.scene import Limits
from twin.feeder.thermal import hot_spot
from twin.scenario import OnFeeder

Floats = NDArray[np.float64]

QUANTITIES = ("low_pu", "high_pu", "line_loading", "transformer_loading", "unbalance", "losses_kw", "import_kw")
"""Of every step, in this order."""
_STRIP_HOURS = 24.0
"""Shown around the worst step."""


@dataclass(frozen=True)
class OnFeederResult:
    """fact: for the report. measures: one value per course."""

    fact: FeederFact
    measures: Mapping[str, Floats]


def on_feeder_result(on: OnFeeder, impact: Impact, outcome: Outcome) -> OnFeederResult:
    """What the courses of a run did to the feeder, and its inverters to them."""
    transformers = _transformers(on, impact)
    points, lines = _points(on, impact), _lines(impact)
    checked = impact.checked
    limits = _told_limits(on)
    weekly = impact.points.weekly
    fact = FeederFact(
        name=impact.scene.feeder.name,
        homes_and_evs=f"{len(impact.points.ids)} connection points, {len(on.scene.evse_ids)} EVSEs",
        nominal_volts=on.nominal_volts,
        voltage_pu=limits.voltage_pu, line_limit=limits.line_loading,
        transformer_limit=limits.transformer_loading, unbalance_limit=limits.unbalance, points=points, lines=lines,
        carried=_carried_rows(impact), transformers=transformers,
        steps={name: _band(values) for name, values in _quantities(impact.course).items()},
        base={name: values[0] for name, values in _quantities(impact.base).items()},
        beyond_share=impact.beyond.mean(axis=0), caused_share=impact.caused.mean(axis=0),
        balanced=weekly.balanced.min(axis=-1).mean(axis=-1),
        base_balanced=impact.points.base_weekly.balanced.min(axis=-1)[:, 0],
        unsolved=impact.no_solution.sum(axis=1).astype(np.float64),
        base_unsolved=int((~impact.base.has_solution).sum()),
        base_measures={
            key: float(values[0]) for key, values in _base_measures(impact, points.places, transformers).items()
        },
        second_engine=_second_engine(impact), agrees=None if checked.difference is None else checked.agrees,
        ten_minutes=weekly.is_of_ten_minutes, days=tuple(weekly.days.tolist()),
        unrated=int(np.isnan(impact.readings.flow.ampacity).sum()), pictures=_pictures(on, impact),
    )
    inverters, held = inverter_result(on, outcome)
    measures = {**_measures(impact, points.places, transformers), **held}
    return OnFeederResult(replace(fact, inverters=inverters), measures)


def _measures(impact: Impact, places: NDArray[np.intp], transformers: tuple[TransformerRow, ...]) -> dict[str, Floats]:
    minutes = impact.points.minutes
    hot = [row for row in transformers if np.isfinite(row.hot_spot_c).all()]
    found = {
        "feeder_caused_minutes": impact.somewhere.attributable[KINDS.index("any")],
        "feeder_voltage_minutes": minutes.attributable[places].sum(axis=0),
        "feeder_unfixable_minutes": minutes.unfixable[places].sum(axis=0),
        "feeder_overload_minutes": impact.somewhere.attributable[KINDS.index("line")],
        "feeder_transformer_minutes": impact.somewhere.attributable[KINDS.index("transformer")],
        **_extremes(impact.course),
        "feeder_losses_kwh": impact.losses_kwh,
        "feeder_unsolved": impact.no_solution.sum(axis=1).astype(np.float64),
    }
    if impact.apart is not None:
        any_kind = KINDS.index("any")
        found["feeder_event_minutes"] = impact.apart.somewhere.attributable[any_kind]
        found["feeder_event_voltage_minutes"] = impact.apart.points.attributable[places].sum(axis=0)
        found["feeder_plain_minutes"] = impact.apart.without[any_kind]
    if hot:
        found["feeder_hot_spot_c"] = np.max([row.hot_spot_c for row in hot], axis=0)
        found["feeder_ageing_h"] = np.max([row.life_h for row in hot], axis=0)
    return found


def _base_measures(
    impact: Impact, places: NDArray[np.intp], transformers: tuple[TransformerRow, ...]
) -> dict[str, Floats]:
    """The same without EVs, as far as it can be told of both."""
    found = {
        "feeder_unfixable_minutes": np.array([impact.points.base_minutes[places].sum()]),
        "feeder_overload_minutes": np.array([impact.base_somewhere[KINDS.index("line")]]),
        "feeder_transformer_minutes": np.array([impact.base_somewhere[KINDS.index("transformer")]]),
        **_extremes(impact.base), "feeder_losses_kwh": np.array([impact.base_losses_kwh]),
        "feeder_unsolved": np.array([float((~impact.base.has_solution).sum())]),
    }
    if transformers:
        found["feeder_hot_spot_c"] = np.array([max(row.base_hot_spot_c for row in transformers)])
        found["feeder_ageing_h"] = np.array([max(row.base_life_h for row in transformers)])
    return found


def _extremes(course: Course) -> dict[str, Floats]:
    return {
        "feeder_low_pu": np.fmin.reduce(course.low_pu, axis=1),
        "feeder_high_pu": np.fmax.reduce(course.high_pu, axis=1),
        "feeder_line_loading": np.fmax.reduce(course.line_loading, axis=1),
        "feeder_transformer_loading": np.fmax.reduce(course.transformer_loading, axis=1),
        "feeder_unbalance": np.fmax.reduce(course.unbalance, axis=1),
    }


def _quantities(course: Course) -> dict[str, Floats]:
    return {
        "low_pu": course.low_pu, "high_pu": course.high_pu, "line_loading": course.line_loading,
        "transformer_loading": course.transformer_loading, "unbalance": course.unbalance,
        "losses_kw": course.losses_w / 1000.0, "import_kw": course.import_w / 1000.0,
    }


def _band(values: Floats) -> Band:
    """Over the courses that have a solution at a step; NaN where none has."""
    known = np.isfinite(values)
    if known.all():
        return Band.of(values)
    some: NDArray[np.bool_] = np.asarray(known.any(axis=0))
    found = [np.full(values.shape[1], np.nan) for _ in range(4)]
    if some.any():
        found[:3] = [_filled(some, row) for row in np.nanquantile(values[:, some], (0.1, 0.5, 0.9), axis=0)]
        found[3] = _filled(some, np.nanmean(values[:, some], axis=0))
    return Band(found[0], found[1], found[2], found[3], values[0].copy())


def _filled(at: NDArray[np.bool_], values: Floats) -> Floats:
    whole = np.full(at.shape, np.nan)
    whole[at] = values
    return whole


def _points(on: OnFeeder, impact: Impact) -> PointRows:
    points, feeder = impact.points, impact.scene.feeder
    hanging = dict.fromkeys(points.ids, 0)
    for point in on.scene.evse_points:
        hanging[point] += 1
    minutes = points.minutes
    first: dict[tuple[str, str, str], int] = {}
    place = [
        first.setdefault((point.bus, point.phases, point.load_type), row)
        for row, point in enumerate(feeder.connection_points)
    ]
    return PointRows(
        ids=points.ids, buses=tuple(point.bus for point in feeder.connection_points),
        phases=tuple(point.phases for point in feeder.connection_points),
        place=np.array(place, dtype=np.intp), evses=np.array(list(hanging.values()), dtype=np.int64),
        minutes=minutes.total.mean(axis=1), attributable=minutes.attributable.mean(axis=1),
        worsened=minutes.worsened.mean(axis=1), cured=minutes.cured.mean(axis=1), base_minutes=points.base_minutes,
        low_pu=np.median(points.low_pu, axis=1), high_pu=np.median(points.high_pu, axis=1),
        lowest_pu=points.low_pu.min(axis=1), highest_pu=points.high_pu.max(axis=1),
        base_low_pu=points.base_low_pu, base_high_pu=points.base_high_pu,
        within_10=points.weekly.within_10.min(axis=-1).mean(axis=-1),
        within_15=points.weekly.within_15.min(axis=-1).mean(axis=-1), holds=points.weekly.holds.mean(axis=-1),
        base_within_10=points.base_weekly.within_10.min(axis=-1)[:, 0],
        base_within_15=points.base_weekly.within_15.min(axis=-1)[:, 0], base_holds=points.base_weekly.holds[:, 0],
    )


def _lines(impact: Impact) -> LineRows:
    readings = impact.readings
    of = {line.id: line for line in impact.scene.feeder.lines}
    own = [of[segment.line] for segment in impact.segments]
    return LineRows(
        lines=tuple(line.id for line in own), phases=tuple(segment.phase for segment in impact.segments),
        from_buses=tuple(line.from_bus for line in own), to_buses=tuple(line.to_bus for line in own),
        segments=np.bincount(readings.line_of[readings.line_of >= 0], minlength=len(own)),
        amperes=readings.flow.ampacity[readings.line_segments],
        rated_by=tuple("" if line.ampacity is None else line.ampacity.source for line in own),
        **_loaded(impact.lines),
    )


def _carried_rows(impact: Impact) -> CarriedRows:
    rows, windings, feeder = impact.transformers, impact.windings, impact.scene.feeder
    kind_of = {one.id: one.kind for one in feeder.primitives}
    others = rows.ids[len(feeder.transformers):]
    kinds = (*("transformer" for _ in feeder.transformers), *(kind_of[one] for one in others))
    rated = dict(zip(windings.rows, impact.readings.winding_amperes.tolist(), strict=True))
    most = [windings.most_loaded(row) for row in range(len(rows.ids))]
    return CarriedRows(
        ids=rows.ids, kinds=kinds, sides=tuple(part.where for part in most),
        phases=tuple(part.phase for part in most), amperes=np.array([rated[part] for part in most]),
        **_loaded(rows),
    )


def _loaded(rows: Loaded) -> dict[str, Floats]:
    """The columns that whatever carries a current has."""
    return {
        "peak": np.median(rows.peak, axis=1), "highest": rows.peak.max(axis=1, initial=0.0),
        "base_peak": rows.base_peak, "minutes": rows.minutes.total.mean(axis=1),
        "attributable": rows.minutes.attributable.mean(axis=1), "worsened": rows.minutes.worsened.mean(axis=1),
        "base_minutes": rows.base_minutes,
    }


def _transformers(on: OnFeeder, impact: Impact) -> tuple[TransformerRow, ...]:
    """Where a step has no solution the transformer is taken to carry the most that it carries in that course."""
    feeder = impact.scene.feeder
    if not feeder.transformers:
        return ()
    air, step_s = on.ambient_c(), float(impact.scene.grid.step_s)
    # The feeder without EVs is one more course, the last.
    loading = _carried(np.concatenate((impact.winding, impact.base_winding), axis=1))
    found = hot_spot.run(feeder.transformers, loading, air, step_s)
    rows = []
    for number, transformer in enumerate(feeder.transformers):
        # Where nobody says which paper it is, the one that ages sooner counts.
        row = max((row for row, (own, _) in enumerate(found.papers) if own == number),
                  key=lambda row: float(found.loss_of_life_h[row].max()))
        paper = found.papers[row][1].value + (" (assumed, the worse of both)" if transformer.paper is None else "")
        rows.append(TransformerRow(
            transformer.id, transformer.rated_va / 1000.0, f"{paper} paper, {found.standard.value}",
            impact.transformers.peak[number], impact.transformers.minutes.total[number],
            found.peak_hot_spot_c[number, :-1], found.loss_of_life_h[row, :-1], _band(found.hot_spot_c[number, :-1]),
            float(impact.transformers.base_peak[number]), float(found.peak_hot_spot_c[number, -1]),
            float(found.loss_of_life_h[row, -1]), found.hot_spot_c[number, -1],
        ))
    return tuple(rows)


def _carried(loading: Floats) -> Floats:
    most = np.nan_to_num(np.fmax.reduce(loading, axis=-1, keepdims=True), nan=1.0)
    return np.where(np.isfinite(loading), loading, most)


def _second_engine(impact: Impact) -> str:
    checked = impact.checked
    if checked.difference is None:
        return f"power-grid-model did not solve any step again: {checked.reason}."
    difference = checked.difference
    apart = (f"{difference.voltage_pu:.1e} p.u., {difference.current_a:.1e} A and {difference.transformer_loading:.1e} "
             "of a transformer's rating")
    alone = "" if not difference.solved_only_there else (
        f" In {difference.solved_only_there} of them it ends somewhere while here is no solution: they count as broken."
    )
    if checked.agrees:
        return (
            f"power-grid-model solved {checked.steps} steps again, the worst among them: at most {apart} apart.{alone}"
        )
    return (
        f"power-grid-model does not agree: of {checked.steps} steps that it was to solve again, it has no solution for "
        f"{difference.solved_only_here} that are solved here; the others are up to {apart} apart.{alone}"
    )


def _connected_volts(on: OnFeeder) -> float:
    """Rating of the buses at which somebody is connected; one for all where a nominal voltage is given."""
    point = on.scene.feeder.connection_points[0]
    return next(bus.volts for bus in on.scene.feeder.buses if bus.id == point.bus)


def _to_nominal(on: OnFeeder) -> float:
    """From p.u. of a connection point's rating to those that are told."""
    return 1.0 if on.nominal_volts is None else _connected_volts(on) / sqrt(3.0) / on.nominal_volts


def _node_scale(on: OnFeeder) -> Floats:
    """`_to_nominal` of every node. Buses of another rating keep to it: nominal_volts is not theirs."""
    scale, volts = _to_nominal(on), _connected_volts(on)
    return np.array([scale if bus.volts == volts else 1.0 for bus in on.scene.feeder.buses for _ in bus.phases])


def _told_limits(on: OnFeeder) -> Limits:
    """With voltages as they are told."""
    low, high = on.scene.limits.voltage_pu
    scale = _to_nominal(on)
    return replace(on.scene.limits, voltage_pu=(low * scale, high * scale))


def _pictures(on: OnFeeder, impact: Impact) -> dict[str, str]:
    """The worst step of all courses from above, with EVs and without, and its day at all connection points."""
    worst = _worst(impact)
    if worst is None:
        return {}
    replica, step = worst
    limits, scale, nodes = _told_limits(on), _to_nominal(on), _node_scale(on)
    grid = impact.scene.grid
    when = grid.at(step).astimezone(ZoneInfo(on.timezone))
    with_evs, base = _solved(impact, replica, slice(step, step + 1))
    found = {}
    for name, solution, words in (("with", with_evs, "with EVs"), ("without", base, "without EVs")):
        if solution.has_solution.all():
            found[name] = one_line(
                impact.scene.feeder, voltage_pu=solution.voltages_pu()[:, 0] * nodes,
                loading=solution.line_loading()[:, 0],
                carried=most_loaded(solution, 0), limits=limits,
                title=f"{when:%a %d %b, %H:%M}, {words}" + (f", course {replica + 1}" if name == "with" else ""),
            )
    few = int(_STRIP_HOURS * 3600 / grid.step_s)
    first = min(max(step - few // 2, 0), max(grid.steps - few, 0))
    steps = slice(first, min(first + few, grid.steps))
    times = [(grid.at(first) + timedelta(seconds=grid.step_s * k)).astimezone(ZoneInfo(on.timezone))
             for k in range(steps.stop - first)]
    solution, _ = _solved(impact, replica, steps)
    reading = impact.readings.of(solution)
    network, rows = solution.flow.network, dict[int, str]()
    for terminal, row in zip(solution.flow.terminals, network.point_of.tolist(), strict=True):
        rows.setdefault(row, f"{terminal.connection_point}.{terminal.phase}")
    found["strip"] = heat_strip(
        reading.volts_pu[list(rows)] * scale, list(rows.values()), times, "voltage",
        f"Voltage at the connection points around the worst step, course {replica + 1}", limits=limits,
    )
    return found


def _worst(impact: Impact) -> tuple[int, int] | None:
    """The (replica, step) at which the most loaded line carries the most; None where nothing is solved or rated."""
    loading = impact.course.line_loading
    if not np.isfinite(loading).any() or not float(np.nanmax(loading)) > 0.0:
        return None
    replica, step = np.unravel_index(int(np.nanargmax(loading)), loading.shape)
    return int(replica), int(step)


def _solved(impact: Impact, replica: int, steps: slice) -> tuple[Solution, Solution]:
    """Whole flows of some steps, with EVs and without."""
    scene = impact.scene
    flow = scene.flow()
    kvar = None if impact.evse_kvar is None else impact.evse_kvar[:, replica, steps]
    with_evs = flow.solve(*scene.demand_of(impact.evse_kw[:, replica, steps], steps, kvar))
    return with_evs, flow.solve(scene.base_w[:, steps], scene.base_var[:, steps])
