"""Networks in power-grid-model's JSON from elsewhere, without our sidecar: numbers for names, every bus three-phase."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from twin.feeder.importers.imported import Degree, Finding, Imported, ImportedLoads, ImportRefused, at_terminals
from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType, Zip
from twin.feeder.network.model import Bus, Capacitor, Feeder, Line, Origin, Primitive, Rating, Source, Transformer
from twin.feeder.network.phases import PHASES
from twin.feeder.network.plausible import FeederError, Most, is_power
from twin.feeder.network.transformer_model import FROM_SEQUENCE, TO_SEQUENCE
from twin.feeder.on_disk.pgm_json import (
    AsymLineRow,
    FeederFileError,
    GridFile,
    LineRow,
    NodeRow,
    SourceRow,
    TransformerRow,
    check_figures,
    decoded,
)

FREQUENCY_HZ: Final = 50.0
KINDS: Final = (
    CONSTANT_POWER, LoadType("constant impedance", Zip(1.0, 0.0, 0.0), Zip(1.0, 0.0, 0.0)),
    LoadType("constant current", Zip(0.0, 1.0, 0.0), Zip(0.0, 1.0, 0.0)),
)
"""By power-grid-model's number of a load type."""

APPLIANCES: Final = {"sym_load": 1.0, "asym_load": 1.0, "sym_gen": -1.0, "asym_gen": -1.0}
BRANCHES: Final = ("line", "asym_line", "transformer", "link")
MEASURED: Final = frozenset({
    "sym_voltage_sensor", "asym_voltage_sensor", "sym_power_sensor", "asym_power_sensor", "sym_current_sensor",
    "asym_current_sensor", "fault",
})
REGULATORS: Final = frozenset({"transformer_tap_regulator", "voltage_regulator"})
READ: Final = frozenset({"node", "source", "shunt", *BRANCHES, *APPLIANCES})
NAMES: Final = ("name", "id_reference", "pgm_input")
"""Fields that power-grid-model-io adds to a row."""


class Shunt(msgspec.Struct, frozen=True):
    """Conductance and susceptance of both sequences, siemens."""

    id: int
    node: int
    g1: float
    b1: float
    g0: float = 0.0
    b0: float = 0.0
    status: int = 1


class Appliance(msgspec.Struct, frozen=True):
    """A load or generator: of all phases, or of each."""

    id: int
    node: int
    type: int = 0
    p_specified: float | list[float | None] | None = None
    q_specified: float | list[float | None] | None = None
    status: int = 1


class Link(msgspec.Struct, frozen=True):
    id: int
    from_node: int
    to_node: int
    from_status: int = 1
    to_status: int = 1


def read_pgm(path: Path) -> Imported:
    """Read a grid of power-grid-model.

    Raises:
        ImportRefused: not such a file, or rows that are wrong; all of them at once.
    """
    try:
        file = decoded(path, lambda text: msgspec.json.decode(text, type=GridFile))
    except FeederFileError as error:
        raise ImportRefused(path, str(error)) from None
    return _Builder(path, file).imported()


