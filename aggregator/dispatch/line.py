"""The line to one EVSE: what waits to be sent, what the charger is known to hold, who waits for an answer.

State without I/O. It remembers the newest version ever seen of each slot, so that an older one can never be sent
after it, whatever order rows, failures and reconnections come in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from aggregator.ocpp.events import Delivery, DeliveryState, ProfileCommand, Purpose


class Slot(IntEnum):
    """What can be outstanding for one EVSE, in the order it is sent: what is safe first, then what is planned."""

    STATION_MAX = 0
    FALLBACK = 1
    CLEAR_PLAN = 2
    PLAN = 3


SLOT_OF = {Purpose.STATION_MAX: Slot.STATION_MAX, Purpose.FALLBACK: Slot.FALLBACK, Purpose.PLAN: Slot.PLAN}


@dataclass(slots=True)
class Job:
    """Something to send. command: None for a clear. due: monotonic wall seconds before which it rests."""

    slot: Slot
    command: ProfileCommand | None
    attempts: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the charger accepted last in one slot."""

    content_hash: str
    command: ProfileCommand

    def still_serves(self, content_hash: str, command: ProfileCommand, now: datetime) -> bool:
        """True if sending `command` would change nothing that matters yet.

        It orders the same, does not end sooner, and at least half of its life is covered by what is held.
        """
        if content_hash != self.content_hash:
            return False
        held_to, new_to = self.command.valid_to, command.valid_to
        if held_to is None or new_to is None:
            return held_to is new_to
        return new_to >= held_to > now and (held_to - now) * 2 >= new_to - now


@dataclass(slots=True)
class Line:
    """One EVSE's outstanding work.

    newest: the highest version seen in each slot. refusals: rejections in a row of the plan.
    """

    evse_id: str
    jobs: dict[Slot, Job] = field(default_factory=dict)
    held: dict[Slot, Held] = field(default_factory=dict)
    newest: dict[Slot, int] = field(default_factory=dict)
    refusals: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    _waiting: list[tuple[Slot, int, asyncio.Future[Delivery]]] = field(default_factory=list)

    def offer(self, command: ProfileCommand, *, again: bool = False) -> bool:
        """Take a command for sending if it is newer than all before it; `again` also takes the newest once more."""
        slot = SLOT_OF[command.purpose]
        newest = self.newest.get(slot, -1)
        if command.version < newest or (command.version == newest and not again):
            return False
        waiting = self.jobs.get(slot)
        if waiting is not None and waiting.command is not None and waiting.command.version == command.version:
            waiting.due = 0.0
            return True
        self.newest[slot] = command.version
        self.jobs[slot] = Job(slot, command)
        self.changed.set()
        return True

    def clear_plan(self) -> None:
        self.jobs[Slot.CLEAR_PLAN] = Job(Slot.CLEAR_PLAN, None)
        self.changed.set()

    def due(self, now: float) -> Job | None:
        """The job to do now, safest first."""
        return next((self.jobs[slot] for slot in Slot if slot in self.jobs and self.jobs[slot].due <= now), None)

    def next_due(self) -> float | None:
        return min((job.due for job in self.jobs.values()), default=None)

    def done(self, job: Job) -> None:
        """Take `job` off the line, unless something newer took its place while it was under way."""
        if self.jobs.get(job.slot) is job:
            del self.jobs[job.slot]

    def wait_for(self, slot: Slot, version: int) -> asyncio.Future[Delivery]:
        """The first answer to `version` or to a newer one in the slot."""
        future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._waiting.append((slot, version, future))
        return future

    def answer(self, slot: Slot, version: int, delivery: Delivery) -> None:
        rest = []
        for waited_slot, waited_version, future in self._waiting:
            if future.done():
                continue
            if waited_slot is slot and waited_version <= version:
                future.set_result(delivery)
            else:
                rest.append((waited_slot, waited_version, future))
        self._waiting = rest

    def abandon(self, reason: str) -> None:
        """Tell everyone who waits that nothing more will come."""
        for _, _, future in self._waiting:
            if not future.done():
                future.set_result(Delivery(DeliveryState.OFFLINE, reason))
        self._waiting = []
