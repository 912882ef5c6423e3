"""Runs side by side as one HTML file: their curves, their figures, and the differences with how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.figures import Figure
from aggregator.reports.simulation_facts import CAUSE_WORDS, MEASURES, Cause, Measure
from aggregator.reports.simulation_figures import StepAxis, band, line
from aggregator.reports.simulation_page import Page, Section, render_page
from aggregator.reports.tables import ABSENT, Table, figure
from twin.assets import TimeGrid

Floats = NDArray[np.float64]

_COLOURS = ("--net", "--ev", "--target", "--uncontrolled", "--planned", "--bad", "--building", "--warn")
_DASHES = ("solid", "solid", "solid", "solid", "dash", "dash", "dash", "dash")
MOST_RUNS = len(_COLOURS)
_SITE_WORDS = 4
_FEEDER = ("feeder_caused_minutes", "feeder_voltage_minutes", "feeder_line_loading")
"""Measures of the feeder that are put into words, beside so many of the site's."""


@dataclass(frozen=True)
class RunFact:
    """One of the compared runs. net, ev: P10, P50, P90 in kW per step, all sites together. causes: short drivers.

    settings: the fields of its scenario in words, by their path. scenario_sha256: of all files of the scenario.
    """

    label: str
    scenario: str
    control: str
    net: tuple[Floats, Floats, Floats]
    ev: tuple[Floats, Floats, Floats]
    cap_kw: Floats
    measures: Mapping[str, Floats]
    causes: Mapping[str, float]
    settings: Mapping[str, str] = field(default_factory=dict)
    scenario_sha256: str = ""


@dataclass(frozen=True)
class DifferenceFact:
    """A run minus the first one. half_width: of the interval; NaN with fewer than two replicas.

    alone_half_width: what it would be if the replicas were not paired; it shows what pairing is worth.
    """

    measure: Measure
    mean: float
    half_width: float
    alone_half_width: float

    @property
    def is_sure(self) -> bool:
        """The interval does not hold 0."""
        return math.isfinite(self.half_width) and abs(self.mean) > self.half_width


@dataclass(frozen=True)
class ComparisonFacts:
    """differences[k] are of runs[k + 1]. method: how intervals are made, at `confidence` (0 to 1)."""

    grid: TimeGrid
    timezone: str
    seed: int
    replicas: int
    runs: tuple[RunFact, ...]
    differences: tuple[tuple[DifferenceFact, ...], ...]
    method: str
    confidence: float
    program_version: str = ""

    @property
    def differing(self) -> tuple[tuple[str, ...], ...]:
        """Path and value in every run of the scenarios' fields that are not the same in all."""
        paths = dict.fromkeys(path for run in self.runs for path in run.settings)
        rows = ((path, *(run.settings.get(path, ABSENT) for run in self.runs)) for path in paths)
        return tuple(row for row in rows if len(set(row[1:])) > 1)

    @property
    def always_zero(self) -> tuple[Measure, ...]:
        """Measures that are 0 in every course of every run."""
        return tuple(measure for measure in MEASURES if (
            (found := [run.measures[measure.key] for run in self.runs if measure.key in run.measures])
            and not any(values.any() for values in found)
        ))


def render_comparison(facts: ComparisonFacts) -> str:
    """The comparison as one HTML page with everything in it."""
    first = facts.runs[0]
    version = f" v2g {facts.program_version}." if facts.program_version else ""
    return render_page(Page(
        title="Runs compared", where=" · ".join(run.label for run in facts.runs),
        summary=" ".join(differences_in_words(facts)), headline=_headline(facts),
        sections=(
            Section("changed", "What was changed", (), (_changed(facts),)),
            Section("curves", "Power", tuple(_curves(facts))),
            Section(
                "differences", f"Differences from {first.label}", _difference_figures(facts),
                tuple(_difference_tables(facts)), _how(facts),
            ),
            Section("figures", "Side by side", (), (_side_by_side(facts), _causes(facts), _runs(facts))),
        ),
        footer=f"Everything here was simulated. Times are local to {facts.timezone}. Power is positive when it is "
               f"drawn from the grid.{version}",
        warning="" if facts.replicas > 1 else "One course each: differences have no interval",
    ))


