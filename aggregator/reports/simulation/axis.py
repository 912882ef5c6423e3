"""The steps of a run on an axis of local time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import Layout, stairs, steps_per_point, wash
from aggregator.reports.simulation.facts import EventFact
from twin.assets import TimeGrid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepAxis:
    """The steps of a grid on an axis of local time; a long run is thinned to means over whole blocks of steps.

    Plotly knows no time zones: instants are shifted by the offset that holds at the grid's start.
    """

    grid: TimeGrid
    timezone: str

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def block(self) -> int:
        """Steps per point."""
        return steps_per_point(self.grid.steps)

    @property
    def is_thinned(self) -> bool:
        return self.block > 1

    @property
    def resolution(self) -> str:
        minutes = self.block * self.grid.step_s / 60
        return f"{minutes:g}-minute means" if minutes < 120 else f"{minutes / 60:.3g}-hour means"  # noqa: PLR2004 - 2 h

    def at(self, when: datetime) -> int:
        offset = self.grid.start.astimezone(self.zone).utcoffset() or timedelta()
        return round((when.timestamp() + offset.total_seconds()) * 1000)

    @property
    def x(self) -> list[int]:
        """Beginning of each block, and the end of the last."""
        first, step_ms = self.at(self.grid.start), self.grid.step_s * 1000
        return [first + k * step_ms for k in (*range(0, self.grid.steps, self.block), self.grid.steps)]

    def y(self, values: Floats, digits: int = 2) -> list[float | None]:
        """Means over blocks, the last one again at its end (lines are stairs); None where nothing is known."""
        return stairs(values, self.block, digits)

    @property
    def layout(self) -> Layout:
        days = self.grid.step_s * self.grid.steps / 86400
        pattern = "%H:%M" if days <= 1.01 else "%a %H:%M\n%d %b" if days <= 4 else "%d %b"  # noqa: PLR2004 - days
        return {"type": "date", "tickformat": pattern, "hoverformat": "%a %d %b %H:%M", "nticks": 9,
                "range": [self.at(self.grid.start), self.at(self.grid.end)]}


def washes(events: Sequence[EventFact], axis: StepAxis) -> list[dict[str, Any]]:
    """Pale bands where an event was in force."""
    return [
        wash(axis.at(axis.grid.at(event.first_step)), axis.at(axis.grid.at(event.first_step + event.steps)))
        for event in events
    ]
