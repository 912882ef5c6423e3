"""The segments that a fleet has run through, kept so that any moment of the past can be read exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from twin.battery.segment import (
    BEGIN_S,
    EXPORT,
    HOURS_PER_SECOND,
    IMPORT,
    IS_PLUGGED,
    SCRATCH_ROWS,
    THROUGH,
    TO,
    U_NOW,
    Floats,
    Slots,
    Traits,
    move,
)

_ANYTHING = Traits(has_discharge=True, has_standby=True, is_quadratic=True, has_rises=True)


@dataclass(frozen=True)
class SegmentHistory:
    """Segments in the order in which they were ended: those of one slot in order of time.

    slots, ends_s, ends_u: slot of each segment, seconds after the start at which it ended, and u there.
    rows: what was in force, shape (row, segment); see `twin.battery.segment`.
    """

    slots: Slots
    ends_s: Floats
    ends_u: Floats
    rows: Floats

    @classmethod
    def of(cls, entries: Sequence[tuple[Slots, Floats, Floats, Floats]]) -> Self:
        """Join entries of slots, ends_s, ends_u and rows."""
        slots, ends_s, ends_u, rows = zip(*entries, strict=True)
        return cls(np.concatenate(slots), np.concatenate(ends_s), np.concatenate(ends_u), np.concatenate(rows, axis=1))

    def at(self, edges_s: Floats, n: int) -> tuple[Floats, Floats]:
        """Net connector energy since the start, and battery energy (NaN without a car), of slots 0 to n-1 at `edges_s`.

        Both of shape (slot, edge), in kWh. An edge belongs to the segment that ends there: the energy at the end of a
        step is that of the car that leaves.
        """
        if n == 0:
            return np.zeros((0, edges_s.size)), np.zeros((0, edges_s.size))
        order = np.lexsort((self.ends_s, self.slots))
        slots, ends = self.slots[order], self.ends_s[order]
        first = np.searchsorted(slots, np.arange(n + 1))
        chosen = order[np.concatenate([
            np.minimum(low + np.searchsorted(ends[low:high], edges_s), high - 1)
            for low, high in pairwise(first.tolist())
        ])]
        rows, at_s = self.rows[:, chosen], np.tile(edges_s, n)
        hours = (at_s - rows[BEGIN_S]) * HOURS_PER_SECOND
        x = np.empty((SCRATCH_ROWS, chosen.size))
        move(rows, hours, x, _ANYTHING)
        u = np.where(at_s >= self.ends_s[chosen], self.ends_u[chosen], x[U_NOW])
        energy = np.where(rows[IS_PLUGGED] > 0.0, rows[TO] * u, np.nan)
        net: Floats = rows[IMPORT] - rows[EXPORT] + x[THROUGH]
        return net.reshape(n, -1), energy.reshape(n, -1)
