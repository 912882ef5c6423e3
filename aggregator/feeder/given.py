"""What a command is pointed at: a feeder and the loads on it over time, from files or from the shipped example."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import as_file, files
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.refusal import Refused
from twin.assets import TimeGrid, utc
from twin.feeder.importers import Imported, ImportRefused, read_feeder
from twin.feeder.network.admittance import terminals_of
from twin.feeder.network.model import Feeder
from twin.feeder.on_disk.example import european_lv, european_lv_home_day

Floats = NDArray[np.float64]

EXAMPLE: Final = Path("example")
"""Stands for the shipped feeder, unless something of this name is there."""

NO_DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The first step of loads that have no dates of their own."""

HOUR_S: Final = 3600
QUARTER_S: Final = 900
VAR: Final = " var"
"""After a connection point's name: the column is its reactive power."""


class Unusable(Refused):
    """A feeder or its loads cannot be read, or leave nothing to solve."""


@dataclass(frozen=True, eq=False)
class Given:
    """p_w, q_var: (terminal, step), rows as in `Flow(feeder).terminals`. notes: what has to be known, one line each.

    has_load: connection points to which the loads say something other than 0.
    """

    feeder: Feeder
    grid: TimeGrid
    p_w: Floats
    q_var: Floats
    notes: tuple[str, ...]

    @property
    def has_load(self) -> frozenset[str]:
        drawn = (self.p_w != 0.0).any(axis=1) | (self.q_var != 0.0).any(axis=1)
        return frozenset(
            terminal.connection_point for terminal, some in zip(terminals_of(self.feeder), drawn, strict=True) if some
        )


def imported_or_example(path: Path) -> Imported:
    """The feeder at `path`, or the shipped one where it is called by its word. Raises as `read_feeder`."""
    if path == EXAMPLE and not path.exists():
        with as_file(files("twin") / "data" / "feeders" / "ieee_european_lv") as shipped:
            return read_feeder(shipped)
    return read_feeder(path)


def given(path: Path, loads: Path | None) -> Given:
    """The feeder at `path` under its own loads, or under those of the CSV `loads`.

    Raises:
        Unusable: either cannot be read, or the feeder has elements that no flow of ours can hold.
    """
    if path == EXAMPLE and not path.exists():
        feeder = european_lv()
        notes: tuple[str, ...] = (
            "the shipped example: a published network; ampacities, fuses, EV places and home loads are assumed",
        )
        if loads is None:
            return _example_day(feeder, notes)
    else:
        try:
            imported = read_feeder(path)
        except ImportRefused as refused:
            raise Unusable(str(refused)) from None
        if imported.unsupported:
            raise Unusable("\n".join(str(finding) for finding in imported.unsupported))
        feeder = imported.feeder
        counted: dict[str, int] = {}
        for finding in imported.findings:
            counted[finding.degree.value] = counted.get(finding.degree.value, 0) + 1
        notes = tuple(f"{path}: {number} {word}: see v2g feeder check" for word, number in counted.items())
        if loads is None:
            p_w, q_var = imported.loads.series()
            steps = p_w.shape[1]
            step_s = imported.loads.step_s or HOUR_S
            said = "the file's loads, one steady state" if steps == 1 else (
                f"the file's loads, {steps} steps of {step_s} s, without dates: the first is called {NO_DATE:%d %B %Y}"
            )
            return Given(feeder, TimeGrid(NO_DATE, step_s, steps), p_w, q_var, (*notes, said))
    return _of_csv(feeder, loads, notes)


def _example_day(feeder: Feeder, notes: tuple[str, ...]) -> Given:
    day = european_lv_home_day()
    row_of = {point: row for row, point in enumerate(day.connection_points)}
    terminals = terminals_of(feeder)
    p_w, q_var = np.zeros((2, len(terminals), day.p_w.shape[1]))
    for row, terminal in enumerate(terminals):
        if terminal.connection_point in row_of:
            p_w[row] = day.p_w[row_of[terminal.connection_point]]
            q_var[row] = day.q_var[row_of[terminal.connection_point]]
    return Given(feeder, TimeGrid(NO_DATE, QUARTER_S, p_w.shape[1]), p_w, q_var,
                 (*notes, "its homes' assumed day; its EVs draw nothing"))


