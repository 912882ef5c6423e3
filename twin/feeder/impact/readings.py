"""What a feeder is judged by, read off solved steps as few rows as possible.

A flow of the European LV feeder has 2,718 voltages and 2,715 currents, of which some 500 differ and matter: voltages
at the load points, one current for all segments that carry the same, what goes through transformers and source. They
are rows of a few matrices over the flow's state, so a year is judged without writing down a single whole flow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.admittance import Indices
from twin.feeder.network.model import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE, Complex
from twin.feeder.powerflow.flow import Flow, Solution

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

SAME_CURRENT: Final = 9
"""Decimal places (A per A) to which two segments' currents agree before they are read as one."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Steps as they are judged; NaN where there is no solution. Every array is (row, *shape).

    volts_pu: at the load points, of their bus's rated voltage. loading: of line rows. transformer: loading.
    unbalance: of `Readings.buses`. losses_w, import_w: lost in the feeder, and drawn from the grid above, of `shape`.
    """

    volts_pu: Floats
    loading: Floats
    transformer: Floats
    unbalance: Floats
    losses_w: Floats
    import_w: Floats
    has_solution: Claims

    def _each(self, make: Callable[[NDArray[Any]], NDArray[Any]]) -> Reading:
        return Reading(*(make(getattr(self, name)) for name in self.__dataclass_fields__))

    def at(self, columns: Indices) -> Reading:
        """Some of the columns, one behind the other."""
        return self._each(lambda values: values[..., columns])

    def shaped(self, shape: tuple[int, ...]) -> Reading:
        """The columns of one axis laid out in this shape, or those of several in another one."""
        axes = self.has_solution.ndim
        return self._each(lambda values: values.reshape(*values.shape[:values.ndim - axes], *shape))

    def repeated(self, times: int) -> Reading:
        """All columns `times` over, as one axis and as a copy."""
        axes = self.has_solution.ndim
        columns = self.has_solution.size
        return self._each(lambda values: np.tile(values.reshape(*values.shape[:values.ndim - axes], columns), times))

    def put(self, columns: Indices, other: Reading) -> None:
        """Overwrite columns."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[..., columns] = getattr(other, name)

    @classmethod
    def joined(cls, parts: Sequence[Reading]) -> Reading:
        """Columns one behind the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, name) for part in parts], axis=-1)
                     for name in cls.__dataclass_fields__))


class Readings:
    """A feeder made ready to be judged.

    line_segments: row in `Flow.segments` of the weakest segment of each line row. line_of: the line row of each
    segment, -1 where it carries nothing or has no rating; weaker: its loading over that of its line row.
    buses: three-phase buses at which somebody is connected. rated_volts: of every load point, from its bus's rating;
    phases_across: over the phase voltage.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        network = flow.network
        self.rated_volts, self.phases_across = _rated_volts(flow)
        self._volts: Complex = network.points / self.rated_volts[:, None]
        self._lines, self.line_segments, self.line_of, self.weaker = _line_rows(flow)
        rated = np.array([transformer.rated_va for transformer in flow.feeder.transformers])
        self._into: Complex = network.transformers / np.repeat(rated, 6)[:, None]
        self._across: Complex = network.keys[network.transformer_nodes]
        self._out: Complex = network.source
        self._source: Complex = network.keys[network.source_nodes]
        self.buses = tuple(dict.fromkeys(
            point.bus for point in flow.feeder.connection_points
            if all((point.bus, phase) in flow.node_row for phase in PHASES)
        ))
        rows = np.array([flow.node_row[bus, phase] for bus in self.buses for phase in PHASES], dtype=np.intp)
        volts = (network.spread[rows] @ network.keys).reshape(len(self.buses), 3, network.keys.shape[1])
        self._positive, self._negative = (
            np.ascontiguousarray(np.einsum("p,bps->bs", TO_SEQUENCE[sequence], volts)) for sequence in (1, 2)
        )

    @property
    def rows(self) -> int:
        """Values of one step."""
        return len(self.rated_volts) + len(self.line_segments) + len(self.flow.feeder.transformers) + len(self.buses)

    def of(self, solution: Solution) -> Reading:
        """All columns of a solution, whatever its shape, as one axis."""
        state = solution.state
        volts = self._volts @ state
        drawn = (np.conjugate(self.flow.network.points @ state) * state[1:]).real.sum(axis=0)
        across, into = self._across @ state, self._into @ state
        sides = (len(self.flow.feeder.transformers), 2, 3, state.shape[1])
        power = np.sqrt(_square(across) * _square(into)).reshape(sides).sum(axis=2).max(axis=1)
        source = ((self._source @ state) * np.conjugate(self._out @ state)).real.sum(axis=0)
        with np.errstate(invalid="ignore"):
            unbalance = np.sqrt(_square(self._negative @ state) / _square(self._positive @ state))
        return Reading(
            np.sqrt(_square(volts)), np.sqrt(self._squared_loading(state)), power, unbalance, source + drawn, source,
            solution.has_solution.reshape(-1),
        )

    def _squared_loading(self, state: Complex) -> Floats:
        """Of the more loaded end."""
        ends = [_squared_current(matrix, state) for matrix in self._lines]
        return ends[0] if len(ends) == 1 else np.maximum(*ends)


