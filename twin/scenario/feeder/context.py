"""Where faults of a scenario's feeder are told, and over what time its loads are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from twin.assets import TimeGrid
from twin.scenario_error import ScenarioError


@dataclass(frozen=True)
class Context:
    """Where faults are told, and over what time loads are needed."""

    path: Path
    grid: TimeGrid
    zone: ZoneInfo

    def fault(self, where: str, value: object, expected: str) -> ScenarioError:
        return ScenarioError(self.path, f"$.feeder{where}", value, expected)
