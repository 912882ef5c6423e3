"""Planning problems as files: JSON to read and write by hand, NPZ for large fleets; docs/planner.md has the schema.

A file is read to its end before anything is refused: every value of a wrong kind, every unknown site and every value
that cannot be are named at once.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from aggregator.planning.fleet.faults import Fault, ProblemFaults, faults_of
from aggregator.planning.fleet.problem import Event, Evs, Feeders, Floats, Problem, Reserve, Sites

FORMAT: Final = "v2g-fleet-problem/1"
_EV_NUMBERS: Final = (
    "energy_kwh", "capacity_kwh", "target_kwh", "floor_kwh", "max_charge_kw", "max_discharge_kw", "charge_efficiency",
    "discharge_efficiency", "wear_per_kwh")
_SITE_SERIES: Final = ("base_kw", "pv_kw", "import_cap_kw", "export_cap_kw")
_SITE_NUMBERS: Final = ("peak_so_far_kw", "demand_price")
_SEGMENT_NUMBERS: Final = ("line_kw", "r_per_kw", "x_per_kw")
_DEFAULTS: Final[Mapping[str, float]] = {
    "pv_kw": 0.0, "peak_so_far_kw": 0.0, "demand_price": 0.0, "floor_kwh": 0.0, "max_discharge_kw": 0.0,
    "wear_per_kwh": 0.0, "reactive_kw": 0.0, "limit_per_kwh": 1000.0, "least_squared_voltage": 0.95**2,
    "most_squared_voltage": 1.05**2}


class Unreadable(ValueError):
    """A file that is no planning problem at all; the message is one line."""


def read_problem(path: Path) -> Problem:
    """A problem from a .json or .npz file.

    Raises:
        Unreadable: it cannot be read, or is of another kind.
        ProblemFaults: names everything in it that cannot be.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as found:
                return _from_arrays({name: found[name] for name in found.files})
        raw = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise Unreadable(f"{path}: is no planning problem ({error})") from None
    except ValueError as error:
        if isinstance(error, ProblemFaults):
            raise
        raise Unreadable(f"{path}: is no planning problem ({error})") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        named = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise Unreadable(f"{path}: format is {named!r}, expected {FORMAT!r}")
    return _Reader().problem(raw)


def write_problem(problem: Problem, path: Path) -> None:
    """Write a problem as .npz, or as JSON under any other name."""
    if path.suffix == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **_as_arrays(problem))
    else:
        path.write_text(json.dumps(as_json(problem)) + "\n", "utf-8")


def as_json(problem: Problem) -> dict[str, Any]:
    """The JSON form of a problem."""
    evs, sites = problem.evs, problem.sites
    found: dict[str, Any] = {
        "format": FORMAT, "step_h": problem.step_h, "shortfall_per_kwh": problem.shortfall_per_kwh,
        "limit_per_kwh": problem.limit_per_kwh, "import_price": problem.import_price.tolist(),
        "export_price": problem.export_price.tolist(),
        "sites": [{"id": name, **_row(sites, k, (*_SITE_SERIES, *_SITE_NUMBERS))} for k, name in enumerate(sites.ids)],
        "evs": [{"id": name, "site": sites.ids[evs.site[k]], **_row(evs, k, ("arrive", "depart", *_EV_NUMBERS))}
                for k, name in enumerate(evs.ids)],
        "events": [{"id": event.id, "steps": event.steps.tolist(), "max_net_kw": event.max_net_kw.tolist(),
                    "shortfall_per_kwh": event.shortfall_per_kwh} for event in problem.events],
    }
    if problem.feeders is not None:
        feeders = problem.feeders
        order = np.lexsort((feeders.position, feeders.feeder))
        found["feeders"] = {
            "least_squared_voltage": feeders.least_squared_voltage,
            "most_squared_voltage": feeders.most_squared_voltage,
            "chains": [{"id": name, "segments": [
                {"site": sites.ids[k], **_row(feeders, k, (*_SEGMENT_NUMBERS, "reactive_kw"))}
                for k in order if feeders.feeder[k] == number]} for number, name in enumerate(feeders.ids)],
        }
    if problem.reserve is not None:
        reserve = problem.reserve
        found["reserve"] = {"block": reserve.block.tolist(), "price_per_kw_h": reserve.price_per_kw_h.tolist(),
                            "sustain_h": reserve.sustain_h}
    return found


