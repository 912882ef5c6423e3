"""Differences between runs in sentences: for the terminal, the head of the page and the note on how sure they are."""

from __future__ import annotations

import numpy as np

from aggregator.reports.comparison.cells import interval, shows, signed
from aggregator.reports.comparison.facts import FEEDER_MEASURES, ComparisonFacts, DifferenceFact
from aggregator.reports.page import figure

_SITE_WORDS = 4
"""Measures of the site that are put into words, beside those of the feeder."""


def differences_in_words(facts: ComparisonFacts) -> list[str]:
    """One sentence for each run but the first: what of its means goes beyond chance."""
    first = facts.runs[0]
    sentences = []
    for run, differences in zip(facts.runs[1:], facts.differences, strict=True):
        sure = [
            one for one in differences
            if one.is_sure and one.measure.less_is_better is not None and shows(signed(one, one.mean))
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
                f"{signed(one, one.mean)} {one.measure.difference_unit}".rstrip() + f" ({interval(one)})"
                for one in _told(sure)
            ]
            sentences.append(f"Against {first.label}, {run.label} changes: {'; '.join(parts)}.")
    return sentences


def _told(sure: list[DifferenceFact]) -> list[DifferenceFact]:
    """The first few of the site's figures and of the feeder's."""
    feeder = [one for one in sure if one.measure.key in FEEDER_MEASURES]
    return [*[one for one in sure if not one.measure.key.startswith("feeder_")][:_SITE_WORDS], *feeder]


def headline(facts: ComparisonFacts) -> tuple[tuple[str, str, str], ...]:
    """Of every run its name, highest power, and what drivers and feeder had of it."""
    caused, voltage, _ = FEEDER_MEASURES
    return tuple(
        (run.label, figure(float(np.mean(run.measures["peak_kw"])), "kW"),
         f"highest power, {figure(float(np.mean(run.measures['short_drivers'])))} drivers short" + (
             f", feeder beyond a limit {figure(float(np.mean(run.measures[caused])) / 60.0, 'h')} because of EVs"
             if caused in run.measures else ""
         ) + (
             f", voltage {figure(float(np.mean(run.measures[voltage])), 'min', 0)} at all points together"
             if voltage in run.measures else ""
         ) + (" (means)" if facts.replicas > 1 else ""))
        for run in facts.runs
    )


def how(facts: ComparisonFacts) -> str:
    """How the intervals came about, and how to read them."""
    if facts.replicas == 1:
        return "Each run had one course, so nothing is known about chance: differences stand without an interval."
    return (
        "Figures are means over the courses, since differences of means can be paired; the reports of the runs show "
        f"medians. {facts.confidence:.0%} {facts.method}, n = {facts.replicas}. Replica k of every run met the same "
        f"drivers and the same faults (seed {facts.seed}), so what differs comes from what was changed. A difference "
        "whose interval does not hold 0 is beyond chance. The column “If not paired” gives half the width that the "
        "interval would have otherwise."
    )
