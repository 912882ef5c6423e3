"""Three-phase power flow of one feeder for many steps at once.

Only the load points are iterated; every other voltage and every current is one matrix product away and is worked out
when it is asked for. So a year of steps is a small object, and `Solution.blocks` walks over it in pieces that fit a
processor's cache.

    flow = Flow(feeder)
    solution = flow.solve(p_w, q_var)              # (terminal, step), positive draws
    for block in solution.blocks():
        volts = np.abs(block.voltages())           # (node, step)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twin.feeder.network.admittance import (
    MOST_BYTES,
    Indices,
    Network,
    NetworkTooLarge,
    Node,
    Segment,
    SingularNetwork,
    Terminal,
    build,
)
from twin.feeder.network.model import Feeder
from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE, Complex
from twin.feeder.network.validity import FeederFault, faults
from twin.feeder.powerflow.gradients import Gradients
from twin.feeder.powerflow.loads import Loads
from twin.feeder.powerflow.solving import real_form, solve

Number = TypeVar("Number", bound=np.generic)
Real = NDArray[np.float64]
Claims = NDArray[np.bool_]

BLOCK = 128
"""Steps at a time: voltages and currents of 900 buses then take about 10 MB."""


class FeederInvalid(ValueError):
    """A feeder in which no flow can be worked out; `faults` are all reasons."""

    def __init__(self, feeder: Feeder, found: tuple[FeederFault, ...]) -> None:
        super().__init__(f"feeder {feeder.name}: " + "; ".join(str(fault) for fault in found))
        self.faults = found


class Flow:
    """A feeder made ready to be solved; costs some ten milliseconds to make.

    terminals, nodes, segments: what the rows of all arrays stand for.

    Its matrices are dense: a row of every load point, key node and run of line for every load point (a phase of a bus
    that carries a load, of one load type). With n of them a flow costs about 60 n^2 multiplications and gradients keep
    2 n^2 numbers for each step. 2,000 such phases in a street of 4,000 buses take about 1 GB and some seconds to make,
    and flow at about a hundred steps a second.

    Raises:
        FeederInvalid: the feeder has faults that leave no network to solve, or its matrices would take more than
            `twin.feeder.network.admittance.MOST_BYTES`.
    """

    def __init__(self, feeder: Feeder) -> None:
        blocking = tuple(fault for fault in faults(feeder) if fault.blocking)
        if blocking:
            raise FeederInvalid(feeder, blocking)
        self.feeder = feeder
        try:
            self.network: Network = build(feeder)
        except SingularNetwork as error:
            singular = FeederFault("feeder", feeder.name, "admittance", str(error), "a network that can be solved")
            raise FeederInvalid(feeder, (singular,)) from None
        except NetworkTooLarge as error:
            large = FeederFault("feeder", feeder.name, "connection_points", str(error),
                                f"at most {MOST_BYTES >> 30} GB of matrices; cut the feeder at its transformers")
            raise FeederInvalid(feeder, (large,)) from None
        kinds = {kind.id: kind for kind in feeder.load_types}
        self.loads = Loads([kinds[kind] for kind in self.network.point_types])
        base = self.network.base_volts
        self.point_impedance: Complex = self.network.points[:, 1:] / np.outer(base, base)
        """Between load points, per unit of their voltages per VA."""
        self._product = real_form(self.point_impedance)
        self._at_rest: Complex = self.network.points[:, :1] / base[:, None]
        self._collect = csr_array(
            (np.ones(len(self.terminals)), (self.network.point_of, np.arange(len(self.terminals)))),
            shape=(len(base), len(self.terminals)),
        )

    @property
    def terminals(self) -> tuple[Terminal, ...]:
        return self.network.terminals

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.network.nodes

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self.network.segments

    @cached_property
    def node_row(self) -> dict[tuple[str, str], int]:
        """Row of (bus, phase) in arrays over nodes."""
        return {(node.bus, node.phase): row for row, node in enumerate(self.nodes)}

    @cached_property
    def segment_row(self) -> dict[tuple[str, str], int]:
        """Row of (line, phase) in arrays over segments."""
        return {(segment.line, segment.phase): row for row, segment in enumerate(self.segments)}

    @cached_property
    def terminal_row(self) -> dict[tuple[str, str], int]:
        """Row of (connection point, phase) in arrays over terminals."""
        return {(terminal.connection_point, terminal.phase): row for row, terminal in enumerate(self.terminals)}

    @cached_property
    def primitive_rows(self) -> dict[str, slice]:
        """Rows of each primitive in arrays over the nodes of primitives."""
        rows: dict[str, slice] = {}
        start = 0
        for primitive in self.feeder.primitives:
            rows[primitive.id] = slice(start, start + len(primitive.nodes))
            start += len(primitive.nodes)
        return rows

    @cached_property
    def ampacity(self) -> Real:
        """Amperes that each segment may carry; NaN where the feeder does not say."""
        ratings = {line.id: line.ampacity for line in self.feeder.lines}
        return np.array([
            np.nan if (rating := ratings[segment.line]) is None else rating.amperes[PHASES.index(segment.phase)]
            for segment in self.segments
        ])

    @cached_property
    def primitive_amperes(self) -> Real:
        """Amperes that each node of the primitives may carry, in the rows of `primitive_rows`; NaN: nobody knows."""
        return np.array([
            rated for primitive in self.feeder.primitives
            for rated in primitive.amperes or (np.nan,) * len(primitive.nodes)
        ])

    def at_points(self, demand: Complex) -> Complex:
        """Demand of all terminals at each load point, (point, column)."""
        return _times(self._collect, demand)

    def solve(self, p_w: Real, q_var: Real | None = None, *, source_pu: Real | float | None = None) -> Solution:
        """Solve every step.

        Args:
            p_w: what each terminal draws, shape (terminal, step) or (terminal, replica, step); negative feeds in.
            q_var: the same shape; None: no reactive power.
            source_pu: of the source, one value or one per step; None: the feeder's.

        Raises:
            ValueError: shapes do not fit, or a power is not finite.
        """
        power = np.asarray(p_w, dtype=np.float64)
        if power.ndim < 1 or power.shape[0] != len(self.terminals):
            raise ValueError(f"p_w: shape {power.shape}, expected ({len(self.terminals)}, ...), one row per terminal")
        shape = power.shape[1:]
        reactive = np.zeros_like(power) if q_var is None else np.asarray(q_var, dtype=np.float64)
        if reactive.shape != power.shape:
            raise ValueError(f"q_var: shape {reactive.shape}, expected {power.shape}")
        demand = (power + 1j * reactive).reshape(len(self.terminals), prod(shape))
        if not np.isfinite(demand).all():
            raise ValueError("p_w, q_var: not finite, expected finite powers")
        columns = demand.shape[1]
        given = self.feeder.source.u_pu if source_pu is None else np.asarray(source_pu, dtype=np.float64)
        source = np.ascontiguousarray(np.broadcast_to(given, shape)).reshape(columns)
        drawn = self.at_points(demand)
        state = np.empty((1 + len(drawn), columns), dtype=np.complex128)
        state[0] = source
        solved = np.empty(columns, dtype=np.bool_)
        constant = columns > 0 and bool((source == source[0]).all())
        for start in range(0, columns, BLOCK):
            part = slice(start, start + BLOCK)
            u = source[:1] if constant else source[part]
            state[1:, part], solved[part] = solve(
                self._at_rest * u, self.point_impedance, drawn[:, part], self.loads, self._product
            )
        state[1:] /= self.network.base_volts[:, None]
        return Solution(self, shape, state, demand, solved.reshape(shape))


@dataclass(frozen=True, eq=False)
class Solution:
    """Solved steps. `shape` is that of the steps; every array below is (rows, *shape), NaN where there is no solution.

    state: the source's p.u. voltage and below it the amperes that the load points inject, (1 + point, column); columns
        are the steps one behind the other.
    demand: VA asked for at each terminal, at its rated voltage, (terminal, column).
    has_solution: whether the step has one.
    """

    flow: Flow
    shape: tuple[int, ...]
    state: Complex
    demand: Complex
    has_solution: Claims

    def blocks(self, columns: int = BLOCK) -> Iterator[Solution]:
        """The same in pieces of at most `columns` steps, each with one axis of steps."""
        solved = self.has_solution.reshape(-1)
        for start in range(0, self.state.shape[1], columns):
            part = slice(start, start + columns)
            yield Solution(
                self.flow, (len(solved[part]),), self.state[:, part], self.demand[:, part], solved[part]
            )

    def _shaped(self, value: NDArray[Number]) -> NDArray[Number]:
        return value.reshape(value.shape[0], *self.shape)

    @cached_property
    def _keys(self) -> Complex:
        return self.flow.network.keys @ self.state

    @cached_property
    def _series(self) -> Complex:
        network = self.flow.network
        if network.run_paths is not None:
            return _times(network.run_paths, self.state)
        return network.run_series @ self.state

    def voltages(self) -> Complex:
        """Volts to ground of every node, (node, *shape)."""
        return self._shaped(_times(self.flow.network.spread, self._keys))

    def voltages_pu(self) -> Real:
        """Magnitudes over the rated phase voltage of the bus, (node, *shape)."""
        return self._shaped(np.abs(self.voltages()).reshape(len(self.flow.nodes), -1)
                            / self.flow.network.node_volts[:, None])

    def terminal_voltages(self) -> Complex:
        """Volts across every terminal, (terminal, *shape)."""
        return self._shaped((self.flow.network.points @ self.state)[self.flow.network.point_of])

    def line_currents(self, end: str = "from") -> Complex:
        """Amperes through every segment along its line, at its `from` or its `to` end, (segment, *shape)."""
        network = self.flow.network
        value = network.along_lines(self._series)
        if network.shunts is not None:
            charging = network.shunts[0 if end == "from" else 1] @ self._keys
            value += charging if end == "from" else -charging
        return self._shaped(value)

    def line_loading(self) -> Real:
        """Larger current of both ends over the ampacity, (segment, *shape); NaN where the line has no rating."""
        size = np.abs(self.line_currents())
        if self.flow.network.shunts is not None:
            size = np.maximum(size, np.abs(self.line_currents("to")))
        loading: Real = size / self.flow.ampacity.reshape(-1, *(1 for _ in self.shape))
        return loading

    @cached_property
    def _transformer_powers(self) -> Complex:
        volts = self._keys[self.flow.network.transformer_nodes]
        power: Complex = volts * np.conjugate(self.flow.network.transformers @ self.state)
        return power

    def transformer_powers(self) -> Complex:
        """VA into both sides of every transformer, (transformer, side, phase, *shape); side 0 is `from`."""
        return self._transformer_powers.reshape(-1, 2, 3, *self.shape)

    @cached_property
    def _primitive_powers(self) -> Complex:
        volts = self._keys[self.flow.network.primitive_nodes]
        power: Complex = volts * np.conjugate(self.primitive_currents().reshape(volts.shape))
        return power

    def primitive_currents(self) -> Complex:
        """Amperes into the nodes of every primitive, (node, *shape), in the rows of `Flow.primitive_rows`."""
        return self._shaped(self.flow.network.primitives @ self.state)

    def primitive_powers(self) -> Complex:
        """VA into the same nodes, (node, *shape)."""
        return self._shaped(self._primitive_powers)

    def primitive_loading(self) -> Real:
        """Largest current of a node over its rating, (primitive, *shape); NaN where it has none."""
        size = np.abs(self.primitive_currents())
        of_node: Real = size / self.flow.primitive_amperes.reshape(-1, *(1 for _ in self.shape))
        return np.array([of_node[rows].max(axis=0) for rows in self.flow.primitive_rows.values()]).reshape(
            len(self.flow.feeder.primitives), *self.shape)

    def winding_loading(self) -> Real:
        """Current of every phase over that of the rating, (transformer, side, phase, *shape).

        Where the phases differ, one may carry more than it can at a `transformer_loading` far below 1.
        """
        rated = np.array([transformer.rated_amperes for transformer in self.flow.feeder.transformers])
        size = np.abs(self.flow.network.transformers @ self.state).reshape(len(rated), 2, 3, *self.shape)
        loading: Real = size / rated.reshape(len(rated), 2, 1, *(1 for _ in self.shape))
        return loading

    def transformer_loading(self) -> Real:
        """Sum of the phases' apparent powers on the more loaded side over the rating, (transformer, *shape)."""
        rated = np.array([transformer.rated_va for transformer in self.flow.feeder.transformers])
        size = np.abs(self.transformer_powers()).sum(axis=2).max(axis=1)
        loading: Real = size / rated.reshape(-1, *(1 for _ in self.shape))
        return loading

    def source_power(self) -> Complex:
        """VA that the grid above delivers at the source's bus, all phases together, of shape `shape`."""
        network = self.flow.network
        power: Complex = self._keys[network.source_nodes] * np.conjugate(network.source @ self.state)
        total: Complex = power.sum(axis=0).reshape(self.shape)
        return total

    def terminal_powers(self) -> Complex:
        """VA that the load points really draw at their voltage, (point, *shape); see `Network.point_of`."""
        return self._shaped(-(self.flow.network.points @ self.state) * np.conjugate(self.state[1:]))

    def losses_w(self) -> Real:
        """Watts lost in lines, transformers and primitives, of shape `shape`."""
        lost = (self._series.conj() * (self.flow.network.run_resistance @ self._series)).real.sum(axis=0)
        lost += self._transformer_powers.real.sum(axis=0)
        lost += self._primitive_powers.real.sum(axis=0)
        return np.asarray(lost).reshape(self.shape)

    def unbalance(self, buses: tuple[str, ...] | None = None) -> Real:
        """Negative- over positive-sequence voltage (VUF, IEC 61000-4-30 5.7) of three-phase buses, (bus, *shape).

        buses: those asked for; None: all of `Flow.feeder.buses` that have three phases, in their order.
        """
        names = buses or tuple(bus.id for bus in self.flow.feeder.buses if bus.phases == PHASES)
        rows = [[self.flow.node_row[bus, phase] for phase in PHASES] for bus in names]
        volts = self.voltages()[np.array(rows, dtype=np.intp)]
        sequence = np.abs(np.einsum("sp,bp...->sb...", TO_SEQUENCE[1:], volts))
        ratio: Real = sequence[1] / sequence[0]
        return ratio

    def gradients(self, columns: Indices | slice = slice(None)) -> Gradients:
        """Exact derivatives at the solved operating points of these columns; NaN where there is no solution."""
        flow, state = self.flow, self.state[:, columns]
        v = flow.network.points @ state / flow.network.base_volts[:, None]
        return Gradients.at(
            flow.network, flow.loads, flow.point_impedance, v, flow.at_points(self.demand[:, columns]), state
        )


def _times(matrix: csr_array, value: Complex) -> Complex:
    """A real sparse matrix times a complex array, without making the matrix complex."""
    halves = np.ascontiguousarray(value).view(np.float64)
    product: Complex = np.ascontiguousarray(matrix @ halves).view(np.complex128)
    return product
