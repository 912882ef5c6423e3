"""The cells of a row or the values of an object, read with errors that name file, row and field.

Every format reads text, numbers and times the same way, so that a naive time or a negative energy is refused in the
same words wherever it stands.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from twin.local_time import LocalTimeError, instant
from twin.scenario_error import ScenarioError

EARLIEST, LATEST = 1970, 2200
"""Years that times may lie in, the last one excluded: the ends of the calendar have no neighbours in other zones."""

DEEPEST = 64
"""How many tables or lists may stand one in another."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


_YEARS = f"a time from the year {EARLIEST} on, before {LATEST}"


@dataclass(frozen=True, slots=True)
class Cells:
    """One row. path, label: for messages. zone: where times without offset are local; None: they are faults.

    lengths: cells of the row and of the header where these differ.
    """

    path: Path
    label: str
    values: Mapping[str, Any]
    zone: ZoneInfo | None = None
    lengths: tuple[int, int] | None = None

    def fault(self, column: str, value: object, expected: str, reason: str = "") -> ScenarioError:
        return ScenarioError(self.path, f"{self.label}, {column}", value, expected, reason)

    def require_whole(self) -> None:
        """Refuse a row that has more or fewer cells than the header."""
        if self.lengths is not None:
            raise ScenarioError(
                self.path, self.label, f"{self.lengths[0]} cells",
                f"{self.lengths[1]} as in the header"
                + " (decimals are written with a point: 7.5)" * (self.lengths[0] > self.lengths[1]),
                "row of the wrong length",
            )

    def has(self, column: str) -> bool:
        return self.values.get(column) not in (None, "")

    def text(self, column: str) -> str:
        value = self.values.get(column)
        if value is None or value == "":
            raise self.fault(column, value, "a value", f"no {column}")
        return str(value)

    def number(self, column: str, unit: str = "kWh") -> float:
        value = self.values.get(column)
        expected = f"a number of {unit}" if unit else "a number"
        text = self.text(column)
        try:
            number = float(text) if not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            if _DECIMAL_COMMA.fullmatch(text):
                expected += f", its decimals after a point: {text.replace(',', '.')}"
            raise self.fault(column, value, expected, f"{column} is not a number")
        return number

    def fraction(self, column: str) -> float:
        number = self.number(column, "")
        if not 0.0 <= number <= 1.0:
            raise self.fault(column, number, "a state of charge between 0 and 1", "state of charge outside 0 to 1")
        return number

    def energy(self, column: str) -> float:
        number = self.number(column)
        if number < 0.0:
            raise self.fault(column, number, "0 kWh or more", "negative energy")
        return number

    def time(self, column: str) -> datetime:
        """An ISO 8601 or RFC 1123 time; local in `zone` where it has no offset."""
        text = self.text(column)
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            when = self._rfc_1123(column, text)
        if not EARLIEST <= when.year < LATEST:
            raise self.fault(column, text, _YEARS, "time out of range")
        if when.tzinfo is not None:
            return when
        if self.zone is None:
            raise self.fault(column, text, "a time with offset", "time without offset")
        try:
            return instant(when, self.zone)
        except LocalTimeError as error:
            raise self.fault(column, text, f"a time that clocks in {self.zone.key} show once", error.reason) from error

    def steps_after(self, column: str, start: datetime, minutes: float) -> datetime:
        """The time so many steps of `minutes` after `start` as the column says."""
        steps = self.number(column, "steps")
        try:
            when = start + timedelta(minutes=minutes * steps)
        except (OverflowError, ValueError):
            when = None
        if when is None or not EARLIEST <= when.year < LATEST:
            raise self.fault(column, steps, f"steps of {minutes:g} min that end at {_YEARS}", "time out of range")
        return when

    def _rfc_1123(self, column: str, text: str) -> datetime:
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            raise self.fault(column, text, "an ISO 8601 time with offset", f"{column} is not a time") from None
        # "-0000" and "GMT" both mean UTC here: RFC 5322 section 3.3.
        return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def read_text(path: Path) -> str:
    """The whole file, UTF-8 with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ScenarioError(path, "file", error.strerror, "a readable file of sessions") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(path, f"byte {error.start}", error.reason, "text in UTF-8") from error


def read_csv(path: Path, zone: ZoneInfo | None, required: tuple[str, ...]) -> tuple[list[str], list[Cells]]:
    """The header of a CSV file, which is row 1, and its rows; blank ones are passed over.

    Raises:
        ScenarioError: the file has no header, or lacks a required column.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        lines = list(reader)
    except csv.Error as error:
        raise ScenarioError(path, f"line {reader.line_num}", str(error), "cells of a CSV file") from error
    header = [name.strip() for name in lines[0]] if lines else []
    for column in required:
        if column not in header:
            hint = ", and commas between the cells, not semicolons" if ";" in ",".join(header) else ""
            raise ScenarioError(path, "row 1", ",".join(header), f"a column {column}{hint}")
    rows = [
        Cells(
            path, f"row {number}", dict(zip(header, (cell.strip() for cell in row), strict=False)), zone,
            None if len(row) == len(header) else (len(row), len(header)),
        )
        for number, row in enumerate(lines[1:], start=2) if row
    ]
    return header, rows


def read_json(path: Path) -> Any:
    """A JSON document; refused with line and column where it is not one."""
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ScenarioError(
            path, f"line {error.lineno}, column {error.colno}", error.msg, "a JSON document"
        ) from error
    except RecursionError:
        raise too_deep(path) from None
    except ValueError as error:  # more digits than Python turns into an integer
        raise ScenarioError(path, "file", str(error), "numbers of a few digits") from error
    if is_too_deep(document):
        raise too_deep(path)
    return document


def too_deep(path: Path) -> ScenarioError:
    return ScenarioError(path, "file", "deeper nesting", f"at most {DEEPEST} tables or lists one in another")


def is_too_deep(document: object) -> bool:
    """Whether more than `DEEPEST` tables or lists stand one in another; found without recursion."""
    level = [document]
    for _ in range(DEEPEST + 1):
        level = [
            inner for value in level if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
