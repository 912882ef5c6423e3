"""Who left short and why, what an event had to do with it, and what is still plugged in at the end."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.reports.page import Table, figure
from aggregator.reports.simulation.causes import CAUSE_WORDS, CAUSES, Cause
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.spread import typical

_MOST_SHORTS = 25


def driver_tables(facts: SimulationFacts) -> tuple[Table, ...]:
    """Short drivers by cause and one by one, and the cars that had not left."""
    return _causes(facts), _shorts(facts), _plugged_in(facts)


def plugged_in_sentence(facts: SimulationFacts) -> str:
    """What is still plugged in at the end; empty where nothing is in nine of ten courses."""
    cars, kwh = facts.measures["plugged_in"], facts.measures["plugged_in_kwh"]
    if not float(np.quantile(cars, 0.9)) > 0.0:
        return ""
    return (
        f"Still plugged in at the end: {typical(cars, '', 0)}, still lacking {typical(kwh, 'kWh')}; they are not "
        "counted as short."
    )


def _causes(facts: SimulationFacts) -> Table:
    visits = facts.visits
    rows = []
    for index, cause in enumerate(CAUSES):
        these = visits.cause == index
        if cause is Cause.NONE or not these.any():
            continue
        rows.append((
            CAUSE_WORDS[cause][0].upper() + CAUSE_WORDS[cause][1:], figure(int(these.sum()) / facts.replicas),
            figure(float(visits.shortfall_kwh[these].sum()) / facts.replicas),
        ))
    notes = [] if facts.replicas == 1 else ["Means over the courses, which add up."]
    if facts.events:
        notes.append(_of_the_event(facts))
    return Table(
        "short-causes", "Short drivers by cause", (("Cause", False), ("Drivers", True), ("kWh they lacked", True)),
        tuple(rows), " ".join(notes),
    )


def _of_the_event(facts: SimulationFacts) -> str:
    """Why the energy that the event cost is not that of the drivers whom it made short."""
    more = float(facts.measures["event_short_kwh"].mean())
    mean = "" if facts.replicas == 1 else ", mean"
    return (
        "A driver is short because of the event who is not short in the same course without it. All who left lacked "
        f"{figure(abs(more), 'kWh')} {'more' if more >= 0 else 'less'} together than without the event{mean}: that "
        "also counts those who are short either way, by more or less."
    )


def _shorts(facts: SimulationFacts) -> Table:
    visits = facts.visits
    rows = np.flatnonzero((visits.replica == 0) & visits.is_short)
    worst = rows[np.argsort(-visits.shortfall_kwh[rows], kind="stable")][:_MOST_SHORTS]
    made = tuple(
        (visits.evse_id[row], _clock(facts, visits.arrival_s[row]), _clock(facts, visits.declared_s[row]),
         _clock(facts, visits.departure_s[row]), figure(float(visits.target_kwh[row])),
         figure(float(visits.energy_kwh[row])), figure(float(visits.shortfall_kwh[row])),
         CAUSE_WORDS[CAUSES[visits.cause[row]]])
        for row in worst.tolist()
    )
    note = f"The {len(made)} who lacked most, of {rows.size}" if rows.size > len(made) else "All of them"
    return Table(
        "shorts", "Drivers who left short" + ("" if facts.replicas == 1 else ", in the first course"),
        (("Charger", False), ("Came", False), ("Said", False), ("Left", False), ("Wanted, kWh", True),
         ("Held", True), ("Lacked", True), ("Because of", False)), made, f"{note}.",
    )


def _plugged_in(facts: SimulationFacts) -> Table:
    """Of the first course; when they will leave is not known here, what they hold is that of the end."""
    visits = facts.visits
    rows = np.flatnonzero((visits.replica == 0) & ~visits.has_left)
    worst = rows[np.argsort(-visits.shortfall_kwh[rows], kind="stable")][:_MOST_SHORTS]
    made = tuple(
        (visits.evse_id[row], _clock(facts, visits.arrival_s[row]), _clock(facts, visits.declared_s[row]),
         figure(float(visits.target_kwh[row])), figure(float(visits.energy_kwh[row])),
         figure(float(visits.shortfall_kwh[row])))
        for row in worst.tolist()
    )
    note = f"The {len(made)} who lack most, of {rows.size}" if rows.size > len(made) else "All of them"
    return Table(
        "plugged-in", "Still plugged in at the end" + ("" if facts.replicas == 1 else ", in the first course"),
        (("Charger", False), ("Came", False), ("Said", False), ("Wanted, kWh", True), ("Held at the end", True),
         ("Still lacked", True)), made, f"{note}. They had time left, so none of them counts as short.",
    )


def _clock(facts: SimulationFacts, seconds: float) -> str:
    return f"{(facts.grid.start + timedelta(seconds=float(seconds))).astimezone(ZoneInfo(facts.timezone)):%a %H:%M}"
