"""What connects the buses of an OpenDSS circuit: each element as itself if its admittance then is the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import hypot, pi, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.dss_process.extract import ElementFound, Extract, WindingFound
from twin.feeder.importers.imported import Degree
from twin.feeder.importers.opendss.script import Script
from twin.feeder.network.model import NO_CAPACITANCE, Capacitor, Line, Matrix, Primitive, Rating, Side, Tap, Transformer
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.plausible import FeederError
from twin.feeder.network.transformer_model import Complex, admittance

Say = Callable[[Degree, str, str, str], None]

METRES: Final = {1: 1609.344, 2: 304.8, 3: 1000.0, 4: 1.0, 5: 0.3048, 6: 0.0254, 7: 0.01, 8: 0.001}
"""By OpenDSS's number of a unit; 0: none is given."""

SAME: Final = 1e-6
"""Of the largest entry: two admittances are the same; leaves room for OpenDSS's 1 ppm against floating."""

RECIPROCAL: Final = 1e-9
"""Of the largest entry: less is rounding in OpenDSS, and the two halves of a matrix are made the same."""

ROUND: Final = 1e-11
CHARGING: Final = 1e-13
"""Of the series admittance: less is what is left of taking its two ends from each other."""

DIGITS: Final = 12
TAP_TOLERANCE: Final = 1e-9
CLOCKS: Final = range(12)
FEW: Final = 3


