"""What EVs do to a feeder: every step solved with and without them, and what differs laid at their door.

A limit that is broken without any EV too cannot be mended by steering EVs (*unfixable*); only what is broken because
they are there is *attributable* to them. A step without a power-flow solution breaks every limit.

    impact = judge(scene, evse_kw)                      # (evse, [replica,] step), kW, positive charges
    impact.points.minutes.attributable.sum(axis=0)      # connection-point minutes, of each replica
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.impact.count import Excess, Frame, Places, Side, Tally
from twin.feeder.impact.readings import Reading, Readings
from twin.feeder.impact.result import KINDS, Apart, Checked, Course, Impact, Loaded, Minutes, Points, Windings
from twin.feeder.impact.weekly import Weekly
from twin.feeder.network.admittance import Indices
from twin.feeder.scene import Scene, SceneError
from twin.feeder.second_engine.check import Checker, NotCheckable

__all__ = [
    "KINDS", "Apart", "Checked", "Course", "EvsePowers", "Impact", "Loaded", "Minutes", "Points", "Windings", "judge",
]

Floats = NDArray[np.float64]

COLUMNS: Final = 512
"""Steps that are solved at once."""
MOST_KEPT: Final = 10_000_000
"""Values read off different steps of the base load that are kept, for replicas and days that repeat it."""
LEAST_KW: Final = 1e-6
"""EVs that move less are taken to stand still."""


@dataclass(frozen=True, eq=False)
class EvsePowers:
    """Mean power of every EVSE over every step, positive while charging, (evse, step) or (evse, replica, step).

    kvar: what its inverter draws, of the same shape; None: by the scene's power factor.
    """

    kw: Floats
    kvar: Floats | None = None

    def three_axes(self, scene: Scene) -> EvsePowers:
        """With an axis of replicas. Raises a `SceneError` unless shapes fit and all powers are finite."""
        evses, steps = len(scene.evse_ids), scene.grid.steps
        found: list[Floats | None] = []
        for name, given in (("evse_kw", self.kw), ("evse_kvar", self.kvar)):
            if given is None:
                found.append(None)
                continue
            powers = np.asarray(given, dtype=np.float64)
            if powers.ndim not in (2, 3) or powers.shape[0] != evses or powers.shape[-1] != steps:
                raise SceneError(name, powers.shape, f"shape ({evses}, {steps}) or ({evses}, replicas, {steps})")
            if not np.isfinite(powers).all():
                raise SceneError(name, "not finite", "finite powers")
            found.append(powers[:, None] if powers.ndim == 2 else powers)  # noqa: PLR2004 - one replica
        kw, kvar = found
        if kw is None or (kvar is not None and kvar.shape != kw.shape):
            raise SceneError("evse_kvar", None if kvar is None else kvar.shape, "the shape of evse_kw")
        return EvsePowers(kw, kvar)

    def columns(self, replicas: slice, steps: slice) -> EvsePowers:
        """Some replicas and steps, one behind the other."""
        def part(values: Floats) -> Floats:
            chosen = values[:, replicas, steps]
            return chosen.reshape(len(chosen), chosen.shape[1] * chosen.shape[2])

        return EvsePowers(part(self.kw), None if self.kvar is None else part(self.kvar))

    def differ_from(self, other: EvsePowers | None) -> NDArray[np.bool_]:
        """Columns in which anything is drawn other than there, or at all."""
        parts = [self.kw if other is None else self.kw - other.kw]
        if self.kvar is not None:
            parts.append(self.kvar if other is None or other.kvar is None else self.kvar - other.kvar)
        return np.asarray((np.abs(np.concatenate(parts)) > LEAST_KW).any(axis=0))


def judge(
    scene: Scene, evse_kw: Floats | EvsePowers, *, without_event: EvsePowers | None = None,
    nominal_volts: float | None = None, checked_steps: int = 24, progress: Callable[[float], None] | None = None,
) -> Impact:
    """Solve the feeder with and without its EVs, and count.

    Args:
        scene: its limits count; their voltages are of the bus's rating, whatever `nominal_volts` is.
        evse_kw: mean power of every EVSE over every step, (evse, step) or (evse, replica, step); with reactive power
            where inverters make some.
        without_event: the same futures without an event; says what the event put beyond a limit (`Impact.apart`).
        nominal_volts: phase to neutral; what voltages are told in and EN 50160 judges by. None: each bus's rating.
        checked_steps: how many steps, the worst among them, the second engine solves again; 0: it is not asked.
        progress: told the share of the steps that are done.

    Raises:
        SceneError: another shape of `evse_kw`, or powers that are not finite.
    """
    powers = (evse_kw if isinstance(evse_kw, EvsePowers) else EvsePowers(evse_kw)).three_axes(scene)
    plain = None if without_event is None else without_event.three_axes(scene)
    if plain is not None and plain.kw.shape != powers.kw.shape:
        raise SceneError("without_event", plain.kw.shape, f"shape {powers.kw.shape}, as with the event")
    return _Judge(scene, powers, plain, nominal_volts).impact(checked_steps, progress)


class _Judge:
    """One scene with its EVs' powers, judged block by block."""

    def __init__(
        self, scene: Scene, powers: EvsePowers, plain: EvsePowers | None, nominal_volts: float | None
    ) -> None:
        self.scene, self.powers, self.plain = scene, powers, plain
        self.flow = scene.flow()
        self.readings = Readings(self.flow)
        self.places = Places(self.flow)
        self.nominal_volts = nominal_volts
        to_nominal = np.ones(len(self.readings.rated_volts))
        if nominal_volts is not None:
            to_nominal = self.readings.rated_volts / (nominal_volts * self.readings.phases_across)
        self.frame = Frame(scene.grid, self.readings, self.places, to_nominal)
        self.replicas = powers.kw.shape[1]
        self._kept: Reading | None = None
        self._column = np.empty(0, dtype=np.intp)
        self._keep_base()

    def impact(self, checked_steps: int, progress: Callable[[float], None] | None) -> Impact:
        with_evs, base = Side(self.frame, self.replicas), Side(self.frame, 1)
        event, alone = Tally(self.frame, self.replicas), Tally(self.frame, self.replicas)
        steps = self.scene.grid.steps
        for first, last in self._blocks(with_evs.weekly.group):
            part = slice(first, last)
            bare = self._base(part)
            beyond = self._excess(bare)
            base.add(first, slice(0, 1), bare, beyond, beyond)
            at_once = max(COLUMNS // (last - first), 1)
            for begin in range(0, self.replicas, at_once):
                some = slice(begin, min(begin + at_once, self.replicas))
                start = bare.repeated(some.stop - some.start)
                if self.plain is None:
                    excess = self._add(with_evs, part, some, start, beyond, None)
                else:
                    without = self._with_evs(self.plain, part, some, start, None)
                    apart = self._excess(without)
                    alone.add(first, some, apart, beyond)
                    excess = self._add(with_evs, part, some, without, beyond, self.plain)
                    event.add(first, some, excess, apart)
            if progress is not None:
                progress(last / steps)
        found = self._impact(with_evs, base, self._check(with_evs.course, base.course, checked_steps))
        if self.plain is None:
            return found
        return replace(found, apart=Apart(
            event.somewhere.minutes(), event.points.minutes(self.places.of_point), event.caused,
            alone.somewhere.attributable,
        ))

    def _add(
        self, with_evs: Side, steps: slice, replicas: slice, start: Reading, beyond: Excess, like: EvsePowers | None
    ) -> Excess:
        reading = self._with_evs(self.powers, steps, replicas, start, like)
        excess = self._excess(reading)
        with_evs.add(steps.start, replicas, reading, excess, beyond)
        return excess

    def _blocks(self, group: int) -> Iterator[tuple[int, int]]:
        size = max(COLUMNS // group, 1) * group
        for first in range(0, self.scene.grid.steps, size):
            yield first, min(first + size, self.scene.grid.steps)

    def _keep_base(self) -> None:
        """Read the different steps of the base load once, where they are few: days repeat, and replicas share them."""
        base_w, base_var = self.scene.base_w, self.scene.base_var
        active, reactive = np.flatnonzero(base_w.any(axis=1)), np.flatnonzero(base_var.any(axis=1))
        numbers: dict[bytes, int] = {}
        column = np.empty(self.scene.grid.steps, dtype=np.intp)
        firsts: list[int] = []
        for first in range(0, len(column), COLUMNS):  # pieces that fit a processor's cache
            part = slice(first, first + COLUMNS)
            for step, loads in enumerate(np.concatenate((base_w[active, part], base_var[reactive, part])).T, first):
                number = column[step] = numbers.setdefault(loads.tobytes(), len(numbers))
                if number == len(firsts):
                    firsts.append(step)
            if len(firsts) * self.readings.rows > MOST_KEPT:
                return
        self._column = column
        self._kept = self._read(base_w[:, firsts], base_var[:, firsts])

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
        return found.shaped((1, steps.stop - steps.start))

    def _with_evs(
        self, powers: EvsePowers, steps: slice, replicas: slice, start: Reading, like: EvsePowers | None
    ) -> Reading:
        """Only what differs from `start` is solved: the feeder under `like`, or without EVs."""
        own, other = powers.columns(replicas, steps), None if like is None else like.columns(replicas, steps)
        shape = (replicas.stop - replicas.start, steps.stop - steps.start)
        found = start.shaped((shape[0] * shape[1],)).repeated(1)
        where = np.flatnonzero(own.differ_from(other))
        if len(where):
            at = np.arange(steps.start, steps.stop)[where % shape[1]]
            kvar = None if own.kvar is None else own.kvar[:, where]
            found.put(where, self._read(*self.scene.demand_of(own.kw[:, where], at, kvar)))
        return found.shaped(shape)

    def _excess(self, reading: Reading) -> Excess:
        limits = self.scene.limits
        low, high = limits.voltage_pu
        found = Excess(
            low - self.places.lowest(reading.volts_pu), self.places.highest(reading.volts_pu) - high,
            reading.loading - limits.line_loading, reading.transformer - limits.transformer_loading,
            reading.unbalance - (np.inf if limits.unbalance is None else limits.unbalance),
        )
        if not reading.has_solution.all():
            for name in Excess.__dataclass_fields__:
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
        kvar = self.powers.kvar
        p_w, q_var = self.scene.demand_of(
            self.powers.kw[:, replicas, steps], steps, None if kvar is None else kvar[:, replicas, steps]
        )
        _, bare = _worst(base, max(most // 4, 1))
        p_w = np.concatenate((p_w, self.scene.base_w[:, bare]), axis=1)
        q_var = np.concatenate((q_var, self.scene.base_var[:, bare]), axis=1)
        return Checked(p_w.shape[1], checker.check(self.flow.solve(p_w, q_var)))

    def _impact(self, with_evs: Side, base: Side, checked: Checked) -> Impact:
        of, readings = self.places.of_point, self.readings

        def loaded(name: str, count: str, ids: tuple[str, ...]) -> Loaded:
            return Loaded(
                ids, getattr(with_evs.tally, count).minutes(), with_evs.peaks[name],
                getattr(base.tally, count).total[:, 0],
                base.peaks[name][:, 0],
            )

        def weekly(side: Side) -> Weekly:
            found = side.weekly.result()
            return Weekly(found.within_10[of], found.within_15[of], found.balanced, found.days,
                          found.is_of_ten_minutes)

        segments = tuple(self.flow.segments[row] for row in readings.line_segments)
        return Impact(
            scene=self.scene, evse_kw=self.powers.kw, evse_kvar=self.powers.kvar, replicas=self.replicas,
            nominal_volts=self.nominal_volts,
            points=Points(
                tuple(point.id for point in self.scene.feeder.connection_points), with_evs.tally.points.minutes(of),
                with_evs.low[of], with_evs.high[of], weekly(with_evs), base.tally.points.total[of, 0], base.low[of, 0],
                base.high[of, 0], weekly(base),
            ),
            lines=loaded("loading", "lines", tuple(f"{one.line}.{one.phase}" for one in segments)), segments=segments,
            transformers=loaded("transformer", "transformers", readings.transformer_ids),
            windings=Windings(readings.windings, readings.element_of, with_evs.peaks["winding"],
                              base.peaks["winding"][:, 0]),
            unbalance=loaded("unbalance", "unbalance", readings.buses),
            somewhere=with_evs.tally.somewhere.minutes(), base_somewhere=base.tally.somewhere.total[:, 0],
            beyond=with_evs.tally.beyond, caused=with_evs.tally.caused,
            course=with_evs.course, base=base.course, winding=with_evs.winding, base_winding=base.winding,
            checked=checked, readings=readings,
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
