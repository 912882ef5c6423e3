"""JSON of a planning problem -> `Problem`, or everything that is wrong with it.

A value that cannot be read counts as 0 until all of them are named: one reading tells all that there is to mend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

import numpy as np

from aggregator.planning.fleet.faults import Fault, ProblemFaults, faults_of
from aggregator.planning.fleet.files.problem_schema import DEFAULTS, Table, names
from aggregator.planning.fleet.limit_price import FROM_PRICES
from aggregator.planning.fleet.problem import Event, Evs, Feeders, Floats, Ints, Problem, Reserve, Sites

Row = Mapping[str, Any]
_WHOLE_BELOW: Final = 1 << 31
_SHOWN: Final = 60  # characters of a value in a message
_NUMBERS: Final = frozenset({int, float})  # of the type itself: True is an int, and no number here


def from_json(raw: Row) -> Problem:
    """The problem in a decoded JSON object.

    Raises:
        ProblemFaults: names everything in it that cannot be.
    """
    return _Reader().problem(raw)


def shown(value: Any) -> str:
    """A value in a message: short, on one line, and what it is where it is no plain one."""
    if value is None:
        return "missing"
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    try:
        text = json.dumps(value)
    except ValueError:  # an integer with more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_name(value: Any) -> bool:
    """Whether a value can stand for a row in messages, tables and file names of any kind."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


