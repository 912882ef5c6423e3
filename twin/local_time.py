"""Wall-clock times of a place become instants; the two days a year on which that is not simple are handled here.

A recording's local time must mean one instant, so a time that the clocks skipped or showed twice is refused. A rule
("every day at 02:30") must mean something on every day, so it is moved on as clocks are.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

MINUTES_A_DAY = 24 * 60


class LocalTimeError(ValueError):
    """A local time names no instant or two; `reason` says which in a few words."""

    def __init__(self, local: datetime, zone: ZoneInfo, reason: str) -> None:
        super().__init__(f"{local.isoformat()} in {zone.key}: {reason}")
        self.reason = reason


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The one instant (UTC) at which clocks in `zone` show the naive `local`.

    Raises:
        LocalTimeError: the clocks skip this time (spring) or show it twice (autumn).
    """
    first = local.replace(tzinfo=zone, fold=0)
    if first.utcoffset() == local.replace(tzinfo=zone, fold=1).utcoffset():
        return first.astimezone(UTC)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        raise LocalTimeError(local, zone, "local time that clocks show twice")
    raise LocalTimeError(local, zone, "local time that clocks skip")


def scheduled(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant (UTC) of a naive `local` time of a rule.

    Times that clocks skip move on by the gap; of times that they show twice it is the first.
    """
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def scheduled_s(start: datetime, first: date, minutes: NDArray[np.int64], zone: ZoneInfo) -> NDArray[np.float64]:
    """Seconds from `start` to many local times of a rule, as `scheduled` has them.

    minutes: shown by clocks after the midnight at which `first` begins, each day of 24 hours; 0 or more.
    """
    midnight = datetime.combine(first, time())
    days = int(minutes.max(initial=0)) // MINUTES_A_DAY + 2

    def since(local: datetime) -> float:
        return (scheduled(local, zone) - start).total_seconds()

    shift_s = np.array([since(midnight + timedelta(days=day)) - day * 86400.0 for day in range(days)])
    day = minutes // MINUTES_A_DAY
    seconds: NDArray[np.float64] = shift_s[day] + minutes * 60.0
    changes = np.flatnonzero(shift_s[day] != shift_s[day + 1])
    if changes.size:  # days on which clocks change: time by time
        shown, row = np.unique(minutes[changes], return_inverse=True)
        seconds[changes] = np.array([since(midnight + timedelta(minutes=minute)) for minute in shown.tolist()])[row]
    return seconds
