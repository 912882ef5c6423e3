"""What goes wrong with chargers and links, drawn before a run.

`plan` says what, `renewal` when it breaks and is repaired.
"""

from twin.faults.plan import PUBLIC_CHARGING, FaultIntervals, FaultKind, FaultModel, FaultModelError, FaultPlan, draw

__all__ = [
    "PUBLIC_CHARGING", "FaultIntervals", "FaultKind", "FaultModel", "FaultModelError", "FaultPlan", "draw",
]
