"""Figures and places out of the rows of pandapower's tables, with what is wrong or lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twin.feeder.importers.imported import Degree, Finding
from twin.feeder.importers.pandapower.tables import Row, Table
from twin.feeder.network.model import Origin
from twin.feeder.network.plausible import FIGURE, FeederError, is_figure


class Reading:
    """One network while it is read.

    reasons: what refuses the file. findings: what did not come through unchanged. bus_of: name of the bus that each
    number stands for; volts: its rating. assumed: how often something that the file leaves open was.
    """

    def __init__(self, path: Path, network: Mapping[str, Any]) -> None:
        self.path = path
        self.network = network
        self.findings: list[Finding] = []
        self.reasons: list[str] = []
        self.origins: dict[tuple[str, str], Origin] = {}
        self.bus_of: dict[int, str] = {}
        self.volts: dict[str, float] = {}
        self.assumed: Counter[str] = Counter()

    def say(self, degree: Degree, kind: str, element: str, said: str) -> None:
        self.findings.append(Finding(degree, kind, element, said, Origin(str(self.path))))

    def rows(self, table: str) -> Iterator[Row]:
        """Rows in service, at buses in service."""
        found = self.network.get(table)
        for row in found if isinstance(found, Table) else ():
            if row.get("in_service") is False:
                self.say(Degree.DROPPED, table, row.name, "is not in service")
            else:
                yield row

    def place(self, row: Row, column: str) -> str | None:
        """The bus that a row names; None: it is not in service or not there, which is said."""
        number = row.get(column)
        if not isinstance(number, int) or isinstance(number, bool):
            self.reasons.append(row.refusal(column, "the number of a bus"))
            return None
        if number not in self.bus_of:
            known = {row.index for row in self.network["bus"]}
            if number in known:
                self.say(Degree.DROPPED, row.table, row.name, f"is at bus {number}, which is not in service")
            else:
                self.reasons.append(row.refusal(column, "the number of a bus"))
            return None
        return self.bus_of[number]

    def take(self, row: Row, column: str, default: float | None = None) -> float:
        """A number of a row; without a default it must be there."""
        value = row.get(column)
        if is_figure(value):
            return float(value)
        if value is None and default is not None:
            return default
        self.reasons.append(row.refusal(column, f"a finite number, at most {FIGURE:g} in size"))
        return 1.0

    def whole(self, row: Row, column: str, default: int | None = None) -> int:
        """A whole number of a row."""
        value = self.take(row, column, None if default is None else float(default))
        if value != int(value):
            self.reasons.append(row.refusal(column, "a whole number"))
        return int(value)

    def parallel(self, row: Row) -> int:
        """How many of its kind a row stands for."""
        count = self.whole(row, "parallel", 1)
        if count < 1:
            self.reasons.append(row.refusal("parallel", "1 or more"))
        return max(count, 1)

    def built(self, row: Row, make: Any, /, **fields: Any) -> Any:
        """An element, or None and a reason."""
        try:
            return make(**fields)
        except FeederError as error:
            self.reasons.append(f"{self.path}: $.{row.table}[{row.index}]: {error}")
            return None

    def came(self, kind: str, name: str) -> None:
        """An element came from this file."""
        self.origins[kind, name] = Origin(str(self.path))

    def switches(self) -> Iterator[Row]:
        """All switches, in service or not: an open one counts too."""
        found = self.network.get("switch")
        yield from found if isinstance(found, Table) else ()
