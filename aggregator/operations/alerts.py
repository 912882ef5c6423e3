"""Alerts: what a person should look at, raised once while the condition lasts and cleared when it is over."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from aggregator.store import AlertRecord, JsonObject, Store, Transaction


class AlertKind(StrEnum):
    """The conditions the service knows. A stop of discharge is latched, so it is cleared by people only."""

    PLAN_UNSAFE = "plan_unsafe"
    """No plan passed the gate: the safe plan is in use."""
    CAP_CROSSED = "cap_crossed"
    LIMIT_MISSED = "limit_missed"
    COMMITMENT_AT_RISK = "commitment_at_risk"
    DEPARTURE_AT_RISK = "departure_at_risk"
    STATION_OFFLINE = "station_offline"
    PROFILE_REFUSED = "profile_refused"
    PROFILE_NOT_FOLLOWED = "profile_not_followed"
    METER_SILENT = "meter_silent"
    PLANNER_DOWN = "planner_down"
    DISCHARGE_STOP = "discharge_stop"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


_SEVERITY = {
    AlertKind.PLAN_UNSAFE: Severity.CRITICAL,
    AlertKind.CAP_CROSSED: Severity.CRITICAL,
    AlertKind.LIMIT_MISSED: Severity.CRITICAL,
    AlertKind.PLANNER_DOWN: Severity.CRITICAL,
    AlertKind.DISCHARGE_STOP: Severity.CRITICAL,
}


def new_alert(
    kind: AlertKind, subject: str, message: str, at: datetime, *,
    severity: Severity | None = None, detail: JsonObject | None = None,
) -> AlertRecord:
    """An alert about `subject` (an EVSE, a site, a signal: never a driver); severity follows from `kind` if None."""
    return AlertRecord(
        uuid4().hex, kind.value, subject, (severity or _SEVERITY.get(kind, Severity.WARNING)).value, message, at,
        detail or {},
    )


async def settle(
    tx: Transaction, kind: AlertKind, subject: str, *, holds: bool, message: str, at: datetime,
    severity: Severity | None = None, detail: JsonObject | None = None,
) -> AlertRecord | None:
    """Make the alerts say whether a condition holds: raise it, leave it open, or clear it.

    Returns the open alert, or None if there is none (any more).
    """
    if holds:
        return await tx.alerts.raise_(new_alert(kind, subject, message, at, severity=severity, detail=detail))
    for alert in await tx.alerts.open():
        if alert.kind == kind.value and alert.subject == subject:
            await tx.alerts.clear(alert.id, at)
    return None


class AlertDesk:
    """Raise and clear alerts in transactions of their own, for callers that hold none."""

    def __init__(self, store: Store, actor: str = "alerts") -> None:
        self._store, self._actor = store, actor

    async def raise_(
        self, kind: AlertKind, subject: str, message: str, at: datetime, *,
        severity: Severity | None = None, detail: JsonObject | None = None,
    ) -> AlertRecord:
        """The open alert of this kind and subject: a new one, or the one that is open already."""
        async with self._store.transaction(self._actor) as tx:
            return await tx.alerts.raise_(new_alert(kind, subject, message, at, severity=severity, detail=detail))

    async def clear(self, kind: AlertKind, subject: str, at: datetime) -> None:
        """The condition is over; nothing happens if no alert was open."""
        async with self._store.transaction(self._actor) as tx:
            await settle(tx, kind, subject, holds=False, message="", at=at)

    async def open(self) -> list[AlertRecord]:
        async with self._store.read() as tx:
            return await tx.alerts.open()
