"""Reports of what was measured and stored: one self-contained HTML file each, the same as JSON, and the verdict.

`facts` says what a report needs, `verdict` judges it, `totals` adds it up; figures, tables and JSON only show that.
"""

from aggregator.reports.day import render_report, result_json
from aggregator.reports.facts import (
    Assumption,
    Attribution,
    BillFact,
    BillLine,
    CarriedFact,
    CreditFact,
    DayFacts,
    EventFact,
    EventInterval,
    FeederChange,
    FeederFact,
    LimitFact,
    MessageCount,
    PlanFact,
    RoundFact,
    SocTrace,
    StepSeries,
    VisitFact,
    WireFact,
)
from aggregator.reports.verdict import Check, Verdict, judge
from aggregator.reports.words import Refusal

__all__ = [
    "Assumption", "Attribution", "BillFact", "BillLine", "CarriedFact", "Check", "CreditFact", "DayFacts", "EventFact",
    "EventInterval", "FeederChange", "FeederFact", "LimitFact", "MessageCount", "PlanFact", "Refusal", "RoundFact",
    "SocTrace", "StepSeries", "Verdict", "VisitFact", "WireFact", "judge", "render_report", "result_json",
]
