"""Domain time for a station process, read from the clock file that every process of a scaled run shares.

Domain instants inside the process are POSIX seconds (float): the event heap and the physics add and compare them;
datetimes exist only on the wire and in files.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec

from twin.lease import Lease, LeaseError


class ClockFileError(ValueError):
    """The clock file cannot be used; the message names the file and the field."""


class ClockSegment(msgspec.Struct, frozen=True):
    """From Unix time `wall_start` on, domain time runs from `domain_start` at `factor` domain seconds per second."""

    wall_start: float
    domain_start: Annotated[datetime, msgspec.Meta(tz=True)]
    factor: Annotated[float, msgspec.Meta(gt=0.0)]


class ClockFile(msgspec.Struct, frozen=True):
    """lease: a lease file beside this one, if the run may be held; wall starts are then run time."""

    segments: Annotated[list[ClockSegment], msgspec.Meta(min_length=1)]
    lease: str | None = None


class DomainClock:
    """Piecewise-linear domain time; the first segment also holds before its start, the last one for ever.

    lease: how far time may go; without one it goes on for ever.
    """

    def __init__(self, segments: Sequence[ClockSegment], lease: Lease | None = None) -> None:
        self._lease = lease
        self._walls = [segment.wall_start for segment in segments]
        self._starts = [segment.domain_start.timestamp() for segment in segments]
        self._factors = [segment.factor for segment in segments]
        for name, values in (("wall_start", self._walls), ("domain_start", self._starts)):
            if any(b <= a for a, b in pairwise(values)):
                raise ClockFileError(f"segments: {name} {values}, expected increasing values")

    @classmethod
    def load(cls, path: Path) -> DomainClock:
        """Read a clock file. Raises a `ClockFileError` if it cannot be read or is faulty."""
        try:
            file = msgspec.json.decode(path.read_bytes(), type=ClockFile)
            return cls(file.segments, None if file.lease is None else Lease.open(path.parent / file.lease))
        except LeaseError as fault:
            raise ClockFileError(f"{path}: lease: {fault}") from None
        except OSError as fault:
            raise ClockFileError(f"{path}: {fault.strerror}") from None
        except (msgspec.MsgspecError, ClockFileError) as fault:
            raise ClockFileError(f"{path}: {fault}") from None

    @classmethod
    def wall(cls) -> DomainClock:
        """Domain time that is wall time."""
        now = time.time()
        return cls([ClockSegment(now, datetime.fromtimestamp(now, UTC), 1.0)])

    def now(self) -> float:
        """Domain instant now, POSIX seconds."""
        return self.at_wall(time.time())

    def at_wall(self, wall: float) -> float:
        run = wall if self._lease is None else self._lease.run_at(wall)
        index = max(0, bisect.bisect_right(self._walls, run) - 1)
        return self._starts[index] + (run - self._walls[index]) * self._factors[index]

    def wall_at(self, when: float) -> float:
        """Unix seconds at which domain time reaches `when`; on a lease, the earliest at which it can."""
        index = self._segment(when)
        run = self._walls[index] + (when - self._starts[index]) / self._factors[index]
        return run if self._lease is None else self._lease.wall_at(run)

    def factor(self, when: float) -> float:
        """Domain seconds per wall second at domain instant `when`."""
        return self._factors[self._segment(when)]

    def next_change(self, when: float) -> float:
        """The first domain instant after `when` at which the factor changes; infinity if it never does."""
        index = bisect.bisect_right(self._starts, when)
        return self._starts[index] if index < len(self._starts) else float("inf")

    def next_tick(self, when: float, interval_s: float, least_wall_s: float, most_wall_s: float | None = None) -> float:
        """The instant to do something periodic next, after doing it at `when`.

        interval_s is domain time, but never less than `least_wall_s` of wall time nor more than `most_wall_s`. A
        change of the factor is always a tick: an interval chosen at 480 must not last for minutes at factor 1.
        """
        factor = self.factor(when)
        step = interval_s if most_wall_s is None else min(interval_s, most_wall_s * factor)
        return min(when + max(step, least_wall_s * factor), self.next_change(when))

    def _segment(self, when: float) -> int:
        return max(0, bisect.bisect_right(self._starts, when) - 1)


def iso(when: float) -> str:
    """A domain instant as OCPP writes it: UTC with Z, milliseconds."""
    return datetime.fromtimestamp(round(when, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> float:
    """An ISO 8601 time of the wire as a domain instant. Raises a `ValueError` if it is not one; naive means UTC."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
