"""Grid signals: one model and lifecycle for all protocols, their arrival, and how limits combine.

`wire` holds the OpenADR objects, `openadr` says what an event means. `desk` receives and follows signals, `shelf` holds
those that matter, `limits` turns them into caps and commitments, `views` shows them. Obligations come from our own
register of programmes.
"""

from aggregator.signals.desk import Receipt, SignalDesk, is_fast
from aggregator.signals.limits import Held, LimitBook, Ramp, ReleaseRule, release_ramp
from aggregator.signals.model import (
    NO_LIMIT_KW,
    Decision,
    GridSignal,
    Obligation,
    Programme,
    ReasonCode,
    SignalInterval,
    SignalState,
)
from aggregator.signals.openadr import SignalDraft, SignalFault, resolve_targets, to_signal
from aggregator.signals.shelf import UnknownSignal
from aggregator.signals.views import SignalView

__all__ = [
    "NO_LIMIT_KW",
    "Decision",
    "GridSignal",
    "Held",
    "LimitBook",
    "Obligation",
    "Programme",
    "Ramp",
    "ReasonCode",
    "Receipt",
    "ReleaseRule",
    "SignalDesk",
    "SignalDraft",
    "SignalFault",
    "SignalInterval",
    "SignalState",
    "SignalView",
    "UnknownSignal",
    "is_fast",
    "release_ramp",
    "resolve_targets",
    "to_signal",
]
