"""Time on a lease: one process lets the clocks of others run, a moment at a time.

A scaled day that runs on while a starved process stands still goes wrong: half a second lost is four minutes at 480.
So whoever drives the day writes into a small shared file how far its time may go and renews that many times a second;
where the lease ends, time ends for everybody, and it goes on from there when the lease does.

    wall   ----|=========|.........|========>      = time runs, . the lease was not renewed: a hold
    run        0         9         9       17      wall time without the holds; clocks scale this

Run time counts from the same zero as wall time (Unix seconds), so that without holds the two are equal.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Self

POLL_S = 0.02
"""Wall seconds after which one who waits for time that stands still looks again."""

CAPACITY = 1 << 16
"""Holds that a file has room for; at a few holds a second they last for hours."""

_MAGIC = b"V2GLEAS1"
_UNTIL, _COUNT, _FIRST = 1, 2, 3
_SIZE = 8 * (_FIRST + 2 * CAPACITY)


class LeaseError(ValueError):
    """The lease file cannot be used; the message names it."""


class Lease:
    """What a lease file says: how far run time may go, and every hold so far.

    The file is an array of float64: the magic, the run time granted, the number of holds, then for each hold the run
    time at which time stood and the wall seconds held in all, this hold included. Only whole numbers of 8 bytes are
    written, a hold before it is counted and counted before the lease goes beyond it; whoever reads in the opposite
    order sees time that never goes back.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._numbers = memoryview(memory).cast("d")
        self._stops: list[float] = []
        self._held: list[float] = [0.0]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Follow the lease in `path`. Raises a `LeaseError` if it cannot be read or is no lease file."""
        try:
            with path.open("rb") as file:
                if file.read(len(_MAGIC)) != _MAGIC or os.fstat(file.fileno()).st_size != _SIZE:
                    raise LeaseError(f"{path}: expected a lease file")
                return cls(mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ))
        except OSError as fault:
            raise LeaseError(f"{path}: {fault.strerror}") from None

    @property
    def holds(self) -> tuple[tuple[float, float], ...]:
        """(run time at which time stood, wall seconds it stood) of every hold."""
        self._look()
        return tuple(
            (stop, held - before) for stop, before, held in zip(self._stops, self._held, self._held[1:], strict=False)
        )

    def run_at(self, wall: float) -> float:
        """Run time at wall time `wall`, now or before (Unix seconds)."""
        until = self._look()
        held = self._held[-1]
        if not self._stops or wall >= self._stops[-1] + held:
            return min(wall - held, until)
        index = bisect_right(range(len(self._stops)), wall, key=lambda hold: self._stops[hold] + self._held[hold + 1])
        return min(wall - self._held[index], self._stops[index])

    def wall_at(self, run: float) -> float:
        """Wall time at which run time came to `run`; if that is still to come, the earliest at which it can."""
        until = self._look()
        if run <= until:
            return run + self._held[bisect_left(self._stops, run)]
        now = time.time()
        if now - self._held[-1] < until:
            return run + self._held[-1]
        return now + max(run - until, POLL_S)

    def _look(self) -> float:
        """The run time granted, after reading the holds that came before it was."""
        numbers = self._numbers
        until, count = numbers[_UNTIL], int(numbers[_COUNT])
        for hold in range(len(self._stops), count):
            self._stops.append(numbers[_FIRST + 2 * hold])
            self._held.append(numbers[_FIRST + 2 * hold + 1])
        return until


class LeaseKeeper(Lease):
    """The one who grants. Others may open the file as soon as this exists."""

    @classmethod
    def create(cls, path: Path, wall: float) -> Self:
        """A new lease file, on which time stands at wall time `wall` until it is granted more."""
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(_MAGIC + struct.pack("d", wall))
            file.truncate(_SIZE)
        fresh.replace(path)
        return cls.take_over(path)

    @classmethod
    def take_over(cls, path: Path) -> Self:
        """Go on with a lease whose keeper is gone. Raises a `LeaseError` if there is none."""
        Lease.open(path)
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), _SIZE))

    def grant(self, wall: float, until: float) -> None:
        """Let time go on, at wall time `wall`, up to run time `until`; what was granted before stays granted.

        If time had come to the end of the lease, the wall time since then is a hold.

        Raises:
            LeaseError: there is no room for one more hold.
        """
        granted = self._look()
        if until <= granted:
            return
        if wall - self._held[-1] > granted:
            count = len(self._stops)
            if count == CAPACITY:
                raise LeaseError(f"time was held more than {CAPACITY} times")
            self._numbers[_FIRST + 2 * count] = granted
            self._numbers[_FIRST + 2 * count + 1] = wall - granted
            self._numbers[_COUNT] = count + 1
        self._numbers[_UNTIL] = until
