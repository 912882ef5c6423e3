"""A feeder as four CSV tables, for networks that were kept in a spreadsheet or come out of a database.

`bus.csv`, `line.csv`, `transformer.csv` (may be missing) and `connection.csv`, each with the columns of `COLUMNS` in
any order; those in `OPTIONAL` may be missing or empty. The row of the bus where the grid above is says so by its
`source_pu`. docs/feeder.md describes every column.
"""

from __future__ import annotations

from math import radians
from pathlib import Path
from typing import Any, Final

import numpy as np

from twin.feeder.importers.folder import number_of, rows_of
from twin.feeder.importers.imported import (
    HOMOPOLAR,
    Degree,
    Finding,
    Imported,
    ImportedLoads,
    ImportRefused,
    at_terminals,
)
from twin.feeder.network.connections import CONSTANT_POWER, ConnectionPoint, LoadType, Zip
from twin.feeder.network.model import Bus, Feeder, Line, Matrix, Origin, Paper, Rating, Side, Source, Tap, Transformer
from twin.feeder.network.phases import PHASES, Connection, branches
from twin.feeder.network.plausible import FIGURE, FeederError, Most, is_power

BUS, LINE, TRANSFORMER, CONNECTION = TABLES = ("bus.csv", "line.csv", "transformer.csv", "connection.csv")

COLUMNS: Final = {
    BUS: ("id", "volts"),
    LINE: ("id", "from_bus", "to_bus", "length_m", "r1_ohm_per_km", "x1_ohm_per_km"),
    TRANSFORMER: ("id", "from_bus", "to_bus", "rated_kva", "from_volts", "to_volts", "uk_percent", "pk_w",
                  "vector_group"),
    CONNECTION: ("id", "bus"),
}
OPTIONAL: Final = {
    BUS: ("phases", "x", "y", "source_pu", "source_degrees", "source_mva", "source_rx", "source_z01"),
    LINE: ("phases", "r0_ohm_per_km", "x0_ohm_per_km", "c1_nf_per_km", "c0_nf_per_km", "ampacity_a",
           "ampacity_source"),
    TRANSFORMER: ("i0_percent", "p0_w", "tap_side", "tap_position", "tap_lowest", "tap_highest", "tap_step_percent",
                  "paper"),
    CONNECTION: ("phases", "fuse_a", "p_w", "q_var", "draws", "connection"),
}
DRAWS: Final = {"power": Zip(), "current": Zip(0.0, 1.0, 0.0), "impedance": Zip(1.0, 0.0, 0.0)}
SOURCE_MVA: Final = 10_000.0


class _Row:
    """A row of a table; what is wrong in it goes to `reasons`."""

    def __init__(self, origin: Origin, values: dict[str, str], reasons: list[str]) -> None:
        self.origin = origin
        self._values = values
        self._reasons = reasons

    def text(self, column: str, default: str | None = None) -> str:
        value = self._values.get(column, "").strip()
        if value:
            return value
        if default is None:
            self.refuse(column, value, "a value")
        return default or ""

    def number(self, column: str, default: float | None = None) -> float:
        value = self._values.get(column, "").strip()
        if not value and default is not None:
            return default
        number = number_of(value)
        if number is None:
            self.refuse(column, value, f"a finite number, at most {FIGURE:g} in size")
        return 1.0 if number is None else number

    def has(self, column: str) -> bool:
        return bool(self._values.get(column, "").strip())

    def refuse(self, column: str, value: object, expected: str) -> None:
        self._reasons.append(f"{self.origin}: {column}: {value!r}, expected {expected}")

    def chosen(self, column: str, choices: Any, default: str) -> str:
        value = self.text(column, default).lower()
        if value not in choices:
            self.refuse(column, value, f"one of {', '.join(choices)}")
            return default
        return value

    def build(self, make: Any, /, **fields: Any) -> list[Any]:
        """One element, or none and a reason."""
        try:
            return [make(**fields)]
        except FeederError as error:
            self._reasons.append(f"{self.origin}: {error}")
            return []


def read_tables(folder: Path) -> Imported:
    """Read the four tables in `folder`.

    Raises:
        ImportRefused: tables or columns that are missing, values that are wrong; all of them at once, with their lines.
    """
    return _Builder(folder).imported()


