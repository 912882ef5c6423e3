"""Planning problems as files: JSON to read and write by hand, NPZ for large fleets; docs/planner.md has the schema.

A file is read to its end before anything is refused: every value of a wrong kind, every unknown site and every value
that cannot be are named at once.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from aggregator.planning.fleet.files.problem_arrays import Unpackable, as_arrays, read_arrays
from aggregator.planning.fleet.files.problem_reader import from_json, shown
from aggregator.planning.fleet.files.problem_schema import DEFAULTS, FORMAT, Table, names
from aggregator.planning.fleet.problem import Problem

MOST_TEXT: Final = 1 << 28
"""Bytes of a problem as JSON: a hundred thousand cars need a tenth of it."""

_STDIN: Final = Path("/dev/stdin")
_OPEN_ALREADY: Final = (Path("/dev/fd"), Path("/proc/self/fd"))  # what a shell hands over as a file


class Unreadable(ValueError):
    """A file that is no planning problem at all; the message is one line."""


def read_problem(path: Path) -> Problem:
    """A problem from a .json or .npz file.

    Raises:
        Unreadable: it cannot be read, or is of another kind.
        ProblemFaults: names everything in it that cannot be.
    """
    try:
        _require_file(path)
        if path.suffix == ".npz":
            return read_arrays(path)
        raw = _decoded(_bounded(path).decode("utf-8-sig"))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from None
    except Unpackable as refusal:
        raise Unreadable(f"{path}: {refusal}") from None
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}: is no planning problem ({error})") from None
    except MemoryError:
        raise Unreadable(f"{path}: is larger than the memory of this machine") from None
    except _NoJson as refusal:
        raise Unreadable(f"{path}: is no planning problem ({refusal})") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        named = shown(raw.get("format")) if isinstance(raw, dict) else shown(raw)
        raise Unreadable(f"{path}: format is {named}, expected {FORMAT!r}")
    return from_json(raw)


def write_problem(problem: Problem, path: Path) -> None:
    """Write a problem as .npz, or as JSON under any other name."""
    if path.suffix == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **as_arrays(problem))
    else:
        path.write_text(json.dumps(as_json(problem)) + "\n", "utf-8")


def as_json(problem: Problem) -> dict[str, Any]:
    """The JSON form of a problem; fields that are as if they were missing are left out."""
    evs, sites = problem.evs, problem.sites
    found: dict[str, Any] = {
        "format": FORMAT, "step_h": problem.step_h, "shortfall_per_kwh": problem.shortfall_per_kwh,
        "limit_per_kwh": problem.limit_per_kwh, "import_price": problem.import_price.tolist(),
        "export_price": problem.export_price.tolist(),
        "sites": [{"id": name, **_row("sites", sites, k, names("sites", "series", "number"))}
                  for k, name in enumerate(sites.ids)],
        "evs": [{"id": name, "site": sites.ids[evs.site[k]], **_row("evs", evs, k, names("evs", "whole", "number"))}
                for k, name in enumerate(evs.ids)],
        "events": [{"id": event.id, "steps": event.steps.tolist(), "max_net_kw": event.max_net_kw.tolist(),
                    "shortfall_per_kwh": event.shortfall_per_kwh} for event in problem.events],
    }
    if problem.feeders is not None:
        feeders = problem.feeders
        order = np.lexsort((feeders.position, feeders.feeder))
        columns = tuple(name for name in names("segments") if name != "site")
        found["feeders"] = {
            **{name: getattr(feeders, name) for name in names("feeders", "number")},
            "chains": [{"id": name, "segments": [
                {"site": sites.ids[k], **_row("segments", feeders, k, columns)}
                for k in order if feeders.feeder[k] == number]} for number, name in enumerate(feeders.ids)],
        }
    if problem.reserve is not None:
        reserve = problem.reserve
        found["reserve"] = {"block": reserve.block.tolist(), "sustain_h": reserve.sustain_h,
                            **{name: getattr(reserve, name).tolist() for name in names("reserve", "block prices")}}
    return found


def _row(table: Table, columns: object, k: int, fields: Sequence[str]) -> dict[str, Any]:
    """One row; a series that is the same in every step is one number."""
    found = {}
    for name in fields:
        value = getattr(columns, name)[k]
        if value.ndim and value.size and (value == value[0]).all():
            value = value[0]
        if value.ndim or float(value) != DEFAULTS.get((table, name)):
            found[name] = value.tolist()
    return found


def _require_file(path: Path) -> None:
    """Refuse what has no end or never begins: devices, and pipes that nobody may ever write into."""
    if path.parent in _OPEN_ALREADY or path == _STDIN:
        return
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise Unreadable(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'no file'}, expected one "
                         f"(or {_STDIN})")


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise _NoJson(f"it is longer than {MOST_TEXT >> 20} MB; a fleet of that size is an .npz file")
    return text


class _NoJson(ValueError):
    """Text that is no JSON, or more than a reader bears."""


def _decoded(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise _NoJson("its values are nested too deeply") from None
    except _NoJson:
        raise
    except ValueError as error:  # JSONDecodeError, or an integer of more digits than Python reads
        raise _NoJson(str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a file; of two values for one name none is more meant than the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise _NoJson(f"{shown(twice)} stands twice in one object")
    return found