def _row(table: object, k: int, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(table, name)[k].tolist() for name in names}


class _Reader:
    """Reads JSON and keeps what is wrong with it; a value that cannot be read counts as 0 until all are named."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.steps = 0

    def problem(self, raw: dict[str, Any]) -> Problem:
        self.known("", raw, ("format", "step_h", "shortfall_per_kwh", "limit_per_kwh", "import_price", "export_price",
                             "sites", "evs", "events", "feeders", "reserve"))
        prices = raw.get("import_price")
        self.steps = len(prices) if isinstance(prices, list) else 0
        if not self.steps:
            self.wrong("", "import_price", prices, "a list of one price per step")
            raise ProblemFaults(self.faults)
        sites = self.rows(raw, "sites", needed=True)
        limit = None if "limit_per_kwh" in raw and raw["limit_per_kwh"] is None else self.number(
            "", raw, "limit_per_kwh")
        site_ids = self.ids("sites", sites)
        problem = Problem(
            self.number("", raw, "step_h"), self.evs(self.rows(raw, "evs", needed=True), site_ids),
            Sites(site_ids, *(self.series_table("sites", sites, name) for name in _SITE_SERIES),
                  *(self.column("sites", sites, name) for name in _SITE_NUMBERS)),
            self.series("", raw, "import_price"), self.series("", raw, "export_price"),
            self.number("", raw, "shortfall_per_kwh"), self.events(self.rows(raw, "events")),
            self.feeders(raw["feeders"], site_ids) if raw.get("feeders") is not None else None,
            self.reserve(raw["reserve"]) if raw.get("reserve") is not None else None, limit, trusted=True)
        named = {(fault.where, fault.field.partition("[")[0]) for fault in self.faults}
        self.faults += [fault for fault in faults_of(problem)
                        if (fault.where, fault.field.partition("[")[0]) not in named]
        if self.faults:
            raise ProblemFaults(self.faults)
        return problem

    def evs(self, rows: list[dict[str, Any]], sites: tuple[str, ...]) -> Evs:
        for row in rows:
            self.known(f"evs[{row.get('id')}]", row, ("id", "site", "arrive", "depart", *_EV_NUMBERS))
        number = {name: k for k, name in enumerate(sites)}
        ids, at = self.ids("evs", rows), []
        for name, row in zip(ids, rows, strict=True):
            site = row.get("site")
            known = number.get(site) if isinstance(site, str) else None
            if known is None:
                self.wrong(f"evs[{name}]", "site", site, "a site of the file")
            at.append(known or 0)
        arrive, depart = (
            np.array([self.whole(f"evs[{ids[k]}]", row, field) for k, row in enumerate(rows)], dtype=np.int64)
            for field in ("arrive", "depart"))
        return Evs(ids, np.array(at, dtype=np.int64), arrive, depart,
                   *(self.column("evs", rows, name) for name in _EV_NUMBERS))

    def events(self, rows: list[dict[str, Any]]) -> tuple[Event, ...]:
        found = []
        for name, row in zip(self.ids("events", rows), rows, strict=True):
            where = f"events[{name}]"
            self.known(where, row, ("id", "steps", "max_net_kw", "shortfall_per_kwh"))
            steps = self.wholes(where, row, "steps")
            found.append(Event(name, steps, self.series(where, row, "max_net_kw", len(steps)),
                               self.number(where, row, "shortfall_per_kwh")))
        return tuple(found)

    def feeders(self, raw: Any, sites: tuple[str, ...]) -> Feeders:
        raw = raw if isinstance(raw, dict) else {}
        self.known("feeders", raw, ("least_squared_voltage", "most_squared_voltage", "chains"))
        chains = self.rows(raw, "chains", needed=True)
        number = {name: k for k, name in enumerate(sites)}
        feeder, position = np.full(len(sites), -1, dtype=np.int64), np.zeros(len(sites), dtype=np.int64)
        values = {name: np.zeros(len(sites)) for name in _SEGMENT_NUMBERS}
        reactive = np.zeros((len(sites), self.steps))
        names = self.ids("feeders", chains)
        for k, (name, chain) in enumerate(zip(names, chains, strict=True)):
            for place, segment in enumerate(self.rows(chain, "segments", needed=True)):
                site, where = segment.get("site"), f"feeders[{name}].segments[{place}]"
                self.known(where, segment, ("site", *_SEGMENT_NUMBERS, "reactive_kw"))
                at = number.get(site) if isinstance(site, str) else None
                if at is None or feeder[at] >= 0:
                    self.wrong(where, "site", site, "a site of the file that is on no feeder yet")
                    continue
                feeder[at], position[at] = k, place
                for field in _SEGMENT_NUMBERS:
                    values[field][at] = self.number(where, segment, field)
                reactive[at] = self.series(where, segment, "reactive_kw")
        for site_name in (name for name, at in number.items() if feeder[at] < 0):
            self.wrong(f"feeders, site {site_name}", "feeder", None, "a segment of a chain for every site")
        return Feeders(names, feeder, position, values["line_kw"], values["r_per_kw"], values["x_per_kw"], reactive,
                       self.number("feeders", raw, "least_squared_voltage"),
                       self.number("feeders", raw, "most_squared_voltage"))

    def reserve(self, raw: Any) -> Reserve:
        raw = raw if isinstance(raw, dict) else {}
        self.known("reserve", raw, ("block", "price_per_kw_h", "sustain_h"))
        prices = raw.get("price_per_kw_h")
        count = len(prices) if isinstance(prices, list) else 1
        return Reserve(self.wholes("reserve", raw, "block"), self.series("reserve", raw, "price_per_kw_h", count),
                       self.number("reserve", raw, "sustain_h"))

    def wrong(self, where: str, field: str, value: Any, expected: str) -> None:
        shown = "missing" if value is None else json.dumps(value)[:60]
        self.faults.append(Fault(where, field, shown, expected))

    def known(self, where: str, row: Mapping[str, Any], fields: Sequence[str]) -> None:
        for name in row.keys() - set(fields):
            self.wrong(where, name, "there", "no such field")

    def rows(self, raw: Mapping[str, Any], name: str, *, needed: bool = False) -> list[dict[str, Any]]:
        found = raw.get(name)
        if isinstance(found, list) and all(isinstance(row, dict) for row in found):
            return found
        if needed or found is not None:
            self.wrong("", name, found, "a list of objects")
        return []

    def ids(self, table: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
        found = []
        for k, row in enumerate(rows):
            if not isinstance(row.get("id"), str) or not row["id"]:
                self.wrong(f"{table}[{k}]", "id", row.get("id"), "a name")
            found.append(str(row.get("id", k)))
        return tuple(found)

    def number(self, where: str, row: Mapping[str, Any], field: str) -> float:
        value = row.get(field, _DEFAULTS.get(field))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self.wrong(where, field, value, "a number")
        return 0.0

    def whole(self, where: str, row: Mapping[str, Any], field: str) -> int:
        value = row.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31:
            return value
        self.wrong(where, field, value, "a whole number")
        return 0

    def wholes(self, where: str, row: Mapping[str, Any], field: str) -> Any:
        value = row.get(field)
        if isinstance(value, list) and all(isinstance(at, int) and abs(at) < 1 << 31 for at in value):
            return np.array(value, dtype=np.int64)
        self.wrong(where, field, value, "a list of whole numbers")
        return np.zeros(0, dtype=np.int64)

    def column(self, table: str, rows: list[dict[str, Any]], field: str) -> Floats:
        return np.array([self.number(f"{table}[{row.get('id')}]", row, field) for row in rows], dtype=float)

    def series(self, where: str, row: Mapping[str, Any], field: str, count: int | None = None) -> Floats:
        """A list of numbers, or one number for all of them."""
        count = self.steps if count is None else count
        value = row.get(field, _DEFAULTS.get(field))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return np.full(count, float(value))
        if isinstance(value, list) and len(value) == count:
            for k, at in enumerate(value):
                if not isinstance(at, int | float) or isinstance(at, bool):
                    self.wrong(where, f"{field}[{k}]", at, "a number")
                    return np.zeros(count)
            return np.array(value, dtype=float)
        shown = f"{len(value)} values" if isinstance(value, list) else value
        self.wrong(where, field, shown, f"a number or a list of {count}")
        return np.zeros(count)

    def series_table(self, table: str, rows: list[dict[str, Any]], field: str) -> Floats:
        for row in rows if field == "base_kw" else ():
            self.known(f"{table}[{row.get('id')}]", row, ("id", *_SITE_SERIES, *_SITE_NUMBERS))
        found = [self.series(f"{table}[{row.get('id')}]", row, field) for row in rows]
        return np.array(found, dtype=float).reshape(len(rows), self.steps)


def _as_arrays(problem: Problem) -> dict[str, Any]:
    """One array per column, named as in the problem."""
    found: dict[str, Any] = {"format": np.array(FORMAT), **{
        name: np.array(getattr(problem, name)) for name in ("step_h", "import_price", "export_price",
                                                            "shortfall_per_kwh")}}
    if problem.limit_per_kwh is not None:
        found["limit_per_kwh"] = np.array(problem.limit_per_kwh)
    for name in ("evs", "sites", "feeders", "reserve"):
        table = getattr(problem, name)
        for field, value in vars(table).items() if table is not None else ():
            found[f"{name}.{field}"] = np.array(value, dtype=str) if field == "ids" else np.array(value)
    found["events.ids"] = np.array([event.id for event in problem.events], dtype=str)
    found["events.length"] = np.array([len(event.steps) for event in problem.events], dtype=np.int64)
    found["events.steps"], found["events.max_net_kw"] = problem.event_steps, problem.event_limit_kw
    found["events.shortfall_per_kwh"] = np.array([event.shortfall_per_kwh for event in problem.events], dtype=float)
    return found


def _from_arrays(found: dict[str, Any]) -> Problem:
    if str(found.get("format")) != FORMAT:
        raise ValueError(f"format is {str(found.get('format'))!r}, expected {FORMAT!r}")

    def table(name: str) -> dict[str, Any]:
        own = {key.partition(".")[2]: value for key, value in found.items() if key.startswith(f"{name}.")}
        return {key: tuple(value.tolist()) if key == "ids" else value if value.ndim else float(value)
                for key, value in own.items()}

    try:
        events, at = table("events"), 0
        called = []
        for k, name in enumerate(events["ids"]):
            own = slice(at, at + int(events["length"][k]))
            called.append(Event(name, events["steps"][own], events["max_net_kw"][own],
                                float(events["shortfall_per_kwh"][k])))
            at = own.stop
        feeders, reserve = table("feeders"), table("reserve")
        limit = found.get("limit_per_kwh")
        return Problem(
            float(found["step_h"]), Evs(**table("evs")), Sites(**table("sites")), found["import_price"],
            found["export_price"], float(found["shortfall_per_kwh"]), tuple(called),
            Feeders(**feeders) if feeders else None, Reserve(**reserve) if reserve else None,
            None if limit is None else float(limit))
    except TypeError as error:
        raise ValueError(f"its arrays are not those of the format: {error}") from None
