"""A feeder's folder with what hangs on it: `grid.json` and `feeder.json`, and `loads.csv` and `load_shapes.csv`.

`loads.csv` has a row for each terminal (connection_point, phase, p_w, q_var, shape), `load_shapes.csv` a column for
each shape under the seconds since its start. The second is there only if a load has a shape; without the first
nothing is drawn.
"""

from __future__ import annotations

import csv
import io
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from twin.feeder.importers.imported import Imported, ImportedLoads, ImportRefused
from twin.feeder.network.admittance import terminals_of
from twin.feeder.network.model import Feeder
from twin.feeder.network.plausible import Most, is_figure, is_power
from twin.feeder.on_disk.example import european_lv_home_day
from twin.feeder.on_disk.files import GRID_FILE, SIDECAR_FILE, read, write

LOADS_FILE: Final = "loads.csv"
SHAPES_FILE: Final = "load_shapes.csv"
FILES: Final = (GRID_FILE, SIDECAR_FILE, LOADS_FILE, SHAPES_FILE)
HOME_STEP_S: Final = 900
"""Of the day of the shipped feeder's homes."""

COLUMNS: Final = ("connection_point", "phase", "p_w", "q_var", "shape")
SECONDS: Final = "seconds"
MOST_SHAPE: Final = 1e9
"""Of a multiplier, and of a second of a shape."""

FEWEST: Final = 2
"""Steps of a shape, so that their distance is known."""


def write_folder(imported: Imported, folder: Path) -> None:
    """Write feeder and loads into `folder`.

    Raises:
        FeederFileError: what cannot be written: an open vector group.
    """
    write(imported.feeder, folder)
    loads, terminals = imported.loads, terminals_of(imported.feeder)
    shape_of = loads.shape_of or ("",) * len(terminals)
    rows = [
        (terminal.connection_point, terminal.phase + (terminal.other or ""), repr(float(p)), repr(float(q)), shape)
        for terminal, p, q, shape in zip(terminals, loads.p_w, loads.q_var, shape_of, strict=True)
    ]
    (folder / LOADS_FILE).write_text(_text([COLUMNS, *rows]), encoding="utf-8")
    if loads.shapes and loads.step_s is not None:
        names = list(loads.shapes)
        steps = zip(*(loads.shapes[name].tolist() for name in names), strict=True)
        table = [(SECONDS, *names), *((step * loads.step_s, *values) for step, values in enumerate(steps))]
        (folder / SHAPES_FILE).write_text(_text(table), encoding="utf-8")


def read_folder(folder: Path) -> Imported:
    """The feeder in `folder` with its loads.

    Raises:
        FeederFileError: the feeder's two files are missing or wrong.
        ImportRefused: the loads are; all rows that are wrong, at once.
    """
    feeder = read(folder)
    return Imported(feeder, (), read_loads(feeder, folder))


def read_loads(feeder: Feeder, folder: Path) -> ImportedLoads:
    """The loads that stand beside a feeder; none if there is no such file.

    Raises:
        ImportRefused: see `read_folder`.
    """
    path = folder / LOADS_FILE
    if not path.is_file():
        return _home_day(feeder) if _is_shipped(folder) else ImportedLoads.none(feeder)
    shapes, step_s = _shapes(folder / SHAPES_FILE)
    row_of = {(one.connection_point, one.phase + (one.other or "")): row
              for row, one in enumerate(terminals_of(feeder))}
    p_w, q_var, shape_of = np.zeros(len(row_of)), np.zeros(len(row_of)), [""] * len(row_of)
    reasons: list[str] = []
    table = rows_of(path)
    if tuple(table[0] if table else ()) != COLUMNS:
        raise ImportRefused(path, f"{path}:1: {table[:1]}, expected the columns {', '.join(COLUMNS)}")
    seen: set[int] = set()
    for number, values in enumerate(table[1:], start=2):
        where = f"{path}:{number}"
        if len(values) != len(COLUMNS):
            reasons.append(f"{where}: {len(values)} values, expected {len(COLUMNS)}")
            continue
        point, phase, p, q, shape = values
        row = row_of.get((point, phase))
        if row is None:
            reasons.append(f"{where}: connection_point, phase: {point}, {phase}, expected a terminal of this feeder")
            continue
        if row in seen:
            reasons.append(f"{where}: connection_point, phase: {point}, {phase}, expected each terminal once")
        seen.add(row)
        if shape and shape not in shapes:
            reasons.append(f"{where}: shape: {shape!r}, expected a column of {SHAPES_FILE}")
        powers = [number_of(text) for text in (p, q)]
        if any(power is None or not is_power(power) for power in powers):
            reasons.append(f"{where}: p_w, q_var: {p!r}, {q!r}, expected finite numbers, at most {Most.POWER} in size")
            continue
        p_w[row], q_var[row], shape_of[row] = powers[0], powers[1], shape
    if reasons:
        raise ImportRefused(path, *reasons)
    return ImportedLoads(p_w, q_var, tuple(shape_of), shapes, step_s)


