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

from twin.feeder.network.model import PHASES, Side
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


def windings(flow: Flow) -> tuple[Part, ...]:
    """Phases of both sides of all transformers, then the nodes of other elements whose rating is known."""
    feeder = flow.feeder
    return (
        *(Part(transformer.id, side.value, phase) for transformer in feeder.transformers for side in Side
          for phase in PHASES),
        *(Part(primitive.id, *node) for primitive in feeder.primitives if primitive.amperes
          for node in primitive.nodes),
    )


def loading_by_part(solution: Solution) -> tuple[tuple[Part, ...], Floats]:
    """Every part over its rating, (part, *shape): whole transformers, then `windings`. NaN: there is no flow."""
    flow = solution.flow
    known = np.isfinite(flow.primitive_amperes)
    nodes = np.abs(solution.primitive_currents()[known])
    rated = flow.primitive_amperes[known].reshape(-1, *(1 for _ in solution.shape))
    whole = tuple(Part(transformer.id, "", "") for transformer in flow.feeder.transformers)
    values = np.concatenate((
        solution.transformer_loading(), solution.winding_loading().reshape(-1, *solution.shape), nodes / rated,
    ))
    return (*whole, *windings(flow)), values


def most_loaded(solution: Solution, step: int) -> dict[str, Carried]:
    """Of every transformer and other element with a rating, by id, at one column of a solution of one axis."""
    parts, values = loading_by_part(solution)
    found: dict[str, Carried] = {}
    for part, loading in zip(parts, values[:, step].tolist(), strict=True):
        held = found.get(part.element)
        if held is None or loading > held.loading:
            found[part.element] = Carried(part, loading)
    return found
