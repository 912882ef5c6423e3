"""Deliver desired profiles to chargers: durable, newest version only, one at a time for each EVSE.

Whoever decides writes desired rows with `queue_commands` in the transaction of the decision and calls `wake` after the
commit. From then on a row is delivered, refused, expired or replaced by a newer one; a killed process takes up what was
queued or sent and is still valid when it starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from aggregator.clock import Clock
from aggregator.dispatch.capabilities import CapabilityNotes, Limitation
from aggregator.dispatch.desired import PermitClip, content_hash, decode, discharges, encode, permitted
from aggregator.dispatch.ledger import Ledger
from aggregator.dispatch.line import SLOT_OF, Held, Job, Line, Slot
from aggregator.dispatch.permits import DischargePermit
from aggregator.ocpp.events import ChargerCommands, Delivery, DeliveryState, ProfileCommand, Purpose
from aggregator.store import DesiredRecord, DesiredState, Store, Transaction

log = logging.getLogger(__name__)

_T = TypeVar("_T")

RETRY_S = (1.0, 2.0, 5.0, 15.0)
"""Wall seconds between attempts; the last repeats."""
JITTER = 0.2
OFFLINE_CHECK_S = 15.0
READ_RETRY_S = 1.0
REFUSALS_BEFORE_DOWNGRADE = 2
"""One refusal may be a race with the end of the transaction; two are an answer."""

_FINAL = {DeliveryState.REJECTED: DesiredState.REJECTED, DeliveryState.NOT_SUPPORTED: DesiredState.NOT_SUPPORTED}
_OPEN = (DesiredState.QUEUED, DesiredState.SENT)
_ENDED = (DesiredState.SUPERSEDED, DesiredState.EXPIRED)


class OutboxNotRunning(RuntimeError):
    """`deliver_now` was called while `run` was not running."""


@dataclass(slots=True)
class OutboxCounters:
    """Every field only grows."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    retried: int = 0
    unchanged: int = 0
    expired: int = 0
    superseded: int = 0


async def queue_commands(
    tx: Transaction, commands: Sequence[ProfileCommand], *, plan_id: str | None = None
) -> tuple[ProfileCommand, ...]:
    """Write `commands` as desired rows in the caller's transaction; returns them with the versions they got.

    After the commit the caller wakes the outbox for their EVSEs.
    """
    records = [
        DesiredRecord(
            evse_id=command.evse_id, purpose=command.purpose, payload=encode(command),
            content_hash=content_hash(command), updated_at=tx.now, valid_to=command.valid_to, plan_id=plan_id,
        )
        for command in commands
    ]
    queued = await tx.desired.put_many(records)
    return tuple(replace(command, version=row.version) for command, row in zip(commands, queued, strict=True))


