"""The report of runs side by side: what was changed between them, and what of their differences goes beyond chance."""

from aggregator.reports.comparison.facts import ComparisonFacts, DifferenceFact, RunFact
from aggregator.reports.comparison.figures import MOST_RUNS
from aggregator.reports.comparison.page import render_comparison
from aggregator.reports.comparison.words import differences_in_words

__all__ = [
    "MOST_RUNS", "ComparisonFacts", "DifferenceFact", "RunFact", "differences_in_words", "render_comparison",
]
