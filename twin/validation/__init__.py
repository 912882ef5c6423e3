"""The gate's examination: a schedule is replayed, and what breaks is named.

`report` replays the one world that is expected, `futures` many courses that it may take (`fates`); `breaches` says
what can break. `grid` looks at what the replay does to the feeder, `tangents` at how each EVSE acts on its limits.
"""

from twin.validation.breaches import Breach, BreachKind, EventPromise, Tolerances
from twin.validation.futures import Futures, PromiseSpread, Spread
from twin.validation.grid import FeederReplay, tangents_of
from twin.validation.report import DepartureOutcome, ScheduleMismatch, ValidationReport, validate
from twin.validation.tangents import Tangent

__all__ = [
    "Breach", "BreachKind", "DepartureOutcome", "EventPromise", "FeederReplay", "Futures", "PromiseSpread",
    "ScheduleMismatch", "Spread", "Tangent", "Tolerances", "ValidationReport", "tangents_of", "validate",
]
