"""A feeder in the words of OpenDSS, for its engine to solve.

From the feeder's own data: lines as matrices, loads as single-phase ones, transformers as transformers where OpenDSS
has such windings. What it has no words for (primitives, zigzag windings, iron shared between both ends) is written as
a lattice of reactors with the same nodal matrix: -1/Y_ij between two nodes, and to ground what is left of a row.
Elements are named by their number, because ids may hold what OpenDSS reads as syntax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.feeder.network.admittance import Terminal, source_impedance, terminals_of
from twin.feeder.network.connections import LoadType, Zip
from twin.feeder.network.grounding import Node, Tie, ties
from twin.feeder.network.model import Feeder, Line, Matrix, Transformer
from twin.feeder.network.phases import PHASES
from twin.feeder.network.transformer_model import TO_SEQUENCE, Complex, Winding, admittance, vector_group

RECIPROCAL: Final = 1e-9
"""Of the largest entry: so far a matrix may be from symmetric, which a lattice is by nature."""

NEGLIGIBLE: Final = 1e-15
"""Of the largest entry: an admittance below is rounding."""

LOWEST_PU: Final = 1e-6
HIGHEST_PU: Final = 1e6
"""Where a load without a valid range would become an impedance: never."""

CLOCKS: Final = {
    0: ("lag", 0), 4: ("lag", 1), 8: ("lag", 2), 1: ("lag", 0), 5: ("lag", 1), 9: ("lag", 2),
    11: ("lead", 0), 3: ("lead", 1), 7: ("lead", 2),
}
"""How OpenDSS makes a clock: a lead or lag of 30 degrees, and how often the lower phases are turned by four hours."""

FIRST_NEUTRAL: Final = 4
"""Nodes of star points, one for each, come after the phases'."""

MODELS: Final = {"impedance": 2, "current": 5, "power": 1}
"""OpenDSS's load models of the parts of a ZIP load."""

CVR: Final = "4 cvrwatts={:g} cvrvars={:g}"
"""Its model of a load whose power is that of its voltage to some power, and jumps where it leaves its range."""


@dataclass(frozen=True, slots=True)
class Part:
    """One OpenDSS load: which terminal it is part of, and its shares of that terminal's watts and vars."""

    terminal: int
    active: float
    reactive: float


@dataclass(frozen=True)
class Circuit:
    """commands: that build it. parts: its loads, in their order. as_matrices: transformers written as lattices.

    unsaid: what it has no words for, each with why.
    """

    commands: tuple[str, ...]
    parts: tuple[Part, ...]
    as_matrices: tuple[str, ...]
    unsaid: tuple[str, ...]


def circuit(feeder: Feeder) -> Circuit:
    """Write `feeder`, which has no blocking faults."""
    return _Writer(feeder).circuit()