def _is_shipped(folder: Path) -> bool:
    return folder.resolve() == Path(str(files("twin") / "data" / "feeders" / "ieee_european_lv")).resolve()


def _home_day(feeder: Feeder) -> ImportedLoads:
    """The day of the homes of the shipped feeder: each one's largest power, and its course as a shape."""
    day = european_lv_home_day()
    row_of = {terminal.connection_point: row for row, terminal in enumerate(terminals_of(feeder))}
    loads = ImportedLoads.none(feeder)
    shape_of, shapes = list(loads.shape_of), {}
    for point, p_w, q_var in zip(day.connection_points, day.p_w, day.q_var, strict=True):
        row = row_of[point]
        loads.p_w[row], loads.q_var[row] = p_w.max(), q_var.max()
        shape_of[row], shapes[point] = point, p_w / p_w.max()
    return ImportedLoads(loads.p_w, loads.q_var, tuple(shape_of), shapes, HOME_STEP_S)


def rows_of(path: Path) -> list[list[str]]:
    """The cells of a CSV file, rows without any left out at the end.

    Raises:
        ImportRefused: not text, or no CSV.
    """
    try:
        return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise ImportRefused(path, f"{path}: is no text, expected a CSV file in UTF-8") from None
    except csv.Error as error:
        raise ImportRefused(path, f"{path}: {error}, expected a CSV file") from None
    except OSError as error:
        raise ImportRefused(path, f"{path}: {error.strerror or error}") from None


def number_of(text: str) -> float | None:
    """A finite number of a size that can be calculated with, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if is_figure(value) else None


def _shapes(path: Path) -> tuple[dict[str, np.ndarray], int | None]:
    if not path.is_file():
        return {}, None
    table = rows_of(path)
    head = table[0] if table else []
    if head[:1] != [SECONDS] or len(set(head)) != len(head) or len(table) <= FEWEST:
        raise ImportRefused(path, f"{path}:1: expected {SECONDS!r} and a column for each shape, each name once, above "
                            "two rows or more")
    reasons = []
    values = np.zeros((len(table) - 1, len(head)))
    for number, row in enumerate(table[1:]):
        numbers = [number_of(text) for text in row]
        if len(row) != len(head) or any(one is None or not abs(one) <= MOST_SHAPE for one in numbers):
            reasons.append(f"{path}:{number + 2}: expected {len(head)} finite numbers, at most {MOST_SHAPE:g} in size")
        else:
            values[number] = numbers
    step = values[1, 0] - values[0, 0]
    if not reasons and (step <= 0 or step != int(step) or (np.diff(values[:, 0]) != step).any()):
        reasons.append(f"{path}: {SECONDS}: expected whole seconds, evenly spaced")
    if reasons:
        raise ImportRefused(path, *reasons)
    return {name: values[:, column].copy() for column, name in enumerate(head) if column}, int(step)


def _text(rows: list[tuple[object, ...]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