def _of_csv(feeder: Feeder, path: Path | None, notes: tuple[str, ...]) -> Given:
    """Loads from a table: `time`, then a column of watts per connection point, and of vars named `<point> var`."""
    if path is None:
        raise Unusable("loads: none, expected a CSV file")
    rows = _rows(path)
    if not rows or rows[0][:1] != ["time"] or len(rows) < 2 or len(rows[0]) < 2:  # noqa: PLR2004 - a head and a step
        raise Unusable(f"{path}: expected a first row of `time` and connection points, then one row per step")
    terminals = terminals_of(feeder)
    rows_of: dict[str, list[int]] = {}
    for place, terminal in enumerate(terminals):
        rows_of.setdefault(terminal.connection_point, []).append(place)
    columns = rows[0][1:]
    for column in columns:
        if column.removesuffix(VAR) not in rows_of:
            raise Unusable(f"{path}: row 1: column {column!r}, expected a connection point of feeder {feeder.name}, or "
                          "one followed by ` var`")
        if column.endswith(VAR) and column in rows_of and column.removesuffix(VAR) in rows_of:
            raise Unusable(f"{path}: row 1: column {column!r} may be watts of that connection point or vars of "
                           f"{column.removesuffix(VAR)!r}, expected names that tell them apart")
    if len(set(columns)) != len(columns):
        raise Unusable(f"{path}: row 1: a column stands there twice, expected each once")
    grid = _grid(rows, path)
    power = np.zeros((2, len(terminals), grid.steps))
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise Unusable(f"{path}: row {number}: {len(row)} fields, expected {len(rows[0])}")
        for column, text in zip(columns, row[1:], strict=True):
            at = rows_of[column.removesuffix(VAR)]
            power[int(column.endswith(VAR) and column not in rows_of), at, number - 2] = (
                _number(text, f"{path}: row {number}: {column}") / len(at)
            )
    silent = len(rows_of) - len({column.removesuffix(VAR) for column in columns})
    said = f"{path}: {len(columns)} columns, {grid.steps} steps"
    if silent:
        said += f"; {silent} connection points are not in it and draw nothing"
    return Given(feeder, grid, power[0], power[1], (*notes, said))


def _rows(path: Path) -> list[list[str]]:
    """All rows of the table but blank ones at its end."""
    try:
        if path.exists() and not path.is_file():
            raise Unusable(f"{path}: cannot be read: not a plain file")
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    except csv.Error as error:
        raise Unusable(f"{path}: cannot be read: {error}") from None
    while rows and not "".join(rows[-1]).strip():
        rows.pop()
    return rows


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise Unusable(f"{where}: {text!r}, expected a finite number")
    return value


def _grid(rows: list[list[str]], path: Path) -> TimeGrid:
    times = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            times.append(utc(row[0] if row else ""))
        except ValueError as error:
            raise Unusable(f"{path}: row {number}: {error}") from None
        except OverflowError:
            raise Unusable(f"{path}: row {number}: time {row[0]!r}, expected the years 1 to 9999 in UTC") from None
    if len(times) == 1:
        return TimeGrid(times[0], HOUR_S, 1)
    step = (times[1] - times[0]).total_seconds()
    if step <= 0 or step != int(step):
        raise Unusable(f"{path}: row 3: time {rows[2][0]!r}, expected whole seconds after that of row 2")
    for number, (one, other) in enumerate(pairwise(times), start=3):
        if (other - one).total_seconds() != step:
            raise Unusable(f"{path}: row {number}: time {rows[number - 1][0]!r}, expected {step:g} s after that above")
    return TimeGrid(times[0], int(step), len(times))
