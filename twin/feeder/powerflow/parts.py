"""Which part of a transformer, or of another element with a rating, carries the most of what it can.

A transformer is loaded as a whole, by its apparent power, and in every phase by its current: one phase may carry more
than it can while the whole is far below its rating.

    carried = most_loaded(flow.solve(p_w, q_var), step=0)["tr"]
    carried.loading, str(carried.part)                   # 1.2, "to phase a"
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Side
from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import Complex
from twin.feeder.powerflow.flow import Flow, Solution

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """One phase of a transformer's side, or one node of an element that is held as its matrix.

    where: `from` or `to` of a transformer, the bus of a node; "", as `phase`: a transformer's power as a whole.
    """

    element: str
    where: str
    phase: str

    def __str__(self) -> str:
        if not self.where:
            return "apparent power"
        return f"{self.where} phase {self.phase}"

    @property
    def name(self) -> str:
        """As limits name it: `tr`, `tr.to.a`, `reg1.799r.a`."""
        return ".".join(part for part in (self.element, self.where, self.phase) if part)


@dataclass(frozen=True, slots=True)
class Carried:
    """The most loaded part of an element at a step. loading: over its rating; NaN: there is no flow."""

    part: Part
    loading: float


@dataclass(frozen=True, eq=False)
class Windings:
    """Everything beside lines that is rated in amperes, as rows over a flow's state.

    parts: phases of both sides of all transformers, then the nodes of other elements whose rating is known.
    amperes: rated, of each. over_rated: the current of each over that, (part, 1 + point).
    """

    parts: tuple[Part, ...]
    amperes: Floats
    over_rated: Complex


def windings(flow: Flow) -> Windings:
    """Of one feeder."""
    feeder, network = flow.feeder, flow.network
    known = np.isfinite(flow.primitive_amperes)
    of_sides = [amperes for transformer in feeder.transformers for amperes in transformer.rated_amperes]
    amperes = np.concatenate((np.repeat(of_sides, len(PHASES)), flow.primitive_amperes[known]))
    currents = np.concatenate((network.transformers, network.primitives[known]))
    parts = (
        *(Part(transformer.id, side.value, phase) for transformer in feeder.transformers for side in Side
          for phase in PHASES),
        *(Part(primitive.id, *node) for primitive in feeder.primitives if primitive.amperes
          for node in primitive.nodes),
    )
    return Windings(parts, amperes, currents / amperes[:, None])


def loading_by_part(solution: Solution) -> tuple[tuple[Part, ...], Floats]:
    """Every part over its rating, (part, *shape): whole transformers, then `windings`. NaN: there is no flow."""
    rated = windings(solution.flow)
    whole = tuple(Part(transformer.id, "", "") for transformer in solution.flow.feeder.transformers)
    loading = np.abs(rated.over_rated @ solution.state).reshape(-1, *solution.shape)
    return (*whole, *rated.parts), np.concatenate((solution.transformer_loading(), loading))


def most_loaded(solution: Solution, step: int) -> dict[str, Carried]:
    """Of every transformer and other element with a rating, by id, at one column of a solution of one axis."""
    parts, values = loading_by_part(solution)
    found: dict[str, Carried] = {}
    for part, loading in zip(parts, values[:, step].tolist(), strict=True):
        held = found.get(part.element)
        if held is None or loading > held.loading:
            found[part.element] = Carried(part, loading)
    return found
