"""A scenario file is read: TOML, what it extends, what its session file says about the site, then field by field.

Merging, from weak to strong: what an imported file says, the extended file, the file itself. Tables merge key by key;
lists of rows with a name (id, model) merge row by row; everything else, and an empty list, replaces what was there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from twin.importers import FORMATS, Imported, ImportOptions
from twin.importers.cells import is_too_deep, too_deep
from twin.scenario.paths import resolve
from twin.scenario.sizes import check_sizes, require_usable
from twin.scenario.tables import AGGREGATOR_TABLES, ScenarioFile, SessionsTable, VisitRow
from twin.scenario.wording import kind_in_words, names_of, one_of, type_at
from twin.scenario_error import ScenarioError

Tables = dict[str, Any]
Report = Callable[[ScenarioError], None]
Kind = TypeVar("Kind")

ROW_NAMES: Mapping[str, str] = {
    "stations": "id", "station_groups": "id", "vehicles": "model", "visits": "id", "duties": "id", "events": "id",
}
"""Lists that merge row by row, and the field that names a row."""

FILES = (
    ("sessions", "file"), ("building", "file"), ("truth", "building", "file"), ("pv", "file"), ("control", "schedule"),
    ("feeder", "file"), ("feeder", "folder"),
)
"""Fields that name a file, or the folder of a feeder."""


def zone_of(path: Path, where: str, name: str) -> ZoneInfo:
    """The time zone of that name; raises a `ScenarioError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScenarioError(path, where, name, "a name of the tz database") from None


def read_tables(path: Path) -> Tables:
    """The twin's tables of the file on top of those that it extends; files that they name are absolute paths.

    Raises:
        ScenarioError: a file cannot be read, is not TOML, or extends itself.
    """
    # From the bottom up: what a file in the middle empties stays empty.
    return reduce(merged, [tables for _, tables in reversed(list(read_chain(path)))])


def read_chain(path: Path) -> Iterator[tuple[Path, Tables]]:
    """The file, what it extends, what that extends, ...: each with its tables alone. Raises as `read_tables`."""
    seen: list[Path] = []
    here: Path | None = path
    while here is not None:
        tables = _tables_of(here)
        base = tables.pop("extends", None)
        yield here, tables
        seen.append(here.resolve())
        if base is None:
            return
        if not isinstance(base, str):
            raise ScenarioError(here, "$.extends", base, "the name of a scenario file")
        below = _resolved(here, "$.extends", base)
        if below in seen:
            raise ScenarioError(here, "$.extends", base, "a file that does not extend this one again")
        here = below


def _tables_of(path: Path) -> Tables:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        if is_too_deep(tables):
            raise too_deep(path)
    except OSError as error:
        raise ScenarioError(path, "file", error.strerror, "a readable scenario file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(path, "TOML", str(error), "valid TOML in UTF-8") from error
    except RecursionError:
        raise too_deep(path) from None
    except ValueError as error:  # more digits than Python turns into an integer
        raise ScenarioError(path, "TOML", str(error), "numbers of a few digits") from error
    ours = {name: table for name, table in tables.items() if name not in AGGREGATOR_TABLES}
    for *places, field in FILES:
        table = table_at(ours, places)
        if table is not None and isinstance(table.get(field), str):
            table[field] = str(_resolved(path, ".".join(("$", *places, field)), table[field]))
    return ours


def _resolved(path: Path, where: str, name: str) -> Path:
    try:
        return resolve(name, path).resolve()
    except ScenarioError as fault:
        raise fault.at(where) from fault


def table_at(tables: Tables, places: Sequence[str]) -> Tables | None:
    """The table in the tables at that place; None if there is none."""
    found: Any = tables
    for place in places:
        found = found.get(place) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tables:
    """`above` laid over `below`: see the head of this module."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            result[key] = merged(under, value)
        elif value and under and key in ROW_NAMES and all(_is_named(rows, ROW_NAMES[key]) for rows in (under, value)):
            result[key] = _merged_rows(under, value, ROW_NAMES[key])
        else:
            result[key] = value
    return result


def _is_named(rows: Any, name: str) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get(name), str) for row in rows)


def _merged_rows(below: list[Tables], above: list[Tables], name: str) -> list[Tables]:
    rows = {row[name]: row for row in below}
    if len(rows) != len(below):
        # Two rows of one name are a fault that is told later, with its place; nothing is hidden by merging them here.
        return [*below, *above]
    for row in above:
        rows[row[name]] = merged(rows.get(row[name], {}), row)
    return list(rows.values())


def named(faults: Sequence[ScenarioError], path: Path, tables: Tables) -> tuple[ScenarioError, ...]:
    """The faults, with the names of their rows where the file extends another: numbers alone would mislead there."""
    if not faults or sum(1 for _ in read_chain(path)) == 1:
        return tuple(faults)
    return tuple(_named(fault, path, tables) for fault in faults)


def _named(fault: ScenarioError, path: Path, tables: Tables) -> ScenarioError:
    place = re.match(r"\$\.(\w+)\[(\d+)\]", fault.where)
    if place is None or fault.file != str(path) or place[1] not in ROW_NAMES:
        return fault
    row = _at(tables, place[0].removeprefix("$"), is_whole=True)
    name = row.get(ROW_NAMES[place[1]]) if isinstance(row, dict) else None
    return fault.at(f"{fault.where} ({name})") if isinstance(name, str) else fault


def import_sessions(path: Path, tables: Tables) -> Imported | None:
    """What the session file that `tables` names holds; None if they name none.

    Raises:
        ScenarioError: the table is wrong, or the file cannot be read at all.
    """
    if "sessions" not in tables:
        return None
    table = _convert(path, "$.sessions", tables["sessions"], SessionsTable)
    zone = zone_of(path, "$.sessions.timezone", table.timezone) if table.timezone is not None else None
    return FORMATS[table.format](Path(table.file), ImportOptions(table.claimed_only, zone, table.connector))


def decode(path: Path, tables: Tables, imported: Imported | None, report: Report) -> ScenarioFile:
    """Check the tables field by field. Rows of `visits` that are wrong are reported and left out.

    Raises:
        ScenarioError: the first wrong field outside `visits`.
    """
    if imported is not None:
        tables = merged(imported.tables, tables)
    visits = tables.get("visits", [])
    if not isinstance(visits, list):
        raise ScenarioError(path, "$.visits", type(visits).__name__, "a list of tables")
    file = _convert(path, "$", {name: table for name, table in tables.items() if name != "visits"}, ScenarioFile)
    good: list[VisitRow] = []
    for number, row in enumerate(visits):
        try:
            good.append(_convert(path, f"$.visits[{number}]", row, VisitRow))
        except ScenarioError as error:
            report(error)
    file = msgspec.structs.replace(file, visits=good)
    check_sizes(path, file)
    return file


def table_faults(path: Path, tables: Tables) -> list[ScenarioError]:
    """Every wrong field of the file's tables; of a table inside a table, the first."""
    faults: list[ScenarioError] = []
    fields = {field.name: field for field in msgspec.structs.fields(ScenarioFile)}
    for name, field in fields.items():
        if name not in tables and field.required:
            faults.append(ScenarioError(path, "$", f"no {name}", f"a field {name}"))
    for name, table in tables.items():
        if name not in fields:
            faults.append(ScenarioError(path, "$", name, one_of(fields, name), f"unknown field {name}"))
            continue
        kind = fields[name].type
        rows = [(f"$.{name}", table, kind)]
        if name in ROW_NAMES and isinstance(table, list):
            rows = [(f"$.{name}[{number}]", row, kind.__args__[0]) for number, row in enumerate(table)]
        elif name == "station_types" and isinstance(table, dict):
            rows = [(f"$.{name}.{key}", row, kind.__args__[1]) for key, row in table.items()]
        for where, row, row_kind in rows:
            faults += _row_faults(path, where, row, row_kind)
    return faults


def _row_faults(path: Path, where: str, row: Any, kind: type[Kind]) -> Iterator[ScenarioError]:
    """The first wrong field ends a conversion: it is left out, and the rest is read again."""
    left_out = set[str]()
    while True:
        try:
            _convert(path, where, row, kind)
        except ScenarioError as error:
            if error.where == where and error.reason.removeprefix("no ") in left_out:
                return
            yield error
            inner = re.match(r"\.([^.\[]+)", error.where.removeprefix(where))
            field = inner[1] if inner is not None else str(error.value)
            if not isinstance(row, dict) or field not in row:
                return
            left_out.add(field)
            row = {name: value for name, value in row.items() if name != field}
        else:
            return


def _convert(path: Path, where: str, table: Any, kind: type[Kind]) -> Kind:
    require_usable(path, where, table)
    try:
        decoded = msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at ")
        place = inner.strip("`").removeprefix("$")
        message = message.replace("`", "")
        value = _at(table, place)
        field = re.split(r"[.\]]", place)[-1] or where.rpartition(".")[2]
        known = names_of(type_at(kind, place))
        if (missing := message.removeprefix("Object missing required field ")) != message:
            raise ScenarioError(path, where + place, None, f"a field {missing}", f"no {missing}") from error
        if (unknown := message.removeprefix("Object contains unknown field ")) != message:
            raise ScenarioError(
                path, where + place, unknown, one_of(known, unknown), f"unknown field {unknown}"
            ) from error
        if known and message.startswith("Invalid enum value "):
            written = message.removeprefix("Invalid enum value ").strip("'")
            expected = f"one of {', '.join(known)}"
            raise ScenarioError(path, where + place, written, expected, f"{field}: expected {expected}") from error
        expected = _expected(message, type_at(kind, place))
        if value is _MISSING:
            value = _in_short(_at(table, place, is_whole=True), message)
            if isinstance(value, _Said) and (count := re.fullmatch(r"a list of (?:exactly )?(\d+) entr.*", expected)):
                expected = count[1]
        raise ScenarioError(path, where + place, value, expected, f"{field}: expected {expected}") from error
    # Times may also stand there as text.
    require_usable(path, where, msgspec.to_builtins(decoded, builtin_types=(datetime,)))
    return decoded


def _expected(message: str, kind: msgspec.inspect.Type | None) -> str:
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    match next((one for one in kinds if not isinstance(one, msgspec.inspect.NoneType)), None):
        case msgspec.inspect.ListType(min_length=int(least), max_length=most) if least == most:
            return f"a list of {least} entries"
        case msgspec.inspect.DateTimeType():
            return kind_in_words("datetime")
    said = message.removeprefix("Expected ").partition(", got ")[0]
    return kind_in_words(said) if said != message else f"something else ({message})"


def _in_short(value: object, message: str) -> str:
    match value:
        case list():
            return _Said("1 value" if len(value) == 1 else f"{len(value)} values")
        case dict():
            return "a table"
    return message


class _Said(str):
    """Words of ours in the place of a value: not quoted."""

    __slots__ = ()
    __repr__ = str.__str__


_MISSING = object()


def _at(table: Any, place: str, *, is_whole: bool = False) -> Any:
    """What stands at `place` (`.site.id`, `[3].kw`) in the table; is_whole: also where it is a table or list."""
    for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", place):
        try:
            table = table[key] if key else table[int(index)]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return _MISSING if isinstance(table, dict | list) and not is_whole else table
