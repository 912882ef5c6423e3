"""EN 50160: what the voltage at a supply terminal has to be over a week, counted in 10-minute means.

EN 50160:2010, 4.2.2.2: in any week 95 % of the 10-minute means of the voltage lie within 10 % of the nominal one, and
all within +10 % and -15 %. 4.2.4: 95 % of the 10-minute means of the unbalance lie within 0 to 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

INTERVAL_S: Final = 600
WEEK_S: Final = 7 * 86400
MOSTLY: Final = 0.95
MOSTLY_PU: Final = (0.90, 1.10)
ALWAYS_PU: Final = (0.85, 1.10)
UNBALANCE: Final = 0.02


@dataclass(frozen=True, eq=False)
class Weekly:
    """Shares of the time, by week counted from the start of the run.

    within_10, within_15: of the means of the voltage within +-10 % and within +10/-15 %, (point, replica, week).
    balanced: of the means of the unbalance up to 2 %, (bus, replica, week). days: that each week has; the last may
    have fewer than 7. is_of_ten_minutes: False where the means are those of longer steps, or do not fit 10 minutes:
    shorter extremes are then not seen.
    """

    within_10: Floats
    within_15: Floats
    balanced: Floats
    days: Floats
    is_of_ten_minutes: bool

    @property
    def holds(self) -> Claims:
        """Whether a point keeps both shares of the voltage in every week, (point, replica)."""
        return np.asarray(((self.within_10 >= MOSTLY) & (self.within_15 >= 1.0)).all(axis=-1))

    @property
    def is_balanced(self) -> Claims:
        """Whether a bus keeps its share in every week, (bus, replica)."""
        return np.asarray((self.balanced >= MOSTLY).all(axis=-1))


class WeeklyCount:
    """Counts as the steps come by, blocks of them one after the other."""

    def __init__(self, grid: TimeGrid, points: int, buses: int, replicas: int) -> None:
        self._step_s = grid.step_s
        self.group = INTERVAL_S // grid.step_s if grid.step_s < INTERVAL_S and INTERVAL_S % grid.step_s == 0 else 1
        self._is_exact = self.group * grid.step_s == INTERVAL_S
        seconds = np.arange(0, grid.steps, self.group) * grid.step_s
        self._week = seconds // WEEK_S
        weeks = int(self._week[-1]) + 1
        self._in_10, self._in_15 = (np.zeros((points, replicas, weeks)) for _ in range(2))
        self._balanced = np.zeros((buses, replicas, weeks))
        self._intervals = np.bincount(self._week, minlength=weeks).astype(np.float64)
        ends = np.minimum((np.arange(weeks) + 1) * WEEK_S, grid.steps * grid.step_s)
        self._days = (ends - np.arange(weeks) * WEEK_S) / 86400.0

    def add(self, first: int, replicas: slice, volts_pu: Floats, points: NDArray[np.intp], unbalance: Floats) -> None:
        """Steps from `first` on, which begins an interval.

        volts_pu: (load point, replica, step), of the nominal voltage; points: where in it each point's rows begin.
        unbalance: (bus, replica, step). NaN, where there is no solution, lies within nothing.
        """
        volts, ratio = (self._means(values) for values in (volts_pu, unbalance))
        week = self._week[first // self.group:][:volts.shape[-1]]
        starts = np.flatnonzero(np.diff(week, prepend=-1))
        weeks = week[starts]
        for counts, (low, high) in ((self._in_10, MOSTLY_PU), (self._in_15, ALWAYS_PU)):
            inside = (volts >= low) & (volts <= high)
            kept = np.logical_and.reduceat(inside, points, axis=0) if len(points) < len(inside) else inside[points]
            counts[:, replicas, weeks] += np.add.reduceat(kept, starts, axis=-1, dtype=np.float64)
        self._balanced[:, replicas, weeks] += np.add.reduceat(ratio <= UNBALANCE, starts, axis=-1, dtype=np.float64)

    def _means(self, values: Floats) -> Floats:
        """Root-mean-square over each interval."""
        if self.group == 1:
            return values
        starts = np.arange(0, values.shape[-1], self.group)
        counts = np.diff(np.append(starts, values.shape[-1]))
        means: Floats = np.sqrt(np.add.reduceat(values**2, starts, axis=-1) / counts)
        return means

    def result(self) -> Weekly:
        return Weekly(
            self._in_10 / self._intervals, self._in_15 / self._intervals, self._balanced / self._intervals,
            self._days, self._is_exact,
        )
