"""The tables and the summary of a simulation's report, in words a planner uses. All figures come from the facts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation_facts import (
    CAUSE_WORDS,
    CAUSES,
    MEASURES,
    SHORT_KWH,
    Cause,
    Measure,
    SimulationFacts,
)
from aggregator.reports.simulation_wear import wear_sentence, wear_tables
from aggregator.reports.tables import ABSENT, Table, figure

Floats = NDArray[np.float64]

_MOST_SHORTS = 25
_MOST_SITES = 30
_PERFECT = 1e-9
_NEGLIGIBLE_KW = 0.05
"""As little as this less than promised is kept, as where a signal is answered."""
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
        _figures(facts), *_events(facts), _causes(facts), _shorts(facts), _sites(facts), _occurrences(facts),
        _ledger(facts), *wear_tables(facts), _assumptions(facts), _dropped(facts), _run(facts),
    )
    return tuple(table for table in made if table.rows)


def summary(facts: SimulationFacts) -> str:
    """The run in a paragraph for someone who reads nothing else."""
    measured, hours = facts.measures, facts.grid.step_hours
    cars, short = float(measured["visits"].mean()), float(measured["short_drivers"].mean())
    stretch = facts.grid.step_s * facts.grid.steps / 3600
    span = f"{stretch:.3g} hours" if stretch <= 72 else f"{stretch / 24:.3g} days"  # noqa: PLR2004 - three days
    sentences = [
        f"In {span} {_mean(cars)} cars charged at {facts.evses:,} chargers; {_mean(short)} left with more than "
        f"{SHORT_KWH} kWh less than their drivers wanted" + (
            "." if facts.replicas == 1 else f" (means over {facts.replicas} courses of drivers and faults)."
        ),
        f"The highest power at a connection point was {_typical(measured['peak_kw'], 'kW')}" + (
            ", and the caps were never exceeded." if float(measured["over_cap_kwh"].max(initial=0.0)) < _PERFECT
            else f"; beyond the caps flowed {_typical(measured['over_cap_kwh'], 'kWh', 2)}."
        ),
    ]
    for event in facts.events:
        delivered, kept = event.delivered_kwh(hours), event.kept_share()
        sentences.append(
            f"For {event.name}, {_typical(event.promised_kwh(hours), 'kWh')} less were promised and "
            f"{_typical(delivered, 'kWh')} delivered" + (
                f": {_typical(100 * kept, '%', 0)} of the promise was there when it was due."
                if np.isfinite(kept).all() else "."
            )
        )
    if facts.events:
        who = "The event" if len(facts.events) == 1 else "The events"
        sentences.append(
            f"{who} made {_typical(measured['event_short_drivers'], '', 0)} drivers short who were not otherwise, and "
            f"cost all drivers together {_typical(measured['event_short_kwh'], 'kWh')}."
        )
    sentences.append(wear_sentence(facts))
    # A figure and its unit stay on one line.
    return re.sub(r"(?<=\d) (?=kWh?\b|%)", "\u00a0", " ".join(sentences).rstrip())


def headline(facts: SimulationFacts) -> tuple[tuple[str, str, str], ...]:
    """Four figures one wants to know first: label, value, relation."""
    measured, hours = facts.measures, facts.grid.step_hours
    cars, short = float(measured["visits"].mean()), float(measured["short_drivers"].mean())
    cap = float(facts.whole.cap_kw.min())
    cards = [
        ("Left with what they wanted", f"{100 * (1 - short / cars):.1f} %" if cars else ABSENT,
         f"{_mean(cars - short)} of {_mean(cars)} drivers"),
        ("Highest power", figure(float(np.median(measured["peak_kw"])), "kW"),
         _between(measured["peak_kw"], "kW") or (f"cap {figure(cap, 'kW')}" if np.isfinite(cap) else "no cap")),
    ]
    for event in facts.events[:1]:
        kept = event.kept_share()
        cards.append((
            "Promise kept", figure(100 * float(np.median(kept)), "%", 0),
            _between(100 * kept, "%", 0) or f"{figure(float(np.median(event.promised_kwh(hours))), 'kWh')} promised",
        ))
    back = float(np.median(measured["ev_export_kwh"]))
    cards.append((
        "Into the cars", figure(float(np.median(measured["ev_import_kwh"])), "kWh", 0),
        f"{figure(back, 'kWh', 0)} came back out" if back > 0 else "none came back out",
    ))
    return tuple(cards)


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


def _events(facts: SimulationFacts) -> Iterable[Table]:
    hours, zone = facts.grid.step_hours, ZoneInfo(facts.timezone)
    for number, event in enumerate(facts.events):
        rows = []
        for step in range(event.steps):
            begins = facts.grid.at(event.first_step + step).astimezone(zone)
            p10, p50, p90 = np.quantile(event.delivered_kw[:, step], (0.1, 0.5, 0.9))
            promised = float(np.median(event.promised_kw[:, step]))
            kept = float((event.delivered_kw[:, step] >= event.promised_kw[:, step] - _NEGLIGIBLE_KW).mean())
            rows.append((f"{begins:%H:%M}", figure(float(event.asked_net_kw[step]), "", 1), figure(promised, "", 1),
                         *(figure(float(kw), "", 1) for kw in (p10, p50, p90)), figure(100 * kept, "%", 0)))
        energy = event.delivered_kwh(hours)
        p10, p50, p90 = np.quantile(energy, (0.1, 0.5, 0.9))
        rows.append(("Total, kWh", "", figure(float(np.median(event.promised_kwh(hours))), "", 1),
                     *(figure(float(kwh), "", 1) for kwh in (p10, p50, p90)), ""))
        yield Table(
            f"event-table-{number}", f"{event.name}: promised and delivered, step by step",
            (("From", False), ("Asked net, kW", True), ("Promised, kW", True), ("Delivered P10", True),
             ("Median", True), ("P90", True), ("Courses that kept it", True)), tuple(rows),
            "Delivered is the difference between the run without the event and the run with it, course by course.",
        )


def _causes(facts: SimulationFacts) -> Table:
    visits = facts.visits
    rows = []
    for index, cause in enumerate(CAUSES):
        these = visits.cause == index
        if cause is Cause.NONE or not these.any():
            continue
        rows.append((CAUSE_WORDS[cause][0].upper() + CAUSE_WORDS[cause][1:],
                     figure(int(these.sum()) / facts.replicas), figure(float(visits.shortfall_kwh[these].sum())
                                                                       / facts.replicas)))
    return Table(
        "short-causes", "Why drivers left short", (("Cause", False), ("Drivers", True), ("kWh they lacked", True)),
        tuple(rows), "" if facts.replicas == 1 else "Means over the courses.",
    )


def _shorts(facts: SimulationFacts) -> Table:
    visits, zone = facts.visits, ZoneInfo(facts.timezone)
    rows = np.flatnonzero((visits.replica == 0) & visits.is_short)
    worst = rows[np.argsort(-visits.shortfall_kwh[rows], kind="stable")][:_MOST_SHORTS]

    def clock(seconds: float) -> str:
        return f"{(facts.grid.start + timedelta(seconds=float(seconds))).astimezone(zone):%a %H:%M}"

    made = tuple(
        (visits.evse_id[row], clock(visits.arrival_s[row]), clock(visits.declared_s[row]),
         clock(visits.departure_s[row]), figure(float(visits.target_kwh[row])), figure(float(visits.energy_kwh[row])),
         figure(float(visits.shortfall_kwh[row])), CAUSE_WORDS[CAUSES[visits.cause[row]]])
        for row in worst.tolist()
    )
    note = f"The {len(made)} who lacked most, of {rows.size}" if rows.size > len(made) else "All of them"
    return Table(
        "shorts", "Drivers who left short" + ("" if facts.replicas == 1 else ", in the first course"),
        (("Charger", False), ("Came", False), ("Said", False), ("Left", False), ("Wanted, kWh", True),
         ("Held", True), ("Lacked", True), ("Because of", False)), made, f"{note}.",
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
        return Table("faults", "What went wrong", (("", False), ("Times", True)), tuple(row[:2] for row in rows))
    return Table("faults", "What went wrong", (("", False), ("Times, all courses", True), ("Per course", True)), rows)


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
    return Table("assumptions", "What was run, and what was assumed", (("", False),),
                 tuple((text,) for text in facts.assumptions))


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


def _mean(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _typical(values: Floats, unit: str, digits: int = 1) -> str:
    """The median with its 10th and 90th percentile, or the only value."""
    if values.size == 1 or np.ptp(values) == 0.0:
        return figure(float(values[0]), unit, digits)
    return f"{figure(float(np.median(values)), unit, digits)} ({_range(values, digits)})"


def _between(values: Floats, unit: str, digits: int = 1) -> str:
    return "" if values.size == 1 or not np.isfinite(values).all() else f"{_range(values, digits)} {unit}"


def _range(values: Floats, digits: int) -> str:
    low, high = np.quantile(values, (0.1, 0.9))
    return f"{figure(float(low), '', digits)} to {figure(float(high), '', digits)}"
