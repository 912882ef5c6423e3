"""The curves of runs in one figure, and their differences with the intervals."""

from __future__ import annotations

import numpy as np

from aggregator.reports.comparison.cells import interval, signed
from aggregator.reports.comparison.facts import FEEDER_MEASURES, ComparisonFacts
from aggregator.reports.page import Figure, band, line
from aggregator.reports.simulation.axis import StepAxis

_COLOURS = ("--net", "--ev", "--target", "--uncontrolled", "--planned", "--bad", "--building", "--warn")
_DASHES = ("solid", "solid", "solid", "solid", "dash", "dash", "dash", "dash")
MOST_RUNS = len(_COLOURS)
"""Runs that can still be told apart in one figure."""


def curves(facts: ComparisonFacts) -> list[Figure]:
    axis = StepAxis(facts.grid, facts.timezone)
    made = []
    for key, title in (("net", "Net power at the connection point"), ("ev", "Power of the cars")):
        data = []
        for number, run in enumerate(facts.runs):
            p10, p50, p90 = run.net if key == "net" else run.ev
            if facts.replicas > 1 and number < 2:  # noqa: PLR2004 - more bands than two hide each other
                data += [
                    {**trace, "showlegend": False, "legendgroup": None}
                    for trace in band(f"{run.label}, 8 of 10", axis.x, axis.y(p10), axis.y(p90),
                                      ("--net-wash", "--ev-wash")[number], shape="hv")
                ]
            data.append(line(run.label, axis.x, axis.y(p50), _COLOURS[number % MOST_RUNS], shape="hv",
                             dash=_DASHES[number % MOST_RUNS]))
        if key == "net":
            for number, run in enumerate(facts.runs):
                if number == 0 or not np.array_equal(run.cap_kw, facts.runs[0].cap_kw):
                    data.append(line("Cap" if number == 0 else f"Cap of {run.label}", axis.x, axis.y(run.cap_kw),
                                     "--cap", dash="dash" if number == 0 else "dot", shape="hv", width=1.5))
        bands = " Bands hold 8 of 10 courses of the first two runs." if facts.replicas > 1 else ""
        what = "Medians over the courses" if facts.replicas > 1 else "The one course of each run"
        made.append(Figure(
            f"{key}-curves", title, f"{what}, {axis.resolution}.{bands}", data,
            {"xaxis": axis.layout, "yaxis": {"title": {"text": "kW, import positive"}, "zeroline": True},
             "showlegend": True, "legend": {"traceorder": "normal"}}, 420,
        ))
    return made


def difference_figures(facts: ComparisonFacts) -> tuple[Figure, ...]:
    if facts.replicas == 1:
        return ()
    made = []
    for key in ("short_kwh", "peak_kw", *FEEDER_MEASURES[:2]):
        chosen = [next((d for d in row if d.measure.key == key), None) for row in facts.differences]
        shown = [(run.label, one) for run, one in zip(facts.runs[1:], chosen, strict=True) if one is not None]
        if not shown:
            continue
        measure = shown[0][1].measure
        made.append(Figure(
            f"difference-{key.replace('_', '-')}", f"{measure.title}: difference from {facts.runs[0].label}",
            "Left of 0 is less than in the first run. Bars are the intervals.",
            [{
                "type": "scatter", "mode": "markers", "y": [label for label, _ in shown],
                "x": [one.mean for _, one in shown], "marker": {"size": 10, "color": "--planned"},
                "error_x": {"type": "data", "array": [one.half_width for _, one in shown],
                            "color": "--planned", "thickness": 2, "width": 6},
                # The same words as in the table, so that the two never round apart.
                "text": [f"{signed(one, one.mean)} {measure.difference_unit} ({interval(one)})" for _, one in shown],
                "hovertemplate": "%{y}: %{text}<extra></extra>", "name": measure.title,
            }],
            {"xaxis": {"title": {"text": f"{measure.difference_unit}, mean difference"}, "zeroline": True,
                       "zerolinecolor": "--ink", "zerolinewidth": 1, "rangemode": "tozero"},
             "yaxis": {"type": "category", "autorange": "reversed"}, "hovermode": "closest"},
            110 + 44 * len(shown),
        ))
    return tuple(made)
