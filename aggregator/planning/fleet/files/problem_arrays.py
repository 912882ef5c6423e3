"""The NPZ form of a planning problem: one array per field, for fleets of any size.

A foreign file is never trusted: no pickles, no more bytes than its headers and a limit allow, no name that the format
does not have.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any, Final

import numpy as np

from aggregator.planning.fleet.faults import Fault, ProblemFaults
from aggregator.planning.fleet.files.problem_reader import shown, text_rows
from aggregator.planning.fleet.files.problem_schema import DEFAULTS, FIELDS, FORMAT, Field, Table
from aggregator.planning.fleet.limit_price import FROM_PRICES
from aggregator.planning.fleet.problem import Event, Evs, Feeders, Problem, Reserve, Sites

MOST_BYTES: Final = 1 << 30
"""A problem's arrays altogether, unpacked: a million EVs at 25,000 sites need a quarter of it."""

_WHOLE_BELOW: Final = 2**31
_HEADER_MOST: Final = 10_000
_HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_SCALARS: Final = ("step_h", "shortfall_per_kwh", "limit_per_kwh", "feeders.least_squared_voltage",
                   "feeders.most_squared_voltage", "reserve.sustain_h")
_OPTIONAL: Final = frozenset(field.name for field in FIELDS[""] if field.optional)
Arrays = Mapping[str, Any]


class Unpackable(ValueError):
    """A file that holds no arrays which could be a problem; the message is one line without the file's name."""


def as_arrays(problem: Problem) -> dict[str, Any]:
    """One array per field, named `table.field`. `evs.site` is a number, hard limits cost infinity."""
    found: dict[str, Any] = {"format": np.array(FORMAT), **{
        name: np.array(getattr(problem, name))
        for name in ("step_h", "import_price", "export_price", "shortfall_per_kwh")}}
    found["limit_per_kwh"] = np.array(inf if problem.limit_per_kwh is None else problem.limit_per_kwh)
    for name in ("evs", "sites", "feeders", "reserve"):
        table = getattr(problem, name)
        for field, value in vars(table).items() if table is not None else ():
            found[f"{name}.{field}"] = np.array(value, dtype=str) if field == "ids" else np.array(value)
    found["events.ids"] = np.array([event.id for event in problem.events], dtype=str)
    found["events.length"] = np.array([len(event.steps) for event in problem.events], dtype=np.int64)
    found["events.steps"], found["events.max_net_kw"] = problem.event_steps, problem.event_limit_kw
    found["events.shortfall_per_kwh"] = np.array([event.shortfall_per_kwh for event in problem.events], dtype=float)
    return found


def shapes() -> dict[str, tuple[str, ...]]:
    """What every array of the form is indexed by, by its name; `()` is one number."""
    found: dict[str, tuple[str, ...]] = {"format": (), "import_price": ("step",), "export_price": ("step",)}
    found |= dict.fromkeys(_SCALARS, ())
    own: dict[Table, str] = {"sites": "site", "evs": "ev"}
    for table, index in own.items():
        for field in FIELDS[table]:
            name = "ids" if field.name == "id" else field.name
            found[f"{table}.{name}"] = (index, "step") if field.kind == "series" else (index,)
    found |= {"events.ids": ("event",), "events.length": ("event",), "events.shortfall_per_kwh": ("event",),
              "events.steps": ("event step",), "events.max_net_kw": ("event step",)}
    found |= {"feeders.ids": ("feeder",), "feeders.feeder": ("site",), "feeders.position": ("site",)}
    for field in FIELDS["segments"]:
        if field.name != "site":
            found[f"feeders.{field.name}"] = ("site", "step") if field.kind == "series" else ("site",)
    for field in FIELDS["reserve"]:
        if field.kind != "number":
            found[f"reserve.{field.name}"] = ("step",) if field.kind == "wholes" else ("block",)
    return found


def as_markdown() -> str:
    """The table of docs/planner.md."""
    lines = ["| array | shape |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | ({', '.join(shape)}) |" for name, shape in shapes().items()), ""])


