"""Visits by rule: depots, homes and offices whose cars come and go at about the same local time each day.

Every draw is named by (seed, duty, replica, EVSE, day): a change of one of them changes no other draw. All are drawn at
once, as a month of a large depot in twenty replicas is some hundred thousand of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from twin.draws import uniforms
from twin.importers import Session
from twin.local_time import MINUTES_A_DAY, scheduled_s
from twin.scenario.fleet import group_ids
from twin.scenario.rows import known_vehicles
from twin.scenario.tables import Day, DutyTable, ScenarioFile, SocTable, TimeTable
from twin.scenario_error import ScenarioError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERYWHERE = "*"


@dataclass(frozen=True)
class DutyRows:
    """Visits by rule as columns, duty by duty, within a duty by replica, EVSE and day.

    duty: its index in the file. evse: index of the station. day: of arrival, local, as `date.toordinal` counts.
    arrival_s, departure_s: after the scenario's start. consents: whether the driver agrees to discharge.
    """

    duty: Ints
    evse: Ints
    day: Ints
    replica: Ints
    arrival_s: Floats
    departure_s: Floats
    arrival_soc: Floats
    consents: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.duty.size)

    @property
    def is_backwards(self) -> NDArray[np.bool_]:
        """Whether each would end before it begins."""
        return self.departure_s <= self.arrival_s

    def take(self, rows: Ints | NDArray[np.bool_]) -> Self:
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class Duties:
    """The duties of a scenario file, checked, ready to be drawn.

    Raises:
        ScenarioError: a duty names an unknown group or vehicle, or a time of day without a meaning.
    """

    def __init__(
        self, path: Path, file: ScenarioFile, station_ids: list[str], models: frozenset[str],
        start: datetime, end: datetime, zone: ZoneInfo,
    ) -> None:
        self.path, self.tables, self.stations = path, file.duties, station_ids
        self.seed, self.consent_share = file.truth.seed, file.drivers.v2g_consent_share
        self.start, self.end, self.zone = start, end, zone
        groups = {group.id: group_ids(group) for group in file.station_groups}
        index = {station: number for number, station in enumerate(station_ids)}
        self._evses = [
            np.array([index[name] for name in self._group(number, groups)], dtype=np.int64)
            for number in range(len(file.duties))
        ]
        for number, duty in enumerate(file.duties):
            self._require_meaning(f"$.duties[{number}]", duty, models, [other.id for other in file.duties[:number]])

    def rows(self, replicas: range) -> DutyRows:
        """All visits of these replicas whose arrival lies in the scenario's time."""
        none, real = np.zeros(0, dtype=np.int64), np.zeros(0)
        parts = [DutyRows(none, none, none, none, real, real, real, np.zeros(0, dtype=np.bool_))]
        parts += [self._rows_of(number, replicas) for number in range(len(self.tables))]
        return DutyRows.joined(parts)

    def losses(self, replicas: range) -> Iterator[str]:
        """Sentences on the duties some of whose visits would end before they begin.

        Raises:
            ScenarioError: so would all visits of a duty.
        """
        for number, duty in enumerate(self.tables):
            if duty.nights is None:
                continue  # leaves at the first departure after its arrival
            rows = self._rows_of(number, replicas)
            lost = np.flatnonzero(rows.is_backwards)
            if not lost.size:
                continue
            if lost.size == len(rows):
                (first,) = self.sessions(rows.take(lost[:1]))
                raise ScenarioError(
                    self.path, f"$.duties[{number}].nights", duty.nights,
                    f"departures after arrivals; {first.id} would come at {first.arrival.isoformat()} and leave at "
                    f"{first.departure.isoformat()}, and no other visit of the duty is possible either",
                )
            yield (
                f"duties[{number}] ({duty.id}).nights = {duty.nights}: {lost.size} of {len(rows)} visits (all "
                "replicas) would end before they begin; they are left out."
            )

    def id_of(self, duty: int, evse: int, day: int) -> str:
        """The id of a visit; it is the same in all replicas."""
        return f"{self.tables[duty].id}/{self.stations[evse]}/{date.fromordinal(day).isoformat()}"

    def ids(self, rows: DutyRows) -> list[str]:
        """The ids of all rows."""
        evses, first = len(self.stations), int(rows.day.min(initial=0))
        days = int(rows.day.max(initial=0)) - first + 1
        codes, row = np.unique((rows.duty * evses + rows.evse) * days + (rows.day - first), return_inverse=True)
        names = [
            self.id_of(code // days // evses, code // days % evses, first + code % days) for code in codes.tolist()
        ]
        return [names[k] for k in row.tolist()]

    def sessions(self, rows: DutyRows) -> list[Session]:
        """The rows as sessions, one by one, as a recording would hold them."""
        return [
            self._session(*row) for row in zip(
                rows.duty.tolist(), rows.evse.tolist(), rows.day.tolist(), rows.arrival_s.tolist(),
                rows.departure_s.tolist(), rows.arrival_soc.tolist(), rows.consents.tolist(), strict=True,
            )
        ]

    def car_key(self, duty: int, evse: int) -> str:
        """What the draw of the car is keyed by: the same car at one EVSE every day."""
        return f"{self.tables[duty].id}/{self.stations[evse]}"

    def label(self, duty: int, evse: int, day: int) -> str:
        """Where a visit stands, for messages."""
        return f"$.duties[{duty}], {self.stations[evse]} on {date.fromordinal(day).isoformat()}"

    def _session(
        self, duty: int, evse: int, day: int, arrival_s: float, departure_s: float, soc: float, consents: bool,
    ) -> Session:
        table = self.tables[duty]
        return Session(
            self.path, self.label(duty, evse, day), id=self.id_of(duty, evse, day), station=self.stations[evse],
            arrival=self.start + timedelta(seconds=arrival_s), departure=self.start + timedelta(seconds=departure_s),
            arrival_soc=soc, target_soc=table.target_soc, vehicle=table.vehicle, floor_soc=table.floor_soc,
            v2g_consent=consents, car=self.car_key(duty, evse),
        )

    def _group(self, number: int, groups: Mapping[str, list[str]]) -> list[str]:
        name = self.tables[number].group
        if name == EVERYWHERE:
            return self.stations
        if name in groups:
            return groups[name]
        if name in self.stations:
            return [name]
        raise ScenarioError(
            self.path, f"$.duties[{number}].group", name, 'a station group, a station or "*"'
        )

    def _require_meaning(self, where: str, duty: DutyTable, models: frozenset[str], before: list[str]) -> None:
        if duty.id in before:
            raise ScenarioError(self.path, f"{where}.id", duty.id, "every duty once")
        if duty.vehicle is not None and duty.vehicle not in models:
            raise ScenarioError(self.path, f"{where}.vehicle", duty.vehicle, known_vehicles(models, duty.vehicle))
        for name in ("arrival", "departure"):
            table = getattr(duty, name)
            if table.mean is None and (table.earliest is None or table.latest is None):
                expected = "a mean, or both earliest and latest (drawn evenly between)"
                raise ScenarioError(self.path, f"{where}.{name}", "no mean", expected)
        if duty.arrival_soc.low > duty.arrival_soc.high:
            raise ScenarioError(self.path, f"{where}.arrival_soc.low", duty.arrival_soc.low, "at most high")

    def _days(self, duty: DutyTable) -> Ints:
        # From the day before: who arrives after midnight by its rule arrives within the scenario.
        first = self.start.astimezone(self.zone).date().toordinal() - 1
        last = self.end.astimezone(self.zone).date().toordinal()
        chosen = [DAYS.index(day) for day in duty.days]
        days = np.arange(first, last + 1)
        return days[np.isin((days - 1) % 7, chosen)]  # day 1 is a Monday

    def _rows_of(self, number: int, replicas: range) -> DutyRows:
        duty = self.tables[number]
        named = _named_by(replicas, [self.stations[k] for k in self._evses[number].tolist()], self._days(duty))
        comes, arrives, leaves, soc = uniforms(self.seed, f"duty/{duty.id}", *named)
        (agrees, *_) = uniforms(self.seed, f"duty/{duty.id}/consent", *named[1:])
        days, evses = self._days(duty), self._evses[number]
        replica, evse, day = (grid.ravel() for grid in np.meshgrid(np.array(replicas), evses, days, indexing="ij"))
        there = np.flatnonzero(comes < duty.share)
        arrival_min, departure_min = _minutes(duty.arrival, arrives[there]), _minutes(duty.departure, leaves[there])
        first = date.fromordinal(int(days[0])) if days.size else self.start.date()
        since = (day[there] - first.toordinal()) * MINUTES_A_DAY
        arrival_s = scheduled_s(self.start, first, since + arrival_min, self.zone)
        leaves_min = since + departure_min + (duty.nights or 0) * MINUTES_A_DAY
        departure_s = scheduled_s(self.start, first, leaves_min, self.zone)
        while duty.nights is None and (early := departure_s <= arrival_s).any():
            # Instants decide, not what clocks show: 02:45 on the day that skips it comes after 03:15.
            leaves_min[early] += MINUTES_A_DAY
            departure_s[early] = scheduled_s(self.start, first, leaves_min[early], self.zone)
        rows = DutyRows(
            duty=np.full(there.size, number), evse=evse[there], day=day[there], replica=replica[there],
            arrival_s=arrival_s, departure_s=departure_s, arrival_soc=_soc(duty.arrival_soc, soc[there]),
            consents=agrees[there] < self.consent_share if duty.v2g_consent is None
            else np.full(there.size, duty.v2g_consent),
        )
        return rows.take((arrival_s >= 0.0) & (arrival_s < (self.end - self.start).total_seconds()))


def _named_by(replicas: range, stations: list[str], days: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Columns (replica, two words of the station's name, day) that name every draw of a duty."""
    names = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in stations]
    words = np.array([(name >> 32, name & 0xFFFFFFFF) for name in names], dtype=np.int64).reshape(-1, 2)
    replica, row, day = (
        grid.ravel() for grid in np.meshgrid(np.array(replicas), np.arange(len(stations)), days, indexing="ij")
    )
    return replica, words[row, 0], words[row, 1], day


def _minutes(table: TimeTable, drawn: Floats) -> Ints:
    """Whole minutes after local midnight, as people say them; from 24 h on it is the next day (22:00 to 02:00)."""
    low = _clock(table.earliest) if table.earliest is not None else None
    high = _clock(table.latest) if table.latest is not None else None
    if low is not None and high is not None and high < low:
        high += MINUTES_A_DAY
    if table.mean is None:
        # `Duties` has made sure that both ends are given.
        minutes = (low or 0.0) + drawn * ((high or 0.0) - (low or 0.0))
    else:
        mean = _clock(table.mean)
        if low is not None and mean < low:
            mean += MINUTES_A_DAY
        most = high if high is not None else 2.0 * MINUTES_A_DAY - 1.0
        minutes = np.clip(mean + ndtri(drawn) * table.sd_min, low if low is not None else 0.0, most)
    return np.rint(minutes).astype(np.int64)


def _clock(text: str) -> float:
    hours, minutes = text.split(":")
    return int(hours) * 60.0 + int(minutes)


def _soc(table: SocTable, drawn: Floats) -> Floats:
    if table.mean is None:
        return table.low + drawn * (table.high - table.low)
    soc: Floats = np.clip(table.mean + ndtri(drawn) * table.sd, table.low, table.high)
    return soc
