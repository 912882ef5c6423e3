"""Reading and writing power-grid-model's JSON: rows that are checked field by field, and one row per line.

A component or a field that is not understood is named and refused, never left out in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import Line, Matrix, Tap
from twin.feeder.network.phases import PHASES
from twin.feeder.network.plausible import FIGURE, LEAST, FeederError, is_figure
from twin.feeder.second_engine.pgm import ENTRIES, SIDES, WINDINGS, Row

InService = Literal[1]
Zero = Annotated[float, msgspec.Meta(ge=0.0, le=0.0)]
T = TypeVar("T")


class FeederFileError(ValueError):
    """A feeder file is wrong; the message names file, place and value and says what was expected."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


def as_matrix(values: NDArray[np.float64]) -> Matrix:
    """A (3, 3) array as the model keeps it."""
    (aa, ab, ac), (ba, bb, bc), (ca, cb, cc) = values.tolist()
    return (aa, ab, ac), (ba, bb, bc), (ca, cb, cc)


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of power-grid-model; a field that is not understood is an error, because leaving it out would be one."""


class NodeRow(_Row, frozen=True):
    id: int
    u_rated: float


class BranchRow(_Row, frozen=True, kw_only=True):
    id: int
    from_node: int
    to_node: int
    from_status: InService
    to_status: InService
    i_n: float | None = None


class LineRow(BranchRow, frozen=True, kw_only=True):
    r1: float
    x1: float
    c1: float
    r0: float
    x0: float
    c0: float
    tan1: Zero = 0.0
    tan0: Zero = 0.0

    def matrices(self) -> tuple[Matrix, Matrix, Matrix]:
        line = Line.of_sequence(str(self.id), "", "", r1=self.r1, x1=self.x1, r0=self.r0, x0=self.x0, c1=self.c1,
                                c0=self.c0)
        return line.r_ohm, line.x_ohm, line.c_farad


class AsymLineRow(BranchRow, frozen=True, kw_only=True):
    r_aa: float
    r_ba: float
    r_bb: float
    r_ca: float
    r_cb: float
    r_cc: float
    x_aa: float
    x_ba: float
    x_bb: float
    x_ca: float
    x_cb: float
    x_cc: float
    r_na: float | None = None
    r_nb: float | None = None
    r_nc: float | None = None
    r_nn: float | None = None
    x_na: float | None = None
    x_nb: float | None = None
    x_nc: float | None = None
    x_nn: float | None = None
    c_aa: float | None = None
    c_ba: float | None = None
    c_bb: float | None = None
    c_ca: float | None = None
    c_cb: float | None = None
    c_cc: float | None = None
    c0: float | None = None
    c1: float | None = None

    def matrices(self) -> tuple[Matrix, Matrix, Matrix]:
        """With the neutral, where there is one, folded in (Kron reduction)."""
        r, x, c = (self._matrix(name) for name in "rxc")
        if self.c_aa is None:
            line = Line.of_sequence(str(self.id), "", "", r1=1.0, x1=0.0, r0=1.0, x0=0.0, c1=self.c1 or 0.0,
                                    c0=self.c0 or 0.0)
            c = np.array(line.c_farad)
        if self.r_nn is not None and self.x_nn is not None:
            between = np.array([
                complex(getattr(self, f"r_n{phase}") or 0.0, getattr(self, f"x_n{phase}") or 0.0) for phase in PHASES
            ])
            neutral = complex(self.r_nn, self.x_nn)
            if abs(neutral) < LEAST:
                raise FeederError(f"line {self.id}", "r_nn, x_nn", neutral, f"an impedance of at least {LEAST:g} ohm")
            z = r + 1j * x - np.outer(between, between) / neutral
            r, x = z.real, z.imag
        return as_matrix(r), as_matrix(x), as_matrix(c)

    def _matrix(self, name: str) -> NDArray[np.float64]:
        matrix = np.zeros((3, 3))
        for entry, i, j in ENTRIES:
            matrix[i, j] = matrix[j, i] = getattr(self, f"{name}_{entry}") or 0.0
        return matrix


class TransformerRow(BranchRow, frozen=True, kw_only=True):
    u1: float
    u2: float
    sn: float
    uk: float
    pk: float
    i0: float
    p0: float
    winding_from: Annotated[int, msgspec.Meta(ge=0, le=4)]
    winding_to: Annotated[int, msgspec.Meta(ge=0, le=4)]
    clock: Annotated[int, msgspec.Meta(ge=0, le=12)]
    tap_side: Annotated[int, msgspec.Meta(ge=0, le=1)]
    tap_min: int
    tap_max: int
    tap_size: float
    tap_pos: int | None = None
    tap_nom: int | None = None
    r_grounding_from: float | None = None
    x_grounding_from: float | None = None
    r_grounding_to: float | None = None
    x_grounding_to: float | None = None

    def tap(self) -> Tap:
        nominal = self.tap_nom or 0
        side = next(side for side, number in SIDES.items() if number == self.tap_side)
        return Tap(side, nominal if self.tap_pos is None else self.tap_pos, self.tap_min, self.tap_max, nominal,
                   self.tap_size)

    def vector_group(self) -> str:
        names = {number: winding.value for winding, number in WINDINGS.items()}
        return f"{names[self.winding_from]}{names[self.winding_to].lower()}{self.clock}"


class SourceRow(_Row, frozen=True):
    id: int
    node: int
    status: InService
    u_ref: float
    u_ref_angle: float = 0.0
    sk: float = 1e10
    rx_ratio: float = 0.1
    z01_ratio: float = 1.0


class LoadRow(_Row, frozen=True):
    id: int
    node: int
    status: InService
    type: Literal[0]
    p_specified: list[float | None] | None = None
    q_specified: list[float | None] | None = None


class ShuntRow(_Row, frozen=True):
    id: int
    node: int
    status: InService
    g1: Zero
    b1: float
    g0: Zero
    b0: float


class GridFile(msgspec.Struct, frozen=True):
    """power-grid-model's JSON; a row is an object, or a list in the order of `attributes`."""

    version: Literal["1.0"]
    type: Literal["input"]
    is_batch: Literal[False]
    data: dict[str, list[dict[str, Any] | list[Any]]]
    attributes: dict[str, list[str]] = {}


