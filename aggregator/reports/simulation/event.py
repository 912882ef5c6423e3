"""A grid event step by step: what it asked, what was promised, what came, and how often the promise was kept."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.reports.page import Table, figure
from aggregator.reports.simulation.facts import KEPT_WITHIN_KW, KEPT_WITHIN_SHARE, SimulationFacts

_HOW = (
    "Delivered is the difference between the run without the event and the run with it, course by course. A step is "
    f"kept where no more is missing from the promise than {KEPT_WITHIN_KW:g} kW, or {100 * KEPT_WITHIN_SHARE:g} % of "
    "the reduction asked for if that is more."
)


def event_tables(facts: SimulationFacts) -> Iterator[Table]:
    """One table for each event."""
    hours, zone, is_one = facts.grid.step_hours, ZoneInfo(facts.timezone), facts.replicas == 1
    head = [("From", False), ("Asked net, kW", True)]
    head += [("Promised, kW", True), ("Delivered, kW", True), ("Kept", False)] if is_one else [
        ("Promised, median, kW", True), ("Delivered, P10", True), ("Median", True), ("P90", True),
        ("Courses that kept it", True),
    ]
    levels = (0.5,) if is_one else (0.1, 0.5, 0.9)
    for number, event in enumerate(facts.events):
        is_kept = event.is_kept().mean(axis=0)
        rows = []
        for step in range(event.steps):
            begins = facts.grid.at(event.first_step + step).astimezone(zone)
            kept = ("yes" if is_kept[step] else "no") if is_one else figure(100 * float(is_kept[step]), "%", 0)
            rows.append((
                f"{begins:%H:%M}", figure(float(event.asked_net_kw[step])),
                figure(float(np.median(event.promised_kw[:, step]))),
                *(figure(float(kw)) for kw in np.quantile(event.delivered_kw[:, step], levels)), kept,
            ))
        rows.append((
            "Total, kWh" if is_one else "Total of a course, kWh", "",
            figure(float(np.median(event.promised_kwh(hours)))),
            *(figure(float(kwh)) for kwh in np.quantile(event.delivered_kwh(hours), levels)), "",
        ))
        note = _HOW if is_one else (
            f"{_HOW} Medians and percentiles of steps do not add up; the last row has those of whole courses."
        )
        yield Table(f"event-table-{number}", f"{event.name}: step by step", tuple(head), tuple(rows), note)
