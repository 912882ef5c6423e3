"""Who decides the set-points: a small protocol, and the rules that every planner is measured against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twin.assets import Schedule
from twin.controllers.data_sheet import losses, sure_kw
from twin.controllers.sharing import TOLERANCE_KW, Grouping, Queue, serve_in_order, share_by_level, sum_by
from twin.ensemble import Ensemble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FULL_TOLERANCE_KWH = 1e-6
"""A car that misses no more than this has what its driver asked for."""


class FleetView(Protocol):
    """What a controller may look at while the ensemble runs: arrays over slots (replica * evses + evse).

    ensemble: what runs. now_s, step: seconds after its start, and the running step. is_plugged: a car stands there.
    energy_kwh: in its battery, NaN without a car. target_kwh, floor_kwh, declared_s: what the driver has asked for by
    now (declared_s: departure in seconds after the start); NaN without a car.
    capacity_kwh, efficiency: of the car (charging, at full power; to size a need), NaN without a car.
    max_charge_kw, min_charge_kw, max_discharge_kw, min_discharge_kw: of EVSE and car together, at the connector; 0
    without a car. site: index replica * sites + site of each slot.
    room_kw: per connection point (replica * sites + site): import cap minus the building's load, this step.
    export_room_kw: the same for export: export cap plus the building's load.
    visit: row of the visit in the table that was given, -1 without a car.
    vehicle: index of the car in the ensemble's vehicles, which hold its data sheet; -1 without a car.
    """

    @property
    def ensemble(self) -> Ensemble: ...
    @property
    def now_s(self) -> float: ...
    @property
    def step(self) -> int: ...
    @property
    def is_plugged(self) -> NDArray[np.bool_]: ...
    @property
    def energy_kwh(self) -> Floats: ...
    @property
    def target_kwh(self) -> Floats: ...
    @property
    def floor_kwh(self) -> Floats: ...
    @property
    def declared_s(self) -> Floats: ...
    @property
    def capacity_kwh(self) -> Floats: ...
    @property
    def efficiency(self) -> Floats: ...
    @property
    def max_charge_kw(self) -> Floats: ...
    @property
    def min_charge_kw(self) -> Floats: ...
    @property
    def max_discharge_kw(self) -> Floats: ...
    @property
    def min_discharge_kw(self) -> Floats: ...
    @property
    def site(self) -> Ints: ...
    @property
    def room_kw(self) -> Floats: ...
    @property
    def export_room_kw(self) -> Floats: ...
    @property
    def visit(self) -> Ints: ...
    @property
    def vehicle(self) -> Ints: ...


class Controller(Protocol):
    """Decides the set-point of every slot at each step of the grid, and again when a car plugs in or leaves.

    charges_to_target: charging of a visit stops by itself at its target energy (else at the car's own limit).
    asks_between: also asked at arrivals and departures between steps.
    """

    @property
    def charges_to_target(self) -> bool: ...
    @property
    def asks_between(self) -> bool: ...

    def setpoints(self, view: FleetView) -> Floats:
        """Set-points in kW, shape (slots,): positive charges, negative discharges; empty slots are ignored."""
        ...


class ScheduleMismatch(ValueError):
    """The schedule does not fit the world: another time grid, shape, or EVSEs the world does not have."""


def charging_ask_kw(view: FleetView) -> Floats:
    """What each car could take now: its full power until it holds what its driver has asked for; else 0."""
    wants = view.target_kwh - view.energy_kwh > FULL_TOLERANCE_KWH
    ask: Floats = view.max_charge_kw * wants
    return ask


def laxity_s(view: FleetView, slots: Ints) -> Floats:
    """Seconds that each car could wait and still be ready in time: time left minus time needed at full power.

    Negative where even full power is too little. Time left is that until the declared departure.
    """
    missing = np.maximum(view.target_kwh[slots] - view.energy_kwh[slots], 0.0)
    needed_s = missing / (view.max_charge_kw[slots] * view.efficiency[slots]) * 3600.0
    spare: Floats = view.declared_s[slots] - view.now_s - needed_s
    return spare


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

    discharges: cars discharge to make up for a building above its cap (negative room), and for cars that must charge
        now to be ready in time: those with most time to spare first, as far as `spare_discharge_kw` goes, and never
        more than the export cap bears if every charging car stopped. Cars that must charge now then come before all
        others. Without it nothing ever discharges.
    asks_between: also decide at arrivals and departures between steps; else a car that plugs in waits for the next one.
    """

    charges_to_target = True

    def __init__(self, *, discharges: bool = False, asks_between: bool = False) -> None:
        self.discharges = discharges
        self.asks_between = asks_between
        self._places: Grouping | None = None

    def setpoints(self, view: FleetView) -> Floats:
        if not np.count_nonzero(view.is_plugged):
            return np.zeros(view.is_plugged.size)
        given, room = charging_ask_kw(view), view.room_kw
        total = self._by_place(view).sum(given)
        firm = None
        if self.discharges and (is_tight := total > room).any():
            firm = _firm_kw(view, given, is_tight)
            given[firm != 0.0] = 0.0
            room = room - self._by_place(view).sum(firm)
            total = self._by_place(view).sum(given)
        room = np.maximum(room, 0.0)
        is_contended = total > room
        if np.count_nonzero(is_contended):
            self._share(view, given, room, total, is_contended)
        if firm is not None:
            given += firm
        return given

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

    def setpoints(self, view: FleetView) -> Floats:
        if self._run is None or self._run[0] is not view.ensemble or view.now_s <= self._run[1]:
            self._asked, self._turns = np.full(view.visit.size, -1), np.zeros(view.visit.size)
        self._run = view.ensemble, view.now_s
        asking = np.where(charging_ask_kw(view) > 0.0, view.visit, -1)
        is_new, is_old = (asking >= 0) & (asking != self._asked), (asking >= 0) & (asking == self._asked)
        if is_new.any():
            running = np.full(view.room_kw.size, np.inf)
            np.minimum.at(running, view.site[is_old], self._turns[is_old])
            running[np.isinf(running)] = 0.0
            self._turns[is_new] = running[view.site[is_new]]
        self._asked = asking
        given = super().setpoints(view)
        self._turns += given > 0.0
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


def spare_discharge_kw(view: FleetView, slots: Ints) -> Floats:
    """The power each car can give for a whole step and still be ready in time.

    It stays above the driver's floor and its own, and after the step full power until the declared departure still
    reaches the target. What its data sheet lets it give falls with its energy: the least of the step counts, for others
    rely on it. A car that cannot hold its minimum discharge power for the step gives nothing.
    """
    step_s = float(view.ensemble.grid.step_s)
    own_floor = np.array([car.battery.soc_min for car in view.ensemble.vehicles])[view.vehicle[slots]]
    left_h = np.maximum(view.declared_s[slots] - view.now_s - step_s, 0.0) / 3600.0
    regained = view.max_charge_kw[slots] * view.efficiency[slots] * left_h
    reserve = np.maximum(view.floor_kwh[slots], view.target_kwh[slots] - regained)
    reserve = np.maximum(reserve, own_floor * view.capacity_kwh[slots])
    power = sure_kw(
        view.ensemble, slots, view.vehicle[slots], view.energy_kwh[slots], reserve, view.max_discharge_kw[slots],
        step_s / 3600.0,
    )
    usable: Floats = np.where(power >= np.maximum(view.min_discharge_kw[slots], TOLERANCE_KW), power, 0.0)
    return usable


def _firm_kw(view: FleetView, ask: Floats, is_tight: Bools) -> Floats:
    """What goes before all sharing: charging that cannot wait for another step, and the discharge that makes room.

    No car is in both: one that may discharge for the step could also wait for it. Nobody charges with more than keeps
    it busy for the step: a car that is done before its end leaves those that discharge for it to feed the grid. It may
    stop for other reasons, so that they give no more than may leave the site without it.
    """
    room, places, step_s = view.room_kw, view.room_kw.size, float(view.ensemble.grid.step_s)
    firm = np.zeros(view.site.size)
    urgent = np.flatnonzero((ask > 0.0) & is_tight[view.site])
    urgency = laxity_s(view, urgent)
    urgent, urgency = urgent[urgency < step_s], urgency[urgency < step_s]
    helpers = np.flatnonzero(view.is_plugged & (view.max_discharge_kw > 0.0) & is_tight[view.site])
    spare = spare_discharge_kw(view, helpers)
    helpers, spare = helpers[spare > 0.0], spare[spare > 0.0]
    wish, export_room = _through_the_step_kw(view, urgent, ask[urgent]), np.maximum(view.export_room_kw, 0.0)

    def served(room_kw: Floats) -> Floats:
        return serve_in_order(
            wish, view.min_charge_kw[urgent], urgency, view.site[urgent], np.maximum(room_kw, 0.0)
        )

    wanted = served(room + np.minimum(sum_by(view.site[helpers], spare, places), export_room))
    missing = np.clip(sum_by(view.site[urgent], wanted, places) - room, 0.0, export_room)
    relief = serve_in_order(
        spare, view.min_discharge_kw[helpers], -laxity_s(view, helpers), view.site[helpers], missing
    )
    # A minimum discharge power may leave a little missing: then those in a hurry get that much less.
    firm[urgent] = served(room + sum_by(view.site[helpers], relief, places))
    firm[helpers] = -relief
    return firm


def _through_the_step_kw(view: FleetView, slots: Ints, ask_kw: Floats) -> Floats:
    """The least power at which these cars have their target no sooner than the step ends, or than they leave."""
    step_s = float(view.ensemble.grid.step_s)
    left_s = np.minimum((view.step + 1) * step_s - view.now_s, view.declared_s[slots] - view.now_s)
    missing = view.target_kwh[slots] - view.energy_kwh[slots]
    # A car that is due within a second, or already, takes all it can.
    inward = np.divide(missing * 3600.0, left_s, out=np.full(slots.size, np.inf), where=left_s > 1.0)
    battery_kw = np.minimum(inward, ask_kw)
    standby, proportional, quadratic = losses(view.ensemble, slots, view.vehicle[slots])
    needed = battery_kw + standby + proportional * battery_kw + quadratic * battery_kw * battery_kw
    enough: Floats = np.minimum(ask_kw, np.maximum(needed, view.min_charge_kw[slots]))
    return enough
