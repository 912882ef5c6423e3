"""Everything that a feeder's limits hold, as one matrix over the state of a flow.

Whoever searches for the most that a feeder bears asks the same question thousands of times: is anything beyond its
limit? A full flow answers with 2,700 voltages and as many currents; few of them differ. Here are those that do:
voltages at connection points, one row for all segments that carry the same current, transformers and the current of
each of their phases, unbalance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE, Complex
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.powerflow.line_rows import line_ends, weakest_of_same
from twin.feeder.powerflow.parts import windings
from twin.feeder.scene import Limits

Floats = NDArray[np.float64]


class Kind(StrEnum):
    """What a row is: its value is compared with its limit in these units."""

    VOLTAGE_LOW = "voltage too low"
    VOLTAGE_HIGH = "voltage too high"
    LINE = "line"
    TRANSFORMER = "transformer"
    UNBALANCE = "unbalance"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing with a limit. where: connection point's bus, line, transformer or bus; phase: "" if of all three.

    Of a transformer there is its power as a whole, and the current of every phase: where is then its id and its side
    (`tr.to`), or the bus of an element that is held as its matrix (`reg1.799r`).
    limit: the largest value allowed; of a voltage that must not be low, minus the lowest p.u.
    """

    kind: Kind
    where: str
    phase: str
    limit: float

    def __str__(self) -> str:
        phase = f" phase {self.phase}" if self.phase else ""
        if self.kind in (Kind.LINE, Kind.TRANSFORMER):
            return f"loading of {self.kind} {self.where}{phase}"
        if self.kind is Kind.UNBALANCE:
            return f"unbalance at bus {self.where}"
        return f"{self.kind} at bus {self.where}{phase}"


