"""The street's grid as the service knows it: where the site hangs on it, and what else is expected to draw there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.forecast import BaseLoadForecast
from twin.assets import TimeGrid
from twin.feeder.network.admittance import terminals_of
from twin.feeder.network.model import Feeder
from twin.feeder.scene import DEFAULT_LIMITS, Limits, Scene

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbour:
    """What a connection point of the feeder draws besides the site: kW in each local hour, spread over its phases."""

    point: str
    load: BaseLoadForecast


@dataclass(frozen=True)
class Street:
    """A feeder with the site on it.

    building_point: where the site's building, and what is expected of cars still to come, hang; spread evenly over the
        point's phases. places: by EVSE id its connection point and phases.
    power_factor: of the EVSEs; load_power_factor: of the building and of the neighbours, where they draw.
    """

    feeder: Feeder
    building_point: str
    places: Mapping[str, tuple[str, str]]
    neighbours: tuple[Neighbour, ...] = ()
    power_factor: float = 1.0
    load_power_factor: float = 0.95
    limits: Limits = DEFAULT_LIMITS

    def scene(self, grid: TimeGrid, building_kw: Floats) -> Scene:
        """The street over `grid` with the building's expected load, shape (steps,).

        Raises:
            SceneError: a point or phase that the feeder does not have.
            FeederInvalid: a feeder that cannot be solved.
        """
        rows = _rows(self.feeder)
        base_w = np.zeros((sum(len(at) for at in rows.values()), grid.steps))
        for point, load_kw in (
            (self.building_point, building_kw),
            *((one.point, one.load.expect(grid, None)) for one in self.neighbours),
        ):
            at = rows[point]
            base_w[at] += 1000.0 * load_kw / len(at)
        return Scene(
            self.feeder, grid, base_w, sqrt(1.0 / self.load_power_factor**2 - 1.0) * np.maximum(base_w, 0.0),
            tuple(self.places), tuple(point for point, _ in self.places.values()),
            tuple(phases for _, phases in self.places.values()), self.power_factor, self.limits,
        )

    def worst_day(self, building_kw: float, timezone: str) -> Scene:
        """The 24 local hours of an ordinary day, with the building's worst load in each of them."""
        grid = TimeGrid(datetime(*_ORDINARY, tzinfo=ZoneInfo(timezone)).astimezone(UTC), 3600, 24)
        return self.scene(grid, np.full(grid.steps, building_kw))


_ORDINARY = 2025, 1, 15
"""A day on which no clock is put forward or back, anywhere."""


def _rows(feeder: Feeder) -> dict[str, list[int]]:
    """Rows of each connection point among the terminals."""
    rows: dict[str, list[int]] = {}
    for row, terminal in enumerate(terminals_of(feeder)):
        rows.setdefault(terminal.connection_point, []).append(row)
    return rows
