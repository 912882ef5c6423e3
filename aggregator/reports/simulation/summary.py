"""A run in a paragraph and in a few figures, for someone who reads nothing else."""

from __future__ import annotations

import re

import numpy as np

from aggregator.reports.page import ABSENT, figure
from aggregator.reports.simulation.causes import SHORT_KWH
from aggregator.reports.simulation.drivers import plugged_in_sentence
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.feeder.words import feeder_card, feeder_sentence
from aggregator.reports.simulation.spread import between, typical
from aggregator.reports.simulation.wear import wear_sentence

_PERFECT = 1e-9


def summary(facts: SimulationFacts) -> str:
    """The run in a paragraph for someone who reads nothing else."""
    measured, hours = facts.measures, facts.grid.step_hours
    stretch = facts.grid.step_s * facts.grid.steps / 3600
    span = f"{stretch:.3g} hours" if stretch <= 72 else f"{stretch / 24:.3g} days"  # noqa: PLR2004 - three days
    sentences = [
        f"In {span} {typical(measured['visits'], '', 0)} cars came to {facts.evses:,} chargers; "
        f"{typical(measured['short_drivers'], '', 0)} left with more than {SHORT_KWH} kWh less than their drivers "
        "wanted" + (
            "." if facts.replicas == 1 else
            f" (medians over {facts.replicas} courses of drivers and faults, here and below; in brackets P10 to P90)."
        ),
        plugged_in_sentence(facts),
        f"The highest power at a connection point was {typical(measured['peak_kw'], 'kW')}" + (
            ", and the caps were never exceeded." if float(measured["over_cap_kwh"].max(initial=0.0)) < _PERFECT
            else f"; beyond the caps flowed {typical(measured['over_cap_kwh'], 'kWh', 2)}."
        ),
    ]
    for event in facts.events:
        delivered, kept = event.delivered_kwh(hours), event.kept_share()
        sentences.append(
            f"For {event.name}, {typical(event.promised_kwh(hours), 'kWh')} less were promised and "
            f"{typical(delivered, 'kWh')} delivered" + (
                f": {typical(100 * kept, '%', 0)} of the promise was there when it was due."
                if np.isfinite(kept).all() else "."
            )
        )
    if facts.events:
        who = "The event" if len(facts.events) == 1 else "The events"
        sentences.append(
            f"{who} made {typical(measured['event_short_drivers'], '', 0)} drivers short who were not otherwise; all "
            f"who left lacked {typical(measured['event_short_kwh'], 'kWh')} more together than without."
        )
    sentences += [feeder_sentence(facts), wear_sentence(facts)]
    # A figure and its unit stay on one line.
    return re.sub(r"(?<=\d) (?=kWh?\b|h\b|%)", "\u00a0", " ".join(one for one in sentences if one))


def headline(facts: SimulationFacts) -> tuple[tuple[str, str, str], ...]:
    """The few figures one wants to know first: label, value, relation."""
    measured, hours = facts.measures, facts.grid.step_hours
    cap = float(facts.whole.cap_kw.min())
    gone = measured["visits"] - measured["plugged_in"]
    content = 100 * (1.0 - measured["short_drivers"] / np.maximum(gone, 1.0))[gone > 0]
    # One word for all cards: where there are several courses, all of them show medians.
    median = "" if facts.replicas == 1 else ", median"
    cards = [
        (f"Left with what they wanted{median}", figure(float(np.median(content)), "%") if content.size else ABSENT,
         "nobody left" if not content.size
         else between(content, "%") or f"{gone[0] - measured['short_drivers'][0]:.0f} of {gone[0]:.0f} drivers"),
        (f"Highest power{median}", figure(float(np.median(measured["peak_kw"])), "kW"),
         between(measured["peak_kw"], "kW") or (f"cap {figure(cap, 'kW')}" if np.isfinite(cap) else "no cap")),
    ]
    for event in facts.events[:1]:
        kept = event.kept_share()
        cards.append((
            f"Promise kept{median}", figure(100 * float(np.median(kept)), "%", 0),
            between(100 * kept, "%", 0) or f"{figure(float(np.median(event.promised_kwh(hours))), 'kWh')} promised",
        ))
    back = float(np.median(measured["ev_export_kwh"]))
    cards.append((
        f"Into the cars{median}", figure(float(np.median(measured["ev_import_kwh"])), "kWh", 0),
        f"{figure(back, 'kWh', 0)} came back out" if back > 0 else "none came back out",
    ))
    return (*cards, *feeder_card(facts))