def differences_in_words(facts: ComparisonFacts) -> list[str]:
    """One sentence for each run but the first: what of its means goes beyond chance."""
    first = facts.runs[0]
    sentences = []
    for run, differences in zip(facts.runs[1:], facts.differences, strict=True):
        sure = [
            one for one in differences
            if one.is_sure and one.measure.less_is_better is not None and _shows(_signed(one, one.mean))
        ]
        if all(one.mean == 0 and not one.half_width > 0 for one in differences):
            sentences.append(f"{run.label} is the same as {first.label} in every figure.")
        elif facts.replicas == 1:
            sentences.append(f"{run.label} differs from {first.label}; one course cannot tell by how much in general.")
        elif not sure:
            sentences.append(f"No difference between {run.label} and {first.label} goes beyond chance.")
        else:
            parts = [
                f"{one.measure.title[0].lower()}{one.measure.title[1:]} "
                f"{_signed(one, one.mean)} {one.measure.difference_unit}".rstrip() + f" ({_interval(one)})"
                for one in _told(sure)
            ]
            sentences.append(f"Against {first.label}, {run.label} changes: {'; '.join(parts)}.")
    return sentences


def _told(sure: list[DifferenceFact]) -> list[DifferenceFact]:
    """The first few of the site's figures and of the feeder's."""
    feeder = [one for one in sure if one.measure.key in _FEEDER]
    return [*[one for one in sure if not one.measure.key.startswith("feeder_")][:_SITE_WORDS], *feeder]


def _headline(facts: ComparisonFacts) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (run.label, figure(float(np.mean(run.measures["peak_kw"])), "kW"),
         f"highest power, {figure(float(np.mean(run.measures['short_drivers'])))} drivers short" + (
             f", feeder beyond a limit {figure(float(np.mean(run.measures[_FEEDER[0]])) / 60.0, 'h')} because of EVs"
             if _FEEDER[0] in run.measures else ""
         ) + (
             f", voltage {figure(float(np.mean(run.measures[_FEEDER[1]])), 'min', 0)} at all points together"
             if _FEEDER[1] in run.measures else ""
         ) + (" (means)" if facts.replicas > 1 else ""))
        for run in facts.runs
    )


def _how(facts: ComparisonFacts) -> str:
    if facts.replicas == 1:
        return "Each run had one course, so nothing is known about chance: differences stand without an interval."
    return (
        "Figures are means over the courses, since differences of means can be paired; the reports of the runs show "
        f"medians. {facts.confidence:.0%} {facts.method}, n = {facts.replicas}. Replica k of every run met the same "
        f"drivers and the same faults (seed {facts.seed}), so what differs comes from what was changed. A difference "
        "whose interval does not hold 0 is beyond chance. The column “If not paired” gives half the width that the "
        "interval would have otherwise."
    )


def _curves(facts: ComparisonFacts) -> list[Figure]:
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


def _difference_figures(facts: ComparisonFacts) -> tuple[Figure, ...]:
    if facts.replicas == 1:
        return ()
    made = []
    for key in ("short_kwh", "peak_kw", *_FEEDER[:2]):
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
                "text": [f"{_signed(one, one.mean)} {measure.difference_unit} ({_interval(one)})" for _, one in shown],
                "hovertemplate": "%{y}: %{text}<extra></extra>", "name": measure.title,
            }],
            {"xaxis": {"title": {"text": f"{measure.difference_unit}, mean difference"}, "zeroline": True,
                       "zerolinecolor": "--ink", "zerolinewidth": 1, "rangemode": "tozero"},
             "yaxis": {"type": "category", "autorange": "reversed"}, "hovermode": "closest"},
            110 + 44 * len(shown),
        ))
    return tuple(made)