class _Reader:
    """Reads, and keeps what is wrong."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.steps = 0

    def problem(self, raw: Row) -> Problem:
        self.known("", "", raw)
        prices = raw.get("import_price")
        self.steps = len(prices) if isinstance(prices, list) else 0
        if not self.steps:
            self.wrong("", "import_price", prices, "a list of one price per step")
            raise ProblemFaults(self.faults)
        rows = self.rows("", raw, "sites")
        site_ids = self.ids("sites", rows)
        sites = Sites(
            site_ids, *(self.series_table("sites", site_ids, rows, name) for name in names("sites", "series")),
            *(self.column("sites", site_ids, rows, name) for name in names("sites", "number")))
        limit = FROM_PRICES if "limit_per_kwh" not in raw else None if raw["limit_per_kwh"] is None else self.number(
            "", "", raw, "limit_per_kwh")
        problem = Problem(
            self.number("", "", raw, "step_h"), self.evs(self.rows("", raw, "evs"), site_ids), sites,
            self.series("", "", raw, "import_price", self.steps), self.series("", "", raw, "export_price", self.steps),
            self.number("", "", raw, "shortfall_per_kwh"), self.events(self.rows("", raw, "events", needed=False)),
            self.feeders(raw["feeders"], site_ids) if raw.get("feeders") is not None else None,
            self.reserve(raw["reserve"]) if raw.get("reserve") is not None else None, limit, trusted=True)
        named = {(fault.where, fault.field.partition("[")[0]) for fault in self.faults}
        self.faults += [fault for fault in faults_of(problem)
                        if (fault.where, fault.field.partition("[")[0]) not in named]
        if self.faults:
            raise ProblemFaults(self.faults)
        return problem

    def evs(self, rows: list[Row], sites: tuple[str, ...]) -> Evs:
        ids, number = self.ids("evs", rows), {name: k for k, name in enumerate(sites)}
        at = []
        for name, row in zip(ids, rows, strict=True):
            site = row.get("site")
            known = number.get(site) if isinstance(site, str) else None
            if known is None:
                self.wrong(f"evs[{name}]", "site", site, "a site of the file")
            at.append(known or 0)
        columns: dict[str, Any] = {
            field: np.array([self.whole(f"evs[{name}]", row, field) for name, row in zip(ids, rows, strict=True)],
                            dtype=np.int64) for field in names("evs", "whole")}
        columns |= {name: self.column("evs", ids, rows, name) for name in names("evs", "number")}
        return Evs(ids=ids, site=np.array(at, dtype=np.int64), **columns)

    def events(self, rows: list[Row]) -> tuple[Event, ...]:
        found = []
        for name, row in zip(self.ids("events", rows), rows, strict=True):
            where = f"events[{name}]"
            steps = self.wholes(where, row, "steps")
            found.append(Event(name, steps, self.series("events", where, row, "max_net_kw", len(steps)),
                               self.number("events", where, row, "shortfall_per_kwh")))
        return tuple(found)

    def feeders(self, given: Any, sites: tuple[str, ...]) -> Feeders:
        raw = self.object("feeders", given)
        chains = self.rows("feeders", raw, "chains")
        number = {name: k for k, name in enumerate(sites)}
        feeder, position = np.full(len(sites), -1, dtype=np.int64), np.zeros(len(sites), dtype=np.int64)
        values = {name: np.zeros(len(sites)) for name in names("segments", "number")}
        reactive = np.zeros((len(sites), self.steps))
        ids = self.ids("chains", chains, "feeders")
        for twice in sorted({name for k, name in enumerate(ids) if name in ids[:k]}):
            self.wrong(f"feeders[{twice}]", "id", twice, "an id that no other row has")
        for k, (name, chain) in enumerate(zip(ids, chains, strict=True)):
            for place, segment in enumerate(self.rows(f"feeders[{name}]", chain, "segments")):
                where, site = f"feeders[{name}].segments[{place}]", segment.get("site")
                self.known("segments", where, segment)
                at = number.get(site) if isinstance(site, str) else None
                if at is None or feeder[at] >= 0:
                    self.wrong(where, "site", site, "a site of the file that is on no feeder yet")
                    continue
                feeder[at], position[at] = k, place
                for field, column in values.items():
                    column[at] = self.number("segments", where, segment, field)
                reactive[at] = self.series("segments", where, segment, "reactive_kw", self.steps)
        for site_name in (name for name, at in number.items() if feeder[at] < 0):
            self.wrong(f"feeders, site {site_name}", "feeder", None, "a segment of a chain for every site")
        low, high = (self.number("feeders", "feeders", raw, name) for name in names("feeders", "number"))
        return Feeders(ids, feeder, position, **values, reactive_kw=reactive, least_squared_voltage=low,
                       most_squared_voltage=high)

    def reserve(self, given: Any) -> Reserve:
        raw = self.object("reserve", given)
        prices = [raw[name] for name in names("reserve", "block prices") if isinstance(raw.get(name), list)]
        block = self.wholes("reserve", raw, "block")
        count = len(prices[0]) if prices else max(1, int(block.max(initial=-1)) + 1)
        return Reserve(block=block, sustain_h=self.number("reserve", "reserve", raw, "sustain_h"), **{
            name: self.series("reserve", "reserve", raw, name, min(count, self.steps))
            for name in names("reserve", "block prices")})

    def wrong(self, where: str, field: str, value: Any, expected: str) -> None:
        self.faults.append(Fault(where, field, shown(value), expected))

    def known(self, table: Table, where: str, row: Row) -> None:
        if not row.keys() <= (fields := frozenset(names(table))):
            for name in sorted(row.keys() - fields):
                self.faults.append(Fault(where, shown(name).strip('"'), "there", "no such field"))

    def object(self, table: Table, given: Any) -> Row:
        if not isinstance(given, dict):
            self.wrong("", table, given, "an object")
            return {}
        self.known(table, table, given)
        return given

    def rows(self, where: str, raw: Row, name: str, *, needed: bool = True) -> list[Row]:
        found = raw.get(name)
        if isinstance(found, list) and all(isinstance(row, dict) for row in found):
            return found
        if needed or found is not None:
            self.wrong(where, name, found, "a list of objects")
        return []

    def ids(self, table: Table, rows: list[Row], shown_as: str = "") -> tuple[str, ...]:
        found = []
        for k, row in enumerate(rows):
            name = row.get("id")
            if not is_name(name):
                self.wrong(f"{shown_as or table}[{k}]", "id", name, "a name of characters that can be printed")
                name = str(k)
            self.known(table, f"{shown_as or table}[{name}]", row)
            found.append(str(name))
        return tuple(found)

    def number(self, table: Table, where: str, row: Row, field: str) -> float:
        value = row.get(field, DEFAULTS.get((table, field)))
        if type(value) in _NUMBERS:
            return _float(value)
        self.wrong(where, field, value, "a number")
        return 0.0

    def whole(self, where: str, row: Row, field: str) -> int:
        value = row.get(field)
        if type(value) is int and abs(value) < _WHOLE_BELOW:
            return value
        self.wrong(where, field, value, "a whole number")
        return 0

    def wholes(self, where: str, row: Row, field: str) -> Ints:
        value = row.get(field)
        if isinstance(value, list):
            odd = next((k for k, at in enumerate(value) if type(at) is not int or abs(at) >= _WHOLE_BELOW), None)
            if odd is None:
                return np.array(value, dtype=np.int64)
            field, value = f"{field}[{odd}]", value[odd]
        self.wrong(where, field, value, "a whole number" if "[" in field else "a list of whole numbers")
        return np.zeros(0, dtype=np.int64)

    def column(self, table: Table, ids: tuple[str, ...], rows: list[Row], field: str) -> Floats:
        default = DEFAULTS.get((table, field))
        values = [row.get(field, default) for row in rows]
        if not _NUMBERS.issuperset(map(type, values)):
            values = [self.number(table, f"{table}[{name}]", row, field) for name, row in zip(ids, rows, strict=True)]
        return np.array([_float(value) for value in values], dtype=float)

    def series(self, table: Table, where: str, row: Row, field: str, count: int) -> Floats:
        """A list of numbers, or one number for all of them."""
        value = row.get(field, DEFAULTS.get((table, field)))
        if type(value) in _NUMBERS:
            return np.full(count, _float(value))
        if isinstance(value, list) and len(value) == count:
            if _NUMBERS.issuperset(map(type, value)):
                return np.array([_float(at) for at in value], dtype=float)
            odd = next(k for k, at in enumerate(value) if type(at) not in _NUMBERS)
            self.faults.append(Fault(where, f"{field}[{odd}]", "null" if value[odd] is None else shown(value[odd]),
                                     "a number"))
            return np.zeros(count)
        self.wrong(where, field, value, f"a number or a list of {count}")
        return np.zeros(count)

    def series_table(self, table: Table, ids: tuple[str, ...], rows: list[Row], field: str) -> Floats:
        found = [self.series(table, f"{table}[{name}]", row, field, self.steps)
                 for name, row in zip(ids, rows, strict=True)]
        return np.array(found, dtype=float).reshape(len(rows), self.steps)


def _float(value: float) -> float:
    """As a float; integers beyond all floats are infinite, which is a fault everywhere."""
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def text_rows(values: Sequence[Any]) -> tuple[int, ...]:
    """Numbers of the ids that are no names."""
    return tuple(k for k, value in enumerate(values) if not is_name(value))
