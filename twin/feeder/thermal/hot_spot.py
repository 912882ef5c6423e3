"""How hot a transformer's winding gets under a course of loading, and how much of its life that costs.

Two published models: the differential equations of IEC 60076-7:2018 (8.2) and those of IEEE C57.91-2011 (clause 7).
The load is constant within a step, so both have exact exponential solutions there: no step is too long for the
winding's time constant. Ageing runs on within a step too and is integrated by Gauss's rule of six points over parts of
at most two of the shortest time constants: within 1e-5 of a step's ageing after a jump of 25 K, 4e-4 after one of 50 K.

Paper decides more than load: the same day ages normal paper several times faster than upgraded paper. Every figure
here therefore says for which paper it is, and a transformer whose paper nobody knows has figures for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twin.feeder.network.model import Paper, Transformer
from twin.feeder.powerflow.flow import Solution
from twin.feeder.thermal.laws import Standard, ThermalState, law_of

Floats = NDArray[np.float64]

BLOCK = 1 << 17
"""Values of one quantity that are worked on together: they stay in a processor's cache."""

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(6)
TIME_CONSTANTS_IN_PART = 2.0
ARRHENIUS_K = 15000.0
KELVIN = 273.0
"""As both standards print it."""

REFERENCE_C = {
    (Standard.IEC, Paper.NORMAL): 98.0,
    (Standard.IEC, Paper.UPGRADED): 110.0,
    (Standard.IEEE, Paper.NORMAL): 95.0,
    (Standard.IEEE, Paper.UPGRADED): 110.0,
}
"""Hot-spot temperature at which paper ages an hour in an hour: IEC 60076-7 6.3, IEEE C57.91 5.2 (95 C: insulation of
transformers with 55 K average winding rise, which is not upgraded)."""


class LoadingUnknown(ValueError):
    """A loading is not a number, for instance where a step has no power flow; who asks must say what to take there."""


@dataclass(frozen=True, eq=False)
class ThermalCourse:
    """Temperatures and ageing under a course of loading.

    top_oil_c, hot_spot_c: at the end of each step, (transformer, [replica,] step).
    peak_hot_spot_c: highest within the whole course, between the ends of steps too, (transformer, [replica]).
    papers: which transformer (its number) and which paper the rows of the figures below are for.
    ageing_rate: hours of life lost per hour, mean over each step, (row, [replica,] step).
    loss_of_life_h: over the whole course, (row, [replica]).
    final: the state to go on from.
    """

    standard: Standard
    step_s: float
    transformers: tuple[str, ...]
    top_oil_c: Floats
    hot_spot_c: Floats
    peak_hot_spot_c: Floats
    papers: tuple[tuple[int, Paper], ...]
    ageing_rate: Floats
    loss_of_life_h: Floats
    final: ThermalState

    @property
    def hours(self) -> float:
        steps: int = self.hot_spot_c.shape[-1]
        return steps * self.step_s / 3600.0

    @property
    def equivalent_ageing(self) -> Floats:
        """Loss of life over time that went by (F_EQA of IEEE C57.91 5.3), (row, [replica]); 1 is the reference."""
        factor: Floats = self.loss_of_life_h / self.hours
        return factor

    def reference_c(self, row: int) -> float:
        """Hot-spot temperature at which the paper of that row ages at rate 1."""
        reference: float = REFERENCE_C[self.standard, self.papers[row][1]]
        return reference


def ageing_rate(hot_spot_c: ArrayLike, paper: Paper, standard: Standard = Standard.IEC) -> Floats:
    """Hours of life lost per hour at constant hot-spot temperatures.

    IEC 60076-7 6.3: doubling every 6 K for normal, Arrhenius's law for upgraded paper. IEEE C57.91 5.2: Arrhenius.
    """
    theta = np.asarray(hot_spot_c, dtype=np.float64)
    reference = REFERENCE_C[standard, paper]
    if standard is Standard.IEC and paper is Paper.NORMAL:
        return np.exp2((theta - reference) / 6.0)
    rate: Floats = np.exp(ARRHENIUS_K / (reference + KELVIN) - ARRHENIUS_K / (theta + KELVIN))
    return rate


def steady(
    transformers: Sequence[Transformer], loading: Floats, ambient_c: ArrayLike, standard: Standard = Standard.IEC
) -> ThermalState:
    """The state in which a constant loading, (transformer, [replica]), ends."""
    loads = np.asarray(loading, dtype=np.float64)
    rise, gradient, oil_gradient = (
        part.reshape(loads.shape) for part in law_of(standard, transformers, loads).rises(loads.reshape(1, -1))
    )
    air = np.broadcast_to(np.asarray(ambient_c, dtype=np.float64), loads.shape)
    return ThermalState(rise + air, air, gradient, oil_gradient)


