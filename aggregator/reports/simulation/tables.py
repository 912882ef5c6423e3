"""The tables and the summary of a simulation's report, in words a planner uses. All figures come from the facts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import ABSENT, Table, figure
from aggregator.reports.simulation.drivers import driver_tables
from aggregator.reports.simulation.event import event_tables
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.measures import MEASURES, Measure
from aggregator.reports.simulation.wear import wear_tables

Floats = NDArray[np.float64]

_MOST_SITES = 30
OCCURRENCES: dict[str, str] = {
    "down": "charger without power", "stuck": "connector that did not start the visit", "outage": "link down",
    "ignores": "charger that ignored its orders", "derated": "charger with less than its rated power",
    "order lost": "order lost on the way", "visit stuck": "car that found a stuck connector",
    "fallback": "charger on its fallback power", "no_show": "driver who did not come",
    "unplugged": "car unplugged before its driver left",
}


def simulation_tables(facts: SimulationFacts) -> tuple[Table, ...]:
    """Every table that has rows, in reading order."""
    made = (
        _figures(facts), *event_tables(facts), *driver_tables(facts), _sites(facts), _occurrences(facts),
        _ledger(facts), *wear_tables(facts), _assumptions(facts), _dropped(facts), _run(facts),
    )
    return tuple(table for table in made if table.rows)


def spread_row(measure: Measure, values: Floats) -> tuple[str, ...]:
    """Title, mean, P10, P50, P90 of one measure over replicas."""
    cells = [values.mean(), *np.quantile(values, (0.1, 0.5, 0.9))] if values.size else [np.nan] * 4
    title = measure.title + (f", {measure.unit}" if measure.unit else "")
    return (title, *(figure(float(cell) * measure.shown_times, "", measure.digits) for cell in cells))


def _figures(facts: SimulationFacts) -> Table:
    rows = tuple(
        spread_row(measure, facts.measures[measure.key]) for measure in MEASURES if measure.key in facts.measures
    )
    if facts.replicas == 1:
        return Table("figures", "The run in figures", (("", False), ("This course", True)),
                     tuple(row[:2] for row in rows))
    return Table(
        "figures", "The run in figures",
        (("", False), ("Mean", True), ("P10", True), ("Median", True), ("P90", True)), rows,
        f"Over {facts.replicas} courses: in 8 of 10 a figure lies between P10 and P90.",
    )


def _sites(facts: SimulationFacts) -> Table:
    if len(facts.sites) == 1:
        return Table("sites", "", (), ())
    rows = tuple(
        (site.id, figure(float(np.nanmin(site.cap_kw))), figure(float(site.net.p90.max())),
         figure(float(site.over_cap_kwh.mean()), "", 2))
        for site in facts.sites[:_MOST_SITES]
    )
    note = "" if len(facts.sites) <= _MOST_SITES else f"The first {_MOST_SITES} of {len(facts.sites)}."
    return Table("sites", "Connection points", (("Site", False), ("Lowest cap, kW", True), ("Highest P90, kW", True),
                                                ("Beyond the cap, kWh", True)), rows, note)


def _occurrences(facts: SimulationFacts) -> Table:
    rows = tuple(
        (OCCURRENCES.get(kind, kind.replace("_", " ")).capitalize(), figure(count, "", 0),
         figure(count / facts.replicas, "", 1))
        for kind, count in sorted(facts.occurrences.items()) if count
    )
    if facts.replicas == 1:
        return Table("faults", "How often", (("", False), ("Times", True)), tuple(row[:2] for row in rows))
    return Table("faults", "How often", (("", False), ("Times, all courses", True), ("Per course", True)), rows)


def _ledger(facts: SimulationFacts) -> Table:
    measured = facts.measures
    into, out, kept, lost = (float(measured[key].mean()) for key in (
        "ev_import_kwh", "ev_export_kwh", "battery_kwh", "loss_kwh"
    ))
    rows = (
        ("Into the cars, at the connector", figure(into, "", 3)),
        ("Out of the cars, at the connector", figure(-out, "", 3)),
        ("Kept in the batteries", figure(-kept, "", 3)),
        ("Lost between connector and battery", figure(-lost, "", 3)),
        ("Total left unexplained", figure(into - out - kept - lost, "", 3)),
    )
    note = (
        f"Every charger's books balance: the worst is out by {facts.residual:.1e} of what flowed through it. Power at "
        "the connector and energy in the battery are computed apart."
    )
    return Table("ledger", "The energy ledger", (("", False), ("kWh", True)), rows, note)


def _assumptions(facts: SimulationFacts) -> Table:
    return Table("assumptions", "What was assumed", (("", False),),
                 tuple((text,) for text in dict.fromkeys(facts.assumptions)))


def _dropped(facts: SimulationFacts) -> Table:
    rows = tuple((reason, figure(count, "", 0)) for reason, count in sorted(facts.dropped.items()) if count)
    return Table("dropped", "Rows of the input that are not part of the run", (("Reason", False), ("Rows", True)), rows)


def _run(facts: SimulationFacts) -> Table:
    seconds = ", ".join(f"{phase} {spent:.2f} s" for phase, spent in facts.seconds.items())
    rows = (
        ("Seed", str(facts.seed)), ("Courses (replicas)", str(facts.replicas)),
        ("Step", f"{facts.grid.step_s:g} s"), ("Steps", f"{facts.grid.steps:,}"), ("Digest", facts.digest),
        ("Time it took", seconds or ABSENT),
    )
    return Table("run", "To run it again", (("", False), ("", False)), rows,
                 "The same scenario, seed and courses give the same tables and the same digest.")