class _Builder:
    """The way from rows to a feeder."""

    def __init__(self, path: Path, file: GridFile) -> None:
        self._path = path
        self._file = file
        self._findings: list[Finding] = []
        self._reasons: list[str] = []
        self._bus: dict[int, str] = {}
        self._volts: dict[str, float] = {}
        self._names: Counter[str] = Counter()
        self._unknown: dict[tuple[str, str], int] = defaultdict(int)
        self._rows = {kind: list(self._named(kind)) for kind in file.data}

    def imported(self) -> Imported:
        self._strangers()
        buses = self._buses()
        lines = self._lines(buses)
        transformers = self._transformers()
        capacitors, primitives = self._shunts()
        source = self._source()
        points, powers, types = self._appliances()
        if self._reasons or source is None:
            raise ImportRefused(self._path, *self._reasons)
        for (kind, field), count in self._unknown.items():
            self._say(Degree.DROPPED, kind, f"{count} rows", f"field {field} is not known here")
        feeder = Feeder(
            name=self._path.stem, buses=tuple(buses), lines=tuple(lines), source=source,
            transformers=tuple(transformers), connection_points=tuple(points), load_types=types,
            frequency_hz=FREQUENCY_HZ, provenance=f"{self._path.name}, power-grid-model", capacitors=tuple(capacitors),
            primitives=tuple(primitives),
        )
        if any(np.any(line.c_farad) for line in lines):
            self._say(Degree.ASSUMED, "grid", self._path.stem, f"{FREQUENCY_HZ:g} Hz: the format does not say")
        findings = tuple(sorted(self._findings, key=lambda finding: list(Degree).index(finding.degree)))
        p_w, q_var = at_terminals(feeder, powers)
        return Imported(feeder, findings, ImportedLoads(p_w, q_var, ("",) * len(p_w)))

    def _say(self, degree: Degree, kind: str, element: str, said: str) -> None:
        self._findings.append(Finding(degree, kind, element, said, Origin(str(self._path))))

    def _named(self, kind: str) -> Iterator[dict[str, Any]]:
        """Rows as fields with values; what is null is left out."""
        names = self._file.attributes.get(kind, [])
        for number, row in enumerate(self._file.data[kind]):
            if isinstance(row, list):
                if len(row) != len(names):
                    said = f"{len(row)} values, expected {len(names)}: {', '.join(names)}"
                    self._reasons.append(f"{self._path}: $.data.{kind}[{number}]: {said}")
                    continue
                row = dict(zip(names, row, strict=True))  # noqa: PLW2901 - the same row, with its names
            yield {field: value for field, value in row.items() if value is not None}

    def _strangers(self) -> None:
        for kind, rows in self._rows.items():
            if kind in READ or not rows:
                continue
            if kind in MEASURED:
                self._say(Degree.NOT_RUN, kind, f"{len(rows)} rows", "measures the network and is no part of it")
                continue
            for row in rows:
                degree = Degree.FROZEN if kind in REGULATORS else Degree.UNSUPPORTED
                self._say(degree, kind, str(row.get("id")), "its transformer stays at the tap of the file"
                          if kind in REGULATORS else "is no element that a feeder can hold")

    def _converted(self, kind: str, row_type: Any) -> Iterator[Any]:
        """Rows of one kind as structs; a row that is wrong becomes a reason, a field that is not known a finding."""
        known = set(row_type.__struct_fields__)
        for number, row in enumerate(self._rows.get(kind, [])):
            for field in set(row) - known - set(NAMES):
                self._unknown[kind, field] += 1
            values = {field: value for field, value in row.items() if field in known}
            for field in ("tan1", "tan0"):
                if values.pop(field, 0.0):
                    self._say(Degree.DROPPED, kind, str(row.get("id")), f"{field}: the losses of its capacitance")
            try:
                check_figures(values)
                yield msgspec.convert(values, type=row_type)
            except msgspec.ValidationError as error:
                self._reasons.append(f"{self._path}: $.data.{kind}[{number}]: {error}")

    def _at(self, kind: str, row: Any, field: str) -> str:
        number = getattr(row, field)
        if number not in self._bus:
            self._reasons.append(f"{self._path}: {kind} {row.id}: {field}: {number}, expected the id of a node")
            return ""
        return self._bus[number]

    def _built(self, kind: str, row: Any, make: Any, /, **fields: Any) -> list[Any]:
        try:
            return [make(**fields)]
        except (FeederError, np.linalg.LinAlgError, ZeroDivisionError) as error:
            self._reasons.append(f"{self._path}: {kind} {row.id}: {error}")
            return []

    def _name(self, kind: str, number: int) -> str:
        """The name that the file adds to a row, or its number."""
        row = next((row for row in self._rows.get(kind, []) if row.get("id") == number), {})
        extra = row.get("id_reference")
        named = row.get("name") or (extra.get("name") if isinstance(extra, dict) else None)
        name = str(named) if named else str(number)
        self._names[f"{kind} {name}"] += 1
        return name if self._names[f"{kind} {name}"] == 1 else f"{name} ({number})"

    def _buses(self) -> list[Bus]:
        nodes = list(self._converted("node", NodeRow))
        first = {node.id: node.id for node in nodes}

        def of(number: int) -> int:
            while first[number] != number:
                number = first[number]
            return number

        for link in self._converted("link", Link):
            ends = link.from_node, link.to_node
            if not set(ends) <= set(first):
                self._reasons.append(f"{self._path}: link {link.id}: from_node, to_node: {ends}, expected ids of nodes")
            elif link.from_status and link.to_status:
                one, other = sorted(of(end) for end in ends)
                first[other] = one
                self._say(Degree.ASSUMED, "link", str(link.id), f"its nodes {ends[0]} and {ends[1]} are one bus")
            else:
                self._say(Degree.DROPPED, "link", str(link.id), "is not in service")
        buses = []
        for node in nodes:
            if of(node.id) == node.id:
                name = self._name("node", node.id)
                buses += self._built("node", node, Bus, id=name, volts=node.u_rated)
                self._bus[node.id], self._volts[name] = name, node.u_rated
        for node in nodes:
            self._bus[node.id] = self._bus.get(of(node.id), "")
        return buses

    def _in_service(self, kind: str, row: dict[str, Any]) -> bool:
        if row.get("from_status", 1) or row.get("to_status", 1):
            return True
        self._say(Degree.DROPPED, kind, str(row.get("id")), "is not in service")
        return False

    def _lines(self, buses: list[Bus]) -> list[Line]:
        found: list[Line] = []
        kinds: dict[str, type[LineRow | AsymLineRow]] = {"line": LineRow, "asym_line": AsymLineRow}
        for kind, row_type in kinds.items():
            self._rows[kind] = [row for row in self._rows.get(kind, []) if self._in_service(kind, row)]
            opened = {row["id"]: [not row.get(field, 1) for field in ("from_status", "to_status")]
                      for row in self._rows[kind] if isinstance(row.get("id"), int)}
            for row in self._rows[kind]:
                row |= {"from_status": 1, "to_status": 1}
            for row in self._converted(kind, row_type):
                ends = [self._at(kind, row, "from_node"), self._at(kind, row, "to_node")]
                if "" in ends:
                    continue
                name = self._name(kind, row.id)
                if True in opened[row.id]:
                    self._say(Degree.ASSUMED, kind, name, f"is open at one end, which is a bus 'open end of {name}'")
                    buses.append(Bus(f"open end of {name}", self._volts[ends[opened[row.id].index(False)]]))
                    ends[opened[row.id].index(True)] = f"open end of {name}"
                try:
                    r, x, c = row.matrices()
                except FeederError as error:
                    self._reasons.append(f"{self._path}: {error}")
                    continue
                ratings = self._built(kind, row, Rating.even, amperes=row.i_n, source="i_n, power-grid-model") if (
                    row.i_n) else []
                found += self._built(kind, row, Line, id=name, from_bus=ends[0], to_bus=ends[1], r_ohm=r, x_ohm=x,
                                     c_farad=c, ampacity=next(iter(ratings), None))
        return found

    def _transformers(self) -> list[Transformer]:
        kept = []
        for row in self._rows.get("transformer", []):
            if row.get("from_status", 1) and row.get("to_status", 1):
                kept.append(row)
            else:
                self._say(Degree.DROPPED, "transformer", str(row.get("id")), "is open at an end")
        self._rows["transformer"] = kept
        found = []
        for row in self._converted("transformer", TransformerRow):
            ends = self._at("transformer", row, "from_node"), self._at("transformer", row, "to_node")
            try:
                tap = row.tap()
            except FeederError as error:
                self._reasons.append(f"{self._path}: transformer {row.id}: {error}")
                continue
            found += self._built(
                "transformer", row, Transformer, id=self._name("transformer", row.id), from_bus=ends[0],
                to_bus=ends[1], rated_va=row.sn, from_volts=row.u1, to_volts=row.u2, uk=row.uk, pk_w=row.pk,
                vector_group=row.vector_group(), i0=row.i0, p0_w=row.p0, tap=tap,
                from_grounding_ohm=(row.r_grounding_from or 0.0, row.x_grounding_from or 0.0),
                to_grounding_ohm=(row.r_grounding_to or 0.0, row.x_grounding_to or 0.0),
            )
        return found

    def _shunts(self) -> tuple[list[Capacitor], list[Primitive]]:
        capacitors: list[Capacitor] = []
        primitives: list[Primitive] = []
        for row in self._converted("shunt", Shunt):
            bus = self._at("shunt", row, "node")
            if not bus or not row.status:
                continue
            name = f"shunt {self._name('shunt', row.id)}"
            if row.g1 == row.g0 == 0.0 and row.b1 == row.b0 > 0.0:
                volts = self._volts[bus] / sqrt(3.0)
                capacitors += self._built("shunt", row, Capacitor, id=name, bus=bus, var=3.0 * row.b1 * volts**2,
                                          volts=volts)
                continue
            one, zero = complex(row.g1, row.b1), complex(row.g0, row.b0)
            matrix = FROM_SEQUENCE @ np.diag([zero, one, one]) @ TO_SEQUENCE
            primitives += self._built(
                "shunt", row, Primitive, id=name, nodes=tuple((bus, phase) for phase in PHASES),
                admittance=tuple(tuple(complex(value) for value in line) for line in matrix), kind="shunt",
            )
        return capacitors, primitives

    def _source(self) -> Source | None:
        rows = [row for row in self._rows.get("source", []) if row.get("status", 1)]
        self._rows["source"] = [{"status": 1, **row} for row in rows]
        sources = list(self._converted("source", SourceRow))
        if not sources:
            self._reasons.append(f"{self._path}: $.data.source: none in service, expected one")
            return None
        for row in sources[1:]:
            self._say(Degree.UNSUPPORTED, "source", str(row.id), "is a second source, expected one")
        row = sources[0]
        found = self._built("source", row, Source, bus=self._at("source", row, "node"), u_pu=row.u_ref,
                            angle_rad=row.u_ref_angle, short_circuit_va=row.sk, rx_ratio=row.rx_ratio,
                            z01_ratio=row.z01_ratio, id=self._name("source", row.id))
        return found[0] if found else None

    def _appliances(
        self,
    ) -> tuple[list[ConnectionPoint], dict[str, tuple[complex, ...]], tuple[LoadType, ...]]:
        points: list[ConnectionPoint] = []
        powers: dict[str, tuple[complex, ...]] = {}
        used: dict[LoadType, None] = {}
        for kind, sign in APPLIANCES.items():
            for row in self._converted(kind, Appliance):
                bus = self._at(kind, row, "node")
                if not bus or not row.status:
                    continue
                if not 0 <= row.type < len(KINDS):
                    self._reasons.append(f"{self._path}: {kind} {row.id}: type: {row.type}, expected 0, 1 or 2")
                    continue
                own = self._name(kind, row.id)
                name = own if own not in powers else f"{kind} {own}"
                each = [sign * complex(p, q) for p, q in
                        zip(_phases(row.p_specified), _phases(row.q_specified), strict=True)]
                if not all(is_power(power.real) and is_power(power.imag) for power in each):
                    self._reasons.append(f"{self._path}: {kind} {row.id}: p_specified, q_specified: {each}, expected "
                                         f"at most {Most.POWER}")
                    continue
                phases = "".join(phase for phase, power in zip(PHASES, each, strict=True) if power)
                if kind.startswith("sym") or not phases:
                    phases = PHASES
                load_type = KINDS[row.type]
                used.setdefault(load_type)
                powers[name] = tuple(each[PHASES.index(phase)] for phase in phases)
                points.append(ConnectionPoint(name, bus, phases, load_type=load_type.id))
        return points, powers, tuple(used) or (CONSTANT_POWER,)


def _phases(value: float | list[float | None] | None) -> list[float]:
    """Of each phase: a third of a sum, or what stands there; what is left open is nothing."""
    if isinstance(value, list):
        return [part or 0.0 for part in (*value, None, None, None)[:len(PHASES)]]
    return [(value or 0.0) / len(PHASES)] * len(PHASES)
