"""Who decides the set-points: the rules that every planner is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from twin.assets import Schedule
from twin.controllers.lending import Lending, is_called, urgent_kw
from twin.controllers.sharing import TOLERANCE_KW, Grouping, Queue, serve_in_order, share_by_level
from twin.controllers.view import Bools, FleetView, Floats, charging_ask_kw, laxity_s
from twin.ensemble import Ensemble


class ScheduleMismatch(ValueError):
    """The schedule does not fit the world: another time grid, shape, or EVSEs the world does not have."""


class Uncontrolled:
    """No control at all: full power from plug-in until the driver's target, whatever the connection point can bear."""

    charges_to_target = True
    asks_between = True

    def setpoints(self, view: FleetView) -> Floats:
        return view.max_charge_kw.copy()


class FollowSchedule:
    """Every EVSE holds the set-point that its schedule has for the running step.

    schedules: one for all replicas, or one for each. EVSEs that a schedule does not name stay at 0 kW.
    """

    charges_to_target = False
    asks_between = True

    def __init__(self, schedules: Schedule | Sequence[Schedule]) -> None:
        self.schedules = (schedules,) if isinstance(schedules, Schedule) else tuple(schedules)
        self._fitted: tuple[Ensemble, Floats] | None = None

    def setpoints(self, view: FleetView) -> Floats:
        """Raise `ScheduleMismatch` where a schedule is not of this ensemble."""
        if self._fitted is None or self._fitted[0] is not view.ensemble:
            self._fitted = view.ensemble, self._fit(view.ensemble)
        by_step = self._fitted[1][view.step]
        return np.tile(by_step, view.ensemble.slots // by_step.size) if by_step.size else by_step

    def part(self, begin: int, end: int) -> FollowSchedule:
        """What the replicas [begin, end) follow."""
        return FollowSchedule(self.schedules if len(self.schedules) == 1 else self.schedules[begin:end])

    def _fit(self, ensemble: Ensemble) -> Floats:
        """Set-points by step: shape (step, evse) for one schedule, (step, slot) for one per replica."""
        if len(self.schedules) not in {1, ensemble.replicas}:
            raise ScheduleMismatch(f"schedules: {len(self.schedules)}, expected 1 or one for each of the "
                                   f"{ensemble.replicas} replicas")
        known = {evse.id: column for column, evse in enumerate(ensemble.evses)}
        power = np.zeros((ensemble.grid.steps, len(self.schedules) * len(known)))
        for number, schedule in enumerate(self.schedules):
            if schedule.grid != ensemble.grid:
                raise ScheduleMismatch(f"schedule.grid: {schedule.grid}, expected {ensemble.grid}")
            if unknown := sorted(set(schedule.evse_ids) - set(known)):
                raise ScheduleMismatch(f"schedule.evse_ids: {', '.join(unknown)}, expected EVSEs of the ensemble")
            columns = [number * len(known) + known[evse_id] for evse_id in schedule.evse_ids]
            if len(set(columns)) != len(columns):
                raise ScheduleMismatch("schedule.evse_ids: an EVSE is named twice, expected each once")
            power[:, columns] = schedule.power_kw.T
        return power


class RoomSharing(ABC):
    """What all controllers under a cap have in common: cars that want energy share the room of their connection point.

    Where all can have their full power they get it. No share lies between 0 and the minimum of EVSE and car, and room
    stays unused only where everyone has what it can take, or where no waiting car's minimum fits.

    discharges: where an event or a limit lowers the cap of the connection point, or the building is above it, cars
        discharge towards it: to make up for missing room, and for cars that must charge now to be ready in time.
        `twin.controllers.lending` says who gives and how much. There cars that must charge now come before all others.
        Everywhere else the rule is as without it, under which nothing ever discharges.
    asks_between: also decide at arrivals and departures between steps; else a car that plugs in waits for the next one.
    """

    charges_to_target = True

    def __init__(self, *, discharges: bool = False, asks_between: bool = False) -> None:
        self.discharges = discharges
        self.asks_between = asks_between
        self._places: Grouping | None = None
        self._lending = Lending()

    def setpoints(self, view: FleetView) -> Floats:
        if not np.count_nonzero(view.is_plugged):
            return np.zeros(view.is_plugged.size)
        ask = charging_ask_kw(view)
        relief = self._lending.relief_kw(view, ask, self) if self.discharges else None
        return self.shares_kw(view, ask, relief)

    def shares_kw(self, view: FleetView, ask_kw: Floats, relief_kw: Floats | None) -> Floats:
        """Share the room and what some cars give among those that ask; set-points in kW, negative for who gives.

        ask_kw: what each car could take, at most; a row that is changed. relief_kw: what each gives, 0 or more; None:
        nobody gives.
        """
        given, room, places = ask_kw, view.room_kw, self._by_place(view)
        first = None
        if relief_kw is not None:
            given[relief_kw > 0.0] = 0.0
            room = room + places.sum(relief_kw)
        total = places.sum(given)
        if self.discharges and (is_tight := is_called(view) & (total > room)).any():
            first = urgent_kw(view, given, is_tight, room)
            given[first > 0.0] = 0.0
            room = room - places.sum(first)
            total = places.sum(given)
        room = np.maximum(room, 0.0)
        is_contended = total > room
        if np.count_nonzero(is_contended):
            self._share(view, given, room, total, is_contended)
        if first is not None:
            given += first
        return given if relief_kw is None else given - relief_kw

    def _by_place(self, view: FleetView) -> Grouping:
        """The slots of each connection point."""
        if self._places is None or self._places.group is not view.site:
            self._places = Grouping(view.site, view.room_kw.size)
        return self._places

    @abstractmethod
    def _share(self, view: FleetView, given: Floats, room: Floats, total: Floats, is_contended: Bools) -> None:
        """Bring `given`, the full asks in kW per slot, under the room of the contended connection points."""


class Proportional(RoomSharing):
    """The room is shared in proportion to what each car could take.

    Where minimum currents leave no room for everyone, the earliest declared departures are served.
    """

    def _share(self, view: FleetView, given: Floats, room: Floats, total: Floats, is_contended: Bools) -> None:
        share = np.divide(room, total, out=np.ones(room.size), where=is_contended)
        share = self._by_place(view).spread(share)
        if not np.count_nonzero(view.min_charge_kw):
            given *= share
            return
        ask = given.copy()
        given *= share
        is_short = given < view.min_charge_kw - TOLERANCE_KW
        is_short &= given > 0.0
        short = is_short.nonzero()[0]
        if not short.size:
            return
        is_starved = np.bincount(view.site[short], minlength=room.size) > 0
        cars = ((ask > 0.0) & is_starved[view.site]).nonzero()[0]
        given[cars] = share_by_level(
            ask[cars], view.min_charge_kw[cars], np.zeros(cars.size), view.declared_s[cars], view.site[cars], room
        )


class EarliestDeadline(RoomSharing):
    """The earliest declared departure first: each car in turn takes all it can until the room is gone."""

    def __init__(self, *, discharges: bool = False, asks_between: bool = False) -> None:
        super().__init__(discharges=discharges, asks_between=asks_between)
        self._queue: Queue | None = None

    def _share(self, view: FleetView, given: Floats, room: Floats, total: Floats, is_contended: Bools) -> None:
        del total
        # The order changes only where cars come and go or drivers change their mind, not with what the cars ask for.
        if self._queue is None or not self._queue.is_of(view.site, view.declared_s):
            self._queue = Queue(view.site, view.declared_s, room.size)
        given[:] = self._queue.serve_again(given, view.min_charge_kw, np.where(is_contended, room, np.inf))


class RoundRobin(RoomSharing):
    """In turns: each step the cars that have had the fewest take all they can; in order of EVSE where that is equal.

    A car that begins to ask joins the round that is running. Decides at steps only: a turn is a step.
    """

    def __init__(self, *, discharges: bool = False) -> None:
        super().__init__(discharges=discharges, asks_between=False)
        self._run: tuple[Ensemble, float] | None = None
        self._asked = np.zeros(0, dtype=np.int64)
        self._turns: Floats = np.zeros(0)

    def shares_kw(self, view: FleetView, ask_kw: Floats, relief_kw: Floats | None) -> Floats:
        # Rows are made anew, never written into: a copy of the rule may rehearse what is to come.
        if self._run is None or self._run[0] is not view.ensemble or view.now_s <= self._run[1]:
            self._asked, self._turns = np.full(view.visit.size, -1), np.zeros(view.visit.size)
        self._run = view.ensemble, view.now_s
        asking = np.where(ask_kw > 0.0, view.visit, -1)
        is_new, is_old = (asking >= 0) & (asking != self._asked), (asking >= 0) & (asking == self._asked)
        if is_new.any():
            running = np.full(view.room_kw.size, np.inf)
            np.minimum.at(running, view.site[is_old], self._turns[is_old])
            running[np.isinf(running)] = 0.0
            self._turns = np.where(is_new, running[view.site], self._turns)
        self._asked = asking
        given = super().shares_kw(view, ask_kw, relief_kw)
        self._turns = self._turns + (given > 0.0)
        return given

    def _share(self, view: FleetView, given: Floats, room: Floats, total: Floats, is_contended: Bools) -> None:
        del total
        cars = np.flatnonzero((given > 0.0) & is_contended[view.site])
        given[cars] = serve_in_order(
            given[cars], view.min_charge_kw[cars], self._turns[cars], view.site[cars], room
        )


class ProportionalToLaxity(RoomSharing):
    """Power in proportion to how little time a car has to spare: least laxity gets most.

    Laxity is the time left until the declared departure minus the time needed at full power. A car gets the fraction
    (level - laxity) / smoothing_s of its full power, between 0 and 1, with the level of its connection point that uses
    up the room. With the step as `smoothing_s` (None, the default) this is smoothed least-laxity-first: but for
    minimum currents no rule makes the least laxity after the step larger, and cars of equal laxity do not take turns
    at full power. A longer time spreads power over more cars.

    Source: N. Chen, Kurniawan, Nakahira, L. Chen, Low, "Smoothed Least-Laxity-First Algorithm for EV Charging",
    arXiv 2102.08610.
    """

    def __init__(
        self, *, smoothing_s: float | None = None, discharges: bool = False, asks_between: bool = False
    ) -> None:
        super().__init__(discharges=discharges, asks_between=asks_between)
        if smoothing_s is not None and not smoothing_s > 0.0:
            raise ValueError(f"smoothing_s: {smoothing_s!r}, expected more than 0 s")
        self.smoothing_s = smoothing_s

    def _share(self, view: FleetView, given: Floats, room: Floats, total: Floats, is_contended: Bools) -> None:
        del total
        cars = np.flatnonzero((given > 0.0) & is_contended[view.site])
        laxity = laxity_s(view, cars)
        smoothing_s = self.smoothing_s or float(view.ensemble.grid.step_s)
        given[cars] = share_by_level(
            given[cars], view.min_charge_kw[cars], laxity / smoothing_s, laxity, view.site[cars], room
        )
