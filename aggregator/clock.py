"""Domain time: the clock of sessions, prices and profiles, which can run faster than the wall.

Tokens, timeouts, pings, retries and back-off use wall time and never this clock.
A scaled clock is a list of segments (wall start, domain start, factor); as they are stored,
a restarted process continues on the same time line, and several processes share it.
On a lease (`twin.lease`) it runs only as far as whoever drives the run lets it: holds lie outside its segments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Protocol

from twin.lease import Lease


class Clock(Protocol):
    """Where domain time comes from."""

    def now(self) -> datetime:
        """Domain time, aware UTC."""
        ...

    def wall_seconds_until(self, when: datetime) -> float:
        """Wall seconds until domain time `when`; 0 if it has passed."""
        ...

    async def sleep_until(self, when: datetime) -> None: ...

    async def sleep(self, domain_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """From wall time `wall_start` (Unix seconds) on, domain time runs from `domain_start` at `factor`.

    On a lease, `wall_start` is run time: wall time without the holds.
    """

    wall_start: float
    domain_start: datetime
    factor: float

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor: {self.factor}, expected more than 0")
        if self.domain_start.utcoffset() != timedelta(0):
            raise ValueError(f"domain_start: {self.domain_start}, expected an aware UTC datetime")


class ScaledClock:
    """Piecewise-linear domain time. Raises a `ValueError` if there is no segment or they are out of order.

    lease: how far time may go; without one it goes on for ever.
    """

    def __init__(self, segments: Sequence[Segment], lease: Lease | None = None) -> None:
        if not segments:
            raise ValueError("segments: empty, expected at least one")
        if any(b.wall_start <= a.wall_start for a, b in pairwise(segments)):
            raise ValueError("segments: expected increasing wall starts")
        self.segments = tuple(segments)
        self.lease = lease

    def _run(self, wall: float) -> float:
        return wall if self.lease is None else self.lease.run_at(wall)

    def _segment(self, run: float) -> Segment:
        segment = self.segments[0]
        for candidate in self.segments[1:]:
            if candidate.wall_start > run:
                break
            segment = candidate
        return segment

    @property
    def factor(self) -> float:
        """Domain seconds per wall second now, while time runs."""
        return self._segment(self._run(time.time())).factor

    def at_wall(self, wall: float) -> datetime:
        run = self._run(wall)
        segment = self._segment(run)
        return segment.domain_start + timedelta(seconds=(run - segment.wall_start) * segment.factor)

    def run_at(self, when: datetime) -> float:
        """Run time (Unix seconds without the holds) at which domain time reaches `when`."""
        segment = self.segments[0]
        for candidate in self.segments[1:]:
            if candidate.domain_start > when:
                break
            segment = candidate
        return segment.wall_start + (when - segment.domain_start).total_seconds() / segment.factor

    def wall_at(self, when: datetime) -> float:
        """Unix seconds at which domain time reaches `when`; on a lease, the earliest at which it can."""
        run = self.run_at(when)
        return run if self.lease is None else self.lease.wall_at(run)

    def now(self) -> datetime:
        return self.at_wall(time.time())

    def wall_seconds_until(self, when: datetime) -> float:
        return max(0.0, self.wall_at(when) - time.time())

    async def sleep_until(self, when: datetime) -> None:
        await asyncio.sleep(self.wall_seconds_until(when))
        while (left_s := self.wall_seconds_until(when)) > 0:  # noqa: ASYNC110 - held meanwhile; another process holds
            await asyncio.sleep(left_s)

    async def sleep(self, domain_seconds: float) -> None:
        await self.sleep_until(self.now() + timedelta(seconds=domain_seconds))


def segments_through(
    wall_start: float, domain_start: datetime, speed: float, slow: Sequence[tuple[datetime, float]] = ()
) -> list[Segment]:
    """Segments that run at `speed`, but at factor 1 for some wall seconds from each instant in `slow`."""
    segments = [Segment(wall_start, domain_start, speed)]
    for begin, wall_seconds in sorted(slow):
        last = segments[-1]
        wall = last.wall_start + (begin - last.domain_start).total_seconds() / last.factor
        segments.append(Segment(wall, begin, 1.0))
        segments.append(Segment(wall + wall_seconds, begin + timedelta(seconds=wall_seconds), speed))
    return segments


class WallClock:
    """Domain time that is wall time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wall_seconds_until(self, when: datetime) -> float:
        return max(0.0, (when - self.now()).total_seconds())

    async def sleep_until(self, when: datetime) -> None:
        await asyncio.sleep(self.wall_seconds_until(when))

    async def sleep(self, domain_seconds: float) -> None:
        await asyncio.sleep(domain_seconds)
