"""One self-contained page of figures and tables: what the reports of a simulation and of a comparison share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from plotly.offline import get_plotlyjs

from aggregator.reports.figures import Figure
from aggregator.reports.tables import Table

GENERATOR = "v2g-report"
"""Stands in every page, so that a later run knows it as ours."""

_STYLES = ("tokens.css", "report.css", "simulation.css")
_SCRIPTS = ("figures.js", "report.js")


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing. svg: whole and safe to stand in a page: who draws it escapes what comes from a file."""

    id: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own: figures first, then tables. folded: shown on demand.

    pictures: between figures and tables.
    """

    id: str
    title: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    note: str = ""
    pictures: tuple[Picture, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """headline: (label, value, relation). badges: short facts beside the title. notes: sentences before the footer."""

    title: str
    where: str
    summary: str
    headline: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    footer: str = ""
    warning: str = ""


def render_page(page: Page) -> str:
    """The page as one HTML file that opens from a disk without a network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aggregator.reports"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    figures: Sequence[Figure] = [figure for section in page.sections for figure in section.figures]
    drawn = {one.id: {"data": one.data, "layout": one.layout} for one in figures}
    static = resources.files("aggregator.reports") / "static"
    return environment.get_template("simulation.html").render(
        page=page, generator=GENERATOR,
        # "<" never stands in the JSON, so it cannot end the script element it stands in (WHATWG HTML, 4.12.1.3).
        figure_json=json.dumps(drawn, allow_nan=False).replace("<", "\\u003c"),
        styles="".join((static / name).read_text("utf-8") for name in _STYLES),
        scripts="".join((static / name).read_text("utf-8") for name in _SCRIPTS), plotly=get_plotlyjs(),
    )
