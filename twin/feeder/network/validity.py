"""What is wrong with a feeder, all at once: the report an importer prints before anything is solved.

Two degrees: a *blocking* fault leaves no network to solve (an island, a load on a phase that is not there, no vector
group); the others leave results that should not be believed as they stand (no rating, lengths in the wrong unit).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.connections import ConnectionPoint
from twin.feeder.network.grounding import Groups, Node, lines_joined, ties
from twin.feeder.network.model import Bus, Feeder, Line, Origin, Transformer
from twin.feeder.network.phases import PHASES
from twin.feeder.network.plausible import FeederError
from twin.feeder.network.transformer_model import vector_group

PLAUSIBLE_OHM_PER_KM = (0.01, 20.0)
"""From 2,000 mm2 of copper to thinner than 1 mm2 (IEC 60228)."""

PLAUSIBLE_AMPERES = (10.0, 2500.0)

RATING_TIMES_ROOT_RESISTANCE = (20.0, 300.0)
"""Ampacity times the root of ohm per km: heat per metre I^2 R' of 0.4 to 90 W/m. A 4 x 150 mm2 aluminium cable of
0.208 ohm/km in ground carries 270 A: 123."""

PLAUSIBLE_UK = (0.005, 0.25)
PLAUSIBLE_TAP = 0.3
"""Of the rated volts: twice the range of an on-load tap changer, three times that of a regulator."""

SINGULAR = 1e12
"""Condition of a matrix that is not to be inverted."""

ROUNDING = 1e-9
"""Of the largest entry: an eigenvalue above minus this is not called negative."""

VOLTS_TOLERANCE = 0.15
"""A transformer's rated volts may differ so much from its bus's rating: 0.4, 0.416, 0.433 and 0.44 kV are all low
voltage."""

RATIO_TOLERANCE = 0.02
"""Of transformers in parallel: with a short-circuit voltage of 4 % each, 2 % between them drive a quarter of their
rated current round."""

FEW = 5
"""So many are named."""

ASSUMED_VALID_PU = (0.9, 1.1)
"""EN 50160: what a supply voltage may be; a constant-power load that stops to be one inside is worth a word."""


@dataclass(frozen=True, slots=True)
class FeederFault:
    """One thing that is wrong: which element, which of its fields, what stands there and what should.

    blocking: no flow can be worked out. origin: where it was read, if the importer said.
    """

    kind: str
    element: str
    field: str
    value: object
    expected: str
    blocking: bool = True
    origin: Origin | None = None

    def __str__(self) -> str:
        where = "" if self.origin is None else f"{self.origin}: "
        return f"{where}{self.kind} {self.element}: {self.field}: {self.value!r}, expected {self.expected}"


def faults(feeder: Feeder) -> tuple[FeederFault, ...]:
    """Everything that is wrong with `feeder`, blocking faults first, each in the order of the elements."""
    report = _Report(feeder)
    report.names()
    report.lines()
    report.transformers()
    report.primitives()
    report.connection_points()
    report.capacitors()
    report.supply()
    found = [
        FeederFault(fault.kind, fault.element, fault.field, fault.value, fault.expected, fault.blocking,
                    feeder.origins.get((fault.kind, fault.element)))
        for fault in report.found
    ]
    return tuple(sorted(found, key=lambda fault: not fault.blocking))


class _Report:
    """Gathers faults; every method looks for one sort of them."""

    def __init__(self, feeder: Feeder) -> None:
        self.found: list[FeederFault] = []
        self._feeder = feeder
        self._bus: dict[str, Bus] = {bus.id: bus for bus in feeder.buses}
        self._kinds = {kind.id: kind for kind in feeder.load_types}
        # What names a bus or a load type that is not there is looked at no further than that.
        self._lines = tuple(line for line in feeder.lines if self._knows(line.from_bus, line.to_bus))
        self._transformers = tuple(
            transformer for transformer in feeder.transformers
            if self._knows(transformer.from_bus, transformer.to_bus)
        )
        self._primitives = tuple(
            primitive for primitive in feeder.primitives if self._knows(*(bus for bus, _ in primitive.nodes))
        )
        self._points = tuple(
            point for point in feeder.connection_points
            if self._knows(point.bus) and point.load_type in self._kinds
        )

    def _knows(self, *buses: str) -> bool:
        return all(bus in self._bus for bus in buses)

    def _say(self, kind: str, element: str, field: str, value: object, expected: str, *, blocking: bool = True) -> None:
        self.found.append(FeederFault(kind, element, field, value, expected, blocking))

    def names(self) -> None:
        """Double ids, and names of buses and load types that are not there."""
        feeder = self._feeder
        kinds: tuple[tuple[str, Iterable[str]], ...] = (
            ("bus", (bus.id for bus in feeder.buses)), ("line", (line.id for line in feeder.lines)),
            ("transformer", (transformer.id for transformer in feeder.transformers)),
            ("connection point", (point.id for point in feeder.connection_points)),
            ("load type", (kind.id for kind in feeder.load_types)),
            ("capacitor", (capacitor.id for capacitor in feeder.capacitors)),
            ("primitive", (primitive.id for primitive in feeder.primitives)),
        )
        for kind, ids in kinds:
            for name, times in Counter(ids).items():
                if times > 1:
                    self._say(kind, name, "id", name, f"one {kind} of this name, not {times}")
        for kind, name, field, bus in self._mentions():
            if bus not in self._bus:
                self._say(kind, name, field, bus, "a bus of this feeder")
        for point in feeder.connection_points:
            if point.load_type not in self._kinds:
                self._say("connection point", point.id, "load_type", point.load_type,
                          f"one of {', '.join(sorted(self._kinds))}")

    def _mentions(self) -> Iterator[tuple[str, str, str, str]]:
        feeder = self._feeder
        for kind, branches in (("line", feeder.lines), ("transformer", feeder.transformers)):
            for branch in branches:
                yield kind, branch.id, "from_bus", branch.from_bus
                yield kind, branch.id, "to_bus", branch.to_bus
        for point in feeder.connection_points:
            yield "connection point", point.id, "bus", point.bus
        for capacitor in feeder.capacitors:
            yield "capacitor", capacitor.id, "bus", capacitor.bus
        for primitive in feeder.primitives:
            for bus in dict.fromkeys(bus for bus, _ in primitive.nodes):
                yield "primitive", primitive.id, "nodes", bus
        yield "source", feeder.source.id, "bus", feeder.source.bus

    def lines(self) -> None:
        lines = self._lines
        r, x, c = (_filled(lines, name) for name in ("r_ohm", "x_ohm", "c_farad"))
        with np.errstate(divide="ignore", invalid="ignore"):
            singular = ~(np.linalg.cond(r + 1j * x) < SINGULAR)
        size = np.abs(r).max(axis=(1, 2))
        gains = np.linalg.eigvalsh(r)[:, 0] < -ROUNDING * size
        odd_c = np.linalg.eigvalsh(c)[:, 0] < -ROUNDING * np.abs(c).max(axis=(1, 2))
        for number, line in enumerate(lines):
            self._ends(line)
            if singular[number]:
                self._say("line", line.id, "r_ohm, x_ohm", (line.r_ohm, line.x_ohm),
                          "impedances that can be inverted; for a closed switch or a joint, make its two buses one")
            elif gains[number]:
                self._say("line", line.id, "r_ohm", line.r_ohm, "no negative eigenvalue: a line only loses power")
            if odd_c[number]:
                self._say("line", line.id, "c_farad", line.c_farad, "a positive semi-definite matrix", blocking=False)
            self._zero_sequence(line)
            self._length(line)
            self._ampacity(line)

    def _ends(self, line: Line) -> None:
        ends = (self._bus[line.from_bus], self._bus[line.to_bus])
        for field, bus in zip(("from_bus", "to_bus"), ends, strict=True):
            if any(phase not in bus.phases for phase in line.phases):
                self._say("line", line.id, "phases", line.phases, f"phases of {field} {bus.id}: {bus.phases}")
        if ends[0].id == ends[1].id:
            self._say("line", line.id, "to_bus", line.to_bus, "another bus than from_bus")
        if ends[0].volts != ends[1].volts:
            self._say("line", line.id, "to_bus", f"{ends[1].id}, {ends[1].volts:g} V",
                      f"the voltage base of {ends[0].id}: {ends[0].volts:g} V")

    def _zero_sequence(self, line: Line) -> None:
        own, between = _own_and_between(line)
        if between < 0.0 < own:
            times = max(len(line.phases) - 1, 1)
            self._say("line", line.id, "r_ohm", f"R0/R1 = {(own + times * between) / (own - between):.3g}",
                      "R0 of at least R1: the return path only adds to it (zero-sequence data)", blocking=False)

    def _length(self, line: Line) -> None:
        if line.length_m is None:
            return
        if line.length_m == 0.0:
            self._say("line", line.id, "length_m", 0.0, "a length above 0 m", blocking=False)
            return
        per_km = _ohm_per_km(line, line.length_m)
        low, high = PLAUSIBLE_OHM_PER_KM
        if not low <= per_km <= high:
            self._say("line", line.id, "length_m", line.length_m,
                      f"a length with which R is {low:g} to {high:g} ohm/km, not {per_km:.3g} (unit of length?)",
                      blocking=False)

    def _ampacity(self, line: Line) -> None:
        if line.ampacity is None:
            self._say("line", line.id, "ampacity", None, "amperes per phase and where they come from", blocking=False)
            return
        low, high = PLAUSIBLE_AMPERES
        amperes = [line.ampacity.amperes[PHASES.index(phase)] for phase in line.phases]
        if min(amperes) < low or max(amperes) > high:
            self._say("line", line.id, "ampacity", amperes, f"{low:g} to {high:g} A", blocking=False)
        elif line.length_m and (per_km := _ohm_per_km(line, line.length_m)) > 0.0:
            low, high = (bound / sqrt(per_km) for bound in RATING_TIMES_ROOT_RESISTANCE)
            if min(amperes) < low or max(amperes) > high:
                self._say("line", line.id, "ampacity", amperes, f"{low:.0f} to {high:.0f} A for {per_km:.3g} ohm/km",
                          blocking=False)

    def transformers(self) -> None:
        for transformer in self._transformers:
            self._vector_group(transformer)
            sides = (("from", transformer.from_bus, transformer.from_volts),
                     ("to", transformer.to_bus, transformer.to_volts))
            for side, name, volts in sides:
                bus = self._bus[name]
                if bus.phases != PHASES:
                    self._say("transformer", transformer.id, f"{side}_bus", name, f"a bus with phases abc, not "
                              f"{bus.phases}")
                if abs(volts / bus.volts - 1.0) > VOLTS_TOLERANCE:
                    self._say("transformer", transformer.id, f"{side}_volts", volts,
                              f"about the voltage base of bus {name}: {bus.volts:g} V")
            for (side, _, rated), tapped in zip(sides, transformer.tapped_volts, strict=True):
                if abs(tapped / rated - 1.0) > PLAUSIBLE_TAP:
                    self._say("transformer", transformer.id, "tap", transformer.tap.position,
                              f"a position that moves {side}_volts by at most {PLAUSIBLE_TAP:.0%}, not to {tapped:g} V",
                              blocking=False)
            low, high = PLAUSIBLE_UK
            if not low <= transformer.uk <= high:
                self._say("transformer", transformer.id, "uk", transformer.uk, f"per unit, {low:g} to {high:g}",
                          blocking=False)

    def _vector_group(self, transformer: Transformer) -> None:
        try:
            if transformer.vector_group is None:
                self._say("transformer", transformer.id, "vector_group", None, "windings and clock, such as Dyn11")
            else:
                vector_group(transformer.vector_group)
        except FeederError as error:
            self._say("transformer", transformer.id, error.field_name, error.value, error.expected)

    def primitives(self) -> None:
        for primitive in self._primitives:
            for bus, phase in primitive.nodes:
                if phase not in self._bus[bus].phases:
                    self._say("primitive", primitive.id, "nodes", f"{bus}, {phase}",
                              f"phases of bus {bus}: {self._bus[bus].phases}")
            matrix = np.array(primitive.admittance)
            if np.linalg.eigvalsh(matrix + matrix.conj().T)[0] < -ROUNDING * np.abs(matrix).max():
                self._say("primitive", primitive.id, "admittance", primitive.kind,
                          "a matrix without a negative eigenvalue in its real part: it only loses power",
                          blocking=False)

    def capacitors(self) -> None:
        for capacitor in self._feeder.capacitors:
            if not self._knows(capacitor.bus):
                continue
            bus = self._bus[capacitor.bus]
            if any(phase not in bus.phases for phase in capacitor.phases):
                self._say("capacitor", capacitor.id, "phases", capacitor.phases,
                          f"phases of bus {bus.id}: {bus.phases}")
            across = bus.volts if capacitor.connection == "delta" else bus.volts / sqrt(3.0)
            if abs(capacitor.volts / across - 1.0) > VOLTS_TOLERANCE:
                self._say("capacitor", capacitor.id, "volts", capacitor.volts,
                          f"about {across:.4g} V at bus {bus.id}", blocking=False)

    def connection_points(self) -> None:
        for point in self._points:
            bus, kind = self._bus[point.bus], self._kinds[point.load_type]
            if any(phase not in bus.phases for phase in point.phases):
                self._say("connection point", point.id, "phases", point.phases, f"phases of bus {bus.id}: {bus.phases}")
            if kind.connection == "delta" and len(point.phases) == 1:
                self._say("connection point", point.id, "phases", point.phases, "two or three phases for a delta load")
            self._load_volts(point, bus)
        used = {point.load_type for point in self._points}
        for kind in self._feeder.load_types:
            low, high = kind.valid_pu
            if kind.id in used and (low > ASSUMED_VALID_PU[0] or high < ASSUMED_VALID_PU[1]):
                self._say("load type", kind.id, "valid_pu", kind.valid_pu,
                          "a range that contains 0.9 to 1.1 (EN 50160); outside its own the load is an impedance",
                          blocking=False)

    def _load_volts(self, point: ConnectionPoint, bus: Bus) -> None:
        kind = self._kinds[point.load_type]
        across = bus.volts if kind.connection == "delta" else bus.volts / sqrt(3.0)
        if kind.rated_volts is not None and abs(kind.rated_volts / across - 1.0) > VOLTS_TOLERANCE:
            self._say("connection point", point.id, "load_type", f"{kind.id}, {kind.rated_volts:g} V",
                      f"rated volts of about {across:.4g} V at bus {bus.id}")

    def supply(self) -> None:
        """Which phases the source reaches, and where ground is."""
        feeder = self._feeder
        if not self._knows(feeder.source.bus):
            return
        if self._bus[feeder.source.bus].phases != PHASES:
            self._say("source", feeder.source.id, "bus", feeder.source.bus, "a bus with phases abc")
        self._side_by_side(Groups(joined := lines_joined(feeder)))
        self._islands(Groups(joined))
        if not any(fault.blocking for fault in self.found):
            self._ground(joined)

    def _side_by_side(self, joined: Groups[Node]) -> None:
        """Transformers between the same networks that turn phases differently, or change volts differently."""
        first: dict[tuple[Node, Node], tuple[str, int, float]] = {}
        for transformer in self._transformers:
            try:
                clock = vector_group(transformer.vector_group or "").clock
            except FeederError:
                continue
            ends = joined.of((transformer.from_bus, PHASES[0])), joined.of((transformer.to_bus, PHASES[0]))
            upper, lower = transformer.tapped_volts
            if ends[::-1] in first:
                ends, clock, upper, lower = ends[::-1], -clock % 12, lower, upper
            name, other, ratio = first.setdefault(ends, (transformer.id, clock, upper / lower))
            if clock != other:
                self._say("transformer", transformer.id, "vector_group", transformer.vector_group,
                          f"the clock of transformer {name}, with which it is in parallel: {other}; otherwise a "
                          "current flows round through both", blocking=False)
            elif abs(upper / lower / ratio - 1.0) > RATIO_TOLERANCE:
                self._say("transformer", transformer.id, "from_volts, to_volts, tap", f"{upper / lower:.5g}",
                          f"the ratio of transformer {name}, with which it is in parallel: {ratio:.5g}; otherwise a "
                          "current flows round through both", blocking=False)

    def _islands(self, live: Groups[Node]) -> None:
        feeder = self._feeder
        for transformer in self._transformers:
            nodes = [(bus, phase) for bus in (transformer.from_bus, transformer.to_bus) for phase in PHASES]
            for node in nodes[1:]:
                live.join(nodes[0], node)
        for primitive in self._primitives:
            for i, j in combinations(range(len(primitive.nodes)), 2):
                if primitive.admittance[i][j] or primitive.admittance[j][i]:
                    live.join(primitive.nodes[i], primitive.nodes[j])
        fed = {live.of((feeder.source.bus, phase)) for phase in PHASES}
        for bus in feeder.buses:
            dead = "".join(phase for phase in bus.phases if live.of((bus.id, phase)) not in fed)
            if dead:
                hanging = [point.id for point in feeder.connection_points if point.bus == bus.id]
                self._say("bus", bus.id, "phases", dead, "a path from the source (island, or no line brings it)"
                          + (f" to {', '.join(hanging[:FEW])}" if hanging else "")
                          + (f" and {len(hanging) - FEW} more" if len(hanging) > FEW else ""))

    def _ground(self, joined: Groups[Node]) -> None:
        groups = {transformer.id: transformer.vector_group for transformer in self._feeder.transformers}
        floating: dict[tuple[str, bool], list[Node]] = {}
        for tie in ties(self._feeder, joined):
            floating.setdefault((tie.element, tie.side is None), []).extend(tie.nodes)
        for (element, is_primitive), nodes in floating.items():
            buses = ", ".join(dict.fromkeys(bus for bus, _ in nodes))
            kind, field, value = ("primitive", "nodes", buses) if is_primitive else (
                "transformer", "vector_group", groups[element])
            self._say(kind, element, field, value, f"something grounded at bus {buses}: it floats, and is tied to "
                      "ground by a millionth of the rating", blocking=False)


def _own_and_between(line: Line) -> tuple[float, float]:
    """Mean resistance on and off the diagonal, over the phases that are there."""
    there = [PHASES.index(phase) for phase in line.phases]
    pairs = list(combinations(there, 2))
    between = sum(line.r_ohm[i][j] for i, j in pairs) / len(pairs) if pairs else 0.0
    return sum(line.r_ohm[i][i] for i in there) / len(there), between


def _ohm_per_km(line: Line, length_m: float) -> float:
    """R1 per km."""
    own, between = _own_and_between(line)
    return (own - between) / length_m * 1000.0


def _filled(lines: tuple[Line, ...], name: str) -> NDArray[np.float64]:
    """A matrix of all lines, (line, 3, 3), with phases that are not there as ones of their own."""
    matrices = np.array([getattr(line, name) for line in lines]).reshape(-1, 3, 3)
    for number, line in enumerate(lines):
        if line.phases != PHASES:
            there = [PHASES.index(phase) for phase in line.phases]
            own = float(np.mean([matrices[number, phase, phase] for phase in there]))
            inside = np.isin(np.arange(3), there)
            matrices[number] = np.where(np.outer(inside, inside), matrices[number], own * np.eye(3))
    return matrices
