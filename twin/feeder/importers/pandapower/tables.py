"""The tables in a pandapower JSON file: rows by their number, with names that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from twin.feeder.importers.imported import ImportRefused

DEEPEST: Final = 3
"""Times that JSON may stand as text inside JSON."""


class Frame(msgspec.Struct, frozen=True):
    """A table as pandas writes it with `orient="split"`."""

    columns: list[str]
    index: list[int]
    data: list[list[Any]]


class Row:
    """One row. index: its number in the table. name: its own, made unique."""

    def __init__(self, table: str, path: Path, index: int, name: str, values: Mapping[str, Any]) -> None:
        self.table, self.index, self.name = table, index, name
        self._path = path
        self._values = values

    def get(self, column: str) -> Any:
        """What stands there; None: nothing, or there is no such column."""
        return self._values.get(column)

    def refusal(self, column: str, expected: str) -> str:
        """The line that says what is wrong in a column."""
        return f"{self._path}: $.{self.table}[{self.index}].{column}: {self.get(column)!r}, expected {expected}"


class Table:
    """Rows in their order."""

    def __init__(self, name: str, path: Path, frame: Frame | None = None) -> None:
        self._rows: list[Row] = []
        if frame is None:
            return
        place = {column: number for number, column in enumerate(frame.columns)}
        named = [row[place["name"]] if "name" in place and len(row) == len(place) else None for row in frame.data]
        names = [name if isinstance(name, str) else "" for name in named]
        times = Counter(names)
        for number, (index, row) in enumerate(zip(frame.index, frame.data, strict=True)):
            own = names[number]
            if not own.strip():
                own = f"{name} {index}"
            elif times[own] > 1:
                own = f"{own} ({index})"
            self._rows.append(Row(name, path, index, own, dict(zip(frame.columns, row, strict=True))))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


def read_network(path: Path) -> dict[str, Any]:
    """All tables by their name, and what else the network carries.

    Raises:
        ImportRefused: not a network of pandapower, or tables that are broken; all of them at once.
    """
    try:
        whole = msgspec.json.decode(path.read_bytes())
        for _ in range(DEEPEST):
            if isinstance(whole, dict) and "_object" in whole:
                whole = whole["_object"]
            if isinstance(whole, str):
                whole = msgspec.json.decode(whole)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImportRefused(path, f"{path}: {error}") from None
    except OSError as error:
        raise ImportRefused(path, f"{path}: {error.strerror or error}") from None
    if not isinstance(whole, dict) or "bus" not in whole:
        raise ImportRefused(path, f"{path}: $.bus: not there, expected a network of pandapower")
    found: dict[str, Any] = {}
    reasons = []
    for name, value in whole.items():
        if not (isinstance(value, dict) and value.get("_class") == "DataFrame"):
            found[name] = value
            continue
        try:
            found[name] = Table(name, path, _frame(value))
        except (msgspec.DecodeError, ValueError) as error:
            reasons.append(f"{path}: $.{name}: {error}")
    if not reasons and not isinstance(found["bus"], Table):
        reasons.append(f"{path}: $.bus: expected a table")
    if reasons:
        raise ImportRefused(path, *reasons)
    return found


def _frame(value: Mapping[str, Any]) -> Frame | None:
    inner = value.get("_object")
    try:
        return msgspec.json.decode(inner, type=Frame) if isinstance(inner, str) else msgspec.convert(inner, type=Frame)
    except msgspec.ValidationError:
        # Rows count by number in every table that is read; an empty one may come without any.
        bare = msgspec.json.decode(inner) if isinstance(inner, str) else inner
        if isinstance(bare, dict) and "data" in bare and not bare["data"]:
            return None
        raise
