"""Where a feeder is tied to ground, and which parts float.

Behind a delta winding nothing may fix the three voltages against ground: any common shift of them would solve the
flow. Such networks exist on purpose (IEEE 37), so they are not refused: a susceptance of one millionth of the
transformer's rating ties them to ground, as OpenDSS does for every winding, and the report says so.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import sqrt
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Feeder, Primitive, Side, Transformer
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.transformer_model import Complex, admittance

ANTI_FLOATING: Final = 1e-6
"""Of the rating: reactive power that ties a floating side to ground (OpenDSS: `ppm_antifloat` = 1)."""

RANK: Final = 1e-9
"""Of the largest singular value: below, a matrix lets its voltages be shifted freely."""

SMALLEST: Final = 1e-300

Node = tuple[str, str]
_Sides = tuple[tuple[Side | None, tuple[Node, ...], float], ...]
Name = TypeVar("Name", bound=Hashable)


class Groups(Generic[Name]):
    """Sets of things that grow together (union-find)."""

    def __init__(self, start: Groups[Name] | None = None) -> None:
        self._above: dict[Name, Name] = {} if start is None else dict(start._above)  # noqa: SLF001 - its own class

    def of(self, name: Name) -> Name:
        while (above := self._above.get(name, name)) != name:
            self._above[name] = self._above.get(above, above)
            name = above
        return name

    def join(self, one: Name, other: Name) -> None:
        self._above[self.of(one)] = self.of(other)


@dataclass(frozen=True, slots=True)
class Tie:
    """Nodes that nothing grounds but a susceptance (siemens per node, negative: inductive), and whose they are.

    side: of a transformer; None: a primitive.
    """

    element: str
    side: Side | None
    nodes: tuple[Node, ...]
    susceptance: float


@dataclass(frozen=True)
class _Element:
    """groups: those of its nodes, each once; currents: into its nodes (scaled by their rated volts) over them."""

    name: str
    sides: _Sides
    groups: tuple[Node, ...]
    currents: Complex


def lines_joined(feeder: Feeder) -> Groups[Node]:
    """Nodes that lines join to each other."""
    joined: Groups[Node] = Groups()
    for line in feeder.lines:
        for phase in line.phases:
            joined.join((line.from_bus, phase), (line.to_bus, phase))
    return joined


def ties(feeder: Feeder, joined: Groups[Node] | None = None) -> tuple[Tie, ...]:
    """What has to be tied to ground, in a feeder whose names and vector groups are right.

    Ground spreads from the source: an element hands it on to those of its nodes whose voltages cannot be other than 0
    while its grounded nodes are at 0 and no current flows. Capacitances of lines do not count as ground: too small.
    """
    joined = joined or lines_joined(feeder)
    grounded = {joined.of((feeder.source.bus, phase)) for phase in PHASES}
    for capacitor in feeder.capacitors:
        if capacitor.connection is Connection.WYE:
            grounded |= {joined.of((capacitor.bus, phase)) for phase in capacitor.phases}
    elements = _elements(feeder, joined)
    found: list[Tie] = []
    _spread(elements, grounded)
    for element in elements:
        for side, nodes, susceptance in element.sides:
            floating = tuple(node for node in nodes if joined.of(node) not in grounded)
            if floating:
                found.append(Tie(element.name, side, floating, susceptance))
                grounded |= {joined.of(node) for node in floating}
                _spread(elements, grounded)
    return tuple(found)


def _elements(feeder: Feeder, joined: Groups[Node]) -> list[_Element]:
    """Transformers before primitives: where both float together, the tie is one that has a rating."""
    volts = {bus.id: bus.volts for bus in feeder.buses}
    found = []
    elements: tuple[Transformer | Primitive, ...] = (*feeder.transformers, *feeder.primitives)
    for element in elements:
        sides, matrix = _transformer(element) if isinstance(element, Transformer) else _primitive(element)
        nodes = [node for _, here, _ in sides for node in here]
        base = np.array([volts[bus] for bus, _ in nodes])
        groups = tuple(dict.fromkeys(joined.of(node) for node in nodes))
        gathered = np.array([[joined.of(node) == group for group in groups] for node in nodes], dtype=np.float64)
        found.append(_Element(element.id, sides, groups, matrix * np.outer(base, base) @ gathered))
    return found


def _transformer(transformer: Transformer) -> tuple[_Sides, Complex]:
    ends = (
        (Side.FROM, transformer.from_bus, transformer.from_volts), (Side.TO, transformer.to_bus, transformer.to_volts),
    )
    sides = tuple(
        (side, tuple((bus, phase) for phase in PHASES), -ANTI_FLOATING * transformer.rated_va / 3.0 / volts**2)
        for side, bus, volts in ends
    )
    return sides, admittance(transformer)


def _primitive(primitive: Primitive) -> tuple[_Sides, Complex]:
    """Its rating is not known: a millionth of its own admittance is some millionths of it."""
    matrix = np.array(primitive.admittance, dtype=np.complex128)
    return tuple(
        (None, (node,), -ANTI_FLOATING * abs(matrix[row, row])) for row, node in enumerate(primitive.nodes)
    ), matrix


def _spread(elements: list[_Element], grounded: set[Node]) -> None:
    before = -1
    while before != len(grounded):
        before = len(grounded)
        for element in elements:
            open_ = [row for row, group in enumerate(element.groups) if group not in grounded]
            if open_:
                fixed = _fixed(element.currents[:, open_])
                grounded |= {element.groups[row] for row, is_fixed in zip(open_, fixed, strict=True) if is_fixed}


def _fixed(columns: NDArray[np.complex128]) -> list[bool]:
    """Of which columns the share in a combination that gives 0 can only be 0."""
    _, sizes, right = np.linalg.svd(columns)
    free = right[int((sizes > RANK * max(float(sizes[0]), SMALLEST)).sum()):]
    return [bool(is_fixed) for is_fixed in (np.abs(free) < sqrt(RANK)).all(axis=0)]
