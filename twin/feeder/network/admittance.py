"""A feeder as matrices: what its key nodes do under injected currents, and how every other node follows.

A node is a phase of a bus. The network is linear once the loads are currents. Its *state* is the source's voltage u,
per unit, and below it the injected currents I of the load points; whatever is read off a flow is a matrix of 1 + n
columns times the state: voltages V0 u + Z I of load points and key nodes, currents in runs of line, at both sides of
transformers, into primitives and out of the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.sparse.linalg import splu

from twin.feeder.network.grounding import ties
from twin.feeder.network.model import NO_CAPACITANCE, Feeder, Side, Source
from twin.feeder.network.phases import PHASES, branches
from twin.feeder.network.runs import Run, runs
from twin.feeder.network.transformer_model import FROM_SEQUENCE, TO_SEQUENCE, Complex, admittance

Indices = NDArray[np.intp]

MOST_BYTES = 2**31
"""For the matrices of a network: some 3,500 phases that carry a load, in a street where every third bus is a key."""

ROUNDING = 1e-9
"""Amperes in a run for one at a load point that are none: what a flow leaves out by it is below a microampere."""

SPARSE = 0.1
"""Share of entries that are not 0, up to which a sparse product is the faster one."""

COLUMNS = 256
"""Load points whose effect is worked out at a time."""


@dataclass(frozen=True, slots=True)
class Node:
    """One phase (a, b or c) of a bus."""

    bus: str
    phase: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One phase of a line."""

    line: str
    phase: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where one phase of a connection point draws: from `phase` to ground, or to the phase `other` in delta."""

    connection_point: str
    phase: str
    other: str | None = None


@dataclass(frozen=True)
class Network:
    """Everything a flow needs of a feeder, made once.

    terminals: in the order of the connection points, then of their phases; point_of: the load point of each.
    A load point is a distinct pair of node(s) and load type; base_volts, load_type: of each load point.
    points: volts across the load points. keys: volts of the key nodes. spread: key nodes to all `nodes`.
    run_series: amperes through the runs' phases; run_resistance: their R matrices, block-diagonal.
    run_paths: `run_series` once more, as a real sparse matrix, in a feeder without rings and charging: there the
        current of a run is a sum of those beyond it, which are few; None: elsewhere.
    run_of: the row of `run_series` that each segment carries; against: segments that point against their run.
    shunts: charging currents at both ends of the segments over the key nodes; None without capacitance.
    transformers: amperes into (transformer, side, phase), with the key node of each row in `transformer_nodes`.
    primitives: amperes into the nodes of all primitives one after the other, with their key nodes.
    source: amperes out of it; source_nodes: its key nodes.
    """

    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    terminals: tuple[Terminal, ...]
    point_of: Indices
    point_types: tuple[str, ...]
    base_volts: NDArray[np.float64]
    node_volts: NDArray[np.float64]
    points: Complex
    keys: Complex
    spread: csr_array
    run_series: Complex
    run_resistance: csr_array
    run_paths: csr_array | None
    run_of: Indices
    against: Indices
    shunts: tuple[csr_array, csr_array] | None
    transformers: Complex
    transformer_nodes: Indices
    primitives: Complex
    primitive_nodes: Indices
    source: Complex
    source_nodes: Indices

    def along_lines(self, series: Complex) -> Complex:
        """Currents of runs as currents of segments, each in the direction of its own line."""
        value: Complex = series[self.run_of]
        if len(self.against):
            value[self.against] *= -1.0
        return value


def source_impedance(source: Source, volts: float) -> Complex:
    """Of the grid above, phase a, b, c: (3, 3) in ohm."""
    size = volts**2 / source.short_circuit_va
    x = size / sqrt(1.0 + source.rx_ratio**2)
    one = complex(source.rx_ratio * x, x)
    zero = one * source.z01_ratio * np.exp(1j * source.z01_angle_rad)
    return FROM_SEQUENCE @ np.diag([zero, one, one]) @ TO_SEQUENCE


def terminals_of(feeder: Feeder) -> tuple[Terminal, ...]:
    """Terminals in the order of the connection points: one for each phase, in delta one for each pair of phases."""
    connection = {kind.id: kind.connection for kind in feeder.load_types}
    found: list[Terminal] = []
    for point in feeder.connection_points:
        found.extend(Terminal(point.id, *branch) for branch in branches(point.phases, connection[point.load_type]))
    return tuple(found)


class _Stamps:
    """A sparse matrix that grows by small dense blocks."""

    def __init__(self) -> None:
        self._rows: list[Indices] = []
        self._columns: list[Indices] = []
        self._values: list[Complex] = []

    def add(self, rows: Indices, columns: Indices, block: NDArray[np.number]) -> None:
        self._rows.append(np.repeat(rows, len(columns)))
        self._columns.append(np.tile(columns, len(rows)))
        self._values.append(np.asarray(block, dtype=np.complex128).ravel())

    def matrix(self, shape: tuple[int, int]) -> csr_array:
        if not self._rows:
            return csr_array(shape, dtype=np.complex128)
        rows, columns = np.concatenate(self._rows), np.concatenate(self._columns)
        return csr_array(coo_array((np.concatenate(self._values), (rows, columns)), shape=shape))


class SingularNetwork(ValueError):
    """Some voltages of this network are determined by nothing."""


class NetworkTooLarge(ValueError):
    """The matrices of this network would take more than MOST_BYTES."""

    def __init__(self, load_points: int, rows: int) -> None:
        super().__init__(f"{load_points} load points x {rows} rows")
        self.load_points = load_points
        self.rows = rows


def build(feeder: Feeder) -> Network:
    """The matrices of a feeder without faults that block a flow (`twin.feeder.network.validity`).

    Raises:
        NetworkTooLarge: what is dense here grows with load points times key nodes.
        SingularNetwork: its elements, each sound, cancel each other (resonance, an admittance of zeros).
    """
    return _Builder(feeder).network()


class _Builder:
    """The way from a feeder to its `Network`, one method per matrix."""

    def __init__(self, feeder: Feeder) -> None:
        self._feeder = feeder
        self._bus = {bus.id: bus for bus in feeder.buses}
        keys = [feeder.source.bus, *(point.bus for point in feeder.connection_points)]
        keys += [bus for transformer in feeder.transformers for bus in (transformer.from_bus, transformer.to_bus)]
        keys += [capacitor.bus for capacitor in feeder.capacitors]
        keys += [bus for primitive in feeder.primitives for bus, _ in primitive.nodes]
        self._runs = runs(feeder, keys)
        between = {bus for run in self._runs for bus in run.between}
        self._nodes = [Node(bus.id, phase) for bus in feeder.buses for phase in bus.phases]
        self._key = {
            (node.bus, node.phase): number
            for number, node in enumerate(node for node in self._nodes if node.bus not in between)
        }
        self._inverse = [self._admittance(run) for run in self._runs]
        self._transformers = [admittance(transformer) for transformer in feeder.transformers]
        self._primitives = [np.array(primitive.admittance, np.complex128) for primitive in feeder.primitives]
        self._tie()
        volts = self._bus[feeder.source.bus].volts
        self._source_admittance = np.linalg.inv(source_impedance(feeder.source, volts))

    def _tie(self) -> None:
        """Give the elements behind which the feeder floats what ties it to ground."""
        numbers = {transformer.id: number for number, transformer in enumerate(self._feeder.transformers)}
        primitives = {primitive.id: number for number, primitive in enumerate(self._feeder.primitives)}
        for tie in ties(self._feeder):
            if tie.side is None:
                number = primitives[tie.element]
                rows = [self._feeder.primitives[number].nodes.index(node) for node in tie.nodes]
                matrix = self._primitives[number]
            else:
                matrix = self._transformers[numbers[tie.element]]
                rows = [PHASES.index(phase) + (3 if tie.side is Side.TO else 0) for _, phase in tie.nodes]
            matrix[rows, rows] += 1j * tie.susceptance

    def _at_nodes(self, nodes: Iterable[tuple[str, str]]) -> Indices:
        return np.array([self._key[node] for node in nodes], dtype=np.intp)

    def _at(self, bus: str, phases: str) -> Indices:
        return np.array([self._key[bus, phase] for phase in phases], dtype=np.intp)

    @staticmethod
    def _admittance(run: Run) -> Complex:
        there = _positions(run.phases)
        return np.linalg.inv(run.impedance[np.ix_(there, there)]).astype(np.complex128)

    def _shunt(self, line: int) -> Complex:
        """Half of a line's charging admittance, siemens, on its phases."""
        there = _positions(self._feeder.lines[line].phases)
        farads = np.asarray(self._feeder.lines[line].c_farad)[np.ix_(there, there)]
        return 1j * pi * self._feeder.frequency_hz * farads

    def network(self) -> Network:
        feeder, size = self._feeder, len(self._key)
        terminals, incidence, point_of, types, base = self._load_points()
        source_nodes = self._at(feeder.source.bus, PHASES)
        turned = np.exp(1j * (feeder.source.angle_rad - np.arange(3) * 2.0 * pi / 3.0))
        behind = self._bus[feeder.source.bus].volts / sqrt(3.0) * turned
        rows = 2 * len(terminals) + 2 * size + sum(len(run.phases) for run in self._runs)
        if 16 * rows * (1 + incidence.shape[0]) > MOST_BYTES:
            raise NetworkTooLarge(incidence.shape[0], rows)
        injected = np.zeros(size, dtype=np.complex128)
        injected[source_nodes] = self._source_admittance @ behind
        matrix = self._bus_matrix()
        keys = self._answers(matrix, injected, incidence)
        series, resistance, run_of, against, segments = self._series(keys)
        transformers, transformer_nodes = self._currents(keys, self._transformers, [
            self._at_nodes((bus, phase) for bus in (transformer.from_bus, transformer.to_bus) for phase in PHASES)
            for transformer in feeder.transformers
        ])
        primitives, primitive_nodes = self._currents(
            keys, self._primitives, [self._at_nodes(primitive.nodes) for primitive in feeder.primitives]
        )
        # What its bus takes: behind a stiff source the difference of both voltages is lost in rounding.
        source: Complex = matrix[source_nodes] @ keys
        source[:, 1:] -= incidence[:, source_nodes].T.toarray()
        return Network(
            nodes=tuple(self._nodes), segments=segments, terminals=terminals, point_of=point_of, point_types=types,
            base_volts=base, node_volts=np.array([self._bus[node.bus].volts / sqrt(3.0) for node in self._nodes]),
            points=incidence @ keys, keys=keys, spread=self._spread(),
            run_series=series, run_resistance=resistance, run_paths=_paths(series), run_of=run_of, against=against,
            shunts=self._shunts(),
            transformers=transformers, transformer_nodes=transformer_nodes, primitives=primitives,
            primitive_nodes=primitive_nodes, source=source, source_nodes=source_nodes,
        )

    def _answers(self, passive: csr_array, injected: Complex, incidence: csr_array) -> Complex:
        """Volts of the key nodes for these amperes, and for one ampere into each load point, as columns."""
        at = self._at(self._feeder.source.bus, PHASES)
        source = _Stamps()
        source.add(at, at, self._source_admittance)
        matrix = csc_array(passive + source.matrix(passive.shape))
        try:
            factors = splu(matrix)
        except RuntimeError as error:  # what scipy raises for a singular matrix
            raise SingularNetwork(str(error)) from None
        found = np.empty((len(injected), 1 + incidence.shape[0]), dtype=np.complex128)
        for start in range(0, found.shape[1], COLUMNS):
            stop = min(start + COLUMNS, found.shape[1])
            pushed = np.zeros((len(injected), stop - start), dtype=np.complex128)
            if start == 0:
                pushed[:, 0] = injected
            first = 1 if start == 0 else 0
            pushed[:, first:] = incidence[start + first - 1:stop - 1].T.toarray()
            answers = factors.solve(pushed)
            # One step of refinement: admittances of a 4 cm cable and of a source differ by nine orders of magnitude.
            found[:, start:stop] = answers + factors.solve(pushed - matrix @ answers)
        return found

    def _load_points(
        self,
    ) -> tuple[tuple[Terminal, ...], csr_array, Indices, tuple[str, ...], NDArray[np.float64]]:
        """Terminals; load points over key nodes (+1, in delta also -1); each terminal's load point; types; volts."""
        feeder = self._feeder
        terminals = terminals_of(feeder)
        places = {point.id: point for point in feeder.connection_points}
        kinds = {kind.id: kind for kind in feeder.load_types}
        numbers: dict[tuple[str, str, str | None, str], int] = {}
        point_of = np.empty(len(terminals), dtype=np.intp)
        for row, terminal in enumerate(terminals):
            place = places[terminal.connection_point]
            what = (place.bus, terminal.phase, terminal.other, place.load_type)
            point_of[row] = numbers.setdefault(what, len(numbers))
        incidence = _Stamps()
        base = np.empty(len(numbers))
        for (bus, phase, other, kind), row in numbers.items():
            incidence.add(np.array([row]), self._at(bus, phase), np.array([1.0]))
            across = self._bus[bus].volts
            if other is None:
                across /= sqrt(3.0)
            else:
                incidence.add(np.array([row]), self._at(bus, other), np.array([-1.0]))
            base[row] = kinds[kind].rated_volts or across
        matrix = incidence.matrix((len(numbers), len(self._key)))
        return terminals, matrix, point_of, tuple(kind for *_, kind in numbers), base

    def _bus_matrix(self) -> csr_array:
        """Of all but the source."""
        stamps = _Stamps()
        for run, inverse in zip(self._runs, self._inverse, strict=True):
            near, far = self._at(run.from_bus, run.phases), self._at(run.to_bus, run.phases)
            for one, other, sign in ((near, near, 1), (far, far, 1), (near, far, -1), (far, near, -1)):
                stamps.add(one, other, sign * inverse)
        for number, line in enumerate(self._feeder.lines):
            if line.c_farad != NO_CAPACITANCE:
                for bus in (line.from_bus, line.to_bus):
                    at = self._at(bus, line.phases)
                    stamps.add(at, at, self._shunt(number))
        for transformer, ports in zip(self._feeder.transformers, self._transformers, strict=True):
            at = np.concatenate([self._at(bus, PHASES) for bus in (transformer.from_bus, transformer.to_bus)])
            stamps.add(at, at, ports)
        for primitive, matrix in zip(self._feeder.primitives, self._primitives, strict=True):
            at = self._at_nodes(primitive.nodes)
            stamps.add(at, at, matrix)
        for capacitor in self._feeder.capacitors:
            for branch in capacitor.branches:
                at, own = self._at(capacitor.bus, branch), 1j * capacitor.siemens
                stamps.add(at, at, own * (2.0 * np.eye(len(at)) - 1.0))
        return stamps.matrix((len(self._key), len(self._key)))

    def _spread(self) -> csr_array:
        """Volts of all nodes from those of the key nodes; real, because a run is of one kind of line."""
        row_of = {(node.bus, node.phase): row for row, node in enumerate(self._nodes)}
        rows, columns, values = list(self._key), list(self._key.values()), [1.0] * len(self._key)
        for run in self._runs:
            for bus, fraction in zip(run.between, run.fractions, strict=True):
                for phase in self._bus[bus].phases:
                    rows += [(bus, phase)] * 2
                    columns += [self._key[run.from_bus, phase], self._key[run.to_bus, phase]]
                    values += [1.0 - fraction, fraction]
        places = np.array([row_of[row] for row in rows])
        return csr_array(coo_array((values, (places, columns)), shape=(len(self._nodes), len(self._key))))

    def _series(self, keys: Complex) -> tuple[Complex, csr_array, Indices, Indices, tuple[Segment, ...]]:
        """Currents through the runs, their resistance, and which segments carry them in which direction."""
        series = np.empty((sum(len(run.phases) for run in self._runs), keys.shape[1]), dtype=np.complex128)
        resistance = _Stamps()
        first_row = []
        rows = 0
        for run, inverse in zip(self._runs, self._inverse, strict=True):
            near, far = self._at(run.from_bus, run.phases), self._at(run.to_bus, run.phases)
            at = np.arange(rows, rows + len(near))
            np.matmul(inverse, keys[near] - keys[far], out=series[rows:rows + len(near)])
            there = _positions(run.phases)
            resistance.add(at, at, run.impedance.real[np.ix_(there, there)])
            first_row.append(rows)
            rows += len(near)
        lines = self._feeder.lines
        segments = tuple(Segment(line.id, phase) for line in lines for phase in line.phases)
        starts = np.concatenate(([0], np.cumsum([len(line.phases) for line in lines], dtype=np.intp)))
        run_of = np.empty(len(segments), dtype=np.intp)
        against: list[int] = []
        for run, row in zip(self._runs, first_row, strict=True):
            for line, along in run.lines:
                here = range(int(starts[line]), int(starts[line + 1]))
                run_of[here.start:here.stop] = np.arange(row, row + len(here))
                if not along:
                    against.extend(here)
        resistances = csr_array(resistance.matrix((rows, rows)).real)
        return series, resistances, run_of, np.array(against, dtype=np.intp), segments

    def _shunts(self) -> tuple[csr_array, csr_array] | None:
        """Charging currents at the `from` and at the `to` end of each segment, over the volts of the key nodes."""
        if all(line.c_farad == NO_CAPACITANCE for line in self._feeder.lines):
            return None
        ends = (_Stamps(), _Stamps())
        row = 0
        for number, line in enumerate(self._feeder.lines):
            at = np.arange(row, row + len(line.phases))
            row += len(line.phases)
            if line.c_farad != NO_CAPACITANCE:
                for stamps, bus in zip(ends, (line.from_bus, line.to_bus), strict=True):
                    stamps.add(at, self._at(bus, line.phases), self._shunt(number))
        return ends[0].matrix((row, len(self._key))), ends[1].matrix((row, len(self._key)))

    @staticmethod
    def _currents(keys: Complex, matrices: list[Complex], at: list[Indices]) -> tuple[Complex, Indices]:
        """Into elements by their matrices, one below the other, and the key node of each row."""
        rows = [matrix @ keys[nodes] for matrix, nodes in zip(matrices, at, strict=True)]
        return (
            np.concatenate([np.empty((0, keys.shape[1]), np.complex128), *rows]),
            np.concatenate([np.empty(0, np.intp), *at]),
        )


def _paths(series: Complex) -> csr_array | None:
    """`series` without what is 0 but for rounding, if the rest is real and little."""
    rounding = np.full(series.shape[1], ROUNDING)
    rounding[:1] = 1e3 * ROUNDING  # by the source's whole voltage, not by one ampere
    there = np.abs(series) > rounding
    if (np.abs(series.imag) > rounding).any() or there.sum() > SPARSE * there.size:
        return None
    return csr_array(np.where(there, series.real, 0.0))


def _positions(phases: str) -> Indices:
    return np.array([PHASES.index(phase) for phase in phases], dtype=np.intp)


