"""What the building will draw: a typical day, corrected by what the meter says now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid

_CORRECTION_HALF_LIFE_H = 1.0
"""The present deviation from the typical day fades with this half-life."""


@dataclass(frozen=True)
class BaseLoadForecast:
    """hourly_kw: 24 values, the mean of each local hour of a typical day; timezone: IANA name."""

    hourly_kw: tuple[float, ...]
    timezone: str

    def __post_init__(self) -> None:
        if len(self.hourly_kw) != 24:  # noqa: PLR2004 - hours of a day
            raise ValueError(f"hourly_kw: {len(self.hourly_kw)} values, expected 24")

    def typical_kw(self, when: datetime) -> float:
        """Linear between the middles of the hours, local time."""
        local = when.astimezone(ZoneInfo(self.timezone))
        hour = local.hour + local.minute / 60.0 + local.second / 3600.0 - 0.5
        before = int(np.floor(hour))
        share = hour - before
        return self.hourly_kw[before % 24] * (1 - share) + self.hourly_kw[(before + 1) % 24] * share

    def expect(self, grid: TimeGrid, measured: tuple[datetime, float] | None = None) -> NDArray[np.float64]:
        """Mean building load per step in kW, shape (steps,); `measured` is the latest (time, kW) if there is one."""
        half = grid.step_s / 2
        middles = [grid.at(step).timestamp() + half for step in range(grid.steps)]
        typical = np.array([self.typical_kw(datetime.fromtimestamp(t, grid.start.tzinfo)) for t in middles])
        if measured is None:
            return typical
        at, kw = measured
        hours = np.maximum(0.0, (np.array(middles) - at.timestamp()) / 3600.0)
        return np.maximum(0.0, typical + (kw - self.typical_kw(at)) * 0.5 ** (hours / _CORRECTION_HALF_LIFE_H))