class Watched:
    """The limits of a feeder, made ready to be asked about many flows.

    rows: in the order of all arrays. limit: of each row. A line without a rating is not among them; its segments are
    in `unrated`.
    """

    SIZES: Final = (Kind.LINE, Kind.UNBALANCE)
    """Kinds whose value is the size of one complex figure, as `swings` has it."""

    def __init__(self, flow: Flow, limits: Limits) -> None:
        self.flow = flow
        network = flow.network
        found: list[Row] = []
        nodes = list(dict.fromkeys((point.bus, phase) for point in flow.feeder.connection_points
                                   for phase in point.phases))
        low, high = limits.voltage_pu
        found += [Row(Kind.VOLTAGE_LOW, bus, phase, -low) for bus, phase in nodes]
        found += [Row(Kind.VOLTAGE_HIGH, bus, phase, high) for bus, phase in nodes]
        node_rows = np.array([flow.node_row[node] for node in nodes], dtype=np.intp)
        parts: list[Complex] = [
            network.spread[node_rows] @ network.keys / network.node_volts[node_rows][:, None]
        ]
        amperes, lines = self._lines(limits)
        parts.append(amperes)
        found += lines
        self.unrated = int(np.isnan(flow.ampacity).sum())
        rated = np.array([transformer.rated_va for transformer in flow.feeder.transformers])
        found += [
            Row(Kind.TRANSFORMER, transformer.id, "", limits.transformer_loading)
            for transformer in flow.feeder.transformers
        ]
        parts += [network.transformers / np.repeat(rated, 6)[:, None], network.keys[network.transformer_nodes]]
        rated_parts = windings(flow)
        parts.append(rated_parts.over_rated)
        found += [Row(Kind.TRANSFORMER, f"{part.element}.{part.where}", part.phase, limits.transformer_loading)
                  for part in rated_parts.parts]
        buses = [] if limits.unbalance is None else [
            bus for bus in dict.fromkeys(bus for bus, _ in nodes)
            if all((bus, phase) in flow.node_row for phase in PHASES)
        ]
        for sequence in (2, 1):
            rows = np.array([[flow.node_row[bus, phase] for phase in PHASES] for bus in buses], dtype=np.intp)
            volts = (network.spread[rows.ravel()] @ network.keys).reshape(len(buses), 3, network.keys.shape[1])
            parts.append(np.einsum("p,bps->bs", TO_SEQUENCE[sequence], volts))
        found += [Row(Kind.UNBALANCE, bus, "", limits.unbalance or 0.0) for bus in buses]
        self.rows = tuple(found)
        self.limit: Floats = np.array([row.limit for row in found])
        self.kinds = np.array([row.kind for row in found])
        self._matrix: Complex = np.ascontiguousarray(np.concatenate(parts))
        ends = np.cumsum([0, *(len(part) for part in parts)])
        self._volts, self._amperes, self._into, self._at, self._phases, self._negative, self._positive = (
            slice(int(start), int(end)) for start, end in pairwise(ends)
        )

    def _lines(self, limits: Limits) -> tuple[Complex, list[Row]]:
        """Currents over the ampacity: one row, that of the smallest rating, for all ends that carry the same."""
        flow = self.flow
        ends = line_ends(flow)
        currents, ampacity = np.concatenate(ends), np.tile(flow.ampacity, len(ends))
        least, _ = weakest_of_same(currents, ampacity=ampacity)
        segments = [flow.segments[number] for number in least % len(flow.segments)]
        rows = [Row(Kind.LINE, segment.line, segment.phase, limits.line_loading) for segment in segments]
        return currents[least] / ampacity[least][:, None], rows

    def values(self, solution: Solution) -> Floats:
        """Value of every row, (row, column); infinite where there is no solution."""
        value = self._matrix @ solution.state
        size = np.abs(value)
        volts = size[self._volts]
        both = (size[self._into] * size[self._at]).reshape(len(self.flow.feeder.transformers), 2, 3, size.shape[1])
        power = both.sum(axis=2).max(axis=1)
        found = np.concatenate((
            -volts, volts, size[self._amperes], power, size[self._phases],
            size[self._negative] / size[self._positive],
        ))
        found[:, ~solution.has_solution.reshape(-1)] = np.inf
        return found

    def swings(self, solution: Solution, per_watt: Complex) -> tuple[Complex, Complex]:
        """Of rows of SIZES the complex figures whose size is their value, and how they move; 0 in other rows.

        Of an unbalance the positive sequence is taken as it is: it hardly moves.

        Args:
            solution: columns that have a solution.
            per_watt: as in `slopes`.

        Returns:
            figures (row, column) and derivatives (column, row, something).
        """
        value = self._matrix @ solution.state
        figures = np.zeros((len(self.rows), value.shape[1]), dtype=np.complex128)
        moved = np.zeros((value.shape[1], len(self.rows), per_watt.shape[2]), dtype=np.complex128)
        size = np.abs(value[self._positive])
        for kind, part, over in ((Kind.LINE, self._amperes, 1.0), (Kind.UNBALANCE, self._negative, size)):
            rows = self.kinds == kind
            figures[rows] = value[part] / over
            moved[:, rows] = (self._matrix[part, 1:] @ per_watt) / (over if kind is Kind.LINE else size.T[:, :, None])
        return figures, moved

    def slopes(self, solution: Solution, per_watt: Complex) -> tuple[Floats, Floats]:
        """Values and their derivatives.

        Args:
            solution: columns that have a solution.
            per_watt: amperes injected at every load point per watt of something, (column, point, something).

        Returns:
            values (row, column) and derivatives (column, row, something).
        """
        value = self._matrix @ solution.state
        size = np.abs(value)
        toward = np.divide(value.conj(), size, out=np.zeros_like(value), where=size > 0.0).T[:, :, None]
        change = (toward * (self._matrix[:, 1:] @ per_watt)).real
        columns, _, things = change.shape
        volts = change[:, self._volts]
        transformers = len(self.flow.feeder.transformers)
        shape = (columns, transformers, 2, 3, things)
        into, at = change[:, self._into].reshape(shape), change[:, self._at].reshape(shape)
        amperes, across = (
            size[part].T.reshape(columns, transformers, 2, 3, 1) for part in (self._into, self._at)
        )
        both = (into * across + amperes * at).sum(axis=3)
        larger = np.argmax((amperes * across).sum(axis=3), axis=2)[:, :, None, :]
        power = np.take_along_axis(both, np.broadcast_to(larger, (*both.shape[:2], 1, things)), axis=2)[:, :, 0]
        one, two = size[self._positive].T[:, :, None], size[self._negative].T[:, :, None]
        ratio = (change[:, self._negative] - two / one * change[:, self._positive]) / one
        return self.values(solution), np.concatenate(
            (-volts, volts, change[:, self._amperes], power, change[:, self._phases], ratio), axis=1
        )
