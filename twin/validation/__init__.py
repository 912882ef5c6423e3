"""The gate's examination: a schedule is replayed, and what breaks is named.

`report` replays the one world that is expected, `futures` many courses that it may take (`fates`); `breaches` says
what can break. `grid` looks at what the replay does to the feeder, `tangents` at how each EVSE acts on its limits,
`room` at what is left there for powers that may give way. Futures and feeders are loaded when they are asked for: what
they stand on takes half a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from twin.validation.breaches import Breach, BreachKind, EventPromise, Tolerances
from twin.validation.report import DepartureOutcome, ScheduleMismatch, ValidationReport, validate

if TYPE_CHECKING:
    from twin.validation.futures import Futures, PromiseSpread, Spread
    from twin.validation.grid import FeederReplay, tangents_of
    from twin.validation.room import near_limits
    from twin.validation.tangents import Tangent

__all__ = [
    "Breach", "BreachKind", "DepartureOutcome", "EventPromise", "FeederReplay", "Futures", "PromiseSpread",
    "ScheduleMismatch", "Spread", "Tangent", "Tolerances", "ValidationReport", "near_limits",
    "tangents_of", "validate",
]

_LATER = {
    "FeederReplay": "grid", "Futures": "futures", "PromiseSpread": "futures", "Spread": "futures",
    "Tangent": "tangents", "near_limits": "room", "tangents_of": "grid",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
