"""Things that fail and are repaired, drawn so that a more fragile world contains every failure of a sturdier one.

Failures of a slot are points in the plane of time and rate: with rate r, those below r happen. Repairs are points in
time; the next one ends whatever is broken:

    rate
     |   x          x                         <- happens only if failures are frequent
     | . . . . . . . . . . . . . . . . r      <- the line moves with the mean time between failures
     |        x            x    x
     +---|-----------|---------------|-----> time     | repairs
     up  |   [======)  up  [=========)

This is the two-state Markov process with exponential up and down times exactly, and it is nested: raising r only adds
broken time (the graphical construction of monotone couplings; Liggett, "Interacting Particle Systems", 1985, III.6).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twin.draws import Floats, Ints, uniforms

# The plane is drawn in strips of rate (0 to 1, 1 to 2, 2 to 4 ... per year): only those below r are needed.
_STRIP_PER_S = 1.0 / (8760.0 * 3600.0)

_ROWS_AT_ONCE = 1 << 16
"""Rows that are drawn in one call: few slots are drawn for all strips at once, a call being dear beside a row."""


@dataclass(frozen=True)
class Broken:
    """Half-open intervals in which a slot is broken, in order of slot and start; those of one slot do not overlap.

    number: index into the slots that were given.
    """

    number: Ints
    start_s: Floats
    end_s: Floats

    def take(self, rows: NDArray[np.bool_] | Ints) -> Self:
        return type(self)(self.number[rows], self.start_s[rows], self.end_s[rows])


@dataclass(frozen=True)
class Slots:
    """What may fail, by name: replica and EVSE, and what for, so that no two kinds of failure share a draw."""

    seed: int
    purpose: str
    replica: Ints
    evse: Ints

    def uniforms(self, purpose: str, number: Ints, *words: Ints) -> Floats:
        """Four uniforms for each of the slots `number`, shape (4, n)."""
        return uniforms(self.seed, f"{self.purpose} {purpose}", self.replica[number], self.evse[number], *words)


def failures(slots: Slots, *, mean_up_s: float, mean_down_s: float, until_s: float) -> Broken:
    """Draw when each slot is broken between 0 and `until_s`, in steady state from the start.

    Args:
        slots: what may fail.
        mean_up_s: mean time from repair to failure, more than 0.
        mean_down_s: mean time from failure to repair, more than 0.
        until_s: nothing begins later; the last repair may come later.
    """
    everyone = np.arange(slots.evse.size)
    is_broken = slots.uniforms("start", everyone)[0] < mean_down_s / (mean_up_s + mean_down_s)
    number, start = _failure_points(slots, 1.0 / mean_up_s, until_s)
    number = np.concatenate([everyone[is_broken], number])
    start = np.concatenate([np.zeros(int(is_broken.sum())), start])
    return until_repaired(slots, number, start, mean_down_s)


def until_repaired(slots: Slots, number: Ints, start_s: Floats, mean_down_s: float) -> Broken:
    """The intervals from failures at `start_s` (0 or later) of the slots `number` to the next repair of each."""
    order = np.lexsort((start_s, number))
    number, start = number[order], start_s[order]
    end = _next_repair(slots, number, start, mean_down_s)
    # Two failures before the same repair are one interval; it begins with the first of them.
    is_first = np.ones(number.size, dtype=np.bool_)
    is_first[1:] = (np.diff(number) != 0) | (np.diff(end) != 0.0)
    return Broken(number, start, end).take(is_first)


def _failure_points(slots: Slots, rate_per_s: float, until_s: float) -> tuple[Ints, Floats]:
    """Slot and time of every point of the plane below the rate, in no order."""
    numbers, times = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for low, width, strip in _strips(rate_per_s, most=max(_ROWS_AT_ONCE // max(slots.evse.size, 1), 1)):
        going, row = np.tile(np.arange(slots.evse.size), strip.size), np.repeat(np.arange(strip.size), slots.evse.size)
        now = np.zeros(going.size)
        turn = 0
        while going.size:
            first, first_mark, second, second_mark = slots.uniforms(
                "failure", going, np.full(going.size, turn), strip[row]
            )
            for gap, mark in ((first, first_mark), (second, second_mark)):
                now = now - np.log(gap) / width[row]
                happens = (now < until_s) & (low[row] + mark * width[row] < rate_per_s)
                numbers.append(going[happens])
                times.append(now[happens])
            is_going = now < until_s
            going, row, now, turn = going[is_going], row[is_going], now[is_going], turn + 1
    return np.concatenate(numbers), np.concatenate(times)


def _strips(rate_per_s: float, most: int) -> Iterator[tuple[Floats, Floats, Ints]]:
    """Lower edge, width and number of the strips that reach below the rate, at most `most` together."""
    count = 1 if rate_per_s <= _STRIP_PER_S else 1 + math.ceil(math.log2(rate_per_s / _STRIP_PER_S))
    number = np.arange(count + 1)
    edge = np.where(number == 0, 0.0, _STRIP_PER_S * 2.0 ** (number - 1))
    number, low, width = number[:-1], edge[:-1], np.diff(edge)
    # Where the logarithm was rounded up, the last strip begins at the rate and holds nothing.
    for begin in range(0, count, most):
        those = slice(begin, begin + most)
        yield low[those], width[those], number[those]


def _next_repair(slots: Slots, number: Ints, after_s: Floats, mean_down_s: float) -> Floats:
    """Time of the first repair of each slot later than `after_s`.

    Repairs are drawn in cells as long as the mean, each on its own, so that asking at one time needs no earlier cell,
    and few slots may look into several cells at once.
    """
    end = np.zeros(number.size)
    cell = np.floor(after_s / mean_down_s).astype(np.int64)
    waiting = np.arange(number.size)
    while waiting.size:
        cells = min(max(_ROWS_AT_ONCE // (16 * waiting.size), 1), 8)
        ahead = np.arange(cells)
        row, looked_into = np.repeat(waiting, cells), (cell[waiting][:, None] + ahead).reshape(-1)
        at, last = _four_repairs(slots, number[row], looked_into, np.zeros(row.size), 0, after_s[row], mean_down_s)
        found = np.isfinite(at).reshape(waiting.size, cells)
        first = np.where(found.any(axis=1), found.argmax(axis=1), cells)
        # A cell that four repairs do not fill matters where no earlier one has told the time.
        unfilled = np.isinf(at) & (last < mean_down_s) & (ahead < first[:, None]).reshape(-1)
        going, turn = unfilled.nonzero()[0], 1
        while going.size:
            at[going], last[going] = _four_repairs(
                slots, number[row[going]], looked_into[going], last[going], turn, after_s[row[going]], mean_down_s
            )
            going, turn = going[np.isinf(at[going]) & (last[going] < mean_down_s)], turn + 1
        end[waiting] = at.reshape(waiting.size, cells).min(axis=1)
        waiting = waiting[np.isinf(end[waiting])]
        cell[waiting] += cells
    return end


def _four_repairs(
    slots: Slots, number: Ints, cell: Ints, offset_s: Floats, turn: int, after_s: Floats, mean_down_s: float
) -> tuple[Floats, Floats]:
    """The first of the next four repairs of a cell that comes after `after_s` (inf: none), and where the last stands.

    offset_s: of the last repair before them, from the begin of the cell. The exponential forgets, so a gap that crosses
    the end of a cell may be drawn anew in the next one.
    """
    gaps = -mean_down_s * np.log(slots.uniforms("repair", number, cell, np.full(number.size, turn)))
    points = offset_s + np.cumsum(gaps, axis=0)
    at = cell * mean_down_s + points
    at[(points >= mean_down_s) | (at <= after_s)] = np.inf
    return at.min(axis=0), points[-1]
