"""How often drivers who are still there leave within the half hour, counted from past stays.

    arrival          declared                departure
      |---|---|---|---:---|---|---|---|---|---|--x         each | one half hour that the car was there to begin with,
                      :                                    the last one that in which it left

The share that left is taken of all who were there, by local time of day and by how far the declared departure lies
ahead or back. So a car that has outstayed its declared departure at four in the afternoon is compared with those which
had done so at four in the afternoon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

HALF_HOUR_S: Final = 1800
_OF_DAY = 48
_AFTER_DECLARED_H = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
"""Where the classes of (begin of the half hour - declared departure) change."""
_LEVEL_VISITS = 10.0
"""So many half hours does each level count beside those of the finer one."""
_LONGEST = timedelta(days=3)
"""A car that stays longer has been left."""


@dataclass(frozen=True, eq=False)
class LeavingRates:
    """Counts of half hours: those that began with the car there, and those in which it left.

    there, left: shape (48, 10), by local half hour of the day and class of time after the declared departure.
    stays: how many were counted.
    """

    there: Floats
    left: Floats
    stays: int
    timezone: str

    @classmethod
    def counted(cls, stays: Sequence[tuple[datetime, datetime, datetime]], *, timezone: str) -> LeavingRates:
        """From (arrival, declared departure, departure) of each stay."""
        there = np.zeros((_OF_DAY, len(_AFTER_DECLARED_H) + 1))
        left = np.zeros_like(there)
        for arrival, declared, departure in stays:
            first = int(arrival.timestamp() // HALF_HOUR_S)
            # One that leaves at the very end of a half hour leaves in it.
            last = max(first, -int(-departure.timestamp() // HALF_HOUR_S) - 1)
            most = first + int(_LONGEST.total_seconds()) // HALF_HOUR_S
            begins_s = HALF_HOUR_S * np.arange(first, min(last, most) + 1).astype(float)
            cells = _cells(begins_s, declared.timestamp(), timezone)
            np.add.at(there, cells, 1.0)
            if last <= most:
                left[cells[0][-1], cells[1][-1]] += 1.0
        return cls(there, left, len(stays), timezone)

    def updated(self, rates: Floats, begins_s: Floats, declared_s: float) -> Floats:
        """What is believed of each half hour, with what was counted for its time of day, then for its class, too.

        rates: chance to leave within the half hours that begin at these seconds since 1970, all on the half hour.
        """
        of_day, place = _cells(begins_s, declared_s, self.timezone)
        by_time: Floats = (_LEVEL_VISITS * rates + self.left.sum(axis=1)[of_day]) / (
            _LEVEL_VISITS + self.there.sum(axis=1)[of_day])
        by_both: Floats = (_LEVEL_VISITS * by_time + self.left[of_day, place]) / (
            _LEVEL_VISITS + self.there[of_day, place])
        return by_both


def _cells(begins_s: Floats, declared_s: float, timezone: str) -> tuple[Ints, Ints]:
    """Half hour of the local day, and class of time after the declared departure."""
    zone = ZoneInfo(timezone)
    first = datetime.fromtimestamp(float(begins_s[0]), UTC)
    offset_s = first.astimezone(zone).utcoffset() or timedelta()
    of_day = ((begins_s + offset_s.total_seconds()) // HALF_HOUR_S).astype(np.intp) % _OF_DAY
    after_h = (begins_s - declared_s) / 3600.0
    return of_day, np.searchsorted(_AFTER_DECLARED_H, after_h, side="right").astype(np.intp)
