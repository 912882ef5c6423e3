"""What EVs do to a feeder, as it is told: minutes beyond limits and whose they are, extremes, courses over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.impact.readings import Readings
from twin.feeder.impact.weekly import Weekly
from twin.feeder.network.admittance import Segment
from twin.feeder.powerflow.parts import Part
from twin.feeder.scene import Scene
from twin.feeder.second_engine.check import Difference

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

KINDS: Final = ("voltage", "line", "transformer", "unbalance", "any")
"""Rows of `Impact.somewhere`."""


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
    """Lines' phases, transformers or buses. peak: highest loading, (row, replica); base_: without EVs, (row,).

    A row of lines is the weakest of all segments that always carry the same current. Transformers are those of
    `Readings.transformer_ids`: behind them stand the elements held as their matrix that have a rating.
    """

    ids: tuple[str, ...]
    minutes: Minutes
    peak: Floats
    base_minutes: Floats
    base_peak: Floats


@dataclass(frozen=True, eq=False)
class Windings:
    """Phases of transformers and nodes of other elements. peak: highest current over the rated one, (row, replica).

    element_of: row in `Impact.transformers` of what each is a part of. base_peak: without EVs, (row,).
    """

    rows: tuple[Part, ...]
    element_of: NDArray[np.intp]
    peak: Floats
    base_peak: Floats

    def most_loaded(self, element: int) -> Part:
        """Of a row of `Impact.transformers`, over all replicas."""
        own = np.flatnonzero(self.element_of == element)
        return self.rows[int(own[np.argmax(np.fmax.reduce(self.peak[own], axis=1))])]


@dataclass(frozen=True, eq=False)
class Course:
    """The feeder as a whole at every step, (replica, step); without EVs there is one replica. NaN: no solution.

    low_pu, high_pu: over all connection points, of the nominal voltage. line_loading, transformer_loading, unbalance:
    the highest of the rows of `Impact`. losses_w: in the feeder. import_w: from the grid above.
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
class Apart:
    """What EVs put beyond a limit in one run and not in another of the same futures, which lacks an event.

    somewhere, points: as in `Impact`, but `attributable` is beyond a limit with the event and not without it, `cured`
        the reverse. caused: whether anything was, (replica, step). without: minutes of each kind because of EVs in the
        run without the event, (kind, replica).
    """

    somewhere: Minutes
    points: Minutes
    caused: Claims
    without: Floats


@dataclass(frozen=True, eq=False)
class Checked:
    """What the second engine says of some steps, or why it says nothing.

    steps: how many were solved again, the worst among them. agrees: on every step that has a solution here; beyond a
        collapse Newton's method of the second engine can end at a voltage of 0 on some phase, which no network takes,
        so that a solution found there alone is told but does not count: the step is judged as broken either way.
    """

    steps: int
    difference: Difference | None
    reason: str = ""

    @property
    def agrees(self) -> bool:
        return self.difference is not None and replace(self.difference, solved_only_there=0).agrees


@dataclass(frozen=True, eq=False)
class Impact:
    """What was judged, with EVs and (`base`) without.

    evse_kw: of `scene.evse_ids`, (evse, replica, step). evse_kvar: likewise, what inverters draw; None: by the scene's
        power factor.
    apart: from the same futures without the event, where these were given.
    somewhere: minutes in which any connection point was beyond its voltage limits, lines or transformers overloaded or
        a bus unbalanced, rows in the order of `KINDS`, and rows of `base_somewhere` likewise, in minutes.
    beyond, caused: whether anything was beyond its limit, and whether because of EVs, (replica, step).
    winding: current of the most loaded phase of every transformer over the rated one, which is what its hot spot goes
        by, (transformer, replica, step), and base_winding, (transformer, 1, step).
    segments: what the rows of `lines` stand for. segment_peak(): the highest loading of every segment.
    nominal_volts: what 1 p.u. is, phase to neutral; None: each bus's rating.
    """

    scene: Scene
    evse_kw: Floats
    evse_kvar: Floats | None
    replicas: int
    nominal_volts: float | None
    points: Points
    lines: Loaded
    segments: tuple[Segment, ...]
    transformers: Loaded
    windings: Windings
    unbalance: Loaded
    somewhere: Minutes
    base_somewhere: Floats
    beyond: Claims
    caused: Claims
    course: Course
    base: Course
    winding: Floats
    base_winding: Floats
    checked: Checked
    readings: Readings
    apart: Apart | None = None

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
