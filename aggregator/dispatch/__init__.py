"""From a validated plan to power at the connectors: permits, desired state, outbox, verification, and the fast loop.

A decision writes desired profiles with `queue_commands` in its own transaction; the `Outbox` brings the newest version
of each to its charger and nothing older after it. `PermitBook` is asked before anything discharges, `FastLoop` holds
the site's limits between plans, `Verifier` watches that chargers do what they accepted, `DischargeStop` ends discharge.
"""

from aggregator.dispatch.allocation import Draw, allocate, curtail_discharge, first_minute_level_kw
from aggregator.dispatch.capabilities import CapabilityNote, CapabilityNotes, Limitation
from aggregator.dispatch.desired import (
    PermitClip,
    content_hash,
    decode,
    encode,
    fallback_command,
    permitted,
    plan_command,
    power_at,
    without_discharge,
)
from aggregator.dispatch.fast_loop import FastLoop
from aggregator.dispatch.outbox import Outbox, OutboxNotRunning, queue_commands
from aggregator.dispatch.permits import (
    DischargePermit,
    DischargeUse,
    EvseApproval,
    PermitBook,
    PermitGap,
    VehicleApproval,
    no_permit,
)
from aggregator.dispatch.stop import PROTECTED_ALERT_KINDS, DischargeStop, StopError, StopOutcome, StopScope
from aggregator.dispatch.trims import FastLoopSettings, LimitDispatch, LimitHold, Trim, TrimReason
from aggregator.dispatch.verify import Verifier, VerifierSettings

__all__ = [
    "PROTECTED_ALERT_KINDS", "CapabilityNote", "CapabilityNotes", "DischargePermit", "DischargeStop", "DischargeUse",
    "Draw", "EvseApproval", "FastLoop", "FastLoopSettings", "LimitDispatch", "LimitHold", "Limitation", "Outbox",
    "OutboxNotRunning", "PermitBook", "PermitClip", "PermitGap", "StopError", "StopOutcome", "StopScope", "Trim",
    "TrimReason", "VehicleApproval", "Verifier", "VerifierSettings", "allocate", "content_hash", "curtail_discharge",
    "decode", "encode", "fallback_command", "first_minute_level_kw", "no_permit", "permitted", "plan_command",
    "power_at", "queue_commands", "without_discharge",
]
