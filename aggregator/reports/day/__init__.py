"""The report of a day: what was measured and stored, judged, as one HTML file and as JSON.

`facts` and `series` say what it needs, `outcomes` takes it apart, `verdict` judges it, `totals` adds it up; summary,
figures, tables and JSON only show that.
"""

from aggregator.reports.day.facts import (
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
    VisitFact,
    WireFact,
)
from aggregator.reports.day.page import render_report
from aggregator.reports.day.result import result_json
from aggregator.reports.day.series import StepSeries
from aggregator.reports.day.verdict import Check, Verdict, judge
from aggregator.reports.words import Refusal

__all__ = [
    "Assumption", "Attribution", "BillFact", "BillLine", "CarriedFact", "Check", "CreditFact", "DayFacts", "EventFact",
    "EventInterval", "FeederChange", "FeederFact", "LimitFact", "MessageCount", "PlanFact", "Refusal", "RoundFact",
    "SocTrace", "StepSeries", "Verdict", "VisitFact", "WireFact", "judge", "render_report", "result_json",
]
