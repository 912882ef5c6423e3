"""Charges laid out over the steps of a grid: each stretch of constant power or of taper is cut where a step ends.

Within a stretch all steps but the first and the last are whole. What a falling power brings in whole steps is a
geometric row that its piece of the curve shares with all cars on it: a taper of many steps costs one exponential
at either end and none in between.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.battery.full_charge import FLOW, PROPORTIONAL, QUADRATIC, SLOPE, STANDBY, Stretches, taper
from twin.battery.segment import HOURS_PER_SECOND, growth

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Cuts:
    """Intervals [since, until) cut at the steps they cross: the pieces of the first, then those of the second, ...

    count: pieces of each interval, 1 or more; first: the step of its first piece; begin, last: where its first and its
    last piece stand among all.
    """

    def __init__(self, since: Floats, until: Floats, step_s: float) -> None:
        self.first = np.floor(since / step_s).astype(np.int64)
        end = np.ceil(until / step_s).astype(np.int64)
        self.count = end - self.first
        self.begin = np.cumsum(self.count) - self.count
        self.last = self.begin + self.count - 1
        self.pieces = int(self.last[-1]) + 1 if self.last.size else 0
        self.early_h = (since - self.first * step_s) * HOURS_PER_SECOND
        self.late_h = (end * step_s - until) * HOURS_PER_SECOND

    def counted_from(self, origin: Ints) -> Ints:
        """Origin, origin + 1, ... along the pieces of each interval."""
        numbers: Ints = np.repeat(origin - self.begin, self.count)
        numbers += np.arange(self.pieces)
        return numbers

    def is_whole(self) -> Bools:
        """Which pieces reach the end of their step."""
        whole = np.ones(self.pieces, dtype=np.bool_)
        whole[self.last[self.late_h > 0.0]] = False
        return whole


class StepGrowth:
    """How the power on each piece of the curve goes on from the end of a step, per kW there: rows (piece, step).

    at_end: power at the end of the i-th step from there, of 1 kW; until_end: energy moved by then; moved, squared:
    integrals of the power and of its square over the i-th step (i from 1; nothing stands at 0).
    """

    def __init__(self, rate_per_h: Floats, step_s: float) -> None:
        self._rate, self.step_h = rate_per_h[:, None], step_s * HOURS_PER_SECOND
        self.at_end, self.until_end, self.moved, self.squared = (np.zeros((rate_per_h.size, 0)) for _ in range(4))

    @property
    def width(self) -> int:
        return self.at_end.shape[1]

    def reach(self, steps: int) -> None:
        """Make the rows long enough for `steps`."""
        if steps < self.width:
            return
        step_h = self.step_h
        hours = np.arange(max(steps + 1, 2 * self.width)) * step_h
        exponent = np.minimum(self._rate * hours, 100.0)
        within = np.minimum(self._rate * step_h, 100.0)
        self.at_end = np.exp(exponent)
        self.until_end = hours * growth(exponent)
        before = np.concatenate([np.zeros_like(within), self.at_end[:, :-1]], axis=1)
        self.moved = before * (step_h * growth(within))
        self.squared = before * before * (step_h * growth(2.0 * within))


class ConstantOverSteps:
    """Stretches of constant power: pieces in the order of `cuts`."""

    def __init__(self, stretches: Stretches, cuts: Cuts, rows: StepGrowth) -> None:
        self._stretches, self._cuts, self._step_h = stretches, cuts, rows.step_h

    def energy(self) -> Floats:
        """Connector energy of each piece."""
        cuts, flow = self._cuts, self._stretches.columns[FLOW]
        energy: Floats = np.repeat(flow * self._step_h, cuts.count)
        energy[cuts.begin] -= flow * cuts.early_h
        energy[cuts.last] -= flow * cuts.late_h
        return _with_short_ones(energy, self._stretches, cuts)

    def level(self) -> Floats:
        """Energy in the battery at the end of the step of each piece, as if the stretch went on until then."""
        cuts, power = self._cuts, self._stretches.power_kw
        level: Floats = np.repeat(power * self._step_h, cuts.count)
        level *= cuts.counted_from(np.ones_like(cuts.first))
        level += np.repeat(self._stretches.energy_kwh - power * cuts.early_h, cuts.count)
        return level


class TaperOverSteps:
    """The same of stretches that follow a curve that is not level."""

    def __init__(self, stretches: Stretches, cuts: Cuts, rows: StepGrowth) -> None:
        self._stretches, self._cuts, self._rows = stretches, cuts, rows
        rows.reach(int(cuts.count.max(initial=0)))
        first_h = np.minimum(rows.step_h - cuts.early_h, stretches.hours)
        self._moved, self._gone = taper(stretches.columns, stretches.power_kw, first_h)
        # Power is linear in energy along a piece.
        self._power = stretches.power_kw + stretches.columns[SLOPE] * self._moved
        self._row = stretches.piece * rows.width
        self._place = cuts.counted_from(self._row)

    def energy(self) -> Floats:
        """Connector energy of each piece."""
        cuts, rows, power, columns = self._cuts, self._rows, self._power, self._stretches.columns
        energy: Floats = np.repeat(power * (1.0 + columns[PROPORTIONAL]), cuts.count)
        energy *= rows.moved.take(self._place)
        if columns[QUADRATIC].any():
            energy += np.repeat(columns[QUADRATIC] * power * power, cuts.count) * rows.squared.take(self._place)
        if columns[STANDBY].any():
            energy += np.repeat(columns[STANDBY] * rows.step_h, cuts.count)
        at_last = power * rows.at_end.take(self._row + np.maximum(cuts.count - 2, 0))
        moved, gone = taper(columns, at_last, rows.step_h - cuts.late_h)
        energy[cuts.last] = moved + gone
        energy[cuts.begin] = self._moved + self._gone
        return _with_short_ones(energy, self._stretches, cuts)

    def level(self) -> Floats:
        """Energy in the battery at the end of the step of each piece, as if the stretch went on until then."""
        level: Floats = np.repeat(self._power, self._cuts.count)
        level *= self._rows.until_end.take(self._place)
        level += np.repeat(self._stretches.energy_kwh + self._moved, self._cuts.count)
        return level


def _with_short_ones(energy: Floats, stretches: Stretches, cuts: Cuts) -> Floats:
    short = np.flatnonzero(cuts.count == 1)
    energy[cuts.begin[short]] = stretches.through_kwh[short]
    return energy
