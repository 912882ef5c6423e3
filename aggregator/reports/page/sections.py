"""A page of sections, figures first and then tables: what the reports of runs and of plans share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from aggregator.reports.page.figures import Figure
from aggregator.reports.page.file import one_file
from aggregator.reports.page.tables import Table

GENERATOR = "v2g-report"
"""Stands in every page, so that a later run knows it as ours."""

_STYLES = ("tokens.css", "report.css", "sections.css")

Part = TypeVar("Part", Figure, Table)


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


def chosen(made: Iterable[Part], names: Iterable[str]) -> tuple[Part, ...]:
    """Of what was made, what a section names, in its order; a name that ends in a dash: all that are numbered so."""
    parts = tuple(made)
    return tuple(one for name in names for one in parts if one.id == name or (
        name.endswith("-") and one.id.startswith(name) and one.id[len(name):].isdigit()))


def render_page(page: Page) -> str:
    """The page as one HTML file that opens from a disk without a network."""
    figures = (figure for section in page.sections for figure in section.figures)
    return one_file("sections.html", figures, _STYLES, page=page, generator=GENERATOR)
