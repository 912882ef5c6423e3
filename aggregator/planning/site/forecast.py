"""What will be drawn: the building as on a typical day, corrected by the meter, and the cars still to come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid

_SIGMA = 1.96
_CORRECTION_HALF_LIFE_H = 1.0
"""The present deviation from the typical day fades with this half-life."""


@dataclass(frozen=True)
class ArrivalForecast:
    """The load of cars that are still to come, as an ordinary day has it; they are taken to charge at once.

    per_hour: 24 values, mean arrivals in each local hour. energy_kwh: mean energy of a visit, charger side.
    power_kw: what one car draws. Sources belong beside the figures, in the site's configuration.
    """

    per_hour: tuple[float, ...]
    energy_kwh: float
    power_kw: float
    timezone: str

    def __post_init__(self) -> None:
        if len(self.per_hour) != 24:  # noqa: PLR2004 - hours of a day
            raise ValueError(f"per_hour: {len(self.per_hour)} values, expected 24")

    def expect(self, grid: TimeGrid, now: datetime) -> NDArray[np.float64]:
        """Mean load per step in kW of the cars expected after `now`, shape (steps,)."""
        zone, step_h = ZoneInfo(self.timezone), grid.step_hours
        arrivals = np.array([self.per_hour[grid.at(k).astimezone(zone).hour] * step_h for k in range(grid.steps)])
        arrivals[0] *= (grid.at(1) - now).total_seconds() / grid.step_s
        lasting = self.energy_kwh / self.power_kw / step_h
        # Share of each step from arrival on in which a car draws. Arrivals are uniform within a step, so what is drawn
        # by the end of the k-th is the mean of min(lasting, time since arrival) over (k, k + 1).
        edge = np.arange(int(lasting) + 3, dtype=float)
        area = np.where(edge <= lasting, edge**2 / 2.0, lasting * edge - lasting**2 / 2.0)
        shape = np.diff(np.diff(area), prepend=0.0)
        return np.convolve(arrivals, shape)[: grid.steps] * self.power_kw

    def spread(self, expected_kw: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much the 97.5 % quantile of that load lies above its mean: arrivals are independent of each other."""
        return _SIGMA * np.sqrt(expected_kw * self.power_kw)


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
