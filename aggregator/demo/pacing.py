"""Let the day go on only while everybody keeps up: a machine that is too busy makes it slower instead of wrong.

The demo grants the time of all its processes a quarter of a second ahead. If it is starved itself, time stands with it;
if a station, the service or its planner is, the meter's readings are acknowledged late, or the plan for a car is late,
and it grants no more until they are there. A service that is down is not waited for: it is missed, as in the world.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from aggregator.clock import ScaledClock, Segment
from twin.lease import LeaseKeeper

BEAT_S = 0.05
LEASE_S = 0.25
LATE_S = 0.15
"""A reading comes due every 0.06 s and is some hundredths on its way: two late ones, and some process is starved."""
PATIENCE_S = 10.0
"""Nobody is waited for longer than this; whatever it is, it is no stall, and it must become visible."""
CURTAIN_S = 60.0
"""Before the first moment everybody waits longer: until every station is connected."""


class Pacer:
    """Grants time to the clocks of the demo, wall seconds throughout.

    clock: on the lease that `keeper` keeps; it stands until `open`.
    seen_to: the instant up to which the service has kept up; None if there is nobody to wait for.
    """

    def __init__(
        self, keeper: LeaseKeeper, clock: ScaledClock, seen_to: Callable[[], datetime | None] = lambda: None
    ) -> None:
        self.keeper, self.clock, self.seen_to = keeper, clock, seen_to
        self._opening = keeper.run_at(time.time())
        self._is_open = False
        self._waiting_since: float | None = None

    def open(self) -> None:
        """Everybody is there: time may begin."""
        self._is_open = True
        self._waiting_since = None

    def held(self) -> tuple[int, float]:
        """How often time stood since it began, and for how many seconds in all."""
        holds = [seconds for run, seconds in self.keeper.holds if run > self._opening]
        return len(holds), sum(holds)

    async def run(self) -> None:
        """Renew the lease until cancelled."""
        while True:
            self.beat(time.time())
            await asyncio.sleep(BEAT_S)

    def beat(self, wall: float) -> None:
        """Grant what may be granted at wall time `wall`."""
        run = self.keeper.run_at(wall)
        if not self._is_open:
            if not self._has_waited(wall, CURTAIN_S):
                return
            self.open()
        if not self._is_late(run):
            self._waiting_since = None
        elif not self._has_waited(wall, PATIENCE_S):
            return
        self.keeper.grant(wall, self._next_until(run))

    def _next_until(self, run: float) -> float:
        """A little ahead; where a second is a second, to the end of that, because there nothing is lost by a stall."""
        segments = self.clock.segments
        following = [segment.wall_start for segment in segments if segment.wall_start > run]
        if _at(segments, run).factor > 1.0:
            return run + LEASE_S
        return max(following[0], run + LEASE_S) if following else float("inf")

    def _is_late(self, run: float) -> bool:
        seen_to = self.seen_to()
        if seen_to is None or _at(self.clock.segments, run).factor <= 1.0:
            return False
        return run - self.clock.run_at(seen_to) > LATE_S

    def _has_waited(self, wall: float, patience_s: float) -> bool:
        if self._waiting_since is None:
            self._waiting_since = wall
        return wall - self._waiting_since >= patience_s


def _at(segments: tuple[Segment, ...], run: float) -> Segment:
    return next((segment for segment in reversed(segments) if segment.wall_start <= run), segments[0])
