"""What a run did to the feeder, as figures and pictures; in figures with the EVs in colour, without them dotted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import Figure, Picture, Trace, band, figure, line
from aggregator.reports.simulation.axis import StepAxis, washes
from aggregator.reports.simulation.band import Band
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.feeder.facts import FeederFact

Floats = NDArray[np.float64]

_WORST = 12
"""Connection points that are shown; the tables of the run hold all."""
_NAMES = 2
"""Of points at one place."""


def feeder_figures(facts: SimulationFacts) -> tuple[Figure, ...]:
    """Voltage, loading, unbalance and hot spot over time, and the worst connection points."""
    feeder = facts.feeder
    if feeder is None:
        return ()
    axis = StepAxis(facts.grid, facts.timezone)
    made = [_voltage(facts, feeder, axis), _loading(facts, feeder, axis), _points(facts, feeder)]
    if facts.replicas > 1:
        made.append(_shares(facts, feeder, axis))
    made += [_unbalance(facts, feeder, axis), _hot_spot(facts, feeder, axis)]
    return tuple(one for one in made if one is not None)


def feeder_pictures(facts: SimulationFacts) -> tuple[Picture, ...]:
    """The feeder from above in its worst step, with EVs and without, and its voltages around that step."""
    if facts.feeder is None:
        return ()
    told = {
        "with": ("feeder-map", "The feeder in its worst step, with EVs",
                 "Where a line carries the most of its rating; voltages may be farther beyond in other steps."),
        "without": ("feeder-map-without", "The same step without EVs", "With the load of the homes alone."),
        "strip": ("feeder-strip", "Voltages around the worst step",
                  "A row for each connected phase; what is beyond its limit has a colour of its own."),
    }
    return tuple(Picture(*told[name], svg) for name, svg in facts.feeder.pictures.items())


def voltage_unit(feeder: FeederFact) -> tuple[float, str, int]:
    """Factor, unit and digits in which voltages are told."""
    return (1.0, "p.u.", 3) if feeder.nominal_volts is None else (feeder.nominal_volts, "V", 1)


def point_name(feeder: FeederFact, row: int) -> str:
    """Of all points at that place."""
    rows = feeder.points
    names = [rows.ids[other] for other in np.flatnonzero(rows.place == rows.place[row])]
    shown = names if len(names) <= _NAMES else [*names[:_NAMES], "…"]
    return f"{', '.join(shown)} ({rows.phases[row]})"


def _extreme(axis: StepAxis, values: Floats, by: np.ufunc, digits: int) -> list[float | None]:
    """Of a long run the extreme of every block of steps: a mean would hide it."""
    starts = np.arange(0, values.size, axis.block)
    extremes = by.reduceat(values, starts)
    return axis.y(np.repeat(extremes, np.diff(np.append(starts, values.size))), digits)


def _spreads(
    facts: SimulationFacts, axis: StepAxis, values: Band, name: str, colour: str, by: np.ufunc,
    look: tuple[float, str, int],
) -> list[Trace]:
    """The median, and 8 of 10 courses around it. look: factor, unit and digits."""
    times, unit, digits = look

    def y(of: Floats) -> list[float | None]:
        return _extreme(axis, times * of, by, digits)

    hover = f"%{{y:.{digits}f}} {unit}"
    if facts.replicas == 1:
        return [line(name, axis.x, y(values.p50), colour, shape="hv", hover=hover)]
    shade = [
        {**trace, "showlegend": False, "legendgroup": None}
        for trace in band(f"{name}, 8 of 10", axis.x, y(values.p10), y(values.p90), f"{colour}-wash", shape="hv")
    ]
    return [*shade, line(f"{name}, median", axis.x, y(values.p50), colour, shape="hv", hover=hover)]


def _level(name: str, axis: StepAxis, value: float, unit: str, digits: int) -> Trace:
    return line(name, [axis.x[0], axis.x[-1]], [round(value, digits)] * 2, "--cap", dash="dash", width=1.5,
                hover=f"%{{y:.{digits}f}} {unit}")


def _spoken(facts: SimulationFacts, axis: StepAxis, what: str) -> str:
    courses = "" if facts.replicas == 1 else " The bands hold 8 of 10 courses."
    thinned = f" Drawn are the extremes of every {axis.resolution.replace(' means', '')}." if axis.is_thinned else ""
    return f"{what}{courses}{thinned}"


def _voltage(facts: SimulationFacts, feeder: FeederFact, axis: StepAxis) -> Figure:
    times, unit, digits = look = voltage_unit(feeder)
    low, high = (times * value for value in feeder.voltage_pu)

    def bare(name: str, key: str, by: np.ufunc) -> Trace:
        return line(name, axis.x, _extreme(axis, times * feeder.base[key], by, digits), "--building", dash="dot",
                    width=1.25, shape="hv", hover=f"%{{y:.{digits}f}} {unit}")

    data = [
        *_spreads(facts, axis, feeder.steps["high_pu"], "Highest", "--target", np.fmax, look),
        *_spreads(facts, axis, feeder.steps["low_pu"], "Lowest", "--ev", np.fmin, look),
        bare("Highest without EVs", "high_pu", np.fmax), bare("Lowest without EVs", "low_pu", np.fmin),
        _level("Limits", axis, high, unit, digits), {**_level("Limit", axis, low, unit, digits), "showlegend": False},
    ]
    layout: dict[str, Any] = {
        "xaxis": axis.layout, "yaxis": {"title": {"text": f"{unit}, phase to neutral"}}, "showlegend": True,
        "legend": {"traceorder": "normal"}, "shapes": washes(facts.events, axis),
    }
    return Figure(
        "feeder-voltage", "The highest and the lowest voltage at any connection point",
        _spoken(facts, axis, "Over all connection points and phases at each step; dotted: the feeder without EVs."),
        data, layout, 420,
    )


def _loading(facts: SimulationFacts, feeder: FeederFact, axis: StepAxis) -> Figure:
    look = (100.0, "%", 1)
    data = [
        *_spreads(facts, axis, feeder.steps["line_loading"], "Most loaded line", "--ev", np.fmax, look),
        line("Most loaded line without EVs", axis.x, _extreme(axis, 100.0 * feeder.base["line_loading"], np.fmax, 1),
             "--building", dash="dot", width=1.25, shape="hv", hover="%{y:.1f} %"),
    ]
    if feeder.transformers:
        data += _spreads(facts, axis, feeder.steps["transformer_loading"], "Transformer", "--target", np.fmax, look)
    data.append(_level("Limit of lines", axis, 100.0 * feeder.line_limit, "%", 0))
    if feeder.transformers and feeder.transformer_limit != feeder.line_limit:
        data.append(_level("Limit of transformers", axis, 100.0 * feeder.transformer_limit, "%", 0))
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "% of the rating"}, "rangemode": "tozero"},
              "showlegend": True, "legend": {"traceorder": "normal"}, "shapes": washes(facts.events, axis)}
    return Figure(
        "feeder-loading", "How much the most loaded line and the transformer carry",
        _spoken(facts, axis, "Current of a line's phase over its ampacity; of a transformer the larger of its apparent "
                "power and of any phase's current over the rated."), data, layout, 400,
    )


def _shares(facts: SimulationFacts, feeder: FeederFact, axis: StepAxis) -> Figure | None:
    if not feeder.beyond_share.any():
        return None
    look = {"shape": "hv", "width": 0.75, "stackgroup": "courses", "hover": "%{y:.0f} % of the courses"}
    data = [
        line("Because of EVs", axis.x, axis.y(100.0 * feeder.caused_share, 1), "--bad", fillcolor="--bad", **look),
        line("Without EVs too", axis.x, axis.y(100.0 * (feeder.beyond_share - feeder.caused_share), 1), "--pale",
             fillcolor="--pale", **look),
    ]
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "% of the courses"}, "range": [0, 102]},
              "showlegend": True, "legend": {"traceorder": "normal"}, "shapes": washes(facts.events, axis)}
    return Figure(
        "feeder-beyond", "When the feeder is beyond a limit",
        "Share of the courses in which any voltage, line, transformer or unbalance is beyond its limit at that time."
        + (f" {axis.resolution[0].upper()}{axis.resolution[1:]}." if axis.is_thinned else ""), data, layout, 300,
    )


def _unbalance(facts: SimulationFacts, feeder: FeederFact, axis: StepAxis) -> Figure | None:
    if not np.nan_to_num(feeder.steps["unbalance"].p90).any():
        return None
    data = [
        *_spreads(facts, axis, feeder.steps["unbalance"], "Highest", "--ev", np.fmax, (100.0, "%", 2)),
        line("Without EVs", axis.x, _extreme(axis, 100.0 * feeder.base["unbalance"], np.fmax, 2), "--building",
             dash="dot", width=1.25, shape="hv", hover="%{y:.2f} %"),
    ]
    if feeder.unbalance_limit is not None:
        data.append(_level("Limit", axis, 100.0 * feeder.unbalance_limit, "%", 1))
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "%"}, "rangemode": "tozero"}, "showlegend": True,
              "legend": {"traceorder": "normal"}, "shapes": washes(facts.events, axis)}
    return Figure(
        "feeder-unbalance", "Unbalance of the voltages",
        _spoken(facts, axis, "Negative- over positive-sequence voltage, the highest of all buses at which somebody is "
                "connected."), data, layout, 320,
    )


def _hot_spot(facts: SimulationFacts, feeder: FeederFact, axis: StepAxis) -> Figure | None:
    if not feeder.transformers:
        return None
    hottest = max(feeder.transformers, key=lambda row: float(row.hot_spot_c.max()))
    data = [
        *_spreads(facts, axis, hottest.hot_spot, "With EVs", "--ev", np.fmax, (1.0, "°C", 2)),
        line("Without EVs", axis.x, _extreme(axis, hottest.base_hot_spot, np.fmax, 2), "--building", dash="dot",
             width=1.25, shape="hv", hover="%{y:.2f} °C"),
    ]
    layout = {"xaxis": axis.layout, "yaxis": {"title": {"text": "°C"}}, "showlegend": True,
              "legend": {"traceorder": "normal"}, "shapes": washes(facts.events, axis)}
    return Figure(
        "feeder-hot-spot", f"Hot spot of transformer {hottest.id}",
        _spoken(facts, axis, f"{figure(hottest.rated_kva, 'kVA', 0)}, {hottest.paper}."), data, layout, 300,
    )


def _points(facts: SimulationFacts, feeder: FeederFact) -> Figure | None:
    rows = feeder.points
    places = rows.places
    longest = places[np.argsort(-rows.minutes[places], kind="stable")][:_WORST].tolist()
    worst = [row for row in longest if rows.minutes[row] > 0.0]
    if not worst:
        return None
    names = [point_name(feeder, row) for row in reversed(worst)]

    def bar(name: str, values: Floats, colour: str) -> Trace:
        return {"type": "bar", "orientation": "h", "name": name, "y": names, "width": 0.6,
                "x": [round(float(values[row]), 1) for row in reversed(worst)], "marker": {"color": colour},
                "hovertemplate": "%{x:.0f} min"}

    data = [bar("Because of EVs", rows.attributable, "--bad"), bar("Without EVs too", rows.unfixable, "--pale")]
    per = "" if facts.replicas == 1 else " per course, mean"
    layout = {"xaxis": {"title": {"text": f"minutes{per}"}, "rangemode": "tozero"}, "barmode": "stack",
              "yaxis": {"type": "category"}, "showlegend": True, "legend": {"traceorder": "normal"}}
    return Figure(
        "feeder-points", "Connection points whose voltage was beyond its limits longest",
        f"The {len(worst)} worst of {len(places)} places; points at one bus on the same phases are one place.",
        data, layout, 130 + 26 * len(worst),
    )
