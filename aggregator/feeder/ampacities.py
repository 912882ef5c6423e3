"""Ratings of lines from a table of their own, for files that know impedances and not what a cable may carry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from aggregator.feeder.given import Unusable
from twin.feeder.importers import Imported
from twin.feeder.importers.imported import Degree, Finding
from twin.feeder.network.model import Rating
from twin.feeder.network.plausible import FeederError
from twin.importers.cells import read_csv
from twin.scenario_error import ScenarioError

ALL: Final = "*"
"""In the place of a line's name: every line of which neither the file nor another row says anything."""


def with_ampacities(imported: Imported, table: Path) -> Imported:
    """`imported` with the ratings of `table`: columns `line`, `ampacity_a` (of each phase) and, if known, `source`.

    A row replaces what the file says; a row of `*` fills in what is left.

    Raises:
        Unusable: the table cannot be read; a row names no line, one a second time, or no possible rating.
    """
    known = {line.id for line in imported.feeder.lines}
    ratings: dict[str, Rating] = {}
    try:
        _, rows = read_csv(table, None, ("line", "ampacity_a"))
        for row in rows:
            row.require_whole()
            line = row.text("line")
            if line != ALL and line not in known:
                raise row.fault("line", line, f"a line of feeder {imported.feeder.name}, or {ALL} for all others")
            if line in ratings:
                raise row.fault("line", line, "every line once")
            source = row.text("source") if row.has("source") else table.name
            amperes = row.number("ampacity_a", "A")
            try:
                ratings[line] = Rating.even(amperes, source)
            except FeederError as error:
                raise row.fault("ampacity_a", amperes, error.expected) from None
    except ScenarioError as fault:
        raise Unusable(str(fault)) from None
    others = ratings.pop(ALL, None)
    lines = tuple(
        replace(line, ampacity=ratings.get(line.id, others if line.ampacity is None else line.ampacity))
        for line in imported.feeder.lines
    )
    changed = sum(line.ampacity != before.ampacity for line, before in zip(lines, imported.feeder.lines, strict=True))
    said = Finding(Degree.ASSUMED, "line", f"{changed} lines", f"rated by {table.name}, whatever the file says")
    return replace(imported, feeder=replace(imported.feeder, lines=lines), findings=(*imported.findings, said))