def read_arrays(path: Path) -> Problem:
    """The problem in an NPZ file.

    Raises:
        OSError: it cannot be read.
        Unpackable: it holds no arrays, or more than `MOST_BYTES`.
        ProblemFaults: names every array and value that cannot be.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            found = dict(_unpacked(packed))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Unpackable(f"is no planning problem ({error})".replace("\n", " ")) from None
    if "format" not in found or found["format"].shape != () or str(found["format"]) != FORMAT:
        named = shown(str(found["format"])) if "format" in found else "missing"
        raise Unpackable(f"format is {named}, expected {FORMAT!r}")
    faults = [*_kinds(found), *_missing(found), *_events_apart(found)]
    if faults:
        raise ProblemFaults(faults)
    return _problem(found)


def _unpacked(packed: zipfile.ZipFile) -> Iterator[tuple[str, Any]]:
    if sum(member.file_size for member in packed.infolist()) > MOST_BYTES:
        raise Unpackable(f"unpacks to more than {MOST_BYTES >> 20} MB")
    seen: set[str] = set()
    for member in packed.infolist():
        name = member.filename.removesuffix(".npy")
        if name in seen:
            raise Unpackable(f"has {shown(name)} twice")
        seen.add(name)
        with packed.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise Unpackable(f"has {shown(name)} in a form that is not read: {version}")
            shape, fortran, kind = _HEADERS[version](file, max_header_size=_HEADER_MOST)
            if kind.hasobject:
                raise Unpackable(f"has Python objects in {shown(name)}, expected numbers")
            body = file.read(member.file_size)
        count = 1
        for length in shape:
            count *= int(length)
        if count < 0 or count * kind.itemsize != len(body):
            raise Unpackable(f"has {len(body)} bytes in {shown(name)}, expected {count * kind.itemsize}")
        yield name, np.frombuffer(body, dtype=kind).reshape(shape, order="F" if fortran else "C")


def _kinds(found: Arrays) -> Iterator[Fault]:
    """Names that the format does not have, and arrays that are not of its kinds and dimensions."""
    expected = shapes()
    for name, array in found.items():
        if name not in expected:
            yield Fault("", shown(name).strip('"'), "there", "no such array")
            continue
        table, _, field = name.rpartition(".")
        if array.ndim != len(expected[name]):
            yield Fault(table, field, f"of shape {array.shape}", f"shape ({', '.join(expected[name])})")
        elif field in ("ids", "format"):
            if array.dtype.kind != "U":
                yield Fault(table, field, f"of type {array.dtype}", "text")
            else:
                for k in text_rows(array.tolist()) if field == "ids" else ():
                    yield Fault(f"{table}[{k}]", "id", shown(str(array[k])), "a name of characters that can be printed")
        elif array.dtype.kind not in "iuf":
            yield Fault(table, field, f"of type {array.dtype}", "numbers")
        elif _is_whole(name):
            odd = ~np.isfinite(array) | (array != np.round(array)) | (np.abs(array.astype(float)) >= _WHOLE_BELOW)
            for k in np.flatnonzero(odd)[:1]:
                yield Fault(table, f"{field}[{k}]", f"{array[k]:g}", "a whole number")


def _is_whole(name: str) -> bool:
    return name in ("evs.site", "evs.arrive", "evs.depart", "events.length", "events.steps", "feeders.feeder",
                    "feeders.position", "reserve.block")


def _missing(found: Arrays) -> Iterator[Fault]:
    given = {name.partition(".")[0] for name in found if "." in name}
    for name, shape in shapes().items():
        table, _, field = name.rpartition(".")
        is_whole_table_missing = table in ("events", "feeders", "reserve") and table not in given
        if name in found or name in _OPTIONAL or _default(name) is not None or is_whole_table_missing:
            continue
        yield Fault(table, field, "missing", f"an array of shape ({', '.join(shape)})" if shape else "a number")


def _default(name: str) -> float | None:
    table, _, field = name.rpartition(".")
    own: dict[str, Table] = {"": "", "sites": "sites", "evs": "evs", "feeders": "feeders", "reserve": "reserve"}
    found = DEFAULTS.get((own[table], field)) if table in own else None
    return DEFAULTS.get(("segments", field)) if found is None and table == "feeders" else found


def _events_apart(found: Arrays) -> Iterator[Fault]:
    """Whether the events' arrays can be told apart."""
    names = ("ids", "length", "shortfall_per_kwh", "steps", "max_net_kw")
    own: dict[str, Any] = {name: found[f"events.{name}"] for name in names if f"events.{name}" in found}
    if len(own) < len(names) or any(array.ndim != 1 for array in own.values()) or own["length"].dtype.kind not in "iuf":
        return
    for name in ("length", "shortfall_per_kwh"):
        if len(own[name]) != len(own["ids"]):
            yield Fault("events", name, f"of shape {own[name].shape}", f"shape ({len(own['ids'])},)")
    if (own["length"] < 0).any():
        yield Fault("events", "length", str(own["length"].min()), "0 or more")
        return
    total = int(own["length"].sum())
    for name in ("steps", "max_net_kw"):
        if len(own[name]) != total:
            yield Fault("events", name, f"of shape {own[name].shape}", f"shape ({total},), the sum of events.length")


def _problem(found: Arrays) -> Problem:
    def table(name: str) -> dict[str, Any]:
        own = {key.partition(".")[2]: value for key, value in found.items() if key.startswith(f"{name}.")}
        return {key: tuple(value.tolist()) if key == "ids" else value if value.ndim else float(value)
                for key, value in own.items()}

    evs, sites, feeders, reserve = table("evs"), table("sites"), table("feeders"), table("reserve")
    steps = len(found["import_price"])
    _fill(evs, FIELDS["evs"], (len(evs["ids"]),), steps)
    _fill(sites, FIELDS["sites"], (len(sites["ids"]),), steps)
    if feeders:
        _fill(feeders, FIELDS["segments"], (len(sites["ids"]),), steps)
    if reserve:
        _fill(reserve, FIELDS["reserve"], reserve["price_per_kw_h"].shape, steps)
    limit = float(found["limit_per_kwh"]) if "limit_per_kwh" in found else FROM_PRICES
    return Problem(
        float(found["step_h"]), Evs(**evs), Sites(**sites), found["import_price"], found["export_price"],
        float(found["shortfall_per_kwh"]), tuple(_called(table("events"))), Feeders(**feeders) if feeders else None,
        Reserve(**reserve) if reserve else None, None if limit == inf else limit)


def _fill(table: dict[str, Any], fields: tuple[Field, ...], shape: tuple[int, ...], steps: int) -> None:
    """Columns that are not there, as the format says."""
    for field in fields:
        if field.name not in table and field.default is not None:
            table[field.name] = np.full((*shape, steps) if field.kind == "series" else shape, field.default)


def _called(events: dict[str, Any]) -> Iterator[Event]:
    at = 0
    for k, name in enumerate(events.get("ids", ())):
        own = slice(at, at + int(events["length"][k]))
        yield Event(name, events["steps"][own], events["max_net_kw"][own], float(events["shortfall_per_kwh"][k]))
        at = own.stop
