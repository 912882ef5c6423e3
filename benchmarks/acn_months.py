"""Recorded months of ACN-Data as worlds of the twin: cars, stations, building and events of `acn_planning.py`.

Recorded are arrivals, departures, what drivers declared, and what each car drew, which is what it wants. The building,
the bidirectional stations (every third), states of charge and events are assumed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import acn_data
import numpy as np

from aggregator.planning.site.forecast import BaseLoadForecast
from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Site, TimeGrid, Vehicle, Visit, World

ZONE = ZoneInfo("America/Los_Angeles")
STEP_S = 900
LEARN_DAYS = 56
STATIONS = 20
"""The busiest of the site in the month and the days that teach it."""
IMPORT_CAP_KW = 200.0
# An office and laboratory building, the hours of twin/data/workplace_caltech.toml.
BUILDING_KW = (
    35.0, 35.0, 35.0, 35.0, 35.0, 35.5, 37.0, 40.0, 43.0, 45.5, 48.0, 50.0,
    51.5, 53.0, 54.5, 55.0, 54.5, 52.0, 47.5, 43.0, 40.0, 38.0, 36.5, 35.5,
)
EVENT_DAYS, EVENT_HOURS, EVENT_NET_KW, EVENT_KNOWN_H = (1, 3), (16, 18), 50.0, 10
BATTERY_KWH, FLOOR_SOC, LOSS = 62.0, 0.2, 0.08
"""Of the bidirectional cars; LOSS: lost per kWh stored, in any car."""


@dataclass(frozen=True)
class Month:
    """A billing month of a site: its sessions, and those before it."""

    site: str
    start: datetime
    days: int
    sessions: tuple[acn_data.Session, ...]
    before: tuple[acn_data.Session, ...]

    @property
    def grid(self) -> TimeGrid:
        end = (self.start.astimezone(ZONE).replace(tzinfo=None) + timedelta(days=self.days)).replace(tzinfo=ZONE)
        return TimeGrid(self.start, STEP_S, round((end - self.start) / timedelta(seconds=STEP_S)))


def months_of(sessions: Iterable[acn_data.Session], wanted: Iterable[tuple[str, date, int]]) -> list[Month]:
    """Claimed sessions of each month that stand alone at their station, and all that ended before it."""
    known = [s for s in sessions if s.is_claimed and s.departure > s.arrival and s.declared > s.arrival]
    found = []
    for site, first, most in wanted:
        start = datetime(first.year, first.month, first.day, tzinfo=ZONE)
        end = first
        while end.month == first.month and (end - first).days < most:
            end += timedelta(days=1)
        until = datetime(end.year, end.month, end.day, tzinfo=ZONE)
        since = start - timedelta(days=LEARN_DAYS)
        here = [s for s in known if s.site == site and since <= s.arrival < until]
        count = Counter(s.station for s in here)
        busiest = sorted(count, key=lambda station: (-count[station], station))[:STATIONS]
        here = [s for s in here if s.station in busiest]
        free_from: dict[str, datetime] = {}
        inside = []
        for session in sorted(here, key=lambda s: (s.arrival, s.departure)):
            within = session.arrival >= start and session.departure < until
            if within and session.arrival >= free_from.get(session.station, start):
                free_from[session.station] = session.departure
                inside.append(session)
        before = tuple(s for s in here if s.departure < start)
        found.append(Month(site, start.astimezone(UTC), (end - first).days, tuple(inside), before))
    return found


@cache
def car(*, is_v2g: bool) -> Vehicle:
    """Losses in proportion, no taper: the twin's car is the plan's, so only time is uncertain."""
    flat = PowerCurve((0.0, 1.0), (60.0, 60.0))
    battery = Battery(BATTERY_KWH if is_v2g else 150.0, flat, flat if is_v2g else None, LossCurve(0.0, LOSS, 0.0))
    return Vehicle("bidirectional" if is_v2g else "car", battery, 11.0 if is_v2g else 6.656, 11.0 if is_v2g else 0.0,
                   0.5 if is_v2g else 0.0, ac_phases=1)


def world_of(month: Month) -> World:
    """The month as it happened."""
    stations = sorted({session.station for session in (*month.sessions, *month.before)})
    v2g = set(stations[::3])
    evses = tuple(
        Evse(name, month.site, Current.DC, 11.0, 0.0, 11.0) if name in v2g
        else Evse(name, month.site, Current.AC, 6.656, 1.248, ac_phases=1, ac_volts=208.0)
        for name in stations
    )
    visits = []
    for number, session in enumerate(month.sessions):
        is_v2g = session.station in v2g
        vehicle = car(is_v2g=is_v2g)
        wanted = session.delivered_kwh / (1.0 + LOSS)
        energy = 10.0
        if is_v2g:
            share = hashlib.sha256(f"{session.station}{session.arrival.isoformat()}".encode()).digest()[0] / 255
            energy = min(BATTERY_KWH * (0.3 + 0.3 * share), max(BATTERY_KWH - wanted, 0.0))
        wanted = min(wanted, vehicle.battery.capacity_kwh - energy)
        visits.append(Visit(
            f"{number:06d}", session.station, vehicle, session.arrival.astimezone(UTC),
            session.departure.astimezone(UTC), energy, energy + wanted, min(FLOOR_SOC * BATTERY_KWH, energy)))
    grid = month.grid
    cap = np.full(grid.steps, IMPORT_CAP_KW)
    return World(
        Site(month.site, ZONE.key, IMPORT_CAP_KW), evses, tuple(visits), grid,
        BaseLoadForecast(BUILDING_KW, ZONE.key).expect(grid), cap, np.zeros(grid.steps))


def events_of(grid: TimeGrid) -> list[tuple[datetime, datetime, datetime]]:
    """(known from, start, end) of each event."""
    found = []
    day = grid.start.astimezone(ZONE).replace(hour=0)
    while day < grid.end:
        if day.weekday() in EVENT_DAYS:
            known, start, end = (
                day.replace(hour=hour).astimezone(UTC) for hour in (EVENT_KNOWN_H, *EVENT_HOURS))
            found.append((known, start, end))
        day = (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=ZONE)
    return found
