"""The report of a day as one self-contained HTML file."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from aggregator.reports.day.facts import DayFacts
from aggregator.reports.day.figures import day_figures
from aggregator.reports.day.summary import headline, summary
from aggregator.reports.day.tables import day_tables
from aggregator.reports.day.totals import totals
from aggregator.reports.day.verdict import judge
from aggregator.reports.page import one_file

_STYLES = ("tokens.css", "report.css")


def render_report(facts: DayFacts) -> str:
    """The day as one HTML page with everything in it."""
    sums, verdict = totals(facts), judge(facts)
    figures = day_figures(facts, sums)
    day = facts.start.astimezone(ZoneInfo(facts.timezone))
    return one_file(
        "day.html", figures, _STYLES,
        facts=facts, totals=sums, verdict=verdict, figures=figures, summary=summary(facts, sums, verdict),
        tables=day_tables(facts, sums, verdict), day=f"{day:%A} {day.day} {day:%B %Y}", headline=headline(facts, sums),
    )
