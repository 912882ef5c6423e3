"""The events of a station process in domain time, slaved to the wall clock.

Every event runs at its exact domain instant, in order, however late the wall wakes us: the physics between two events
is closed form, so a busy machine delays messages but never changes an energy.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from twin.station.clock import DomainClock

log = logging.getLogger(__name__)

MAX_SLEEP_S = 3600.0

T = TypeVar("T")


class Event:
    """A call due at domain instant `at`; `cancel` makes it void."""

    __slots__ = ("at", "call")

    def __init__(self, at: float, call: Callable[[float], None]) -> None:
        self.at = at
        self.call: Callable[[float], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Timeline:
    """One heap of events and one timer of the event loop for all stations.

    now: the domain instant up to which everything has happened; it never goes back.
    after_events: called after all events of one instant and after every `act`, to settle what they changed.
    """

    def __init__(self, clock: DomainClock, start: float | None = None) -> None:
        self.clock = clock
        self.now = clock.now() if start is None else start
        self.after_events: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._catching_up = False
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()

    def at(self, when: float, call: Callable[[float], None]) -> Event:
        """Run `call(instant)` at domain instant `when`, at once if that has passed."""
        event = Event(max(when, self.now), call)
        heapq.heappush(self._heap, (event.at, next(self._order), event))
        if self._heap[0][2] is event:
            self._arm()
        return event

    def start(self) -> None:
        """Begin to follow the clock on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    def stop(self) -> None:
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def catch_up(self) -> float:
        """Let everything due by now happen and return the domain instant reached."""
        self.run_until(self.clock.now())
        return self.now

    def act(self, deed: Callable[[], T]) -> T:
        """Do something that the outside caused (a message came in), now and after everything due before it.

        Inside an event it is part of that event.
        """
        if self._catching_up:
            return deed()
        self.catch_up()
        self._catching_up = True
        try:
            result = deed()
            self.after_events()
        finally:
            self._catching_up = False
            self._arm()
        return result

    def run_until(self, target: float) -> None:
        """Let everything due by domain instant `target` happen. Calls from inside an event change nothing."""
        if self._catching_up:
            return
        self._catching_up = True
        try:
            heap = self._heap
            while heap and heap[0][0] <= target:
                at, _, event = heapq.heappop(heap)
                self.now = max(self.now, at)
                call, event.call = event.call, None
                if call is not None:
                    call(self.now)
                if not (heap and heap[0][0] <= self.now):
                    self.after_events()
            self.now = max(self.now, target)
        finally:
            self._catching_up = False
            self._arm()

    def _fire(self) -> None:
        self._timer = None
        try:
            self.catch_up()
        except Exception as fault:
            # An event that fails leaves the world half-changed: the process must end and say so, not go on.
            log.exception("an event failed")
            self.failure = fault
            self.stop()
            self.failed.set()

    def _arm(self) -> None:
        if self._loop is None or self._catching_up:
            return
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            delay = self.clock.wall_at(self._heap[0][0]) - time.time()
            self._timer = self._loop.call_later(min(max(0.0, delay), MAX_SLEEP_S), self._fire)
