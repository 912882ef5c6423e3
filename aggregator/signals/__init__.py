"""Grid signals: one model and lifecycle for all protocols, their arrival, and how limits combine.

`wire` holds the OpenADR objects, `openadr` says what an event means, `desk` receives and follows signals, `limits`
turns those in force into caps and commitments. Obligations come from our own register of programmes.
"""

from aggregator.signals.desk import Receipt, SignalDesk, SignalView, UnknownSignal, is_fast
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
