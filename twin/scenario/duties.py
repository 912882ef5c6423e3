"""Visits by rule: depots, homes and offices whose cars come and go at about the same local time each day.

Every draw is keyed by (seed, replica, duty, EVSE, day, what): a change of one of them changes no other draw.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from statistics import NormalDist
from zoneinfo import ZoneInfo

from twin.importers import Session
from twin.local_time import scheduled
from twin.scenario.fleet import group_ids
from twin.scenario.tables import Day, DutyTable, ScenarioFile, SocTable, TimeTable
from twin.scenario_error import ScenarioError

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
MINUTES_A_DAY = 24 * 60
EVERYWHERE = "*"


def duty_sessions(
    path: Path, file: ScenarioFile, station_ids: list[str], start: datetime, end: datetime, zone: ZoneInfo, *,
    replica: int = 0,
) -> Iterator[Session]:
    """Sessions of all duties whose arrival lies in [start, end), duty by duty, EVSE by EVSE, day by day.

    Raises:
        ScenarioError: a duty names an unknown group, or a time of day without a meaning.
    """
    groups = {group.id: group_ids(group) for group in file.station_groups}
    seen: set[str] = set()
    for index, duty in enumerate(file.duties):
        where = f"$.duties[{index}]"
        if duty.id in seen:
            raise ScenarioError(path, f"{where}.id", duty.id, "every duty once")
        seen.add(duty.id)
        if duty.group == EVERYWHERE:
            evses = station_ids
        elif duty.group in groups:
            evses = groups[duty.group]
        elif duty.group in station_ids:
            evses = [duty.group]
        else:
            raise ScenarioError(path, f"{where}.group", duty.group, 'a station group, a station or "*"')
        rule = _Duty(path, where, duty, f"{file.truth.seed}/{replica}", zone)
        for evse in evses:
            for day in _days(start, end, zone, duty):
                session = rule.session(evse, day)
                if session is not None and start <= session.arrival < end:
                    yield session


def _days(start: datetime, end: datetime, zone: ZoneInfo, duty: DutyTable) -> Iterator[date]:
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    while day <= last:
        if DAYS[day.weekday()] in duty.days:
            yield day
        day += DAY


class _Duty:
    """One rule with its draws."""

    def __init__(self, path: Path, where: str, duty: DutyTable, seed: str, zone: ZoneInfo) -> None:
        self.path, self.where, self.duty, self.zone = path, where, duty, zone
        self.prefix = f"{seed}/duty/{duty.id}"
        for name in ("arrival", "departure"):
            table = getattr(duty, name)
            if table.mean is None and (table.earliest is None or table.latest is None):
                raise ScenarioError(
                    path, f"{where}.{name}", "no mean", "a mean, or both earliest and latest (drawn evenly between)"
                )
        if duty.arrival_soc.low > duty.arrival_soc.high:
            raise ScenarioError(path, f"{where}.arrival_soc.low", duty.arrival_soc.low, "at most high")

    def session(self, evse: str, day: date) -> Session | None:
        """The visit of that day; None on a day on which the car does not come."""
        key = f"{self.prefix}/{evse}/{day.isoformat()}"
        duty = self.duty
        if random.Random(f"{key}/comes").random() >= duty.share:
            return None
        arrival_min = _minute(duty.arrival, f"{key}/arrival")
        departure_min = _minute(duty.departure, f"{key}/departure")
        nights = duty.nights if duty.nights is not None else int(departure_min <= arrival_min)
        arrival = self._at(day, arrival_min)
        departure = self._at(day + nights * DAY, departure_min)
        label = f"{self.where}, {evse} on {day.isoformat()}"
        return Session(
            self.path, label, id=f"{duty.id}/{evse}/{day.isoformat()}", station=evse, arrival=arrival,
            departure=departure, arrival_soc=_soc(duty.arrival_soc, f"{key}/soc"), target_soc=duty.target_soc,
            vehicle=duty.vehicle, floor_soc=duty.floor_soc, v2g_consent=duty.v2g_consent,
            car=f"{duty.id}/{evse}", is_recorded=False,
        )

    def _at(self, day: date, minute: float) -> datetime:
        # Whole minutes, as people say them; from 24:00 on it is the next day.
        local = datetime.combine(day, time()) + timedelta(minutes=round(minute))
        return scheduled(local, self.zone)


def _minute(table: TimeTable, key: str) -> float:
    """Minutes after local midnight; from 24 h on it is the next day (22:00 to 02:00 crosses midnight)."""
    low = _clock(table.earliest) if table.earliest is not None else None
    high = _clock(table.latest) if table.latest is not None else None
    if low is not None and high is not None and high < low:
        high += MINUTES_A_DAY
    aim = min(max(random.Random(key).random(), 1e-9), 1 - 1e-9)
    if table.mean is None:
        # `_Duty` has made sure that both ends are given.
        return (low or 0.0) + aim * ((high or 0.0) - (low or 0.0))
    mean = _clock(table.mean)
    if low is not None and mean < low:
        mean += MINUTES_A_DAY
    minute = mean + NormalDist().inv_cdf(aim) * table.sd_min
    return min(max(minute, low if low is not None else 0.0), high if high is not None else 2.0 * MINUTES_A_DAY - 1.0)


def _clock(text: str) -> float:
    hours, minutes = text.split(":")
    return int(hours) * 60.0 + int(minutes)


def _soc(table: SocTable, key: str) -> float:
    aim = min(max(random.Random(key).random(), 1e-9), 1 - 1e-9)
    if table.mean is None:
        return table.low + aim * (table.high - table.low)
    return min(max(table.mean + NormalDist().inv_cdf(aim) * table.sd, table.low), table.high)
