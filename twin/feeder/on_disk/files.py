"""A feeder on disk: `grid.json`, which power-grid-model reads as it is, and `feeder.json` with all the rest.

The sidecar carries names, phases, ratings with their provenance, load types, fuses and envelopes, and the licence; it
speaks of elements by their number in `grid.json`. What loads draw is no part of a feeder: the loads of `grid.json` mark
connection points, and their powers are neither written nor read. What power-grid-model has no words for (primitives,
capacitors on one or two phases) stands in the sidecar alone: `grid.json` by itself is then not the whole feeder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from math import inf, isclose
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from twin.assets import TimeGrid, utc
from twin.feeder.network.connections import ConnectionPoint, Envelope, LoadType, Zip
from twin.feeder.network.model import (
    NO_CAPACITANCE,
    Bus,
    Capacitor,
    Feeder,
    Line,
    Paper,
    Primitive,
    Rating,
    Source,
    ThermalConstants,
    Transformer,
)
from twin.feeder.network.phases import PHASES, Connection
from twin.feeder.network.plausible import FeederError
from twin.feeder.on_disk.pgm_json import (
    AsymLineRow,
    FeederFileError,
    LineRow,
    TransformerRow,
    as_matrix,
    decoded,
    grid_text,
    read_grid,
)
from twin.feeder.second_engine.pgm import Numbers, tables

GRID_FILE: Final = "grid.json"
SIDECAR_FILE: Final = "feeder.json"
NO_POWER: Final = (0.0, 0.0, 0.0)
FORMAT: Final = "v2g-feeder"


class BusEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    number: int
    id: str
    phases: str = PHASES
    xy: tuple[float, float] | None = None


class LineEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    number: int
    id: str
    phases: str = PHASES
    length_m: float | None = None
    rating: str | None = None


class RatingEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amperes: tuple[float, float, float]
    source: str


class TransformerEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    id: str
    paper: Paper | None = None
    thermal: dict[str, float] = {}


class SourceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    id: str
    z01_angle_rad: float = 0.0


class LoadTypeEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """zip: shares of impedance, current, power. valid_pu: the upper end may be null: none. low_pu, jumps: missing
    means 0 and no.
    """

    id: str
    active_zip: tuple[float, float, float] = (0.0, 0.0, 1.0)
    reactive_zip: tuple[float, float, float] = (0.0, 0.0, 1.0)
    valid_pu: tuple[float, float | None] = (0.0, None)
    rated_volts: float | None = None
    connection: Connection = Connection.WYE
    low_pu: float | msgspec.UnsetType = msgspec.UNSET
    jumps: bool | msgspec.UnsetType = msgspec.UNSET


class EnvelopeEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    start: str
    step_s: int
    import_w: list[float]
    export_w: list[float]


class PointEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    number: int
    id: str
    phases: str
    load_type: str
    fuse_a: float | None = None
    envelope: EnvelopeEntry | None = None


class CapacitorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """number: of its shunt, if it is on three phases."""

    id: str
    bus: str
    var: float
    volts: float
    phases: str = PHASES
    connection: Connection = Connection.WYE
    number: int | None = None


class PrimitiveEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """nodes: bus and phase. admittance: rows of pairs, real and imaginary part, siemens. amperes: rated, of each node;
    missing: nobody knows.
    """

    id: str
    kind: str
    note: str
    nodes: list[tuple[str, str]]
    admittance: list[list[tuple[float, float]]]
    amperes: list[float] | msgspec.UnsetType = msgspec.UNSET


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["v2g-feeder"]
    version: Literal[1]
    name: str
    licence: str
    provenance: str
    frequency_hz: float
    ratings: dict[str, RatingEntry]
    load_types: list[LoadTypeEntry]
    source: SourceEntry
    transformers: list[TransformerEntry]
    buses: list[BusEntry]
    lines: list[LineEntry]
    connection_points: list[PointEntry]
    capacitors: list[CapacitorEntry] = []
    primitives: list[PrimitiveEntry] = []


def read(folder: Path) -> Feeder:
    """The feeder in `folder`.

    Raises:
        FeederFileError: a file is missing or wrong, or both do not belong together.
    """
    grid, path = read_grid(folder / GRID_FILE), folder / SIDECAR_FILE
    sidecar = decoded(path, lambda text: msgspec.json.decode(text, type=Sidecar))
    try:
        return _feeder(grid, sidecar, path)
    except FeederError as error:
        raise FeederFileError(path, str(error)) from None


def write(feeder: Feeder, folder: Path) -> None:
    """Write both files into `folder`, which is made if need be; one element per line, so that versions can be compared.

    Raises:
        FeederFileError: what cannot be written: an open vector group.
    """
    for transformer in feeder.transformers:
        if transformer.vector_group is None:
            raise FeederFileError(folder / GRID_FILE, f"transformer {transformer.id}: vector_group: None, expected one "
                                  "such as Dyn11")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = Numbers.of(feeder)
    grid = tables(feeder)
    if feeder.connection_points:
        grid["asym_load"] = [
            {"id": numbers.connection_points[point.id], "node": numbers.buses[point.bus], "status": 1, "type": 0,
             "p_specified": NO_POWER, "q_specified": NO_POWER}
            for point in feeder.connection_points
        ]
    texts = {GRID_FILE: grid_text(grid), SIDECAR_FILE: _sidecar_text(feeder, numbers)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _feeder(grid: dict[str, list[Any]], sidecar: Sidecar, path: Path) -> Feeder:
    def named(field: str, entries: Iterable[Any], kinds: tuple[str, ...]) -> list[tuple[Any, Any]]:
        """Entries with their rows, in the order of the entries."""
        rows = {row.id: row for kind in kinds for row in grid[kind]}
        pairs = []
        for place, entry in enumerate(entries):
            if entry.number not in rows:
                raise FeederFileError(path, f"$.{field}[{place}]: number {entry.number}, expected the id of a "
                                      f"{' or '.join(kinds)} in {GRID_FILE} that no other entry has")
            pairs.append((entry, rows.pop(entry.number)))
        if rows:
            raise FeederFileError(path, f"$.{field}: no entry for {kinds[0]} {min(rows)} of {GRID_FILE}, expected one "
                                  "for each")
        return pairs

    bus_of = {entry.number: entry.id for entry in sidecar.buses}

    def bus(kind: str, row: Any, field: str) -> str:
        number = getattr(row, field)
        if number not in bus_of:
            raise FeederFileError(path.with_name(GRID_FILE), f"{kind} {row.id}: {field}: {number}, expected the id of "
                                  "a node")
        return bus_of[number]

    ratings = {key: Rating(entry.amperes, entry.source) for key, entry in sidecar.ratings.items()}
    for place, line in enumerate(sidecar.lines):
        if line.rating is not None and line.rating not in ratings:
            raise FeederFileError(path, f"$.lines[{place}]: rating {line.rating!r}, expected a key of $.ratings")
    capacitors = tuple(
        Capacitor(entry.id, entry.bus, entry.var, entry.volts, entry.phases, entry.connection)
        for entry in sidecar.capacitors
    )
    shunts = [entry for entry in sidecar.capacitors if entry.number is not None]
    for entry, row in named("capacitors", shunts, ("shunt",)):
        if not isclose(row.b1, entry.var / entry.volts**2 / (1 if entry.connection is Connection.DELTA else 3)):
            raise FeederFileError(path, f"$.capacitors: {entry.id}: {entry.var:g} var at {entry.volts:g} V, expected "
                                  f"the b1 of shunt {row.id} of {GRID_FILE}: {row.b1:g} S")
    (source_entry, source_row), = named("source", [sidecar.source], ("source",))
    return Feeder(
        name=sidecar.name, licence=sidecar.licence, provenance=sidecar.provenance, frequency_hz=sidecar.frequency_hz,
        buses=tuple(
            Bus(entry.id, row.u_rated, entry.phases, entry.xy)
            for entry, row in named("buses", sidecar.buses, ("node",))
        ),
        lines=tuple(
            _line(entry, row, bus("line", row, "from_node"), bus("line", row, "to_node"), ratings)
            for entry, row in named("lines", sidecar.lines, ("line", "asym_line"))
        ),
        transformers=tuple(
            _transformer(entry, row, bus("transformer", row, "from_node"), bus("transformer", row, "to_node"))
            for entry, row in named("transformers", sidecar.transformers, ("transformer",))
        ),
        source=Source(
            bus("source", source_row, "node"), source_row.u_ref, source_row.u_ref_angle, source_row.sk,
            source_row.rx_ratio, source_row.z01_ratio, source_entry.id, source_entry.z01_angle_rad,
        ),
        connection_points=tuple(
            ConnectionPoint(entry.id, bus("asym_load", row, "node"), entry.phases, entry.fuse_a, entry.load_type,
                            None if entry.envelope is None else _envelope(entry.envelope))
            for entry, row in named("connection_points", sidecar.connection_points, ("asym_load",))
        ),
        load_types=tuple(
            LoadType(kind.id, Zip(*kind.active_zip), Zip(*kind.reactive_zip),
                     (kind.valid_pu[0], inf if kind.valid_pu[1] is None else kind.valid_pu[1]), kind.rated_volts,
                     kind.connection, kind.low_pu or 0.0, bool(kind.jumps))
            for kind in sidecar.load_types
        ),
        capacitors=capacitors,
        primitives=tuple(
            Primitive(entry.id, tuple(entry.nodes), tuple(tuple(complex(*value) for value in row)
                      for row in entry.admittance), entry.kind, entry.note, tuple(entry.amperes or ()))
            for entry in sidecar.primitives
        ),
    )


def _line(entry: LineEntry, row: LineRow | AsymLineRow, from_bus: str, to_bus: str, ratings: dict[str, Rating]) -> Line:
    there = [phase in entry.phases for phase in PHASES]
    r, x, c = (
        as_matrix(np.where(np.outer(there, there), np.array(matrix), 0.0)) for matrix in row.matrices()
    )
    return Line(
        entry.id, from_bus, to_bus, r, x, NO_CAPACITANCE if c == NO_CAPACITANCE else c, entry.phases,
        None if entry.rating is None else ratings[entry.rating], entry.length_m,
    )


def _transformer(entry: TransformerEntry, row: TransformerRow, from_bus: str, to_bus: str) -> Transformer:
    unknown = sorted(set(entry.thermal) - set(ThermalConstants.__dataclass_fields__))
    if unknown:
        raise FeederError(f"transformer {entry.id}", "thermal", unknown[0],
                          f"one of {', '.join(ThermalConstants.__dataclass_fields__)}")
    return Transformer(
        entry.id, from_bus, to_bus, row.sn, row.u1, row.u2, row.uk, row.pk, row.vector_group(), row.i0, row.p0,
        row.tap(), (row.r_grounding_from or 0.0, row.x_grounding_from or 0.0),
        (row.r_grounding_to or 0.0, row.x_grounding_to or 0.0), entry.paper, ThermalConstants(**entry.thermal),
    )


def _envelope(entry: EnvelopeEntry) -> Envelope:
    try:
        grid = TimeGrid(utc(entry.start), entry.step_s, len(entry.import_w))
        _ = grid.end  # beyond the calendar it overflows
    except (ValueError, OverflowError) as error:
        raise FeederError("envelope", "start, step_s", (entry.start, entry.step_s), str(error)) from None
    return Envelope(grid, np.array(entry.import_w, dtype=np.float64), np.array(entry.export_w, dtype=np.float64))


def _sidecar_text(feeder: Feeder, numbers: Numbers) -> str:
    keys: dict[Rating, str] = {}
    for line in feeder.lines:
        if line.ampacity is not None:
            keys.setdefault(line.ampacity, str(len(keys) + 1))
    head: dict[str, Any] = {
        "format": FORMAT, "version": 1, "name": feeder.name, "licence": feeder.licence,
        "provenance": feeder.provenance, "frequency_hz": feeder.frequency_hz,
        "source": {"number": numbers.source, "id": feeder.source.id} | (
            {"z01_angle_rad": feeder.source.z01_angle_rad} if feeder.source.z01_angle_rad else {}),
        "ratings": {key: {"amperes": rating.amperes, "source": rating.source} for rating, key in keys.items()},
    }
    lists: dict[str, list[Any]] = {
        "load_types": [
            LoadTypeEntry(
                kind.id, (kind.active.impedance, kind.active.current, kind.active.power),
                (kind.reactive.impedance, kind.reactive.current, kind.reactive.power),
                (kind.valid_pu[0], None if kind.valid_pu[1] == inf else kind.valid_pu[1]), kind.rated_volts,
                kind.connection, kind.low_pu or msgspec.UNSET, kind.jumps or msgspec.UNSET,
            )
            for kind in feeder.load_types
        ],
        "transformers": [
            TransformerEntry(numbers.transformers[transformer.id], transformer.id, transformer.paper,
                             asdict(transformer.thermal))
            for transformer in feeder.transformers
        ],
        "buses": [BusEntry(numbers.buses[bus.id], bus.id, bus.phases, bus.xy) for bus in feeder.buses],
        "lines": [
            LineEntry(numbers.lines[line.id], line.id, line.phases, line.length_m,
                      None if line.ampacity is None else keys[line.ampacity])
            for line in feeder.lines
        ],
        "connection_points": [
            PointEntry(numbers.connection_points[point.id], point.id, point.phases, point.load_type, point.fuse_a,
                       None if point.envelope is None else _envelope_entry(point.envelope))
            for point in feeder.connection_points
        ],
    }
    if feeder.capacitors:
        lists["capacitors"] = [
            CapacitorEntry(capacitor.id, capacitor.bus, capacitor.var, capacitor.volts, capacitor.phases,
                           capacitor.connection, numbers.capacitors.get(capacitor.id))
            for capacitor in feeder.capacitors
        ]
    if feeder.primitives:
        lists["primitives"] = [
            PrimitiveEntry(primitive.id, primitive.kind, primitive.note, list(primitive.nodes),
                           [[(value.real, value.imag) for value in row] for row in primitive.admittance],
                           list(primitive.amperes) or msgspec.UNSET)
            for primitive in feeder.primitives
        ]
    parts = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items()]
    for name, entries in lists.items():
        rows = ",\n".join(msgspec.json.encode(entry).decode() for entry in entries)
        parts.append(f"{json.dumps(name)}: [\n{rows}\n]" if entries else f"{json.dumps(name)}: []")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _envelope_entry(envelope: Envelope) -> EnvelopeEntry:
    return EnvelopeEntry(
        envelope.grid.start.isoformat(), envelope.grid.step_s, envelope.import_w.tolist(), envelope.export_w.tolist()
    )
