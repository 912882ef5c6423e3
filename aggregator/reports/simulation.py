"""The report of a simulation: what was run, what it came to, and who was short and why, in one HTML file."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from aggregator.reports.figures import Figure
from aggregator.reports.simulation_facts import SHORT_KWH, SimulationFacts
from aggregator.reports.simulation_feeder import feeder_note, feeder_pictures, feeder_tables
from aggregator.reports.simulation_feeder_figures import feeder_figures
from aggregator.reports.simulation_figures import simulation_figures
from aggregator.reports.simulation_page import Page, Section, render_page
from aggregator.reports.simulation_tables import headline, simulation_tables, summary
from aggregator.reports.simulation_warnings import warnings
from aggregator.reports.tables import Table

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
    figures = {figure.id: figure for figure in (*simulation_figures(facts), *feeder_figures(facts))}
    tables = {table.id: table for table in (*simulation_tables(facts), *feeder_tables(facts))}
    notes = {"feeder": feeder_note(facts)}
    pictures = {"feeder": feeder_pictures(facts)}
    sections = tuple(
        Section(key, title, _figures(figures, own_figures), _tables(tables, own_tables), notes.get(key, ""),
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


def _figures(made: dict[str, Figure], names: tuple[str, ...]) -> tuple[Figure, ...]:
    return tuple(figure for name in names for key, figure in made.items() if _is_meant(key, name))


def _tables(made: dict[str, Table], names: tuple[str, ...]) -> tuple[Table, ...]:
    return tuple(table for name in names for key, table in made.items() if _is_meant(key, name))


def _is_meant(key: str, name: str) -> bool:
    return key == name or (name.endswith("-") and key.startswith(name) and key[len(name):].isdigit())
