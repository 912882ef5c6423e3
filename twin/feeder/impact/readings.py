"""What a feeder is judged by, read off solved steps as few rows as possible.

A flow of the European LV feeder has 2,718 voltages and 2,715 currents, of which some 500 differ and matter: voltages
at the load points, one current for all segments that carry the same, what goes through transformers, other elements
with a rating, and the source. They are rows of a few matrices over the flow's state, so a year is judged without
writing down a single whole flow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.admittance import Indices
from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE, Complex
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.powerflow.line_rows import SAME_CURRENT, line_ends, weakest_of_same
from twin.feeder.powerflow.parts import windings

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reading:
    """Steps as they are judged; NaN where there is no solution. Every array is (row, *shape).

    volts_pu: at the load points, of their bus's rated voltage. loading: of line rows. transformer: of
    `Readings.transformer_ids`. winding: of `Readings.windings`, the current of each over the rated one.
    unbalance: of `Readings.buses`. losses_w, import_w: lost in the feeder, and drawn from the grid above, of `shape`.
    """

    volts_pu: Floats
    loading: Floats
    transformer: Floats
    winding: Floats
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

    transformer_ids: transformers, and behind them the primitives that have a rating. What is judged of a transformer is
    the larger of its apparent power as a whole and of the current of any phase, over the rated; of a primitive the
    current at any node. windings: these phases and nodes; winding_amperes: rated; element_of: each one's row in
    `transformer_ids`.

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
        self._transformers = len(flow.feeder.transformers)
        self._set_windings()
        self._across: Complex = network.keys[network.transformer_nodes] * self._volts_over
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
        judged = (self.rated_volts, self.line_segments, self.transformer_ids, self.windings, self.buses)
        return sum(len(one) for one in judged)

    def _set_windings(self) -> None:
        """Currents of all windings over the rated ones; volts are over what makes their product one over rated VA."""
        feeder = self.flow.feeder
        rated = windings(self.flow)
        self.windings, self.winding_amperes, self._into = rated.parts, rated.amperes, rated.over_rated
        volts = np.array([(one.from_volts, one.to_volts) for one in feeder.transformers]).reshape(-1)
        self._volts_over: Floats = 1.0 / (sqrt(3.0) * np.repeat(volts, 3)[:, None])
        primitives = [primitive for primitive in feeder.primitives if primitive.amperes]
        self.transformer_ids = (*(one.id for one in feeder.transformers), *(one.id for one in primitives))
        parts = [6] * self._transformers + [len(primitive.nodes) for primitive in primitives]
        self.element_of: Indices = np.repeat(np.arange(len(parts)), parts)
        self._starts = np.flatnonzero(np.diff(self.element_of, prepend=-1))

    def hottest(self, winding: Floats) -> Floats:
        """Of the windings (winding, ...) the most loaded of each of `transformer_ids`."""
        return np.maximum.reduceat(winding, self._starts, axis=0) if len(self._starts) else winding[:0]

    def of(self, solution: Solution) -> Reading:
        """All columns of a solution, whatever its shape, as one axis."""
        state = solution.state
        volts = self._volts @ state
        drawn = (np.conjugate(self.flow.network.points @ state) * state[1:]).real.sum(axis=0)
        across, winding = np.sqrt(_square(self._across @ state)), np.sqrt(_square(self._into @ state))
        carried = self.hottest(winding)
        sides = (self._transformers, 2, 3, state.shape[1])
        power = (across * winding[:len(across)]).reshape(sides).sum(axis=2).max(axis=1)
        np.maximum(carried[:self._transformers], power, out=carried[:self._transformers])
        source = ((self._source @ state) * np.conjugate(self._out @ state)).real.sum(axis=0)
        with np.errstate(invalid="ignore"):
            unbalance = np.sqrt(_square(self._negative @ state) / _square(self._positive @ state))
        return Reading(
            np.sqrt(_square(volts)), np.sqrt(self._squared_loading(state)), carried, winding, unbalance,
            source + drawn, source, solution.has_solution.reshape(-1),
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
    ends, ampacity = line_ends(flow), flow.ampacity
    least, line_of = weakest_of_same(*ends, ampacity=ampacity)
    weaker = np.zeros(len(flow.segments))
    carries = line_of >= 0
    weaker[carries] = ampacity[least[line_of[carries]]] / ampacity[carries]
    matrices = [currents[least] / ampacity[least][:, None] for currents in ends]
    size = max(float(np.abs(matrix).max(initial=0.0)) for matrix in matrices)
    if all(float(np.abs(matrix.imag).max(initial=0.0)) <= 10.0**-SAME_CURRENT * size for matrix in matrices):
        return [np.ascontiguousarray(matrix.real) for matrix in matrices], least, line_of, weaker
    return [np.ascontiguousarray(matrix) for matrix in matrices], least, line_of, weaker