class _Writer:
    def __init__(self, feeder: Feeder) -> None:
        self._feeder = feeder
        self._number = {bus.id: number for number, bus in enumerate(feeder.buses)}
        self._volts = {bus.id: bus.volts for bus in feeder.buses}
        self._commands: list[str] = []
        self._reactors = 0
        self._unsaid: list[str] = []

    def _node(self, node: Node) -> str:
        return f"b{self._number[node[0]]}.{PHASES.index(node[1]) + 1}"

    def _bus(self, bus: str, phases: str) -> str:
        return ".".join([f"b{self._number[bus]}", *(str(PHASES.index(phase) + 1) for phase in phases)])

    def circuit(self) -> Circuit:
        self._source()
        for number, line in enumerate(self._feeder.lines):
            self._line(number, line)
        floating = {(tie.element, tie.side): tie for tie in ties(self._feeder)}
        as_matrices = tuple(
            transformer.id for number, transformer in enumerate(self._feeder.transformers)
            if not self._transformer(number, transformer)
        )
        for primitive in self._feeder.primitives:
            self._lattice(f"{primitive.kind} {primitive.id}", primitive.nodes, np.array(primitive.admittance))
        for tie in floating.values():
            self._ties(tie)
        branches = 0
        for capacitor in self._feeder.capacitors:
            for branch in capacitor.branches:
                other = f" bus2={self._bus(capacitor.bus, branch[1])}" if len(branch) > 1 else ""
                self._commands.append(
                    f"new capacitor.c{branches} bus1={self._bus(capacitor.bus, branch[0])}{other} phases=1 "
                    f"kv={capacitor.volts / 1e3!r} kvar={capacitor.var / len(capacitor.branches) / 1e3!r}"
                )
                branches += 1
        parts = self._loads()
        return Circuit(tuple(self._commands), parts, as_matrices, tuple(dict.fromkeys(self._unsaid)))

    def _source(self) -> None:
        source = self._feeder.source
        volts = self._volts[source.bus]
        zero, one, _ = np.diagonal(TO_SEQUENCE @ source_impedance(source, volts) @ np.linalg.inv(TO_SEQUENCE))
        ohms = " ".join(f"{name}=[{value.real!r} {value.imag!r}]" for name, value in (
            ("z1", complex(one)), ("z0", complex(zero)), ("z2", complex(one))))
        place = f"bus1={self._bus(source.bus, PHASES)} phases=3 basekv={volts / 1e3!r}"
        voltage = f"pu={source.u_pu!r} angle={float(np.degrees(source.angle_rad))!r}"
        self._commands += [
            "clear", f"set defaultbasefrequency={self._feeder.frequency_hz!r}",
            f"new circuit.feeder {place} {voltage} {ohms}",
        ]

    def _line(self, number: int, line: Line) -> None:
        there = [PHASES.index(phase) for phase in line.phases]

        def lower(matrix: Matrix, scale: float = 1.0) -> str:
            rows = (" ".join(repr(matrix[i][j] * scale) for j in there[:k + 1]) for k, i in enumerate(there))
            return f"({' | '.join(rows)})"

        self._commands.append(
            f"new line.l{number} bus1={self._bus(line.from_bus, line.phases)} "
            f"bus2={self._bus(line.to_bus, line.phases)} phases={len(there)} length=1 units=none "
            f"rmatrix={lower(line.r_ohm)} xmatrix={lower(line.x_ohm)} cmatrix={lower(line.c_farad, 1e9)}"
        )

    def _transformer(self, number: int, transformer: Transformer) -> bool:
        """Write it; whether as a transformer, not as a lattice."""
        words = None if transformer.i0 or transformer.p0_w else self._windings(number, transformer)
        if words is None:
            nodes = [(bus, phase) for bus in (transformer.from_bus, transformer.to_bus) for phase in PHASES]
            self._lattice(f"transformer {transformer.id}", nodes, admittance(transformer))
            return False
        volts = transformer.tapped_volts
        resistance = transformer.pk_w / transformer.rated_va
        reactance = float(np.sqrt(transformer.uk**2 - resistance**2))
        self._commands.append(
            f"new transformer.t{number} phases=3 windings=2 ppm_antifloat=0 xhl={100.0 * reactance!r} {words} "
            f"kvs=({volts[0] / 1e3!r} {volts[1] / 1e3!r}) kvas=({transformer.rated_va / 1e3!r} "
            f"{transformer.rated_va / 1e3!r}) %rs=({50.0 * resistance!r} {50.0 * resistance!r})"
        )
        return True

    def _windings(self, number: int, transformer: Transformer) -> str | None:
        """Buses, connections and lead or lag; None: OpenDSS has no such windings."""
        group = vector_group(transformer.vector_group or "")
        if group.clock not in CLOCKS or {group.upper, group.lower} & {Winding.ZIGZAG, Winding.GROUNDED_ZIGZAG}:
            return None
        leadlag, turn = CLOCKS[group.clock]
        # Turned by four hours, what comes out of winding b is phase a.
        lower = PHASES[-turn:] + PHASES[:-turn] if turn else PHASES
        words = [f"leadlag={leadlag}"]
        for side, (bus, phases, winding, ground) in enumerate((
            (transformer.from_bus, PHASES, group.upper, transformer.from_grounding_ohm),
            (transformer.to_bus, lower, group.lower, transformer.to_grounding_ohm),
        )):
            place = f"wdg={side + 1} bus={self._bus(bus, phases)}"
            if winding is Winding.DELTA:
                words.append(f"{place} conn=delta")
            elif winding is Winding.GROUNDED_STAR and ground == (0.0, 0.0):
                words.append(f"{place}.0 conn=wye")
            else:
                ohms = "rneut=-1" if winding is Winding.STAR else f"rneut={ground[0]!r} xneut={ground[1]!r}"
                words.append(f"{place}.{FIRST_NEUTRAL + 2 * number + side} conn=wye {ohms}")
        return " ".join(words)

    def _lattice(self, name: str, nodes: Sequence[Node], matrix: Complex) -> None:
        largest = float(np.abs(matrix).max())
        if np.abs(matrix - matrix.T).max() > RECIPROCAL * largest:
            self._unsaid.append(f"{name}: not reciprocal, and OpenDSS is given matrices as reactors")
            return
        for i, node in enumerate(nodes):
            for j in range(i + 1, len(nodes)):
                self._reactor(self._node(node), self._node(nodes[j]), -complex(matrix[i, j]), NEGLIGIBLE * largest)
            to_ground = complex(matrix[i].sum())
            self._reactor(self._node(node), f"b{self._number[node[0]]}.0", to_ground, NEGLIGIBLE * largest)

    def _reactor(self, one: str, other: str, siemens: complex, negligible: float = 0.0) -> None:
        if abs(siemens) > negligible:
            ohm = 1.0 / siemens
            self._commands.append(
                f"new reactor.r{self._reactors} bus1={one} bus2={other} phases=1 r={ohm.real!r} x={ohm.imag!r}"
            )
            self._reactors += 1

    def _ties(self, tie: Tie) -> None:
        for node in tie.nodes:
            self._reactor(self._node(node), f"b{self._number[node[0]]}.0", 1j * tie.susceptance)

    def _loads(self) -> tuple[Part, ...]:
        kinds = {kind.id: kind for kind in self._feeder.load_types}
        places = {point.id: point for point in self._feeder.connection_points}
        found: list[Part] = []
        for row, terminal in enumerate(terminals_of(self._feeder)):
            point = places[terminal.connection_point]
            kind = kinds[point.load_type]
            if kind.jumps:
                exponents = _exponent(kind.active), _exponent(kind.reactive)
                if None in exponents:
                    self._unsaid.append(f"load type {kind.id}: shares of several kinds, and a jump at its border")
                    continue
                self._load(len(found), CVR.format(*exponents), point.bus, terminal, kind)
                found.append(Part(row, 1.0, 1.0))
                continue
            for name, model in MODELS.items():
                part = Part(row, getattr(kind.active, name), getattr(kind.reactive, name))
                if part.active or part.reactive:
                    self._load(len(found), str(model), point.bus, terminal, kind)
                    found.append(part)
        return tuple(found)

    def _load(self, number: int, model: str, bus: str, terminal: Terminal, kind: LoadType) -> None:
        phases = terminal.phase + (terminal.other or "")
        volts = kind.rated_volts or self._volts[bus] / (1.0 if terminal.other else float(np.sqrt(3.0)))
        low, high = max(kind.valid_pu[0], 10.0 * LOWEST_PU), min(kind.valid_pu[1], HIGHEST_PU)
        self._commands.append(
            f"new load.d{number} bus1={self._bus(bus, phases)} phases=1 conn={'delta' if terminal.other else 'wye'} "
            f"kv={volts / 1e3!r} model={model} kw=0 kvar=0 vlowpu={kind.low_pu or LOWEST_PU!r} vminpu={low!r} "
            f"vmaxpu={high!r}"
        )


def _exponent(shares: Zip) -> int | None:
    """The power of the voltage with which a load goes; None: there is none."""
    return {Zip(): 0, Zip(0.0, 1.0, 0.0): 1, Zip(1.0, 0.0, 0.0): 2}.get(shares)
