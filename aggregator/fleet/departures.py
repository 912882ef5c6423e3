"""When drivers really leave, compared with what they declare.

Trusting declared departures is wrong by more than half an hour for most drivers and too late for a third,
so the planner weighs missing energy by the chance that the driver is already gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from twin.assets import TimeGrid

# Real minus declared departure in minutes, claimed Caltech sessions of ACN-Data 2019 to 2021
# (Lee, Li, Low, e-Energy 2019): 5, 31, 50, 53 and 95 % quantiles; the ends bound the distribution.
_ACN_ERROR_MINUTES = (-720.0, -446.0, -30.0, 22.0, 30.0, 460.0, 900.0)
_ACN_PROBABILITY = (0.0, 0.05, 0.31, 0.50, 0.53, 0.95, 1.0)


@dataclass(frozen=True)
class DepartureErrors:
    """Distribution of (real - declared departure), piecewise linear between quantiles.

    minutes: increasing; probability: increasing from 0 to 1, one value for each.
    Raises a `ValueError` if the two do not describe a distribution.
    """

    minutes: tuple[float, ...] = _ACN_ERROR_MINUTES
    probability: tuple[float, ...] = _ACN_PROBABILITY

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.minutes, self.minutes[1:], strict=False))
        ends = (self.probability[0], self.probability[-1]) == (0.0, 1.0)
        ordered = all(a <= b for a, b in zip(self.probability, self.probability[1:], strict=False))
        if len(self.minutes) != len(self.probability) or not (rising and ends and ordered):
            raise ValueError(f"departure errors: {self.minutes} / {self.probability}, expected a distribution")

    @classmethod
    def learnt(cls, errors_minutes: Sequence[float], prior: DepartureErrors | None = None) -> DepartureErrors:
        """The site's own history when there is enough of it (50 sessions), else the prior."""
        if len(errors_minutes) < 50:  # noqa: PLR2004 - fewer sessions say little about the tails
            return prior or cls()
        levels = np.array([0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
        quantiles = np.quantile(np.asarray(errors_minutes, dtype=float), levels)
        quantiles += np.arange(len(levels)) * 1e-6  # ties (many exact departures) must still rise
        return cls(tuple(quantiles.tolist()), tuple(levels.tolist()))

    def leave_probability(self, grid: TimeGrid, now: datetime, declared: datetime) -> NDArray[np.float64]:
        """Chance that the car unplugs at the end of each step, given that it is still there at `now`.

        Returns shape (steps,), only for steps that end at or before the declared departure; later ones are 0,
        because the target is due by then anyway.
        """
        ends = np.array([(grid.at(step + 1) - declared).total_seconds() / 60.0 for step in range(grid.steps)])
        here = float(self._cdf(np.array([(now - declared).total_seconds() / 60.0]))[0])
        if here >= 1.0:
            return np.zeros(grid.steps)
        gone = np.maximum(self._cdf(ends), here)
        chance = np.diff(gone, prepend=here) / (1.0 - here)
        return np.where(ends <= 0.0, chance, 0.0)

    def _cdf(self, minutes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(minutes, self.minutes, self.probability)
