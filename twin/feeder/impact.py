"""What EVs do to a feeder: every step solved with and without them, and what differs laid at their door.

A limit that is broken without any EV too cannot be mended by steering EVs (*unfixable*); only what is broken because
they are there is *attributable* to them. A step without a power-flow solution breaks every limit.

    impact = judge(scene, evse_kw)                      # (evse, [replica,] step), kW, positive charges
    impact.points.minutes.attributable.sum(axis=0)      # connection-point minutes, of each replica
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.admittance import Indices, Segment
from twin.feeder.check import Checker, Difference, NotCheckable
from twin.feeder.flow import Flow
from twin.feeder.readings import Reading, Readings
from twin.feeder.scene import Scene, SceneError
from twin.feeder.weekly import Weekly, WeeklyCount

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

COLUMNS: Final = 512
"""Steps that are solved at once."""
MOST_KEPT: Final = 20_000
"""Different steps of the base load whose readings are kept, for replicas and days that repeat it."""
SAME: Final = 1e-9
"""A limit is broken by more than this share of it; flows are solved to 1e-10."""
WORSE_PU: Final = 1e-3
WORSE_SHARE: Final = 1e-2
"""A violation that is there without EVs is made worse by them from this on: p.u. of voltage, share of a rating."""
LEAST_W: Final = 1e-3
"""EVs that move less are taken to stand still."""


@dataclass(frozen=True, eq=False)
class Minutes:
    """How long something was beyond its limit, each (row, replica).

    attributable: of `total`, while without EVs it was not (voltages: not on this side). worsened: of the rest, while
    EVs took it further out. cured: beyond the limit without EVs and not with them.
    """

    total: Floats
    attributable: Floats
    worsened: Floats
    cured: Floats

    @property
    def unfixable(self) -> Floats:
        rest: Floats = self.total - self.attributable
        return rest


@dataclass(frozen=True, eq=False)
class Points:
    """Connection points. low_pu, high_pu: of the nominal voltage, over their phases, (point, replica); NaN: never
    solved. base_: without EVs, (point,). base_minutes: beyond a limit without EVs.
    """

    ids: tuple[str, ...]
    minutes: Minutes
    low_pu: Floats
    high_pu: Floats
    weekly: Weekly
    base_minutes: Floats
    base_low_pu: Floats
    base_high_pu: Floats
    base_weekly: Weekly


@dataclass(frozen=True, eq=False)
class Loaded:
    """Lines' phases or transformers. peak: highest loading, (row, replica); base_: without EVs, (row,).

    A row of lines is the weakest of all segments that always carry the same current.
    """

    ids: tuple[str, ...]
    minutes: Minutes
    peak: Floats
    base_minutes: Floats
    base_peak: Floats


@dataclass(frozen=True, eq=False)
class Course:
    """The feeder as a whole at every step, (replica, step); without EVs there is one replica. NaN: no solution.

    low_pu, high_pu: over all connection points, of the nominal voltage. line_loading, transformer_loading, unbalance:
    the highest. losses_w: in the feeder. import_w: from the grid above.
    """

    low_pu: Floats
    high_pu: Floats
    line_loading: Floats
    transformer_loading: Floats
    unbalance: Floats
    losses_w: Floats
    import_w: Floats

    @classmethod
    def empty(cls, replicas: int, steps: int) -> Course:
        return cls(*(np.full((replicas, steps), np.nan) for _ in cls.__dataclass_fields__))

    @property
    def has_solution(self) -> Claims:
        return np.isfinite(self.import_w)


@dataclass(frozen=True, eq=False)
class Checked:
    """What the second engine says of some steps, or why it says nothing.

    steps: how many were solved again, the worst among them.
    """

    steps: int
    difference: Difference | None
    reason: str = ""

    @property
    def agrees(self) -> bool:
        return self.difference is not None and self.difference.agrees


@dataclass(frozen=True, eq=False)
class Impact:
    """What was judged, with EVs and (`base`) without.

    somewhere: minutes in which any connection point was beyond its voltage limits, lines or transformers overloaded or
        a bus unbalanced, rows in the order of `KINDS`, and rows of `base_somewhere` likewise, in minutes.
    transformer: loading of every one, (transformer, replica, step), and base_transformer, (transformer, 1, step).
    segments: what the rows of `lines` stand for. segment_peak(): the highest loading of every segment.
    nominal_volts: what 1 p.u. is, phase to neutral; None: each bus's rating.
    """

    scene: Scene
    replicas: int
    nominal_volts: float | None
    points: Points
    lines: Loaded
    segments: tuple[Segment, ...]
    transformers: Loaded
    unbalance: Loaded
    somewhere: Minutes
    base_somewhere: Floats
    course: Course
    base: Course
    transformer: Floats
    base_transformer: Floats
    checked: Checked
    readings: Readings

    @property
    def no_solution(self) -> Claims:
        """Steps in which the feeder cannot carry what is asked of it, (replica, step)."""
        return ~self.course.has_solution

    @property
    def losses_kwh(self) -> Floats:
        """Over all steps that have a solution, (replica,)."""
        lost: Floats = np.nansum(self.course.losses_w, axis=1) * self.scene.grid.step_hours / 1000.0
        return lost

    @property
    def base_losses_kwh(self) -> float:
        return float(np.nansum(self.base.losses_w) * self.scene.grid.step_hours / 1000.0)

    def segment_peak(self, peak: Floats) -> Floats:
        """Loading of every segment from that of line rows (row, ...); 0 where nothing flows, NaN without a rating."""
        of, weaker = self.readings.line_of, self.readings.weaker
        value: Floats = np.where(
            (of >= 0).reshape(-1, *(1 for _ in peak.shape[1:])), peak[of] if len(peak) else 0.0, 0.0
        ) * weaker.reshape(-1, *(1 for _ in peak.shape[1:]))
        value[np.isnan(self.readings.flow.ampacity)] = np.nan
        return value


KINDS: Final = ("voltage", "line", "transformer", "unbalance", "any")
"""Rows of `Impact.somewhere`."""


def judge(
    scene: Scene, evse_kw: Floats, *, nominal_volts: float | None = None, checked_steps: int = 24,
    progress: Callable[[float], None] | None = None,
) -> Impact:
    """Solve the feeder with and without its EVs, and count.

    Args:
        scene: its limits count; their voltages are of the bus's rating, whatever `nominal_volts` is.
        evse_kw: mean power of every EVSE over every step, (evse, step) or (evse, replica, step).
        nominal_volts: phase to neutral; what voltages are told in and EN 50160 judges by. None: each bus's rating.
        checked_steps: how many steps, the worst among them, the second engine solves again; 0: it is not asked.
        progress: told the share of the steps that are done.

    Raises:
        SceneError: another shape of `evse_kw`, or powers that are not finite.
    """
    powers = np.asarray(evse_kw, dtype=np.float64)
    evses, steps = len(scene.evse_ids), scene.grid.steps
    if powers.ndim not in (2, 3) or powers.shape[0] != evses or powers.shape[-1] != steps:
        raise SceneError("evse_kw", powers.shape, f"shape ({evses}, {steps}) or ({evses}, replicas, {steps})")
    if not np.isfinite(powers).all():
        raise SceneError("evse_kw", "not finite", "finite powers")
    return _Judge(scene, powers.reshape(evses, -1, steps), nominal_volts).impact(checked_steps, progress)


class _Places:
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
class _Excess:
    """How far beyond their limits things are: above 0 is beyond, infinite without a solution; (row, replica, step)."""

    low: Floats
    high: Floats
    line: Floats
    transformer: Floats
    unbalance: Floats


class _Count:
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


class _Side:
    """Everything that is counted of one of both cases: with EVs, or without."""

    def __init__(self, judge_: _Judge, replicas: int) -> None:
        readings, minutes = judge_.readings, judge_.scene.grid.step_s / 60.0
        lines, buses = len(readings.line_segments), len(readings.buses)
        transformers = len(judge_.scene.feeder.transformers)
        self._judge = judge_
        self.points = _Count(judge_.places.count, replicas, minutes, WORSE_PU)
        self.lines = _Count(lines, replicas, minutes, WORSE_SHARE)
        self.transformers = _Count(transformers, replicas, minutes, WORSE_SHARE)
        self.unbalance = _Count(buses, replicas, minutes, WORSE_PU)
        self.somewhere = _Count(len(KINDS), replicas, minutes, np.inf)
        self.course = Course.empty(replicas, judge_.scene.grid.steps)
        self.transformer = np.full((transformers, replicas, judge_.scene.grid.steps), np.nan)
        self.low, self.high = np.full((2, judge_.places.count, replicas), np.nan)
        self.peaks = {
            name: np.full((rows, replicas), np.nan)
            for name, rows in (("loading", lines), ("transformer", transformers), ("unbalance", buses))
        }
        self.weekly = WeeklyCount(judge_.scene.grid, judge_.places.count, buses, replicas)

    def add(self, first: int, replicas: slice, reading: Reading, excess: _Excess, base: _Excess) -> None:
        """Steps from `first` on of some replicas: arrays of (row, replica, step)."""
        places = self._judge.places
        steps = slice(first, first + reading.losses_w.shape[-1])
        kinds = [
            self.points.add(replicas, (excess.low, excess.high), (base.low, base.high)),
            self.lines.add(replicas, (excess.line,), (base.line,)),
            self.transformers.add(replicas, (excess.transformer,), (base.transformer,)),
            self.unbalance.add(replicas, (excess.unbalance,), (base.unbalance,)),
        ]
        self._somewhere(replicas, kinds, base)
        volts = reading.volts_pu * self._judge.to_nominal[:, None, None]
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
        self.transformer[:, replicas, steps] = reading.transformer
        self.weekly.add(first, replicas, volts[places.rows], places.starts, reading.unbalance)

    def _somewhere(self, replicas: slice, kinds: list[tuple[Claims, Claims]], base: _Excess) -> None:
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
                into[row, replicas] += self._judge.scene.grid.step_s / 60.0 * claim.sum(axis=-1)


def _widen(into: Floats, replicas: slice, by: np.ufunc, values: Floats) -> None:
    into[:, replicas] = by(into[:, replicas], by.reduce(values, axis=-1))


class _Judge:
    """One scene with its EVs' powers, judged block by block."""

    def __init__(self, scene: Scene, evse_kw: Floats, nominal_volts: float | None) -> None:
        self.scene, self.kw = scene, evse_kw
        self.flow = scene.flow()
        self.readings = Readings(self.flow)
        self.places = _Places(self.flow)
        self.nominal_volts = nominal_volts
        self.to_nominal = np.ones(len(self.readings.rated_volts))
        if nominal_volts is not None:
            self.to_nominal = self.readings.rated_volts / (nominal_volts * self.readings.phases_across)
        self.replicas = evse_kw.shape[1]
        self._kept: Reading | None = None
        self._column = np.empty(0, dtype=np.intp)
        self._keep_base()

    def impact(self, checked_steps: int, progress: Callable[[float], None] | None) -> Impact:
        with_evs, base = _Side(self, self.replicas), _Side(self, 1)
        steps = self.scene.grid.steps
        for first, last in self._blocks(with_evs.weekly.group):
            part = slice(first, last)
            bare = self._base(part)
            beyond = self._excess(bare)
            base.add(first, slice(0, 1), bare, beyond, beyond)
            at_once = max(COLUMNS // (last - first), 1)
            for begin in range(0, self.replicas, at_once):
                some = slice(begin, min(begin + at_once, self.replicas))
                reading = self._with_evs(part, some, bare)
                with_evs.add(first, some, reading, self._excess(reading), beyond)
            if progress is not None:
                progress(last / steps)
        return self._impact(with_evs, base, self._check(with_evs.course, base.course, checked_steps))

    def _blocks(self, group: int) -> Iterator[tuple[int, int]]:
        size = max(COLUMNS // group, 1) * group
        for first in range(0, self.scene.grid.steps, size):
            yield first, min(first + size, self.scene.grid.steps)

    def _keep_base(self) -> None:
        """Read the different steps of the base load once, where they are few: days repeat, and replicas share them."""
        together = np.concatenate((self.scene.base_w, self.scene.base_var))
        columns = np.ascontiguousarray(together[together.any(axis=1)].T)
        numbers: dict[bytes, int] = {}
        column = np.array([numbers.setdefault(each.tobytes(), len(numbers)) for each in columns], dtype=np.intp)
        firsts = np.unique(column, return_index=True)[1]
        if len(firsts) <= MOST_KEPT:
            self._column = column
            self._kept = self._read(self.scene.base_w[:, firsts], self.scene.base_var[:, firsts])

    def _read(self, p_w: Floats, q_var: Floats) -> Reading:
        parts = [
            self.readings.of(self.flow.solve(p_w[:, first:first + COLUMNS], q_var[:, first:first + COLUMNS]))
            for first in range(0, max(p_w.shape[1], 1), COLUMNS)
        ]
        return Reading.joined(parts)

    def _base(self, steps: slice) -> Reading:
        if self._kept is not None:
            found = self._kept.at(self._column[steps])
        else:
            found = self._read(self.scene.base_w[:, steps], self.scene.base_var[:, steps])
        return found.shaped((1, -1))

    def _with_evs(self, steps: slice, replicas: slice, bare: Reading) -> Reading:
        kw = self.kw[:, replicas, steps]
        moves = (np.abs(kw) > LEAST_W / 1000.0).any(axis=0)
        shape = moves.shape
        copied = bare.repeated(shape[0])
        where = np.flatnonzero(moves.reshape(-1))
        if len(where):
            at = np.arange(steps.start, steps.stop)[where % shape[1]]
            p_w, q_var = self.scene.demand_of(kw.reshape(len(kw), -1)[:, where], at)
            copied.put(where, self._read(p_w, q_var))
        return copied.shaped(shape)

    def _excess(self, reading: Reading) -> _Excess:
        limits = self.scene.limits
        low, high = limits.voltage_pu
        found = _Excess(
            low - self.places.lowest(reading.volts_pu), self.places.highest(reading.volts_pu) - high,
            reading.loading - limits.line_loading, reading.transformer - limits.transformer_loading,
            reading.unbalance - (np.inf if limits.unbalance is None else limits.unbalance),
        )
        if not reading.has_solution.all():
            for name in _Excess.__dataclass_fields__:
                getattr(found, name)[:, ~reading.has_solution] = np.inf
        return found

    def _check(self, course: Course, base: Course, most: int) -> Checked:
        if most < 1:
            return Checked(0, None, "not asked for")
        try:
            checker = Checker(self.scene.feeder)
        except NotCheckable as reason:
            return Checked(0, None, str(reason))
        replicas, steps = _worst(course, most)
        p_w, q_var = self.scene.demand_of(self.kw[:, replicas, steps], steps)
        _, bare = _worst(base, max(most // 4, 1))
        p_w = np.concatenate((p_w, self.scene.base_w[:, bare]), axis=1)
        q_var = np.concatenate((q_var, self.scene.base_var[:, bare]), axis=1)
        return Checked(p_w.shape[1], checker.check(self.flow.solve(p_w, q_var)))

    def _impact(self, with_evs: _Side, base: _Side, checked: Checked) -> Impact:
        of, readings = self.places.of_point, self.readings

        def loaded(name: str, count: str, ids: tuple[str, ...]) -> Loaded:
            return Loaded(
                ids, getattr(with_evs, count).minutes(), with_evs.peaks[name], getattr(base, count).total[:, 0],
                base.peaks[name][:, 0],
            )

        def weekly(side: _Side) -> Weekly:
            found = side.weekly.result()
            return Weekly(found.within_10[of], found.within_15[of], found.balanced, found.days,
                          found.is_of_ten_minutes)

        segments = tuple(self.flow.segments[row] for row in readings.line_segments)
        return Impact(
            scene=self.scene, replicas=self.replicas, nominal_volts=self.nominal_volts,
            points=Points(
                tuple(point.id for point in self.scene.feeder.connection_points), with_evs.points.minutes(of),
                with_evs.low[of], with_evs.high[of], weekly(with_evs), base.points.total[of, 0], base.low[of, 0],
                base.high[of, 0], weekly(base),
            ),
            lines=loaded("loading", "lines", tuple(f"{one.line}.{one.phase}" for one in segments)), segments=segments,
            transformers=loaded("transformer", "transformers",
                                tuple(one.id for one in self.scene.feeder.transformers)),
            unbalance=loaded("unbalance", "unbalance", readings.buses),
            somewhere=with_evs.somewhere.minutes(), base_somewhere=base.somewhere.total[:, 0],
            course=with_evs.course, base=base.course, transformer=with_evs.transformer,
            base_transformer=base.transformer, checked=checked, readings=readings,
        )


def _worst(course: Course, most: int) -> tuple[Indices, Indices]:
    """Up to `most` different (replica, step): without solution, of the extremes of every figure, then evenly spread."""
    columns = course.low_pu.size
    unsolved = np.flatnonzero(~course.has_solution)[:max(most // 4, 1)]
    ranked = []
    for values, sign in (
        (course.low_pu, 1.0), (course.high_pu, -1.0), (course.line_loading, -1.0), (course.transformer_loading, -1.0),
        (course.unbalance, -1.0), (course.import_w, 1.0),
    ):
        size = np.where(np.isfinite(values), sign * values, np.inf).reshape(-1)
        few = min(max(most // 12, 1), columns)
        ranked.append(np.argpartition(size, few - 1)[:few])
    even = np.linspace(0, columns - 1, min(most, columns)).astype(np.intp)
    chosen = np.array(list(dict.fromkeys(np.concatenate((unsolved, *ranked, even)).tolist()))[:most], dtype=np.intp)
    steps = course.low_pu.shape[1]
    return chosen // steps, chosen % steps
