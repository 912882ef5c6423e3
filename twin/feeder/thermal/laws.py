"""How oil and winding of a transformer warm up: the two published models as exact exponential courses.

Under a load that is constant within a step, the temperatures of IEC 60076-7 and of IEEE C57.91 run exponentially from
where they are to where they would end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Transformer

Floats = NDArray[np.float64]

ALMOST_SETTLED = 1e-6
"""Of the rated rise: nearer than that to its end, an oil time constant is taken at its limit."""


class Standard(StrEnum):
    """Whose model: equations and reference temperatures."""

    IEC = "IEC 60076-7"
    IEEE = "IEEE C57.91"


@dataclass(frozen=True, eq=False)
class ThermalState:
    """Temperatures at one instant, each (transformer, [replica]).

    top_oil_c, ambient_c: of the oil and of the air around. gradient_k, oil_gradient_k: the two parts of hot spot over
        top oil; the latter is taken away (the oil's slower answer in IEC 60076-7; 0 in IEEE C57.91).
    """

    top_oil_c: Floats
    ambient_c: Floats
    gradient_k: Floats
    oil_gradient_k: Floats

    @property
    def hot_spot_c(self) -> Floats:
        hot: Floats = self.top_oil_c + self.gradient_k - self.oil_gradient_k
        return hot


@dataclass(frozen=True, eq=False)
class Piece:
    """Some steps of constant load: top oil (or its rise), gradient and the oil's part of it run exponentially.

    starts, ends: where from and where to, (3, step, column). decay: steps over the time constant, for each of the
    three, (1 or step, column). air_c: to be added to the oil, (step, 1). final: (3, column), after the last step.
    """

    starts: Floats
    ends: Floats
    decay: Sequence[Floats]
    air_c: Floats | float
    final: Floats

    @cached_property
    def _gaps(self) -> Floats:
        return self.starts - self.ends

    def at(self, share: float) -> tuple[Floats, Floats]:
        """Top oil and hot spot at this share of every step, (step, column)."""
        oil, gradient, oil_gradient = (
            end + gap * np.exp(-share * decay)
            for end, gap, decay in zip(self.ends, self._gaps, self.decay, strict=True)
        )
        oil += self.air_c
        return oil, oil + gradient - oil_gradient


class Law:
    """Constants of transformers as columns, one for each of their replicas."""

    def __init__(self, transformers: Sequence[Transformer], copies: int) -> None:
        def column(name: str) -> Floats:
            values = [getattr(transformer.thermal, name) for transformer in transformers]
            return np.repeat(np.array(values, dtype=np.float64), copies)

        self.oil_rise, self.gradient, self.ratio = map(column, ("top_oil_rise_k", "hot_spot_gradient_k", "loss_ratio"))
        self.oil_exponent, self.winding_exponent = column("oil_exponent"), column("winding_exponent")
        self.oil_minutes, self.winding_minutes = column("oil_minutes"), column("winding_minutes")
        self.k11, self.k21, self.k22 = column("k11"), column("k21"), column("k22")

    def oil_rises(self, loads: Floats) -> Floats:
        """Of top oil over air in the end: [(1 + R K^2) / (1 + R)]^x times the rated rise; in both standards."""
        rise: Floats = ((1.0 + self.ratio * loads**2) / (1.0 + self.ratio)) ** self.oil_exponent * self.oil_rise
        return rise


class Iec(Law):
    """IEC 60076-7:2018, 8.2: oil that follows the air too, and a gradient of two parts."""

    @property
    def shortest_minutes(self) -> float:
        return float(self._constants().min())

    def _constants(self) -> Floats:
        """Minutes, (3, column)."""
        oil = self.oil_minutes
        return np.stack((self.k11 * oil, self.k22 * self.winding_minutes, oil / self.k22))

    def rises(self, loads: Floats) -> Floats:
        """In the end, (3, step, column)."""
        gradient = loads**self.winding_exponent * self.gradient
        return np.stack((self.oil_rises(loads), self.k21 * gradient, (self.k21 - 1.0) * gradient))

    def state(self, start: ThermalState, lead: tuple[int, ...]) -> Floats:
        parts = (start.top_oil_c, start.gradient_k, start.oil_gradient_k)
        return np.stack([np.broadcast_to(part, lead).reshape(-1) for part in parts])

    def described(self, state: Floats, air_c: float, lead: tuple[int, ...]) -> ThermalState:
        oil, gradient, oil_gradient = (part.reshape(lead) for part in state)
        return ThermalState(oil, np.full(lead, air_c), gradient, oil_gradient)

    def follow(self, loads: Floats, air_c: Floats, minutes: float, state: Floats) -> Piece:
        ends = self.rises(loads)
        ends[0] += air_c
        decay = minutes / self._constants()
        left = np.exp(-decay)
        starts = np.empty_like(ends)
        now = state
        for step in range(len(loads)):
            starts[:, step] = now
            end = ends[:, step]
            now = end + (now - end) * left
        return Piece(starts, ends, tuple(decay), 0.0, now)


class Ieee(Law):
    """IEEE C57.91-2011, clause 7: rises over the air of the moment; the oil's time constant depends on its course."""

    @property
    def shortest_minutes(self) -> float:
        return float(min(self.winding_minutes))

    def rises(self, loads: Floats) -> Floats:
        """In the end, (3, step, column)."""
        gradient = loads**self.winding_exponent * self.gradient
        return np.stack((self.oil_rises(loads), gradient, np.zeros_like(gradient)))

    def state(self, start: ThermalState, lead: tuple[int, ...]) -> Floats:
        rise = start.top_oil_c - start.ambient_c
        return np.stack([np.broadcast_to(part, lead).reshape(-1) for part in (rise, start.gradient_k, 0.0 * rise)])

    def described(self, state: Floats, air_c: float, lead: tuple[int, ...]) -> ThermalState:
        rise, gradient, nothing = (part.reshape(lead) for part in state)
        return ThermalState(rise + air_c, np.full(lead, air_c), gradient, nothing)

    def follow(self, loads: Floats, air_c: Floats, minutes: float, state: Floats) -> Piece:
        ends = self.rises(loads)
        starts, pace = np.empty_like(ends), np.empty_like(ends[0])
        winding_pace = minutes / self.winding_minutes
        left = np.exp(-winding_pace)
        inverse, rated = 1.0 / self.oil_exponent, self.oil_rise
        ends_to = (ends[0] / rated) ** inverse
        limit = self.oil_exponent * (ends[0] / rated) ** (1.0 - inverse)
        oil, gradient = state[0], state[1]
        for step in range(len(loads)):
            starts[0, step], starts[1, step] = oil, gradient
            gap = (ends[0, step] - oil) / rated
            flow = ends_to[step] - (np.maximum(oil, 0.0) / rated) ** inverse
            settled = np.abs(gap) < ALMOST_SETTLED
            factor = np.where(settled, limit[step], gap / np.where(settled, 1.0, flow))
            pace[step] = minutes / (self.oil_minutes * factor)
            oil = ends[0, step] - gap * rated * np.exp(-pace[step])
            gradient = ends[1, step] + (gradient - ends[1, step]) * left
        starts[2] = 0.0
        final = np.stack((oil, gradient, np.zeros_like(oil)))
        return Piece(starts, ends, (pace, winding_pace, winding_pace), air_c, final)


def law_of(standard: Standard, transformers: Sequence[Transformer], loads: Floats) -> Iec | Ieee:
    """loads: (transformer, [replica])."""
    kind = Iec if standard is Standard.IEC else Ieee
    return kind(transformers, loads.size // len(transformers))
