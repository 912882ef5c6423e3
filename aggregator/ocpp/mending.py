"""Repair what stations are known to write wrongly, rather than lose a meter value over it.

Nothing is invented but a missing time, which becomes now; a sampled value that breaks the schema is left out.
Seen in the field: missing or empty timestamps, units and measurands outside the schema, serial numbers too long.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any

from aggregator.ocpp.readings import write_time
from twin.wire.ocpp import Mender, SchemaFault, check

MAX_REPAIRS = 32

_METERING = frozenset(("MeterValues", "TransactionEvent", "StopTransaction"))
_TIMED = frozenset(("MeterValues", "StatusNotification"))
"""Where now is a fair guess. Never a transaction's start or end: those times identify it."""


def mender(version: str, now: Callable[[], datetime]) -> Mender:
    """A `Mender` for one connection; `now` is domain time."""

    def mend(action: str, payload: dict[str, Any], fault: SchemaFault) -> dict[str, Any] | None:
        try:
            mended = copy.deepcopy(payload)
        except RecursionError:  # nested hundreds of levels deep: no station's habit
            return None
        for _ in range(MAX_REPAIRS):
            if not _repair(action, mended, fault, now):
                return None
            try:
                check(version, action, "Request", mended)
            except SchemaFault as next_fault:
                fault = next_fault
            else:
                return mended
        return None

    return mend


def _repair(action: str, payload: dict[str, Any], fault: SchemaFault, now: Callable[[], datetime]) -> bool:
    steps = fault.steps
    if action in _METERING and _drop_sample(payload, steps):
        return True
    in_reading = len(steps) > 1 and steps[0] in ("meterValue", "transactionData") and isinstance(steps[1], int)
    if fault.missing == "timestamp" and (in_reading or action in _TIMED):
        _at(payload, steps)["timestamp"] = write_time(now())
        return True
    if steps[-1:] == ("timestamp",) and fault.keyword in ("Format", "Type") and (in_reading or action in _TIMED):
        _at(payload, steps[:-1])["timestamp"] = write_time(now())
        return True
    if action == "BootNotification" and fault.keyword == "MaxLength":
        del _at(payload, steps[:-1])[steps[-1]]  # if it is one we need, the next check says so
        return True
    return False


def _drop_sample(payload: dict[str, Any], steps: tuple[str | int, ...]) -> bool:
    """Leave out the sampled value that `steps` point into, and its meter value if that was the last one."""
    where = 2
    if len(steps) <= where or steps[0] not in ("meterValue", "transactionData") or steps[where] != "sampledValue":
        return False
    if len(steps) > where + 1:
        samples = _at(payload, steps[: where + 1])
        del samples[int(steps[where + 1])]
        if samples:
            return True
    meter_values = _at(payload, steps[: where - 1])
    if len(meter_values) > 1 or steps[0] == "transactionData":
        del meter_values[int(steps[where - 1])]
        return True
    if "eventType" in payload:
        del payload["meterValue"]  # a transaction event stands without its meter values
        return True
    return False


def _at(payload: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        payload = payload[step]
    return payload
