"""The report of a simulation: what was run, what it came to over the courses of the run, and who was short and why.

`facts` (with `causes`, `measures` and `feeder.facts`) is where the runs and the report meet; the rest only shows them.
"""

from aggregator.reports.simulation.band import Band
from aggregator.reports.simulation.causes import CAUSE_WORDS, CAUSES, SHORT_KWH, Cause
from aggregator.reports.simulation.facts import (
    KEPT_WITHIN_KW,
    KEPT_WITHIN_SHARE,
    AgeingFact,
    EventFact,
    SimulationFacts,
    SiteFact,
    SocFan,
    VisitColumns,
    WearColumns,
)
from aggregator.reports.simulation.measures import MEASURES, Measure
from aggregator.reports.simulation.page import render_simulation, simulation_page
from aggregator.reports.simulation.warnings import warnings
from aggregator.reports.simulation.wear import WearTotals, wear_totals

__all__ = [
    "CAUSES", "CAUSE_WORDS", "KEPT_WITHIN_KW", "KEPT_WITHIN_SHARE", "MEASURES", "SHORT_KWH", "AgeingFact", "Band",
    "Cause", "EventFact", "Measure", "SimulationFacts", "SiteFact", "SocFan", "VisitColumns", "WearColumns",
    "WearTotals", "render_simulation", "simulation_page", "warnings", "wear_totals",
]
