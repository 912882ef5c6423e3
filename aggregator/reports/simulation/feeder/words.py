"""What a run did to the feeder, in sentences: for the summary, the head of the page, its warnings and the section."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import figure
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.spread import spread, typical

Floats = NDArray[np.float64]

_NOTICED_MIN = 0.5


def feeder_sentence(facts: SimulationFacts) -> str:
    """What the EVs did to the cable; empty where there is no feeder."""
    feeder = facts.feeder
    if feeder is None:
        return ""
    measured = facts.measures
    caused, loading = measured["feeder_caused_minutes"], 100.0 * measured["feeder_line_loading"]
    bare = 100.0 * feeder.base_measures["feeder_line_loading"]
    said = (
        f"EVs put the feeder beyond a limit for {typical(caused / 60.0, 'h')}" if float(caused.max()) >= _NOTICED_MIN
        else "EVs never put the feeder beyond a limit"
    )
    words = (
        f"{said}; the most loaded line carried {typical(loading, '%', 0)} of its rating, {figure(bare, '%', 0)} "
        "without EVs."
    )
    if "feeder_event_minutes" in measured:
        event, plain = (measured[f"feeder_{part}_minutes"] for part in ("event", "plain"))
        events = "event" if len(facts.events) == 1 else "events"
        words += (
            f" Without the {events} it would have been {typical(plain / 60.0, 'h')}; for {typical(event / 60.0, 'h')} "
            f"something was beyond its limit only because of the {events}."
        )
    if feeder.inverters is not None:
        taken, given = measured["withheld_import_kwh"], measured["withheld_export_kwh"]
        trips = measured["inverter_trips"]
        words += (
            f" Inverters withheld {typical(taken, 'kWh')} of charging and {typical(given, 'kWh')} of feeding in, and "
            + (f"disconnected {typical(trips, '', 0)} times." if trips.any() else "never disconnected.")
        )
    return words


def feeder_card(facts: SimulationFacts) -> tuple[tuple[str, str, str], ...]:
    """For the head of the page: how long EVs put the feeder beyond a limit."""
    if facts.feeder is None:
        return ()
    hours = facts.measures["feeder_caused_minutes"] / 60.0
    median = "" if facts.replicas == 1 else ", median"
    loading = 100.0 * float(np.median(facts.measures["feeder_line_loading"]))
    relation = f"a line at {figure(loading, '%', 0)} of its rating"
    if hours.size > 1:
        relation = f"P10 to P90: {spread(hours)} h, {relation}"
    return ((f"Feeder beyond a limit because of EVs{median}", figure(float(np.median(hours)), "h"), relation),)


def feeder_warnings(facts: SimulationFacts) -> tuple[str, ...]:
    """Limits broken because of EVs, steps without a solution, engines that do not agree."""
    feeder = facts.feeder
    if feeder is None:
        return ()
    caused, unsolved = facts.measures["feeder_caused_minutes"], facts.measures["feeder_unsolved"]
    found = []
    if float(caused.max()) >= _NOTICED_MIN:
        courses = "" if facts.replicas == 1 else f", in {int((caused > 0).sum())} of {facts.replicas} courses"
        found.append(f"EVs put the feeder beyond a limit for {typical(caused / 60.0, 'h')}{courses}")
    if unsolved.any():
        found.append(
            f"the feeder cannot carry what is asked of it in {typical(unsolved, '', 0)} steps: no power-flow solution"
        )
    unsettled = _unsettled_s(facts)
    if unsettled.any():
        found.append(
            f"flow and inverters did not agree for {typical(unsettled / 60.0, 'min', 1)}: what they delivered then is "
            "only about right"
        )
    if feeder.agrees is False:
        found.append("the second power-flow engine does not agree, so the feeder's figures are not to be relied on")
    return tuple(found)


def _unsettled_s(facts: SimulationFacts) -> Floats:
    """For how long flow and inverters did not agree, of each course; zeros where there are none."""
    return facts.measures["inverter_unsettled_s"]


def feeder_note(facts: SimulationFacts) -> str:
    """How the section came about."""
    feeder = facts.feeder
    if feeder is None:
        return ""
    minutes = facts.grid.step_s / 60.0
    low, high = feeder.voltage_pu
    volts = "" if feeder.nominal_volts is None else f" of {feeder.nominal_volts:g} V"
    unrated = "" if not feeder.unrated else (
        f" {feeder.unrated:,} phases of lines have no rating and are not judged."
    )
    unbalance = "" if feeder.unbalance_limit is None else f", unbalance {100.0 * feeder.unbalance_limit:g} %"
    return (
        f"{feeder.name}, {feeder.homes_and_evs}. Three-phase power flow with the mean power of every step of "
        f"{minutes:g} min, so shorter peaks are not seen. Limits: {low:g} to {high:g} p.u.{volts}, lines "
        f"{100.0 * feeder.line_limit:g} % and transformers {100.0 * feeder.transformer_limit:g} % of their ratings"
        f"{unbalance}. What is beyond a limit without EVs too is not counted as theirs.{unrated} "
        f"{feeder.second_engine}"
    )