def _difference_tables(facts: ComparisonFacts) -> list[Table]:
    made, zero = [], {measure.key for measure in facts.always_zero}
    for number, (run, differences) in enumerate(zip(facts.runs[1:], facts.differences, strict=True), 1):
        rows = tuple(
            (_title(one.measure), _cell(one.measure, float(facts.runs[0].measures[one.measure.key].mean()), 1),
             _cell(one.measure, float(run.measures[one.measure.key].mean()), 1),
             _signed(one, one.mean) + (" points" if one.measure.unit == "%" else ""),
             _interval(one), _worth(one), _verdict(one))
            for one in differences if one.measure.key not in zero
        )
        made.append(Table(
            f"difference-table-{number}", f"{run.label} minus {facts.runs[0].label}",
            (("Mean per course", False), (facts.runs[0].label, True), (run.label, True), ("Difference", True),
             (f"{facts.confidence:.0%} interval", True), ("If not paired", True),
             ("Beyond chance", False)), rows, _folded(facts),
        ))
    return made


def _folded(facts: ComparisonFacts) -> str:
    """What is left out of the tables because there is nothing of it."""
    zero = [measure.title[0].lower() + measure.title[1:] for measure in facts.always_zero]
    return f"Zero in all runs: {'; '.join(zero)}." if zero else ""


def _changed(facts: ComparisonFacts) -> Table:
    rows = facts.differing
    one_file = len({run.scenario_sha256 for run in facts.runs}) == 1
    if not rows:
        rows = (("No field of the twin's tables" if not one_file else "No field", *(ABSENT for _ in facts.runs)),)
    note = "" if one_file or facts.differing else (
        "The files are not the same to the byte: remarks, or tables of the service (prices, programmes), differ."
    )
    return Table("changed-fields", "Fields of the scenarios that differ",
                 (("Field", False), *((run.label, False) for run in facts.runs)), rows, note)


def _side_by_side(facts: ComparisonFacts) -> Table:
    zero = {measure.key for measure in facts.always_zero}
    rows = tuple(
        (_title(measure), *(
            _cell(measure, float(run.measures[measure.key].mean())) if measure.key in run.measures else ABSENT
            for run in facts.runs
        ))
        for measure in MEASURES
        if measure.key not in zero and any(measure.key in run.measures for run in facts.runs)
    )
    return Table("side-by-side", "Means over the courses", (("", False), *((run.label, True) for run in facts.runs)),
                 rows, _folded(facts))


def _causes(facts: ComparisonFacts) -> Table:
    rows = tuple(
        (CAUSE_WORDS[cause][0].upper() + CAUSE_WORDS[cause][1:],
         *(figure(run.causes.get(cause.value, 0.0), "", 1) for run in facts.runs))
        for cause in Cause if any(run.causes.get(cause.value) for run in facts.runs)
    )
    return Table("causes-side-by-side", "Why drivers left short, drivers per course",
                 (("", False), *((run.label, True) for run in facts.runs)), rows)


def _runs(facts: ComparisonFacts) -> Table:
    rows = tuple((run.label, run.scenario, run.control.replace("_", " ")) for run in facts.runs)
    return Table("runs", "The runs", (("Folder", False), ("Scenario", False), ("Control", False)), rows,
                 f"Seed {facts.seed}, {facts.replicas} course{'s' if facts.replicas > 1 else ''} each.")


def _title(measure: Measure) -> str:
    return measure.title + (f", {measure.unit}" if measure.unit else "")


def _cell(measure: Measure, value: float, least_digits: int = 0) -> str:
    return figure(value * measure.shown_times, "", max(measure.digits, least_digits))


def _signed(difference: DifferenceFact, value: float) -> str:
    measure = difference.measure
    text = figure(value * measure.shown_times, "", max(measure.digits, 1))
    return f"+{text}" if value > 0 and _shows(text) else text


def _shows(text: str) -> bool:
    """The figure is not 0 to the digits in which it is printed."""
    return any(digit in "123456789" for digit in text)


def _interval(difference: DifferenceFact) -> str:
    if not math.isfinite(difference.half_width):
        return ABSENT
    low, high = difference.mean - difference.half_width, difference.mean + difference.half_width
    return f"{_signed(difference, low)} to {_signed(difference, high)}"


def _verdict(difference: DifferenceFact) -> str:
    if not math.isfinite(difference.half_width):
        return ABSENT
    return "yes" if difference.is_sure else "no"


def _worth(difference: DifferenceFact) -> str:
    if not math.isfinite(difference.alone_half_width):
        return ABSENT
    measure = difference.measure
    return f"± {figure(difference.alone_half_width * measure.shown_times, '', max(measure.digits, 1))}"

