"""The gate's examination: a schedule is replayed, and what breaks is named.

`report` replays the one world that is expected, `futures` many courses that it may take (`fates`); `breaches` says
what can break.
"""

from twin.validation.breaches import Breach, BreachKind, EventPromise, Tolerances
from twin.validation.futures import Futures, PromiseSpread, Spread
from twin.validation.report import DepartureOutcome, ScheduleMismatch, ValidationReport, validate

__all__ = [
    "Breach", "BreachKind", "DepartureOutcome", "EventPromise", "Futures", "PromiseSpread", "ScheduleMismatch",
    "Spread", "Tolerances", "ValidationReport", "validate",
]
