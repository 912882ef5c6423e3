"""The report of a simulation: what was run, what it came to, and who was short and why, in one HTML file."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from aggregator.reports.page import Page, Section, chosen, render_page
from aggregator.reports.simulation.causes import SHORT_KWH
from aggregator.reports.simulation.facts import SimulationFacts
from aggregator.reports.simulation.feeder.figures import feeder_figures, feeder_pictures
from aggregator.reports.simulation.feeder.tables import feeder_tables
from aggregator.reports.simulation.feeder.words import feeder_note
from aggregator.reports.simulation.figures import simulation_figures
from aggregator.reports.simulation.summary import headline, summary
from aggregator.reports.simulation.tables import simulation_tables
from aggregator.reports.simulation.warnings import warnings

_SECTIONS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("power", "Power", ("power", "courses"), ("figures", "sites")),
    ("event", "The grid event", ("event-",), ("event-table-",)),
    ("feeder", "The feeder", ("feeder-voltage", "feeder-loading", "feeder-beyond", "feeder-points", "feeder-unbalance",
                              "feeder-hot-spot"),
     ("feeder-figures", "feeder-point-rows", "feeder-line-rows", "feeder-carried-rows", "feeder-transformers",
      "feeder-inverters", "feeder-quality")),
    ("drivers", "Drivers", ("causes", "departures"), ("short-causes", "shorts", "plugged-in")),
    ("batteries", "Batteries", ("soc",), ("ledger",)),
    ("wear", "Battery wear", (), ("wear", "wear-cars")),
    ("surprises", "What went wrong", (), ("faults",)),
    ("inputs", "What was run", (), ("assumptions", "dropped", "run")),
)
"""id, title, figures and tables of each section; a name that ends in a dash stands for all that begin with it."""


def render_simulation(facts: SimulationFacts) -> str:
    """The run as one HTML page with everything in it."""
    return render_page(simulation_page(facts))


def simulation_page(facts: SimulationFacts) -> Page:
    figures = (*simulation_figures(facts), *feeder_figures(facts))
    tables = (*simulation_tables(facts), *feeder_tables(facts))
    notes = {"feeder": feeder_note(facts)}
    pictures = {"feeder": feeder_pictures(facts)}
    sections = tuple(
        Section(key, title, chosen(figures, own_figures), chosen(tables, own_tables), notes.get(key, ""),
                pictures.get(key, ()))
        for key, title, own_figures, own_tables in _SECTIONS
    )
    courses = "one course" if facts.replicas == 1 else f"{facts.replicas} courses"
    version = f" v2g {facts.program_version}." if facts.program_version else ""
    return Page(
        title=facts.name, where=f"Simulation · {_when(facts)} · {facts.control.replace('_', ' ')} · {courses}",
        summary=summary(facts), headline=headline(facts),
        sections=tuple(section for section in sections if section.figures or section.tables),
        warning="; ".join(warnings(facts)), notes=(*facts.notes, *_words(facts)),
        footer=f"Everything here was simulated. Times are local to {facts.timezone}. Power is positive when it is "
               f"drawn from the grid.{version}",
    )


def _when(facts: SimulationFacts) -> str:
    zone = ZoneInfo(facts.timezone)
    first, last = (when.astimezone(zone) for when in (facts.grid.start, facts.grid.end - timedelta(seconds=1)))
    begins = f"{first.day} {first:%B %Y}"
    return begins if first.date() == last.date() else f"{begins} to {last.day} {last:%B %Y}"


def _words(facts: SimulationFacts) -> tuple[str, ...]:
    words = [f"Short is a driver who leaves with more than {SHORT_KWH} kWh less than wanted at departure."]
    if facts.measures["plugged_in"].any():
        words.append("Of a car that is still plugged in at the end nothing is judged: it counts as short in no figure.")
    if facts.replicas > 1:
        words.append(
            "A course is one way in which the time may go: drivers and faults drawn anew, everything else the same. "
            "Every figure over courses is of the same draws, whatever the control, so runs can be compared course by "
            "course with v2g compare."
        )
    return tuple(words)
