"""Cars that are still to come, as virtual EVs of the plan: how many, how long, how much, learnt from past visits.

A virtual EV stands for the expected number of cars of one hour and one length of stay: 0.7 cars that want 10 kWh each
are one EV that wants 7 kWh and draws at most 0.7 times a car's power. They compete with the plugged cars for cap, peak
and event; no charger gets a profile from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.planning.site.problem import EvDemand, Floats, Problem
from aggregator.planning.site.safe import early_charging
from twin.assets import TimeGrid

NO_EVSE = ""
"""Where a virtual EV stands."""

_STAYS = (0.25, 0.75)
"""Quantiles of the stay: an equal part of an hour's cars each."""
_ENOUGH_VISITS = 20
_ENOUGH_DAYS = 5
_ALL_DAYS_COUNT = 2.0
"""So many days does the rate of all days count beside those of the weekday type."""
_LEAST_KWH = 0.5
_BUSY_DAY = 0.8
"""Virtual EVs are those of a day as busy as this quantile of days. Too many cost little: below the month's peak room is
free. Too few cost a higher peak, which lasts for the month.
"""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PastVisit:
    """A visit that is over. energy_kwh: what the car took, at the connector."""

    arrival: datetime
    departure: datetime
    energy_kwh: float


@dataclass(frozen=True, slots=True)
class Expected:
    """Cars of one hour: how many, and what a typical one does. stays_h: of an equal part each."""

    count: float
    energy_kwh: float
    stays_h: tuple[float, ...]


@dataclass(frozen=True)
class LearntArrivals:
    """Arrivals by weekday type (working day or weekend) and local hour.

    visits: those learnt from. days: working days and weekend days in which they were seen. power_kw: what one car
    draws at most.
    """

    visits: tuple[PastVisit, ...]
    days: tuple[int, int]
    power_kw: float
    timezone: str
    _cells: dict[tuple[bool, int], Expected] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def learnt(
        cls, visits: Iterable[PastVisit], *, before: datetime, power_kw: float, timezone: str, since: date | None = None
    ) -> LearntArrivals | None:
        """From visits that had ended before the local day of `before` began; None with fewer than five days of them.

        since: the first day that was observed; None is that of the first visit.
        """
        zone = ZoneInfo(timezone)
        today = before.astimezone(zone).date()
        known = [visit for visit in visits if visit.departure.astimezone(zone).date() < today]
        if since is None:
            since = min((visit.arrival.astimezone(zone).date() for visit in known), default=today)
        known = [visit for visit in known if visit.arrival.astimezone(zone).date() >= since]
        seen = [is_weekend(since + timedelta(days=k)) for k in range((today - since).days)]
        if len(seen) < _ENOUGH_DAYS or not known:
            return None
        return cls(tuple(known), (seen.count(False), seen.count(True)), power_kw, timezone)

    @cached_property
    def _table(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Of each visit: whether at a weekend, local hour, energy, hours of stay."""
        zone = ZoneInfo(self.timezone)
        local = [visit.arrival.astimezone(zone) for visit in self.visits]
        return (
            np.array([is_weekend(when.date()) for when in local], dtype=float),
            np.array([when.hour for when in local], dtype=float),
            np.array([visit.energy_kwh for visit in self.visits], dtype=float),
            np.array([(visit.departure - visit.arrival) / _HOUR for visit in self.visits], dtype=float),
        )

    def expected(self, *, weekend: bool, hour: int) -> Expected:
        """What one such hour brings. Where visits are few, those of the hours beside it, of the weekday type, of all
        days speak for their energy and stay; the count leans on that of all days.
        """
        if (weekend, hour) not in self._cells:
            self._cells[weekend, hour] = self._expected(weekend=weekend, hour=hour)
        return self._cells[weekend, hour]

    def _expected(self, *, weekend: bool, hour: int) -> Expected:
        is_end, at, energy_kwh, stay_h = self._table
        same_type, same_hour = is_end == weekend, at == hour
        rate = float(same_hour.sum()) / sum(self.days)
        count = (float((same_type & same_hour).sum()) + _ALL_DAYS_COUNT * rate) / (
            self.days[weekend] + _ALL_DAYS_COUNT)
        levels = (same_type & same_hour, same_type & (np.abs(at - hour) <= 1), same_type, np.ones(len(at), dtype=bool))
        like = next((level for level in levels if level.sum() >= _ENOUGH_VISITS), levels[-1])
        return Expected(count, float(energy_kwh[like].mean()),
                        tuple(np.quantile(stay_h[like], _STAYS).tolist()))

    @cached_property
    def busy(self) -> float:
        """Cars of a busy working day over those of a mean one; of weekend days where only those are known."""
        is_end, *_ = self._table
        zone = ZoneInfo(self.timezone)
        weekend = not self.days[False]
        dates = [visit.arrival.astimezone(zone).date() for visit in self.visits]
        by_day = Counter(day for day, end in zip(dates, is_end.tolist(), strict=True) if end == weekend)
        days = self.days[weekend]
        if not by_day:
            return 1.0
        counts = [*by_day.values(), *[0] * (days - len(by_day))]
        return max(1.0, float(np.quantile(counts, _BUSY_DAY)) * days / sum(counts))

    def virtual_evs(self, grid: TimeGrid, now: datetime) -> tuple[EvDemand, ...]:
        """The cars expected after `now` within the grid, in order of arrival."""
        zone = ZoneInfo(self.timezone)
        found: list[EvDemand] = []
        begin = now
        while begin < grid.end:
            end = datetime.fromtimestamp((begin.timestamp() // 3600 + 1) * 3600, now.tzinfo)
            local = begin.astimezone(zone)
            cars = self.expected(weekend=is_weekend(local.date()), hour=local.hour)
            arrival, share = begin + (end - begin) / 2, self.busy * (end - begin) / _HOUR / len(cars.stays_h)
            for stay_h in cars.stays_h:
                found += self._one(grid, arrival, stay_h, share * cars.count, cars.energy_kwh)
            begin = end
        return tuple(found)

    def _one(self, grid: TimeGrid, arrival: datetime, stay_h: float, count: float, energy_kwh: float) -> list[EvDemand]:
        arrive, power_kw = grid.index(arrival), count * self.power_kw
        depart = max(grid.index(arrival + stay_h * _HOUR), arrive + 1)
        want_kwh = min(count * energy_kwh, power_kw * (depart - arrive) * grid.step_hours)
        if arrive >= grid.steps or want_kwh < _LEAST_KWH:
            return []
        return [EvDemand(
            id=f"expected {arrival.isoformat()} for {stay_h:.2f} h", evse_id=NO_EVSE, arrive=arrive, depart=depart,
            energy_kwh=0.0, capacity_kwh=want_kwh, target_kwh=want_kwh, floor_kwh=0.0, max_charge_kw=power_kw,
            max_discharge_kw=0.0, charge_efficiency=1.0, discharge_efficiency=1.0, wear_per_kwh=0.0,
        )]


def is_weekend(day: date) -> bool:
    return day.weekday() >= 5  # noqa: PLR2004 - Saturday


def at_once(problem: Problem, expected: Sequence[EvDemand]) -> Floats:
    """The load of virtual EVs that charge as soon as they come, whatever the cap, kW of shape (steps,)."""
    room = np.full(problem.grid.steps, float(sum(ev.max_charge_kw for ev in expected)))
    alone = replace(problem, evs=tuple(expected), base_kw=np.zeros(problem.grid.steps), import_cap_kw=room, cuts=(),
                    commitments=(), feeder_rows=())
    load: Floats = early_charging(alone).sum(axis=0)
    return load