def run(
    transformers: Sequence[Transformer],
    loading: Floats,
    ambient_c: ArrayLike,
    step_s: float,
    *,
    standard: Standard = Standard.IEC,
    initial: ThermalState | None = None,
) -> ThermalCourse:
    """Temperatures and ageing of all `transformers` at once.

    Args:
        transformers: with their thermal constants and paper. IEEE C57.91 reads the same constants: the oil exponent
            is its n, the winding exponent its 2 m; it has no k11, k21 and k22.
        loading: current over rated current, (transformer, step) or (transformer, replica, step), 0 or more.
        ambient_c: of the air around, one number or one per step.
        step_s: length of a step.
        standard: whose model, and whose ageing.
        initial: None: the steady state of the first step, as the standards advise where nothing is known.

    Raises:
        LoadingUnknown: a loading is NaN; the message names transformer and step.
        ValueError: shapes that do not fit, a negative loading, a step that is not above 0.
    """
    loads = np.asarray(loading, dtype=np.float64)
    ids = tuple(transformer.id for transformer in transformers)
    _require(loads, ids, step_s)
    *lead, steps = loads.shape
    air = np.broadcast_to(np.asarray(ambient_c, dtype=np.float64), (steps,))
    if not np.isfinite(air).all():
        raise ValueError("ambient_c: not finite, expected degrees Celsius")
    law = law_of(standard, transformers, loads[..., 0])
    start = steady(transformers, loads[..., 0], air[0], standard) if initial is None else initial
    state = law.state(start, tuple(lead))
    ageing = _Ageing(transformers, standard, state.shape[1] // len(ids), steps)
    columns = state.shape[1]
    flat = loads.reshape(columns, steps)
    oil, hot, peak = np.empty((columns, steps)), np.empty((columns, steps)), np.full(columns, -np.inf)
    minutes = step_s / 60.0
    shares, weights = _quadrature(minutes / law.shortest_minutes)
    size = max(BLOCK // columns, 1)
    for first in range(0, steps, size):
        part = slice(first, first + size)
        piece = law.follow(np.ascontiguousarray(flat[:, part].T), air[part, None], minutes, state)
        sums = [np.zeros(piece.ends[0].shape) for _ in ageing.kernels]
        for share, weight in zip(shares, weights, strict=True):
            now = piece.at(share)[1]
            np.maximum(peak, now.max(axis=0), out=peak)
            for number, kernel in enumerate(ageing.kernels):
                sums[number] += weight * ageing_rate(now, kernel, standard)
        ageing.set(part, sums)
        oil_end, hot_end = piece.at(1.0)
        oil[:, part], hot[:, part] = oil_end.T, hot_end.T
        state = piece.final
    peak = np.maximum(np.maximum(peak, hot.max(axis=1)), start.hot_spot_c.reshape(-1))
    return ThermalCourse(
        standard, step_s, ids, oil.reshape(loads.shape), hot.reshape(loads.shape), peak.reshape(lead), ageing.papers,
        ageing.rate.reshape(-1, *loads.shape[1:]), ageing.rate.sum(axis=-1).reshape(-1, *lead[1:]) * (step_s / 3600.0),
        law.described(state, air[-1], tuple(lead)),
    )


def _require(loads: Floats, ids: tuple[str, ...], step_s: float) -> None:
    if loads.ndim not in (2, 3) or loads.shape[0] != len(ids) or not loads.size:
        raise ValueError(f"loading: shape {loads.shape}, expected ({len(ids)}, [replica,] step), at least one of each")
    if not step_s > 0.0:
        raise ValueError(f"step_s: {step_s!r}, expected seconds above 0")
    if not (np.isfinite(loads) & (loads >= 0.0)).all():
        number, *_, step = np.argwhere(~(np.isfinite(loads) & (loads >= 0.0)))[0].tolist()
        value = loads[number, ..., step].min()
        kind = ValueError if np.isfinite(value) else LoadingUnknown
        raise kind(f"loading: transformer {ids[number]}, step {step}: {value}, expected 0 or more")


def _quadrature(time_constants: float) -> tuple[Floats, Floats]:
    """Points, as shares of a step that lasts so many time constants, and their weights, which add up to 1."""
    parts = ceil(time_constants / TIME_CONSTANTS_IN_PART)
    begins = np.arange(parts)[:, None]
    shares: Floats = ((begins + 0.5 * (POINTS + 1.0)) / parts).reshape(-1)
    return shares, np.tile(0.5 * WEIGHTS / parts, parts)


class _Ageing:
    """Ageing rates of all transformers: rows as in `ThermalCourse.papers`.

    kernels: papers whose rates are to be worked out; others are in a fixed ratio to one of those.
    """

    def __init__(self, transformers: Sequence[Transformer], standard: Standard, copies: int, steps: int) -> None:
        self.papers = tuple(
            (number, paper) for number, transformer in enumerate(transformers)
            for paper in (tuple(Paper) if transformer.paper is None else (transformer.paper,))
        )
        self.rate = np.empty((len(self.papers), copies, steps))
        self._shape = (len(transformers), copies, -1)
        there = [paper for paper in Paper if any(own is paper for _, own in self.papers)]
        # Both laws of IEEE C57.91 are Arrhenius's with one constant: they differ by a factor.
        self.kernels = there[:1] if standard is Standard.IEEE else there
        self._rows = []
        for row, (number, paper) in enumerate(self.papers):
            kernel = self.kernels.index(paper) if paper in self.kernels else 0
            one = np.array([REFERENCE_C[standard, self.kernels[kernel]]])
            self._rows.append((row, number, kernel, float(ageing_rate(one, paper, standard)[0])))

    def set(self, part: slice, means: Sequence[Floats]) -> None:
        """The means of all kernels, (step, column), over the steps of `part`."""
        by_transformer = [mean.T.reshape(self._shape) for mean in means]
        for row, number, kernel, factor in self._rows:
            self.rate[row, :, part] = factor * by_transformer[kernel][number]


def winding_loading(solution: Solution) -> Floats:
    """What K is to both standards: the current of the most loaded phase over the rated one, (transformer, *shape).

    On a street the phases differ; the hot spot is in the winding that carries most. NaN where there is no solution.
    """
    loading: Floats = solution.winding_loading().max(axis=(1, 2))
    return loading
