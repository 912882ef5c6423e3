"""Stop all discharge: at once, latched, and released only by two different people.

The latch lives in memory (permits and the outbox see it in the same instant) and in the store as an open alert (a
restart finds it latched). Alerts of `PROTECTED_ALERT_KINDS` must not be cleared by any other way than `rearm`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aggregator.clock import Clock
from aggregator.dispatch.desired import decode, discharges, from_now, without_discharge
from aggregator.dispatch.outbox import Outbox
from aggregator.ocpp.events import Delivery, ProfileCommand, Purpose
from aggregator.store import AlertRecord, Store, Transaction

STOP_KIND = "discharge_stop"
REARM_KIND = "discharge_rearm_request"
PROTECTED_ALERT_KINDS = frozenset({STOP_KIND, REARM_KIND})
REARM_WINDOW_S = 900.0
"""Wall seconds within which the second person has to agree."""


class StopError(Exception):
    """A stop or a re-arming that cannot be done; the message says why."""


@dataclass(frozen=True, slots=True)
class StopScope:
    """What a stop covers: one EVSE, one site, all that hangs on one feeder, or everything (all None)."""

    evse_id: str | None = None
    site_id: str | None = None
    feeder_id: str | None = None

    def __post_init__(self) -> None:
        if sum(name is not None for name in (self.evse_id, self.site_id, self.feeder_id)) > 1:
            raise ValueError("stop scope: several of EVSE, site and feeder, expected one of them or none")

    @property
    def subject(self) -> str:
        if self.evse_id is not None:
            return f"evse:{self.evse_id}"
        if self.feeder_id is not None:
            return f"feeder:{self.feeder_id}"
        return "fleet" if self.site_id is None else f"site:{self.site_id}"


@dataclass(frozen=True, slots=True)
class StopOutcome:
    """What a latch did at once. deliveries: by EVSE that had discharge in its orders."""

    scope: StopScope
    commands: tuple[ProfileCommand, ...]
    deliveries: Mapping[str, Delivery]


class DischargeStop:
    """The latch. Call `load` before the first plan.

    site_of: the site of every EVSE known. feeder_of: the feeder's name, for those of which it is known.
    """

    def __init__(
        self, store: Store, outbox: Outbox, clock: Clock, site_of: Mapping[str, str],
        feeder_of: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._site_of = site_of
        self._feeder_of = feeder_of or {}
        self._latched: set[str] = set()

    async def load(self) -> None:
        """Take up the latches that were set before the process started."""
        async with self._store.read() as tx:
            self._latched = {alert.subject for alert in await tx.alerts.open() if alert.kind == STOP_KIND}

    @property
    def latched(self) -> frozenset[str]:
        """Subjects under a stop: "fleet", "site:…", "feeder:…", "evse:…"."""
        return frozenset(self._latched)

    def is_stopped(self, evse_id: str) -> bool:
        own = {"fleet", f"site:{self._site_of.get(evse_id)}", f"evse:{evse_id}"}
        if evse_id in self._feeder_of:
            own.add(f"feeder:{self._feeder_of[evse_id]}")
        return not self._latched.isdisjoint(own)

    async def latch(self, scope: StopScope, *, by: str, reason: str) -> StopOutcome:
        """Stop discharge in `scope` now: every order of theirs that discharges is replaced by 0.

        Raises:
            StopError: the scope names an EVSE, site or feeder that does not exist.
        """
        covered = self._covered(scope)
        self._latched.add(scope.subject)  # before anything can fail: no permit is in force from here on
        now = self._clock.now()
        async with self._store.transaction(by) as tx:
            await tx.alerts.raise_(AlertRecord(
                str(uuid.uuid4()), STOP_KIND, scope.subject, "critical", f"discharge stopped: {reason}", now,
                {"by": by},
            ))
            for request in await _open(tx, REARM_KIND, scope.subject):
                await tx.alerts.clear(request.id, now)
            commands = await _discharging(tx, covered, now)
        deliveries = await self._outbox.deliver_now(commands, actor=by, reason=f"{STOP_KIND}:{scope.subject}")
        return StopOutcome(scope, commands, deliveries)

    async def rearm(self, scope: StopScope, *, by: str) -> bool:
        """Ask for, or agree to, the end of a stop: True once a second person has agreed.

        Nothing is sent: discharge begins again with the next plan that passes the gate.

        Raises:
            StopError: nothing is latched in this scope, or the same person asks twice.
        """
        now = self._clock.now()
        async with self._store.transaction(by) as tx:
            stops = await _open(tx, STOP_KIND, scope.subject)
            if not stops:
                raise StopError(f"scope: {scope.subject}, expected one under a latched stop")
            requests = await _open(tx, REARM_KIND, scope.subject)
            fresh = [r for r in requests if time.time() - float(r.detail["wall"]) <= REARM_WINDOW_S]
            if any(request.detail["by"] == by for request in fresh):
                raise StopError(f"by: {by}, expected a second person to agree to the re-arming of {scope.subject}")
            for request in requests:
                await tx.alerts.clear(request.id, now)
            if not fresh:
                await tx.alerts.raise_(AlertRecord(
                    str(uuid.uuid4()), REARM_KIND, scope.subject, "warning",
                    "one person asked to allow discharge again", now, {"by": by, "wall": time.time()},
                ))
                return False
            for stop in stops:
                await tx.alerts.clear(stop.id, now)
            tx.audit("discharge.rearmed", scope.subject, {"first": fresh[0].detail["by"], "second": by})
        self._latched.discard(scope.subject)
        return True

    def _covered(self, scope: StopScope) -> frozenset[str]:
        if scope.evse_id is not None:
            covered = frozenset({scope.evse_id} & self._site_of.keys())
        elif scope.feeder_id is not None:
            covered = frozenset(e for e, feeder in self._feeder_of.items() if feeder == scope.feeder_id)
        else:
            covered = frozenset(e for e, site in self._site_of.items() if scope.site_id in {None, site})
        if not covered:
            raise StopError(f"scope: {scope.subject}, expected a known EVSE, site or feeder")
        return covered


async def _open(tx: Transaction, kind: str, subject: str) -> list[AlertRecord]:
    return [alert for alert in await tx.alerts.open() if alert.kind == kind and alert.subject == subject]


async def _discharging(tx: Transaction, evse_ids: frozenset[str], now: datetime) -> tuple[ProfileCommand, ...]:
    """The plan profiles of these EVSEs that would still discharge, with 0 in its place."""
    commands = []
    for row in await tx.desired.all():
        if row.evse_id not in evse_ids or row.purpose != Purpose.PLAN:
            continue
        command = decode(row.evse_id, row.purpose, row.version, row.payload)
        if discharges(command) and (command.valid_to is None or command.valid_to > now):
            commands.append(from_now(without_discharge(command), now))
    return tuple(commands)