ROWS: Final[dict[str, type[_Row]]] = {
    "node": NodeRow, "line": LineRow, "asym_line": AsymLineRow, "transformer": TransformerRow, "source": SourceRow,
    "asym_load": LoadRow, "shunt": ShuntRow,
}


def check_figures(row: Mapping[str, Any]) -> None:
    """Hold every number of a row to a size that can be calculated with.

    Raises:
        msgspec.ValidationError: one is not; it names the field.
    """
    for field, value in row.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, (int, float)) and not isinstance(each, bool) and not is_figure(each):
                shown = f"{each:.3g}" if isinstance(each, float) else f"{str(each)[:9]}..."
                raise msgspec.ValidationError(f"{shown}, expected at most {FIGURE:g} in size - at `$.{field}`")


def decoded(path: Path, decode: Callable[[bytes], T]) -> T:
    """What `decode` makes of a file; its complaint becomes one line that names the file."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        raise FeederFileError(path, "no such file") from None
    except (OSError, msgspec.DecodeError) as error:
        raise FeederFileError(path, str(error)) from None


def read_grid(path: Path) -> dict[str, list[Any]]:
    """The rows of every component of a power-grid-model JSON file, by kind, as structs.

    Raises:
        FeederFileError: unreadable, or with components or fields that a feeder does not know; all kinds in one message.
    """
    file = decoded(path, lambda text: msgspec.json.decode(text, type=GridFile))
    unknown = [f"{len(rows)} x {kind}" for kind, rows in file.data.items() if kind not in ROWS and rows]
    if unknown:
        raise FeederFileError(path, f"$.data: {', '.join(unknown)}: not supported, expected only {', '.join(ROWS)}")
    found: dict[str, list[Any]] = {kind: [] for kind in ROWS}
    for kind, rows in file.data.items():
        names = file.attributes.get(kind, [])
        for number, row in enumerate(rows):
            where = f"$.data.{kind}[{number}]"
            if isinstance(row, list):
                if len(row) != len(names):
                    expected = f"{len(names)}: {', '.join(names)}"
                    raise FeederFileError(path, f"{where}: {len(row)} values, expected {expected}")
                row = dict(zip(names, row, strict=True))  # noqa: PLW2901 - the same row, with its names
            try:
                check_figures(row)
                found[kind].append(msgspec.convert(
                    {field: value for field, value in row.items() if value is not None}, type=ROWS[kind]
                ))
            except msgspec.ValidationError as error:
                raise FeederFileError(path, f"{where}: {error}") from None
    return found


def grid_text(grid: dict[str, list[Row]]) -> str:
    """The tables as power-grid-model's JSON, one row per line."""
    attributes = {kind: list(rows[0]) for kind, rows in grid.items()}
    same = {kind: rows for kind, rows in grid.items() if all(list(row) == attributes[kind] for row in rows)}
    parts = []
    for kind, rows in grid.items():
        shown = [list(row.values()) if kind in same else row for row in rows]
        parts.append(f"{json.dumps(kind)}: [\n" + ",\n".join(json.dumps(row) for row in shown) + "\n]")
    named = {kind: attributes[kind] for kind in same}
    head = {"version": "1.0", "type": "input", "is_batch": False, "attributes": named}
    return json.dumps(head)[:-1] + ', "data": {\n' + ",\n".join(parts) + "\n}}\n"
