"""A fleet's plan on one page: its power under the caps, prices, events, batteries, and why it is what it is."""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.why import Reason
from aggregator.planning.fleet.words import alarm_words, counted, status_words
from aggregator.reports.page import Page, Section, chosen, figures_svg, render_page
from aggregator.reports.plan.car_figures import car_figures
from aggregator.reports.plan.figures import MOST_SITES, power_figures
from aggregator.reports.plan.tables import headline, plan_tables, summary

Explained = Sequence[tuple[int, tuple[Reason, ...]]]
"""Numbers of EVs and the reason of each of their steps."""

_SVG_FIGURES = 8

_SECTIONS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("power", "Power", ("fleet-power",), ("costs",)),
    ("events", "Events", ("event-",), ("events", "reserve")),
    ("prices", "Prices and limits", ("prices",), ("binding",)),
    ("sites", "Sites", ("site-",), ("sites",)),
    ("cars", "Cars", ("soc", "cars"), ("short",)),
    ("why", "Why", ("why-",), ("why-table-",)),
    ("run", "How it was found", (), ("run",)),
)
"""id, title, figures and tables of each section; a name that ends in a dash stands for all that are numbered so."""


def render_plan(problem: Problem, plan: Plan, title: str, explained: Explained = ()) -> str:
    """The plan as one HTML file that opens from a disk without a network."""
    return render_page(plan_page(problem, plan, title, explained))


def plan_svg(problem: Problem, plan: Plan, title: str) -> str:
    """The plan as one picture without scripts: power, prices, events, batteries, and the first sites."""
    figures = [*power_figures(problem, plan), *car_figures(problem, plan, ())]
    kept = chosen(figures, ("fleet-power", "prices", "event-", "soc", "site-"))
    return figures_svg(kept[:_SVG_FIGURES], title)


def plan_page(problem: Problem, plan: Plan, title: str, explained: Explained = ()) -> Page:
    figures = [*power_figures(problem, plan), *car_figures(problem, plan, explained)]
    tables = plan_tables(problem, plan, explained)
    sections = [
        Section(key, name, chosen(figures, own_figures), chosen(tables, own_tables))
        for key, name, own_figures, own_tables in _SECTIONS]
    notes = ["Power is positive when it is drawn from the grid. Steps are counted from 0, hours from the start."]
    if len(problem.sites) > MOST_SITES:
        notes.append(f"{MOST_SITES} of {len(problem.sites):,} sites have a figure: those without room for their power "
                     "first, then those whose limits cost most. The plan's file has all of them.")
    if plan.duals is None:
        notes.append("There are no prices yet: nothing is said of what decided.")
    warning = [] if plan.status == "optimal" else [
        f"{status_words(plan).capitalize()}: no plan costs less than {plan.bound:,.2f}"]
    return Page(
        title=title, where=f"Fleet plan · {counted(len(problem.evs), 'EV')} · {counted(len(problem.sites), 'site')}",
        summary=summary(problem, plan), headline=headline(problem, plan),
        sections=tuple(section for section in sections if section.figures or section.tables),
        notes=tuple(notes), footer="A plan: nothing here has been dispatched or measured.",
        warning="; ".join([*warning, *alarm_words(plan)]))