def _squared_current(matrix: Floats | Complex, state: Complex) -> Floats:
    if np.iscomplexobj(matrix):
        return _square(matrix @ state)
    # Without transformers or capacitances between them currents are real sums of what the load points draw.
    real = np.asarray(matrix, dtype=np.float64)
    square: Floats = (real @ np.ascontiguousarray(state.real)) ** 2
    square += (real @ np.ascontiguousarray(state.imag)) ** 2
    return square


def _square(value: Complex) -> Floats:
    square: Floats = value.real**2 + value.imag**2
    return square


def _rated_volts(flow: Flow) -> tuple[Floats, Floats]:
    """Of every load point: volts across it, and how many times the voltage of one phase that is (delta: sqrt 3)."""
    bus_of = {point.id: point.bus for point in flow.feeder.connection_points}
    volts = {bus.id: bus.volts for bus in flow.feeder.buses}
    rated, times = np.empty((2, len(flow.network.base_volts)))
    for terminal, point in zip(flow.terminals, flow.network.point_of, strict=True):
        times[point] = 1.0 if terminal.other is None else sqrt(3.0)
        rated[point] = times[point] * volts[bus_of[terminal.connection_point]] / sqrt(3.0)
    return rated, times


def _line_rows(flow: Flow) -> tuple[list[Floats | Complex], Indices, Indices, Floats]:
    """Currents, at each end where both differ, over the smallest ampacity of all segments that carry the same."""
    network, ampacity = flow.network, flow.ampacity
    through = network.along_lines(network.run_series)
    ends = [through] if network.shunts is None else [
        through + network.shunts[0] @ network.keys, through - network.shunts[1] @ network.keys,
    ]
    same = np.concatenate([_turned(np.round(currents, SAME_CURRENT)) for currents in ends], axis=1)
    line_of = np.full(len(flow.segments), -1, dtype=np.intp)
    numbers: dict[bytes, int] = {}
    weakest: list[int] = []
    for segment in np.flatnonzero(np.isfinite(ampacity) & same.any(axis=1)).tolist():
        row = line_of[segment] = numbers.setdefault(same[segment].tobytes(), len(weakest))
        if row == len(weakest):
            weakest.append(segment)
        elif ampacity[segment] < ampacity[weakest[row]]:
            weakest[row] = segment
    least = np.array(weakest, dtype=np.intp)
    weaker = np.zeros(len(flow.segments))
    carries = line_of >= 0
    weaker[carries] = ampacity[least[line_of[carries]]] / ampacity[carries]
    matrices = [currents[least] / ampacity[least][:, None] for currents in ends]
    size = max(float(np.abs(matrix).max(initial=0.0)) for matrix in matrices)
    if all(float(np.abs(matrix.imag).max(initial=0.0)) <= 10.0**-SAME_CURRENT * size for matrix in matrices):
        return [np.ascontiguousarray(matrix.real) for matrix in matrices], least, line_of, weaker
    return [np.ascontiguousarray(matrix) for matrix in matrices], least, line_of, weaker


def _turned(currents: Complex) -> Complex:
    """The same whichever way a segment points, and without negative zeros."""
    first = currents[np.arange(len(currents)), np.argmax(currents != 0.0, axis=1)].real
    return currents * np.where(first < 0.0, -1.0, 1.0)[:, None] + 0.0
