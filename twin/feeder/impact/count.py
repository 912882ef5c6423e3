"""What is beyond its limit, for how long, and whether it would be without EVs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid
from twin.feeder.impact.readings import Reading, Readings
from twin.feeder.impact.result import KINDS, Course, Minutes
from twin.feeder.impact.weekly import WeeklyCount
from twin.feeder.network.admittance import Indices
from twin.feeder.powerflow.flow import Flow

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

SAME: Final = 1e-9
"""A limit is broken by more than this; flows are solved to 1e-10."""
WORSE_PU: Final = 1e-3
WORSE_SHARE: Final = 1e-2
"""A violation that is there without EVs is made worse by them from this on: p.u. of voltage, share of a rating."""


class Places:
    """Connection points that have the same load points are judged once.

    rows: load points in the order of the places; starts: where each place begins in `rows`; of_point: place of each
    connection point.
    """

    def __init__(self, flow: Flow) -> None:
        numbers: dict[tuple[int, ...], int] = {}
        load_points: dict[str, list[int]] = {point.id: [] for point in flow.feeder.connection_points}
        for terminal, row in zip(flow.terminals, flow.network.point_of.tolist(), strict=True):
            load_points[terminal.connection_point].append(row)
        self.of_point = np.array([numbers.setdefault(tuple(rows), len(numbers)) for rows in load_points.values()],
                                 dtype=np.intp)
        self.rows = np.array([row for rows in numbers for row in rows], dtype=np.intp)
        self.starts = np.cumsum([0, *(len(rows) for rows in numbers)], dtype=np.intp)[:-1]
        self.count = len(numbers)
        self.are_single = self.count == len(self.rows)

    def lowest(self, volts: Floats) -> Floats:
        """(place, ...) of (load point, ...)."""
        own = volts[self.rows]
        return own if self.are_single else np.minimum.reduceat(own, self.starts, axis=0)

    def highest(self, volts: Floats) -> Floats:
        own = volts[self.rows]
        return own if self.are_single else np.maximum.reduceat(own, self.starts, axis=0)


@dataclass(frozen=True, eq=False)
class Excess:
    """How far beyond their limits things are: above 0 is beyond, infinite without a solution; (row, replica, step)."""

    low: Floats
    high: Floats
    line: Floats
    transformer: Floats
    unbalance: Floats


class Count:
    """Minutes of one kind as blocks of steps come by."""

    def __init__(self, rows: int, replicas: int, minutes: float, worse: float) -> None:
        self._minutes, self._worse = minutes, worse
        self.total, self.attributable, self.worsened, self.cured = (np.zeros((rows, replicas)) for _ in range(4))

    def add(self, replicas: slice, here: tuple[Floats, ...], base: tuple[Floats, ...]) -> tuple[Claims, Claims]:
        """Both sides of a limit, or the only one; gives what is beyond, and what of it attributable, (row, r, s)."""
        beyond = [excess > SAME for excess in here]
        bare = [excess > SAME for excess in base]
        is_any = beyond[0] | beyond[-1]
        if not is_any.any() and not any(side.any() for side in bare):
            return is_any, is_any
        caused = np.zeros_like(is_any)
        worse = np.zeros_like(is_any)
        for side, without, excess, before in zip(beyond, bare, here, base, strict=True):
            caused |= side & ~without
            with np.errstate(invalid="ignore"):  # no solution with and without: infinite less infinite
                worse |= side & without & (excess - before > self._worse)
        self._sum(self.total, replicas, is_any)
        self._sum(self.attributable, replicas, caused)
        self._sum(self.worsened, replicas, worse & ~caused)
        self._sum(self.cured, replicas, (bare[0] | bare[-1]) & ~is_any)
        return is_any, caused

    def _sum(self, into: Floats, replicas: slice, claims: Claims) -> None:
        into[:, replicas] += self._minutes * claims.sum(axis=-1)

    def minutes(self, rows: Indices | slice = slice(None)) -> Minutes:
        return Minutes(self.total[rows], self.attributable[rows], self.worsened[rows], self.cured[rows])


@dataclass(frozen=True, eq=False)
class Frame:
    """What both cases share. to_nominal: of each load point, from p.u. of its bus's rating to those that are told."""

    grid: TimeGrid
    readings: Readings
    places: Places
    to_nominal: Floats


