"""Visits by rule that take place: within the scenario's time, at a free EVSE, with the car that belongs there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.importers import Session
from twin.scenario.drawing import VisitDraw
from twin.scenario.duties import Duties, DutyRows
from twin.scenario.rows import BACKWARDS, OCCUPIED, UNFINISHED
from twin.scenario_error import ScenarioError
from twin.visits import VisitTable

Bools = NDArray[np.bool_]
Report = Callable[[ScenarioError], None]


@dataclass(frozen=True)
class RegularVisits:
    """The duties of a scenario among its other visits.

    fixed: recorded and written visits, in order of arrival; cars by rule give way to them. keeps_unfinished: visits
    that outlast the scenario are kept.
    """

    duties: Duties
    draw: VisitDraw
    fixed: Sequence[Session]
    keeps_unfinished: bool

    def rows(self, replicas: range, report: Report, dropped: Counter[str]) -> DutyRows:
        """Those that take place. What cannot be true is reported, what has no place is added to `dropped` by reason."""
        rows = self.duties.rows(replicas)
        dropped[BACKWARDS] += int(rows.is_backwards.sum())
        rows = rows.take(~rows.is_backwards)
        rows = rows.take(self._are_new(rows, report))
        length_s = (self.duties.end - self.duties.start).total_seconds()
        in_time = rows.departure_s <= length_s
        if not self.keeps_unfinished:
            dropped[UNFINISHED] += int((~in_time).sum())
            rows = rows.take(in_time)
        free = self._find_room(rows)
        dropped[OCCUPIED] += int((~free).sum())
        return rows.take(free)

    def table(self, rows: DutyRows, *, is_same_in_all: bool) -> VisitTable:
        """The rows as columns for the engine; is_same_in_all: without the column `replica`."""
        pair, at = np.unique(rows.duty * len(self.duties.stations) + rows.evse, return_inverse=True)
        models = list(self.draw.models)
        cars = [self._car(*divmod(code, len(self.duties.stations))) for code in pair.tolist()]
        batteries = [self.draw.models[name].vehicle.battery for name, _ in cars]
        floors, targets = ([*columns] for columns in zip(*(
            (self.draw.drivers.floor_soc if duty.floor_soc is None else duty.floor_soc, duty.target_soc)
            for duty in self.duties.tables
        ), strict=True))
        capacity = np.array([battery.capacity_kwh for battery in batteries])[at]
        most = np.array([battery.soc_max * battery.capacity_kwh for battery in batteries])[at]
        energy = rows.arrival_soc * capacity
        target = np.minimum(np.array(targets)[rows.duty] * capacity, np.maximum(most, energy))
        discharges = rows.consents & np.array([can for _, can in cars], dtype=np.bool_)[at]
        vehicle = np.array([models.index(name) for name, _ in cars], dtype=np.int64)[at]
        order = np.argsort(rows.arrival_s, kind="stable")
        return VisitTable(
            evse=rows.evse[order], vehicle=vehicle[order],
            arrival_s=rows.arrival_s[order], departure_s=rows.departure_s[order], declared_s=rows.departure_s[order],
            energy_kwh=energy[order], target_kwh=target[order],
            floor_kwh=np.where(discharges, np.array(floors)[rows.duty] * capacity, capacity)[order],
            replica=None if is_same_in_all else rows.replica[order], ids=tuple(self.duties.ids(rows.take(order))),
        )

    def _car(self, duty: int, evse: int) -> tuple[str, bool]:
        """The model of the car that comes there, and whether it can discharge there."""
        station = self.duties.stations[evse]
        car = self.draw.car(station, self.duties.car_key(duty, evse), self.duties.tables[duty].vehicle)
        return car.model, self.draw.can_discharge(station, car)

    def _are_new(self, rows: DutyRows, report: Report) -> Bools:
        """Whether no fixed visit has the id of the row."""
        taken = {session.id for session in self.fixed}
        if not taken:
            return np.ones(len(rows), dtype=np.bool_)
        is_twice = np.array([name in taken for name in self.duties.ids(rows)], dtype=np.bool_)
        for row in np.flatnonzero(is_twice & (rows.replica == 0)).tolist():
            session = self.duties.sessions(rows.take(np.array([row])))[0]
            report(ScenarioError(
                session.source, f"{session.label}, id", session.id, "every visit id once", "visit id twice"
            ))
        return ~is_twice

    def _find_room(self, rows: DutyRows) -> Bools:
        """Whether each finds its EVSE free: no fixed visit overlaps it, and who came before by rule has left."""
        free = np.ones(len(rows), dtype=np.bool_)
        for station in {session.station for session in self.fixed}:
            there = [session for session in self.fixed if session.station == station]
            mine = np.flatnonzero(rows.evse == self.duties.stations.index(station))
            free[mine] = ~self._meet(rows, mine, there)
        slot = rows.replica * len(self.duties.stations) + rows.evse
        order = np.lexsort((rows.arrival_s, slot))
        order = order[free[order]]
        follows = slot[order][1:] == slot[order][:-1]
        crowded = slot[order][1:][follows & (rows.arrival_s[order][1:] < rows.departure_s[order][:-1])]
        if not crowded.size:
            return free
        # Who gives way depends on who gave way before, so crowded EVSEs are gone through visit by visit.
        left_s: dict[int, float] = {}
        for row in order[np.isin(slot[order], crowded)].tolist():
            if rows.arrival_s[row] < left_s.get(slot[row], -np.inf):
                free[row] = False
            else:
                left_s[slot[row]] = rows.departure_s[row]
        return free

    def _meet(self, rows: DutyRows, mine: NDArray[np.int64], there: Sequence[Session]) -> Bools:
        """Whether each of the rows `mine` overlaps a visit of `there`, which do not overlap each other."""
        arrivals = np.array([(session.arrival - self.duties.start).total_seconds() for session in there])
        departures = np.array([(session.departure - self.duties.start).total_seconds() for session in there])
        following = np.searchsorted(arrivals, rows.departure_s[mine], side="left")
        met: Bools = (following > 0) & (departures[np.maximum(following - 1, 0)] > rows.arrival_s[mine])
        return met
