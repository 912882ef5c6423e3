"""The fields of a scenario as they were run, flat, so that two runs can be told apart field by field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from twin.scenario.reading import FILES, ROW_NAMES, read_tables, table_at

_MOST_ROWS = 200
"""A list of more rows than this is told apart by its hash alone."""

Setting = str | int | float | bool | list[Any]


def settings_of(path: Path) -> dict[str, Setting]:
    """Every field that the scenario file `path` and those it extends give, by its path; rows by their name.

    A field that names a file or a folder is its name and the hash of what it holds.

    Raises:
        ScenarioError: a file cannot be read.
    """
    tables = read_tables(path)
    for *places, field in FILES:
        table = table_at(tables, places)
        if table is not None and isinstance(table.get(field), str):
            table[field] = _named(Path(table[field]))
    return dict(_flat(tables, ""))


def in_words(value: Any) -> str:
    """A setting as a reader would write it."""
    return value if isinstance(value, str) else json.dumps(value)


def _flat(value: Any, place: str) -> Iterator[tuple[str, Setting]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        name = ROW_NAMES.get(place, "id")
        if len(value) > _MOST_ROWS:
            yield place, f"{len(value):,} rows, {_hash(json.dumps(value, default=str, sort_keys=True).encode())}"
            return
        for number, row in enumerate(value):
            label = row.get(name)
            inner = {key: field for key, field in row.items() if key != name or label is None}
            yield from _flat(inner or {name: label}, f"{place}[{number if label is None else label}]")
    elif isinstance(value, datetime | date | time):
        yield place, value.isoformat()
    else:
        yield place, value


def _named(file: Path) -> str:
    try:
        held = b"".join(part.read_bytes() for part in sorted(file.iterdir())) if file.is_dir() else file.read_bytes()
        return f"{file.name}, {_hash(held)}"
    except OSError:
        return file.name


def _hash(held: bytes) -> str:
    return f"sha256 {hashlib.sha256(held).hexdigest()[:12]}"