class Ports:
    """Elements as admittances between (bus, phase)."""

    def __init__(self, elements: Sequence[ElementFound], say: Say) -> None:
        self._say = say
        self._users: dict[tuple[str, int], set[str]] = defaultdict(set)
        for element in elements:
            for place in self._places(element):
                self._users[place].add(f"{element.kind}.{element.name}")

    @staticmethod
    def _places(element: ElementFound) -> list[tuple[str, int]]:
        return [(element.buses[row // element.conductors], node) for row, node in enumerate(element.nodes)]

    def of(self, element: ElementFound) -> tuple[list[tuple[str, str]], Complex] | None:
        """Nodes in the order of terminals and phases, and the admittance; None if it cannot be had, which is said.

        Conductors at ground are left out, those at one node are one, and a node beyond phase c that no other element
        has is folded in.
        """
        places = self._places(element)
        whole = np.array(element.admittance).view(np.complex128).reshape(len(places), len(places))
        nodes = list(dict.fromkeys(place for place in places if place[1] != 0))
        gather = np.array([[place == node for place in places] for node in nodes], dtype=np.float64)
        merged = gather @ whole @ gather.T
        outer = [row for row, (_, node) in enumerate(nodes) if node <= len(PHASES)]
        inner = [row for row in range(len(nodes)) if row not in outer]
        for row in inner:
            if len(self._users[nodes[row]]) > 1:
                self._say(Degree.UNSUPPORTED, element.kind, element.name, f"conductor {nodes[row][1]} of bus "
                          f"{nodes[row][0]}: phases are 1, 2 and 3, a neutral is to be folded in (Kron)")
                return None
        outer.sort(key=lambda row: (element.buses.index(nodes[row][0]), nodes[row][1]))
        if inner:
            block = merged[np.ix_(inner, inner)]
            if np.linalg.cond(block) > 1.0 / np.finfo(np.float64).eps:
                self._say(Degree.UNSUPPORTED, element.kind, element.name, "a conductor inside it is connected to "
                          "nothing")
                return None
            merged[np.ix_(outer, outer)] -= (
                merged[np.ix_(outer, inner)] @ np.linalg.solve(block, merged[np.ix_(inner, outer)])
            )
        named = [(nodes[row][0], PHASES[nodes[row][1] - 1]) for row in outer]
        return named, np.asarray(merged[np.ix_(outer, outer)], dtype=np.complex128)


class Branches:
    """Lines, transformers, capacitors and, of everything else, primitives; filled one element after the other."""

    def __init__(
        self, extract: Extract, script: Script, ports: Ports, volts: Mapping[str, float], say: Say
    ) -> None:
        self.lines: list[Line] = []
        self.transformers: list[Transformer] = []
        self.capacitors: list[Capacitor] = []
        self.primitives: list[Primitive] = []
        self._omega = 2.0 * pi * extract.frequency
        self._script = script
        self._ports = ports
        self._volts = volts
        self._say = say
        self._controlled = extract.controlled
        self._taps: dict[str, str] = {}
        self._unrated: list[str] = []
        self._without_unit = 0

    def add(self, element: ElementFound) -> None:
        """Take one in.

        Raises:
            FeederError: a value that no element can have.
        """
        ports = self._ports.of(element)
        if ports is None:
            return
        nodes, matrix = ports
        if not nodes:
            self._say(Degree.DROPPED, element.kind, element.name, "is connected to ground alone")
        elif element.kind == "line" and (line := self._line(element, nodes, matrix)) is not None:
            self.lines.append(line)
        elif element.kind == "transformer" and self._transformer(element, nodes, matrix):
            pass
        elif element.kind == "capacitor" and (capacitor := self._capacitor(element, nodes, matrix)) is not None:
            self.capacitors.append(capacitor)
        else:
            self._primitive(element, nodes, matrix)

    def close(self) -> None:
        """Say what concerns many lines at once."""
        if self._unrated:
            count = len(self._unrated)
            shown = ", ".join(self._unrated[:FEW]) + (f" and {count - FEW} more" if count > FEW else "")
            self._say(Degree.MISSING, "line", shown, "no NormAmps in the file (400 A is OpenDSS's default and no "
                      "rating): loading is not judged")
        if self._without_unit:
            self._say(Degree.ASSUMED, "line", f"{self._without_unit} lines", "no unit of length: it is that of the "
                      "line code, and the length is not known in metres")

    def tap(self, transformer: str) -> str:
        """In words, at which tap a transformer is held."""
        return self._taps.get(transformer, "its tap")

    def carries_zero_sequence(self, bus: str) -> bool:
        """Whether anything at `bus` lets zero-sequence current pass."""
        ends = [one for line in self.lines for one in (line.from_bus, line.to_bus)]
        ends += [node[0] for primitive in self.primitives for node in primitive.nodes]
        ends += [capacitor.bus for capacitor in self.capacitors if capacitor.connection is Connection.WYE]
        for transformer in self.transformers:
            group = (transformer.vector_group or "YN").upper()
            if transformer.from_bus == bus and group.startswith(("YN", "ZN")):
                return True
            if transformer.to_bus == bus and "N" in group[1 + group.startswith("YN"):]:
                return True
        return bus in ends

    def _line(self, element: ElementFound, nodes: list[tuple[str, str]], matrix: Complex) -> Line | None:
        """A line whose two ends have the same phases and nothing but series impedance and capacitance."""
        half = len(nodes) // 2
        near, far = nodes[:half], nodes[half:]
        phases = "".join(phase for _, phase in near)
        ends = {bus for bus, _ in near}, {bus for bus, _ in far}
        if len(nodes) != 2 * half or phases != "".join(phase for _, phase in far):
            return None
        if element.buses[0] == element.buses[1] or any(len(end) != 1 for end in ends):
            return None
        order = element.nodes[:element.conductors], element.nodes[element.conductors:]
        if order[0] != order[1] or len(set(order[0])) != len(order[0]):
            return None
        series = -(matrix[:half, half:] + matrix[half:, :half].T) / 2.0
        shunt = matrix[:half, :half] - series
        size = np.abs(series).max()
        if np.abs(shunt.real).max() > SAME * max(np.abs(shunt).max(), CHARGING * size / SAME) + CHARGING * size:
            return None
        impedance = np.asarray(np.linalg.inv(series), dtype=np.complex128)
        charging = np.where(np.abs(shunt.imag) <= CHARGING * size, 0.0, shunt.imag)
        there = [PHASES.index(phase) for phase in phases]
        r, x = _spread(impedance.real, there), _spread(impedance.imag, there)
        c = _spread(2.0 * charging / self._omega, there) if charging.any() else NO_CAPACITANCE
        return Line(
            element.name, element.buses[0], element.buses[1], r, x, c, phases, self._rating(element),
            self._length(element),
        )

    def _length(self, element: ElementFound) -> float | None:
        unit = int(float(element.values["units"]))
        if element.values["is_switch"]:
            return None
        if unit not in METRES:
            self._without_unit += 1
            return None
        return float(element.values["length"]) * METRES[unit]

    def _rating(self, element: ElementFound) -> Rating | None:
        """Only what the file says: for the line, its code, or the wires of its geometry."""
        amperes, code = float(element.values["norm_amps"]), str(element.values["linecode"])
        source = ""
        if self._script.gives(f"line.{element.name}", "normamps"):
            source = "NormAmps of the line"
        elif code and self._script.gives(f"linecode.{code}", "normamps"):
            source = f"NormAmps of line code {code}"
        elif element.values["geometry"] or element.values["spacing"]:
            wires = [name for name in self._script.named if name.startswith(("wiredata.", "cndata.", "tsdata."))]
            if any(self._script.gives(wire, "normamps") for wire in wires):
                source = "NormAmps of its wires"
        if not source or not amperes > 0.0:
            self._unrated.append(element.name)
            return None
        return Rating.even(amperes, f"{source}, OpenDSS file")

    def _transformer(self, element: ElementFound, nodes: list[tuple[str, str]], matrix: Complex) -> bool:
        """Add it as a transformer if one with some vector group has the same admittance."""
        windings = element.windings
        self._taps[element.name] = f"tap {', '.join(f'{winding.tap:.6g}' for winding in windings)} p.u."
        whole = [(bus, phase) for bus in element.buses for phase in PHASES]
        if len(windings) != 2 or nodes != whole or element.values["phases"] != len(PHASES):  # noqa: PLR2004 - two windings
            return False
        best: tuple[float, Transformer] | None = None
        for group in _groups(windings):
            try:
                candidate = self._candidate(element, group)
                apart = float(np.abs(admittance(candidate) - matrix).max() / np.abs(matrix).max())
            except FeederError:
                continue
            if best is None or apart < best[0]:
                best = apart, candidate
        if best is None:
            return False
        apart, transformer = best
        iron = hypot(float(element.values["no_load_loss"]), float(element.values["imag"])) / 100.0
        if apart > max(SAME, iron * transformer.uk):
            return False
        if apart > SAME:
            self._say(Degree.APPROXIMATED, element.kind, element.name, "its no-load branch stands half at each side, "
                      f"in OpenDSS at the last winding: its admittance differs by {apart:.1e}")
        self.transformers.append(transformer)
        if not _grounds_lower(transformer):
            self._anti_float(transformer, nodes, matrix)
        return True

    def _anti_float(self, transformer: Transformer, nodes: list[tuple[str, str]], matrix: Complex) -> None:
        """What OpenDSS adds (1 ppm of the rating to ground) so that a side without ground does not float."""
        rest: Complex = 1j * np.diag(np.diag(matrix - admittance(transformer)).imag).astype(np.complex128)
        name = f"{transformer.id} to ground"
        self.primitives.append(_as_primitive(name, nodes, rest, "anti-floating", "1 ppm of the rating, by OpenDSS"))
        self._say(Degree.ASSUMED, "transformer", transformer.id, "leaves its lower side without ground: it keeps what "
                  f"OpenDSS adds so that voltages to ground are defined, as primitive {name!r}")

    def _candidate(self, element: ElementFound, group: str) -> Transformer:
        upper, lower = element.windings
        rated = upper.kva * 1000.0
        r = (upper.r_percent + lower.r_percent) / 100.0
        x = float(element.values["xhl"]) / 100.0
        loss, imag = (float(element.values[name]) / 100.0 for name in ("no_load_loss", "imag"))
        volts = [upper.kv * 1000.0, lower.kv * 1000.0]
        tap = Tap()
        sides = (Side.FROM, Side.TO)
        moved = [number for number, winding in enumerate((upper, lower)) if winding.tap != 1.0]
        if not moved and element.name in self._controlled:
            moved = [1]
        for number in moved:
            winding = element.windings[number]
            found = _tap(winding, sides[number])
            if found is not None and tap == Tap():
                tap = found
            else:
                volts[number] *= winding.tap
        grounds = [(max(winding.r_neutral, 0.0), winding.x_neutral if winding.r_neutral >= 0.0 else 0.0)
                   for winding in (upper, lower)]
        return Transformer(
            element.name, element.buses[0], element.buses[1], rated, volts[0], volts[1], hypot(r, x), r * rated, group,
            hypot(loss, imag), loss * rated, tap, grounds[0], grounds[1],
        )

    def _capacitor(self, element: ElementFound, nodes: list[tuple[str, str]], matrix: Complex) -> Capacitor | None:
        values = element.values
        connection = Connection.DELTA if values["is_delta"] else Connection.WYE
        if any(bus != element.buses[0] for bus, _ in nodes) or not float(values["kvar"]) > 0.0:
            return None
        phases = "".join(phase for _, phase in nodes)
        if connection is Connection.DELTA and len(phases) == 1:
            return None
        volts = float(values["kv"]) * 1000.0
        if connection is Connection.WYE and len(phases) > 1:
            volts /= sqrt(3.0)
        found = Capacitor(element.name, element.buses[0], float(values["kvar"]) * 1000.0, volts, phases, connection)
        expected = np.zeros_like(matrix)
        for branch in found.branches:
            ends = [phases.index(phase) for phase in branch]
            for i in ends:
                for j in ends:
                    expected[i, j] += (1j if i == j else -1j) * found.siemens
        return found if np.abs(expected - matrix).max() <= SAME * np.abs(matrix).max() else None

    def _primitive(self, element: ElementFound, nodes: list[tuple[str, str]], matrix: Complex) -> None:
        tap = self._taps.get(element.name, "") if element.kind == "transformer" else ""
        kind = "regulator" if tap and element.name in self._controlled else element.kind
        rating = self._rating(element) if element.kind == "line" else None
        amperes = _winding_amperes(element, nodes) if rating is None else tuple(
            rating.amperes[PHASES.index(phase)] for _, phase in nodes)
        self.primitives.append(
            _as_primitive(element.name, nodes, matrix, kind, f"{tap} as solved" if tap else "", amperes)
        )
        self._say(Degree.FROZEN, element.kind, element.name,
                  f"is held as its admittance{' at ' * bool(tap)}{tap}: exact there")


def _winding_amperes(element: ElementFound, nodes: list[tuple[str, str]]) -> tuple[float, ...]:
    """Rated current of the windings at each node, together; none if one of them has no winding with a rating."""
    phases = int(float(element.values.get("phases", 0)))
    found: dict[tuple[str, str], float] = dict.fromkeys(nodes, 0.0)
    for number, winding in enumerate(element.windings):
        # Of a winding in a single phase kV is across it; of others it is from phase to phase.
        volts = winding.kv * (1.0 if phases == 1 else phases / sqrt(3.0))
        places = element.nodes[number * element.conductors:(number + 1) * element.conductors]
        for node in set(places) & set(range(1, len(PHASES) + 1)):
            place = element.buses[number], PHASES[node - 1]
            if place in found and volts > 0.0:
                found[place] += winding.kva / volts
    return tuple(found.values()) if found and all(found.values()) else ()


def _as_primitive(
    name: str, nodes: list[tuple[str, str]], matrix: Complex, kind: str, note: str, amperes: tuple[float, ...] = (),
) -> Primitive:
    turned = (matrix + matrix.T) / 2.0
    if np.abs(matrix - turned).max() <= RECIPROCAL * np.abs(matrix).max():
        matrix = turned
    rows = tuple(tuple(complex(value) for value in row) for row in matrix)
    return Primitive(name, tuple(nodes), rows, kind, note, amperes)


def _grounds_lower(transformer: Transformer) -> bool:
    return "n" in (transformer.vector_group or "")


def _groups(windings: Sequence[WindingFound]) -> list[str]:
    names = [("D",) if winding.is_delta else ("YN", "Y") for winding in windings]
    found = []
    for upper in names[0]:
        for lower in names[1]:
            odd = (upper == "D") != (lower == "D")
            found += [f"{upper}{lower.lower()}{clock}" for clock in CLOCKS if clock % 2 == odd]
    return found


def _tap(winding: WindingFound, side: Side) -> Tap | None:
    """The position that a winding's tap stands for, if it stands for a whole one."""
    if winding.taps <= 0 or winding.highest <= winding.lowest:
        return None
    step = (winding.highest - winding.lowest) / winding.taps
    taps = (winding.tap, winding.lowest, winding.highest)
    position, lowest, highest = (round((value - 1.0) / step) for value in taps)
    if abs(position * step - (winding.tap - 1.0)) > TAP_TOLERANCE or not lowest <= position <= highest:
        return None
    return Tap(side, position, lowest, highest, 0, winding.kv * 1000.0 * step)


def _spread(part: NDArray[np.float64], there: list[int]) -> Matrix:
    """A matrix over the phases that are there as one over all; rounded where rounding hides nothing."""
    even = (part + part.T) / 2.0
    own, between = float(np.mean(np.diag(even))), 0.0
    size = np.abs(even).max()
    if len(there) == len(PHASES):
        between = float((even.sum() - np.trace(even)) / 6.0)
        transposed = between * np.ones((3, 3)) + (own - between) * np.eye(3)
        if np.abs(even - transposed).max() <= ROUND * size:
            one, zero = (float(f"{value:.{DIGITS}g}") for value in (own - between, own + 2.0 * between))
            return Line.of_sequence("", "", "", r1=one, r0=zero, x1=0.0, x0=0.0).r_ohm
    whole = np.zeros((3, 3))
    for row, i in enumerate(there):
        for column, j in enumerate(there):
            value = float(even[row, column])
            whole[i, j] = 0.0 if abs(value) <= ROUND * size else float(f"{value:.{DIGITS}g}")
    (aa, ab, ac), (ba, bb, bc), (ca, cb, cc) = whole.tolist()
    return (aa, ab, ac), (ba, bb, bc), (ca, cb, cc)
