"""Runs side by side as one HTML file: their curves, their figures, and the differences with how sure they are."""

from __future__ import annotations

from aggregator.reports.comparison.facts import ComparisonFacts
from aggregator.reports.comparison.figures import curves, difference_figures
from aggregator.reports.comparison.tables import causes, changed, difference_tables, runs, side_by_side
from aggregator.reports.comparison.words import differences_in_words, headline, how
from aggregator.reports.page import Page, Section, render_page


def render_comparison(facts: ComparisonFacts) -> str:
    """The comparison as one HTML page with everything in it."""
    first = facts.runs[0]
    version = f" v2g {facts.program_version}." if facts.program_version else ""
    return render_page(Page(
        title="Runs compared", where=" · ".join(run.label for run in facts.runs),
        summary=" ".join(differences_in_words(facts)), headline=headline(facts),
        sections=(
            Section("changed", "What was changed", (), (changed(facts),)),
            Section("curves", "Power", tuple(curves(facts))),
            Section(
                "differences", f"Differences from {first.label}", difference_figures(facts),
                tuple(difference_tables(facts)), how(facts),
            ),
            Section("figures", "Side by side", (), (side_by_side(facts), causes(facts), runs(facts))),
        ),
        footer=f"Everything here was simulated. Times are local to {facts.timezone}. Power is positive when it is "
               f"drawn from the grid.{version}",
        warning="" if facts.replicas > 1 else "One course each: differences have no interval",
    ))