async def unbroken(work: Coroutine[Any, Any, _T]) -> _T:
    """Do `work` to its end even if the caller is cancelled, and only then let the cancellation through.

    A cancellation that hits a database call can be swallowed by the driver's clean-up; the caller would never hear it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Outbox:
    """The one way profiles take to chargers.

    Args:
        permit_of: the discharge permit in force for an EVSE at this moment; asked again before every sending, so that
            a consent withdrawn or a stop latched since the plan still counts.
        transaction_of: the running transaction of an EVSE; plan profiles of another one are not sent.
        on_clip: called for each discharge order that a missing permit took away at the last moment.
        on_accepted: called with what a charger accepted; verification begins there.
        retry_s: wall seconds between attempts.
    """

    def __init__(
        self,
        store: Store,
        commands: ChargerCommands,
        clock: Clock,
        *,
        permit_of: Callable[[str], DischargePermit],
        transaction_of: Callable[[str], str | None],
        capabilities: CapabilityNotes | None = None,
        on_clip: Callable[[PermitClip], None] | None = None,
        on_accepted: Callable[[ProfileCommand], None] | None = None,
        retry_s: tuple[float, ...] = RETRY_S,
        jitter: random.Random | None = None,
    ) -> None:
        self.capabilities = capabilities or CapabilityNotes()
        self.counters = OutboxCounters()
        self._store = store
        self._commands = commands
        self._clock = clock
        self._permit_of = permit_of
        self._transaction_of = transaction_of
        self._on_clip = on_clip
        self._on_accepted = on_accepted
        self._retry_s = retry_s
        self._jitter = jitter or random.Random()
        self._lines: dict[str, Line] = {}
        self._ledger = Ledger(store, clock)
        self._to_resync: set[str] = set()
        self._stir = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    # --- what others ask -----------------------------------------------------------------------------------------

    def wake(self, evse_ids: Iterable[str]) -> None:
        """Rows of these EVSEs were committed: read and deliver them (one read serves all that were woken)."""
        if any(True for _ in evse_ids):
            self._stir.set()

    def resync(self, evse_id: str) -> None:
        """A charger booted or came back: give it everything again, the fallback first.

        Returns at once, so that the answer to its BootNotification is not held up.
        """
        self._to_resync.add(evse_id)
        self._stir.set()

    def expect_news(self, evse_id: str) -> None:
        """Send the next plan even if it is the one held: the charger waits for it, as after NotifyEVChargingNeeds."""
        line = self._lines.get(evse_id)
        if line is not None and (held := line.held.get(Slot.PLAN)) is not None:
            line.held[Slot.PLAN] = replace(held, content_hash="")

    def held(self, evse_id: str) -> ProfileCommand | None:
        """The plan profile that this charger accepted last; None if unknown or none."""
        line = self._lines.get(evse_id)
        held = line.held.get(Slot.PLAN) if line is not None else None
        return held.command if held is not None else None

    async def deliver_now(
        self, commands: Sequence[ProfileCommand], *, actor: str, reason: str, wait_s: float = 5.0
    ) -> dict[str, Delivery]:
        """Store `commands` in one transaction and send them all at once, ahead of anything older.

        Args:
            commands: at most one for each EVSE and purpose; the store gives them their versions.
            actor: who decided, for the audit chain.
            reason: what for, for the audit chain.
            wait_s: wall seconds to wait for first answers; what fails goes on in the background with its retries.

        Returns:
            by EVSE, the answer to the first attempt of this command or of one that replaced it meanwhile.

        Raises:
            OutboxNotRunning: `run` is not running, so nothing would be sent.
        """
        if self._group is None:
            raise OutboxNotRunning("deliver_now: the outbox is not running, expected run() in a task")
        if not commands:
            return {}
        try:
            queued = await unbroken(self._queue_now(commands, actor, reason))
        except asyncio.CancelledError:
            self.wake([command.evse_id for command in commands])  # it may have been committed
            raise
        answers: dict[str, asyncio.Future[Delivery]] = {}
        for command in queued:
            line = self._line(command.evse_id)
            answers[command.evse_id] = line.wait_for(SLOT_OF[command.purpose], command.version)
            line.offer(command)
            self._kick(line)
        await asyncio.wait(answers.values(), timeout=wait_s)
        late = Delivery(DeliveryState.TIMEOUT, f"no answer within {wait_s:g} s, still trying")
        return {evse_id: answer.result() if answer.done() else late for evse_id, answer in answers.items()}

    async def ledger_written(self) -> None:
        """Wait until every state known now is in the store."""
        await self._ledger.written()

    async def record_verified(self, command: ProfileCommand, detail: str) -> None:
        """Note that the charger was seen to do what `command` says."""
        self._ledger.mark(command, DesiredState.VERIFIED, detail)

    def raise_alert(self, kind: str, evse_id: str, message: str) -> None:
        """Raise an alert about one EVSE with the next write to the store."""
        self._ledger.alert(kind, evse_id, message)

    async def _queue_now(
        self, commands: Sequence[ProfileCommand], actor: str, reason: str
    ) -> tuple[ProfileCommand, ...]:
        async with self._store.transaction(actor) as tx:
            queued = await queue_commands(tx, commands)
            tx.audit("dispatch.deliver_now", reason, {"evses": [command.evse_id for command in queued]})
            return queued

    # --- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled, beginning with what an earlier process left queued or sent."""
        if self._group is not None:
            raise RuntimeError("run: the outbox is already running")
        writing = asyncio.create_task(self._ledger.run(), name="outbox-ledger")
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._stir.set()
                while True:
                    await self._stir.wait()
                    self._stir.clear()
                    try:
                        await unbroken(self._take_up())
                    except SQLAlchemyError:
                        log.exception("desired rows could not be read, trying again in %s s", READ_RETRY_S)
                        await asyncio.sleep(READ_RETRY_S)
                        self._stir.set()
        finally:
            self._group = None
            for line in self._lines.values():
                line.abandon("outbox stopped")
            self._ledger.stop()
            await writing
            await unbroken(self._ledger.flush())

    async def _take_up(self) -> None:
        """Read what was woken and hand it to the lines; the first time that is everything pending."""
        async with self._store.read() as tx:
            resync, self._to_resync = self._to_resync, set()
            try:
                rows = await (tx.desired.all() if resync else tx.desired.pending())
            except BaseException:
                self._to_resync |= resync
                raise
        for evse_id in resync:
            line = self._line(evse_id)
            line.held.clear()
            if self._transaction_of(evse_id) is None:
                line.clear_plan()
        touched = set(resync)
        for row in rows:
            again = row.evse_id in resync
            if row.state in _ENDED or (row.state not in _OPEN and not again):
                continue
            if self._offer_row(row, again=again):
                touched.add(row.evse_id)
        for evse_id in touched:
            self._kick(self._line(evse_id))

    def _offer_row(self, row: DesiredRecord, *, again: bool) -> bool:
        line = self._line(row.evse_id)
        try:
            command = decode(row.evse_id, str(row.purpose), row.version, row.payload)
        except ValueError:
            log.exception("desired row of %s cannot be read and is not sent", row.evse_id)
            self._ledger.alert("desired_row_unreadable", row.evse_id, "a stored profile cannot be read and is not sent")
            return False
        if again and row.version < line.newest.get(SLOT_OF[command.purpose], -1):
            self.resync(row.evse_id)  # this snapshot is older than what was sent since: read again
            return False
        return line.offer(command, again=again)

    def _line(self, evse_id: str) -> Line:
        return self._lines.setdefault(evse_id, Line(evse_id))

    def _kick(self, line: Line) -> None:
        line.changed.set()
        if self._group is not None and (line.task is None or line.task.done()) and line.jobs:
            line.task = self._group.create_task(self._work(line), name=f"outbox-{line.evse_id}")

    async def _work(self, line: Line) -> None:
        """Do the jobs of one EVSE, one at a time, until none is left."""
        while line.jobs:
            line.changed.clear()
            now = time.monotonic()
            job = line.due(now)
            if job is not None:
                await self._do(line, job)
                continue
            rest_s = max(0.0, (line.next_due() or now) - now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_s):  # `wait_for` of Python 3.11 can swallow a cancellation
                    await line.changed.wait()

    async def _do(self, line: Line, job: Job) -> None:
        if job.command is None and self._transaction_of(line.evse_id) is not None:
            line.done(job)  # a car came meanwhile: its own plan replaces what is there, a clear would take it away
            return
        if job.command is not None and not self._is_worth_sending(line, job, job.command):
            return
        if not self._commands.is_online(line.evse_id):
            job.due = time.monotonic() + OFFLINE_CHECK_S
            if job.command is not None:
                line.answer(job.slot, job.command.version, Delivery(DeliveryState.OFFLINE, "no connection"))
            return
        delivery = await (self._clear(line) if job.command is None else self._send(line, job, job.command))
        if delivery.state is DeliveryState.ACCEPTED or delivery.state in _FINAL:
            line.done(job)
        else:
            rest_s = self._retry_s[min(job.attempts, len(self._retry_s) - 1)]
            job.attempts += 1
            job.due = time.monotonic() + rest_s * self._jitter.uniform(1 - JITTER, 1 + JITTER)
            self.counters.retried += 1
        if job.command is not None:
            line.answer(job.slot, job.command.version, delivery)

    def _is_worth_sending(self, line: Line, job: Job, command: ProfileCommand) -> bool:
        now = self._clock.now()
        if command.valid_to is not None and command.valid_to <= now:
            self.counters.expired += 1
            self._drop(line, job, command, DesiredState.EXPIRED, "its time is over")
            return False
        if command.transaction_id is not None and command.transaction_id != self._transaction_of(line.evse_id):
            self.counters.superseded += 1
            self._drop(line, job, command, DesiredState.SUPERSEDED, "its transaction is over")
            return False
        return True

    def _drop(self, line: Line, job: Job, command: ProfileCommand, state: DesiredState, why: str) -> None:
        line.done(job)
        self._ledger.mark(command, state, why, attempts=job.attempts)
        line.answer(job.slot, command.version, Delivery(DeliveryState.REJECTED, why))

    async def _clear(self, line: Line) -> Delivery:
        """Remove a plan profile left over from a transaction that is gone."""
        line.held.pop(Slot.PLAN, None)
        try:
            delivery = await self._commands.clear_profile(line.evse_id, Purpose.PLAN)
        except Exception as fault:
            log.exception("clearing the plan profile of %s failed", line.evse_id)
            return Delivery(DeliveryState.TIMEOUT, repr(fault))
        # "Unknown" (nothing to clear) reaches us as a refusal and is as good as done.
        return delivery

    async def _send(self, line: Line, job: Job, ordered: ProfileCommand) -> Delivery:
        command, clips = permitted(ordered, self._permit_of(line.evse_id))
        for clip in clips:
            log.warning("discharge order for %s cut to %.3f kW: %s", clip.evse_id, clip.given_kw, clip.missing)
            if self._on_clip is not None:
                self._on_clip(clip)
        digest = content_hash(command)
        held = line.held.get(job.slot)
        if held is not None and held.still_serves(digest, command, self._clock.now()):
            self.counters.unchanged += 1
            # What it holds ends when it ended before, but answers for the new version now.
            line.held[job.slot] = replace(held, command=replace(held.command, version=command.version))
            if self._on_accepted is not None:
                self._on_accepted(line.held[job.slot].command)
            self._ledger.mark(command, DesiredState.ACCEPTED, "unchanged, not sent again", attempts=job.attempts)
            return Delivery(DeliveryState.ACCEPTED, "unchanged, not sent again")
        line.held.pop(job.slot, None)  # until it answers nobody knows which one it holds
        self.counters.sent += 1
        self._ledger.mark(command, DesiredState.SENT, "", attempts=job.attempts + 1)
        try:
            delivery = await self._commands.set_profile(command)
        except Exception as fault:
            log.exception("sending a profile to %s failed", line.evse_id)
            delivery = Delivery(DeliveryState.TIMEOUT, repr(fault))
        self._note(line, job, command, digest, delivery)
        return delivery

    def _note(self, line: Line, job: Job, command: ProfileCommand, digest: str, delivery: Delivery) -> None:
        """Draw the consequences of an answer."""
        attempts = job.attempts + 1
        if delivery.state is DeliveryState.ACCEPTED:
            line.held[job.slot] = Held(digest, command)
            line.refusals = 0
            self.counters.accepted += 1
            self._ledger.mark(command, DesiredState.ACCEPTED, delivery.detail, attempts=attempts, delivery=delivery)
            if self._on_accepted is not None:
                self._on_accepted(command)
        elif delivery.state in _FINAL:
            self.counters.refused += 1
            self._ledger.mark(command, _FINAL[delivery.state], delivery.detail, attempts=attempts, delivery=delivery)
            self._refused(line, command, delivery)
        else:
            detail = f"{delivery.state.value}: {delivery.detail}"
            self._ledger.mark(command, DesiredState.SENT, detail, attempts=attempts, delivery=delivery)

    def _refused(self, line: Line, command: ProfileCommand, delivery: Delivery) -> None:
        """Come down a rung: who will not discharge still charges; who takes no profile stays on its own limits."""
        if command.transaction_id is not None and command.transaction_id != self._transaction_of(line.evse_id):
            return  # the car left while the order was under way
        line.refusals += 1
        if delivery.state is DeliveryState.REJECTED and line.refusals < REFUSALS_BEFORE_DOWNGRADE:
            return
        limitation = Limitation.REFUSES_DISCHARGE if discharges(command) else Limitation.REFUSES_PROFILES
        detail = f"{delivery.state.value} {delivery.detail}".strip()
        if self.capabilities.note(line.evse_id, limitation, detail, self._clock.now()):
            message = f"{command.purpose.value} profile: {detail}"
            self._ledger.alert(f"charger_{limitation.value}", line.evse_id, message)
