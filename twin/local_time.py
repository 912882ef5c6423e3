"""Wall-clock times of a place become instants; the two days a year on which that is not simple are handled here.

A recording's local time must mean one instant, so a time that the clocks skipped or showed twice is refused. A rule
("every day at 02:30") must mean something on every day, so it is moved on as clocks are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


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