class Tally:
    """Minutes beyond limits of one case, against another."""

    def __init__(self, frame: Frame, replicas: int) -> None:
        readings, minutes = frame.readings, frame.grid.step_s / 60.0
        self._minutes = minutes
        self.points = Count(frame.places.count, replicas, minutes, WORSE_PU)
        self.lines = Count(len(readings.line_segments), replicas, minutes, WORSE_SHARE)
        self.transformers = Count(len(readings.transformer_ids), replicas, minutes, WORSE_SHARE)
        self.unbalance = Count(len(readings.buses), replicas, minutes, WORSE_PU)
        self.somewhere = Count(len(KINDS), replicas, minutes, np.inf)
        self.beyond, self.caused = np.zeros((2, replicas, frame.grid.steps), dtype=np.bool_)

    def add(self, first: int, replicas: slice, excess: Excess, base: Excess) -> None:
        """Steps from `first` on of some replicas."""
        steps = slice(first, first + excess.low.shape[-1])
        kinds = [
            self.points.add(replicas, (excess.low, excess.high), (base.low, base.high)),
            self.lines.add(replicas, (excess.line,), (base.line,)),
            self.transformers.add(replicas, (excess.transformer,), (base.transformer,)),
            self.unbalance.add(replicas, (excess.unbalance,), (base.unbalance,)),
        ]
        self.beyond[replicas, steps], self.caused[replicas, steps] = self._somewhere(replicas, kinds, base)

    def _somewhere(
        self, replicas: slice, kinds: list[tuple[Claims, Claims]], base: Excess
    ) -> tuple[Claims, Claims]:
        """Count the steps in which anything of a kind is beyond its limit; gives those of any kind."""
        bare = [
            (base.low > SAME) | (base.high > SAME), base.line > SAME, base.transformer > SAME, base.unbalance > SAME,
        ]
        without = [one.any(axis=0) for one in bare]
        total = [one.any(axis=0) for one, _ in kinds]
        caused = [one.any(axis=0) for _, one in kinds]
        for claims in (without, total, caused):
            claims.append(np.logical_or.reduce(claims))
        count = self.somewhere
        for row, (is_any, is_caused, was) in enumerate(zip(total, caused, without, strict=True)):
            for into, claim in ((count.total, is_any), (count.attributable, is_caused), (count.cured, was & ~is_any)):
                into[row, replicas] += self._minutes * claim.sum(axis=-1)
        return np.asarray(total[-1]), np.asarray(caused[-1])


class Side:
    """Everything that is counted of one of both cases: with EVs, or without."""

    def __init__(self, frame: Frame, replicas: int) -> None:
        readings = frame.readings
        lines, buses = len(readings.line_segments), len(readings.buses)
        transformers = len(readings.flow.feeder.transformers)
        self._frame = frame
        self.tally = Tally(frame, replicas)
        self.course = Course.empty(replicas, frame.grid.steps)
        self.winding = np.full((transformers, replicas, frame.grid.steps), np.nan)
        self.low, self.high = np.full((2, frame.places.count, replicas), np.nan)
        self.peaks = {
            name: np.full((rows, replicas), np.nan)
            for name, rows in (("loading", lines), ("transformer", len(readings.transformer_ids)),
                               ("winding", len(readings.windings)), ("unbalance", buses))
        }
        self.weekly = WeeklyCount(frame.grid, frame.places.count, buses, replicas)

    def add(self, first: int, replicas: slice, reading: Reading, excess: Excess, base: Excess) -> None:
        """Steps from `first` on of some replicas: arrays of (row, replica, step)."""
        places, readings = self._frame.places, self._frame.readings
        steps = slice(first, first + reading.losses_w.shape[-1])
        self.tally.add(first, replicas, excess, base)
        volts = reading.volts_pu * self._frame.to_nominal[:, None, None]
        low, high = places.lowest(volts), places.highest(volts)
        _widen(self.low, replicas, np.fmin, low)
        _widen(self.high, replicas, np.fmax, high)
        for name, peaks in self.peaks.items():
            _widen(peaks, replicas, np.fmax, getattr(reading, name))
        course = self.course
        course.low_pu[replicas, steps] = low.min(axis=0, initial=np.inf)
        course.high_pu[replicas, steps] = high.max(axis=0, initial=-np.inf)
        for into, values in (
            (course.line_loading, reading.loading), (course.transformer_loading, reading.transformer),
            (course.unbalance, reading.unbalance),
        ):
            into[replicas, steps] = values.max(axis=0, initial=0.0)
        course.losses_w[replicas, steps], course.import_w[replicas, steps] = reading.losses_w, reading.import_w
        self.winding[:, replicas, steps] = readings.hottest(reading.winding)[:len(self.winding)]
        self.weekly.add(first, replicas, volts[places.rows], places.starts, reading.unbalance)


def _widen(into: Floats, replicas: slice, by: np.ufunc, values: Floats) -> None:
    into[:, replicas] = by(into[:, replicas], by.reduce(values, axis=-1))
