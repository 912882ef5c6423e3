"""Write what became of deliveries into the store, many at a time.

Answers of thirty chargers come within milliseconds of each other; one transaction for all of them keeps the one
writer free for plans and limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from aggregator.clock import Clock
from aggregator.ocpp.events import Delivery, ProfileCommand, Purpose
from aggregator.store import AlertRecord, DesiredState, Store

log = logging.getLogger(__name__)

GATHER_S = 0.02
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Mark:
    """The latest state of one version."""

    state: DesiredState
    detail: str
    at: datetime
    attempts: int | None = None
    sent_wall: float | None = None
    answered_wall: float | None = None


class Ledger:
    """Collects marks and alerts and commits them together; the newest mark of a version wins."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._marks: dict[tuple[str, Purpose, int], Mark] = {}
        self._alerts: list[AlertRecord] = []
        self._stir = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_stopped = False

    def mark(
        self,
        command: ProfileCommand,
        state: DesiredState,
        detail: str,
        *,
        attempts: int | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        sent_wall = delivery.sent_wall if delivery is not None else None
        answered_wall = delivery.answered_wall if delivery is not None else None
        key = (command.evse_id, command.purpose, command.version)
        mark = Mark(state, detail, self._clock.now(), attempts, sent_wall, answered_wall)
        before = self._marks.get(key)
        if before is not None:  # a later mark without stamps keeps those of the one it replaces
            mark = replace(
                mark,
                attempts=before.attempts if mark.attempts is None else mark.attempts,
                sent_wall=before.sent_wall if mark.sent_wall is None else mark.sent_wall,
                answered_wall=before.answered_wall if mark.answered_wall is None else mark.answered_wall,
            )
        self._marks[key] = mark
        self._stir.set()

    def alert(self, kind: str, subject: str, message: str, severity: str = "warning") -> None:
        self._alerts.append(AlertRecord(str(uuid.uuid4()), kind, subject, severity, message, self._clock.now()))
        self._stir.set()

    def stop(self) -> None:
        """Let `run` return after what it is writing; a transaction is never cut in the middle."""
        self._is_stopped = True
        self._stir.set()

    async def run(self) -> None:
        """Write until stopped; what the store refuses now is kept and tried again."""
        self._is_stopped = False
        while True:
            await self._stir.wait()
            if self._is_stopped:
                return
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except SQLAlchemyError:
                log.exception("delivery states could not be written, trying again in %s s", RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Write everything collected so far in one transaction."""
        async with self._writing:
            if not self._is_stopped:
                self._stir.clear()
            marks, self._marks = self._marks, {}
            alerts, self._alerts = self._alerts, []
            if not marks and not alerts:
                return
            try:
                await self._write(marks, alerts)
            except BaseException:
                self._marks = marks | self._marks
                self._alerts = alerts + self._alerts
                self._stir.set()
                raise

    async def _write(self, marks: dict[tuple[str, Purpose, int], Mark], alerts: list[AlertRecord]) -> None:
        async with self._store.transaction("dispatch") as tx:
            for (evse_id, purpose, version), mark in marks.items():
                await tx.desired.mark(
                    evse_id, purpose, version, mark.state, mark.detail, mark.at,
                    sent_wall=mark.sent_wall, answered_wall=mark.answered_wall, attempts=mark.attempts,
                )
            for alert in alerts:
                await tx.alerts.raise_(alert)

    async def written(self) -> None:
        """Return once everything collected before the call is in the store."""
        while self._marks or self._alerts or self._writing.locked():
            with contextlib.suppress(SQLAlchemyError):
                await self.flush()
            await asyncio.sleep(0)