class _Builder:
    """The way from rows to a feeder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reasons: list[str] = []
        self._findings: list[Finding] = []
        self._origins: dict[tuple[str, str], Origin] = {}
        self._without_zero: list[_Row] = []

    def imported(self) -> Imported:
        buses, source = self._buses()
        lines = self._lines()
        transformers = [one for row in self._rows(TRANSFORMER) for one in self._transformer(row)]
        points, powers, types = self._points()
        if self._reasons or source is None:
            raise ImportRefused(self._folder, *self._reasons)
        if self._without_zero:
            self._findings.append(Finding(
                Degree.ASSUMED, "line", f"{len(self._without_zero)} lines", f"no zero-sequence data: {HOMOPOLAR:g} "
                "times the positive sequence, as of a fourth core like the others", self._without_zero[0].origin,
            ))
        feeder = Feeder(
            name=self._folder.resolve().name, buses=tuple(buses), lines=tuple(lines), source=source,
            transformers=tuple(transformers), connection_points=tuple(points),
            load_types=types, provenance=f"four CSV tables in {self._folder.resolve().name}", origins=self._origins,
        )
        p_w, q_var = at_terminals(feeder, powers)
        return Imported(feeder, tuple(self._findings), ImportedLoads(p_w, q_var, ("",) * len(p_w)))

    def _rows(self, table: str) -> list[_Row]:
        path = self._folder / table
        if not path.is_file():
            if table != TRANSFORMER:
                self._reasons.append(f"{path}: no such file, expected the columns {', '.join(COLUMNS[table])}")
            return []
        try:
            cells = rows_of(path)
        except ImportRefused as refusal:
            self._reasons += refusal.reasons
            return []
        head = [name.strip() for name in cells[0]] if cells else []
        missing = [name for name in COLUMNS[table] if name not in head]
        if missing or len(set(head)) != len(head):
            self._reasons.append(f"{path}:1: columns {', '.join(head) or 'none'}, expected each once and with them "
                                 f"{', '.join(missing or COLUMNS[table])}")
            return []
        for name in head:
            if name not in COLUMNS[table] + OPTIONAL[table]:
                self._findings.append(Finding(Degree.DROPPED, "column", name, "is not known in this table",
                                              Origin(str(path), 1)))
        rows = []
        for number, values in enumerate(cells[1:], start=2):
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(head):
                self._reasons.append(f"{path}:{number}: {len(values)} values, expected {len(head)}")
                continue
            rows.append(_Row(Origin(str(path), number), dict(zip(head, values, strict=True)), self._reasons))
        return rows

    def _note(self, kind: str, name: str, row: _Row) -> str:
        if (kind, name) in self._origins:
            row.refuse("id", name, f"each {kind} once, not again after {self._origins[kind, name]}")
        self._origins.setdefault((kind, name), row.origin)
        return name

    def _buses(self) -> tuple[list[Bus], Source | None]:
        buses: list[Bus] = []
        sources: list[Source] = []
        rows = self._rows(BUS)
        for row in rows:
            name = self._note("bus", row.text("id"), row)
            xy = (row.number("x"), row.number("y")) if row.has("x") or row.has("y") else None
            buses += row.build(Bus, id=name, volts=row.number("volts"), phases=row.text("phases", PHASES), xy=xy)
            if not row.has("source_pu"):
                continue
            if not row.has("source_mva"):
                self._findings.append(Finding(Degree.ASSUMED, "source", name, "no source_mva: a short-circuit power of "
                                              f"{SOURCE_MVA:g} MVA", row.origin))
            sources += row.build(
                Source, bus=name, u_pu=row.number("source_pu"), angle_rad=radians(row.number("source_degrees", 0.0)),
                short_circuit_va=row.number("source_mva", SOURCE_MVA) * 1e6, rx_ratio=row.number("source_rx", 0.1),
                z01_ratio=row.number("source_z01", 1.0),
            )
        if rows and len(sources) != 1 and not self._reasons:
            self._reasons.append(f"{self._folder / BUS}: source_pu: {len(sources)} rows have one, expected one row")
        return buses, sources[0] if sources else None

    def _lines(self) -> list[Line]:
        found: list[Line] = []
        for row in self._rows(LINE):
            km = row.number("length_m") / 1000.0
            r1, x1 = row.number("r1_ohm_per_km") * km, row.number("x1_ohm_per_km") * km
            if not (row.has("r0_ohm_per_km") and row.has("x0_ohm_per_km")):
                self._without_zero.append(row)
            r0 = row.number("r0_ohm_per_km") * km if row.has("r0_ohm_per_km") else HOMOPOLAR * r1
            x0 = row.number("x0_ohm_per_km") * km if row.has("x0_ohm_per_km") else HOMOPOLAR * x1
            c1 = row.number("c1_nf_per_km", 0.0)
            c0 = row.number("c0_nf_per_km", c1) * 1e-9 * km
            name, phases = self._note("line", row.text("id"), row), row.text("phases", PHASES)
            whole = row.build(Line.of_sequence, id=name, from_bus=row.text("from_bus"), to_bus=row.text("to_bus"),
                              r1=r1, x1=x1, r0=r0, x0=x0, c1=c1 * 1e-9 * km, c0=c0)
            rating = None
            if row.has("ampacity_a"):
                source = row.text("ampacity_source", f"ampacity_a of {LINE}")
                rating = next(iter(row.build(Rating.even, amperes=row.number("ampacity_a"), source=source)), None)
            for line in whole:
                r, x, c = (_kept(matrix, phases) for matrix in (line.r_ohm, line.x_ohm, line.c_farad))
                found += row.build(Line, id=name, from_bus=line.from_bus, to_bus=line.to_bus, r_ohm=r, x_ohm=x,
                                   c_farad=c, phases=phases, ampacity=rating, length_m=1000.0 * km)
        return found

    def _transformer(self, row: _Row) -> list[Transformer]:
        name = self._note("transformer", row.text("id"), row)
        side = Side(row.chosen("tap_side", [str(side) for side in Side], Side.FROM))
        volts = {Side.FROM: row.number("from_volts"), Side.TO: row.number("to_volts")}
        position = row.number("tap_position", 0.0)
        lowest, highest = row.number("tap_lowest", min(position, 0.0)), row.number("tap_highest", max(position, 0.0))
        if any(value != int(value) for value in (position, lowest, highest)):
            row.refuse("tap_position, tap_lowest, tap_highest", (position, lowest, highest), "whole numbers")
        taps = row.build(
            Tap, side=side, position=int(position), lowest=int(lowest), highest=int(highest),
            step_volts=row.number("tap_step_percent", 0.0) / 100.0 * volts[side],
        )
        paper = row.chosen("paper", [str(paper) for paper in Paper], Paper.NORMAL)
        return [one for tap in taps for one in row.build(
            Transformer, id=name, from_bus=row.text("from_bus"), to_bus=row.text("to_bus"),
            rated_va=row.number("rated_kva") * 1000.0, from_volts=volts[Side.FROM], to_volts=volts[Side.TO],
            uk=row.number("uk_percent") / 100.0, pk_w=row.number("pk_w"),
            vector_group=row.text("vector_group", "") or None, i0=row.number("i0_percent", 0.0) / 100.0,
            p0_w=row.number("p0_w", 0.0), tap=tap, paper=Paper(paper) if row.has("paper") else None,
        )]

    def _points(
        self,
    ) -> tuple[list[ConnectionPoint], dict[str, tuple[complex, ...]], tuple[LoadType, ...]]:
        points: list[ConnectionPoint] = []
        powers: dict[str, tuple[complex, ...]] = {}
        used: dict[LoadType, None] = {}
        for row in self._rows(CONNECTION):
            name = self._note("connection point", row.text("id"), row)
            draws = row.chosen("draws", DRAWS, "power")
            connection = Connection(row.chosen("connection", [str(one) for one in Connection], Connection.WYE))
            kind = CONSTANT_POWER
            if draws != "power" or connection is Connection.DELTA:
                kind = LoadType(f"constant {draws}, {connection}", DRAWS[draws], DRAWS[draws], connection=connection)
            for point in row.build(
                ConnectionPoint, id=name, bus=row.text("bus"), phases=row.text("phases", PHASES),
                fuse_a=row.number("fuse_a") if row.has("fuse_a") else None, load_type=kind.id,
            ):
                used.setdefault(kind)
                ends = branches(point.phases, connection)
                power = complex(row.number("p_w", 0.0), row.number("q_var", 0.0)) / len(ends)
                if not (is_power(power.real) and is_power(power.imag)):
                    row.refuse("p_w, q_var", power * len(ends), f"a power of at most {Most.POWER}")
                powers[name] = (power,) * len(ends)
                points.append(point)
        return points, powers, tuple(used) or (CONSTANT_POWER,)


def _kept(matrix: Matrix, phases: str) -> Matrix:
    """The rows and columns of the phases that are there."""
    there = np.array([phase in phases for phase in PHASES])
    (aa, ab, ac), (ba, bb, bc), (ca, cb, cc) = np.where(np.outer(there, there), np.array(matrix), 0.0).tolist()
    return (aa, ab, ac), (ba, bb, bc), (ca, cb, cc)
