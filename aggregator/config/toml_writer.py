"""TOML out of plain values; the standard library only reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any


def dump_assets(tables: Mapping[str, Any]) -> str:
    """Nested mappings as TOML: what `tomllib.loads` gives back unchanged.

    Lists of mappings become [[tables]]; None is left out.

    Raises:
        TypeError: a value that TOML cannot say.
    """
    return "\n".join(_table_lines(tables, "")).lstrip("\n") + "\n"


def _table_lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    deeper: list[tuple[str, Any]] = []
    for key, value in table.items():
        is_tables = isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(v, Mapping) for v in value)
        if isinstance(value, Mapping) or is_tables:
            deeper.append((key, value))
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in deeper:
        path = f"{name}.{_key(key)}" if name else _key(key)
        is_one = isinstance(value, Mapping)
        for item in [value] if is_one else value:
            yield f"\n[{path}]" if is_one else f"\n[[{path}]]"
            yield from _table_lines(item, path)


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if is_bare else _text(key)


def _text(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(
        escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 or ord(c) == 0x7F else c) for c in text  # noqa: PLR2004
    ) + '"'


def _value(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"TOML: {type(value).__name__}, expected text, numbers, booleans, times, lists or tables")


# In this order: a bool is an int too.
_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (bool, lambda value: "true" if value else "false"),
    (int, str),
    (float, repr),
    (str, _text),
    (Path, lambda value: _text(value.as_posix())),
    ((datetime, date), lambda value: value.isoformat()),
)
