"""Every fault of a scenario file at once, and what would be kept, dropped and assumed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.scenario.loading import Scenario, assemble
from twin.scenario.parts import part_faults
from twin.scenario.reading import decode, import_sessions, merged, named, read_tables, table_faults
from twin.scenario_error import ScenarioError


@dataclass(frozen=True)
class ScenarioCheck:
    """What a scenario file holds.

    faults: everything that cannot be true, in order of the file. skippable: how many of them are single sessions or
    visits, which `load_scenario(..., skip_bad=True)` leaves out; bad: those, counted by reason.
    may_hide_more: some of it could not be judged because of these faults.
    kept: visits of the scenario; dropped: those that are not part of it on purpose, counted by reason.
    warnings: what can be true but is hardly meant, in sentences.
    scenario: as it stands without the skippable rows; None where there are other faults.
    """

    file: Path
    faults: tuple[ScenarioError, ...]
    skippable: int
    bad: Mapping[str, int]
    kept: int
    dropped: Mapping[str, int]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    scenario: Scenario | None
    may_hide_more: bool = False

    @property
    def is_clean(self) -> bool:
        return not self.faults


def check_scenario(path: Path | str) -> ScenarioCheck:
    """Read a scenario file and gather its faults instead of stopping at the first one.

    Parts that depend on a faulty one are not judged: after mending, check again.
    """
    path = Path(path)
    rows: list[ScenarioError] = []
    others: list[ScenarioError] = []
    scenario: Scenario | None = None
    tables: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    try:
        whole = tables = read_tables(path)
        imported = import_sessions(path, tables)
        whole = tables if imported is None else merged(imported.tables, tables)
        others = [fault for fault in table_faults(path, whole) if not fault.where.startswith("$.visits[")]
        if not others:
            scenario = assemble(path, decode(path, tables, imported, rows.append), imported, rows.append)
        elif imported is not None:
            rows.extend(imported.faults)
    except ScenarioError as fault:
        others.append(fault)
    if others and tables:
        known = {str(fault) for fault in others}
        others += [fault for fault in part_faults(path, whole, [fault.where for fault in others])
                   if str(fault) not in known]
    rows.sort(key=_place)
    faults = named([*others, *rows], path, tables) if tables else tuple(others)
    return ScenarioCheck(
        file=path, faults=faults, skippable=len(rows), bad=dict(Counter(fault.reason for fault in rows)),
        kept=0 if scenario is None else len(scenario.truth().visits),
        dropped={} if scenario is None else scenario.dropped,
        assumptions=() if scenario is None else scenario.public().assumptions,
        warnings=() if scenario is None else scenario.warnings, scenario=scenario, may_hide_more=bool(others),
    )


def _place(fault: ScenarioError) -> tuple[str, str, int]:
    """File, kind of row and number of row: the order in which someone who mends them goes through."""
    number = re.search(r"\d+", fault.where)
    return fault.file, fault.where[: number.start()] if number else fault.where, int(number[0]) if number else 0
