"""One block of replicas on its way through time: the clock, and the cars that come and go.

SimPy holds one event per instant at which anything changes: cars that come and go, steps of the grid, orders that
arrive late, stairs of a ramp, cars that fall asleep, faults. All that happens at one instant, in all replicas, is done
at once on arrays; between instants the cars are exact without being touched (see `twin.battery`). What lies between an
order and a car is in `twin.engine.order_path`.
"""

from __future__ import annotations

import math
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from twin.battery import FleetState
from twin.controllers import Controller
from twin.engine.agenda import Agenda, Instant, Turn, in_rounds
from twin.engine.guests import Guests, VisitsOverlap
from twin.engine.hardware import Limits, Pairs
from twin.engine.on_grid import Grid, OnGrid
from twin.engine.order_path import OrderPath
from twin.engine.record import StepRecord, VisitRecord
from twin.engine.view import View
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.ledger import LEDGER_TOLERANCE
from twin.visits import Revisions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_in_turn = attrgetter("turn")


class Course:
    """One run of some replicas: admit visits, run to a time, admit more, and ask for the outcome at the end."""

    def __init__(
        self, ensemble: Ensemble, controller: Controller, *, faults: FaultPlan | None, revisions: Revisions | None,
        response: bool, record_evses: bool, record_visits: bool, grid: Grid | None = None,
    ) -> None:
        n = ensemble.slots
        self.ensemble, self.controller, self._revisions = ensemble, controller, revisions
        self.end_s = float(ensemble.grid.step_s * ensemble.grid.steps)
        self._pairs = Pairs(ensemble)
        self._first_pair = np.tile(self._pairs.kind * len(ensemble.vehicles), ensemble.replicas)
        self.fleet = FleetState(n)
        self._classes = self._pairs.classes(self.fleet, ensemble.vehicles)
        self._limits = Limits(n, self._pairs)
        self.view = View(ensemble, self.fleet, self._limits)
        self._departure_s = np.zeros(n)
        self._class = np.zeros(n, dtype=np.int64)
        self._record = StepRecord(ensemble, self.view.site, has_evses=record_evses)
        self._visits = VisitRecord(n, len(ensemble.evses), is_kept=record_visits)
        self._agenda = Agenda(self._happen)
        self._path = OrderPath(
            ensemble, self.fleet, self._limits, self.view, self._agenda, faults, end_s=self.end_s, response=response
        )
        self._meter_factor = None if faults is None or (faults.meter_factor == 1.0).all() else faults.meter_factor
        self._on_grid = None if grid is None else OnGrid(
            grid, ensemble, self.fleet, self._limits, self._agenda, has_evses=record_evses
        )
        if self._on_grid is None and self._path.is_prompt and revisions is None and not controller.asks_between:
            # Nobody looks between steps, and each slot's course depends on itself alone: a step's comings, goings and
            # faults are seen to together at its end, each at its own time.
            self._agenda.due_every_s = float(ensemble.grid.step_s)
        self._path.expect_faults()
        self._agenda.at(0.0).step = 0

    # ------------------------------------------------------------------ from outside

    def admit(self, guests: Guests) -> None:
        """Put the visits of one table on the agenda; none of them may arrive before the time that was run to."""
        leaves = (guests.departure_s < self.end_s).nonzero()[0]
        leaves = leaves[np.argsort(guests.departure_s[leaves], kind="stable")]
        self._agenda.expect(Turn.COMES, guests.arrival_s, guests.slot, np.arange(guests.row.size), guests)
        self._agenda.expect(Turn.LEAVES, guests.departure_s[leaves], guests.slot[leaves], leaves, guests)
        if self._revisions is not None and guests.row.size:
            self._expect_revisions(self._revisions, guests)

    def run_until(self, time_s: float) -> None:
        """Let everything happen that happens before `time_s`."""
        self._agenda.run_until(time_s)

    def finish(self) -> Outcome:
        """Run to the end of the grid and settle everything."""
        last = self._agenda.at(self.end_s)
        self.run_until(math.inf)
        self.fleet.advance_to(self.end_s)
        self._catch_up(last)
        self._record.close_step(self.ensemble.grid.steps - 1, self.fleet)
        stays = self.view.is_plugged.nonzero()[0]
        energy = self.fleet.energy_at_now[stays]
        self._visits.close(self.view, stays, self.fleet, energy, self._departure_s[stays] <= self.end_s)
        ledger = self.fleet.ledger()
        ledger.check(LEDGER_TOLERANCE)
        factor, occurrences = self._meter_factor, self._path.occurrences
        if self._path.orders_lost:
            occurrences["order lost"] = self._path.orders_lost
        return Outcome(
            ensemble=self.ensemble, import_kwh=self._record.import_kwh, export_kwh=self._record.export_kwh,
            evse_kwh=self._record.evse_kwh, battery_kwh=self._record.battery_kwh, visits=self._visits.outcome(),
            ledger=ledger, occurrences=dict(occurrences),
            metered_import_kwh=None if factor is None else ledger.import_kwh * factor,
            metered_export_kwh=None if factor is None else ledger.export_kwh * factor,
            grid=None if self._on_grid is None else self._on_grid.finish(),
        )

    def _expect_revisions(self, revisions: Revisions, guests: Guests) -> None:
        order = np.argsort(guests.row, kind="stable")
        rows = guests.row[order]
        first, last = np.searchsorted(rows, revisions.row, "left"), np.searchsorted(rows, revisions.row, "right")
        evses = len(self.ensemble.evses)
        for number in np.flatnonzero((last > first) & (revisions.time_s < self.end_s)).tolist():
            slots = guests.slot[order[first[number]:last[number]]]
            replica = int(revisions.replica[number])
            if replica >= 0:
                slots = slots[self.ensemble.first_replica + slots // evses == replica]
            if slots.size:
                numbers = np.full(slots.size, number)
                time_s = max(float(revisions.time_s[number]), self._agenda.now_s)
                self._agenda.at(time_s).revisions.append((numbers, slots))

    # ------------------------------------------------------------------ an instant

    def _happen(self, now_s: float, instant: Instant) -> None:
        if now_s >= self.end_s:
            return
        self.fleet.advance_to(now_s)
        self.view.now_s = now_s
        self._catch_up(instant)
        if instant.step >= 0:
            self._turn_step(instant.step)
        active = []
        has_guests = False
        for each in sorted(instant.happenings, key=_in_turn):
            if each.turn <= Turn.FAULT_BEGINS:
                self._path.turn(each)
            elif each.turn is Turn.LEAVES:
                self._unplug(each.slots, None)
            elif each.turn is Turn.COMES and each.guests is not None:
                active.append(each.slots[self._plug(now_s, each.guests, each.rows, each.slots, None)])
            has_guests |= each.guests is not None
        for numbers, slots in instant.revisions:
            self._revise(numbers, slots)
        if instant.step >= 0:
            self._decide(now_s, instant, None)
        elif self.controller.asks_between and (has_guests or instant.revisions):
            self._decide(now_s, instant, self._neighbours(instant))
        if active or instant.calls_for_more:
            self._path.settle(now_s, instant, active)
        if self._on_grid is not None:
            self._on_grid.settle(now_s, self._path.taken_kw, self.view.visit, is_step=instant.step >= 0)

    def _turn_step(self, step: int) -> None:
        if step > 0:
            self._record.close_step(step - 1, self.fleet)
        self.view.step = step
        if step + 1 < self.ensemble.grid.steps:
            self._agenda.at(float((step + 1) * self.ensemble.grid.step_s)).step = step + 1

    def _decide(self, now_s: float, instant: Instant, concerned: Ints | None) -> None:
        """Ask the controller; its decision counts at the slots that are concerned (None: at all)."""
        decided = self.controller.setpoints(self.view)
        if self.fleet.is_empty and self._path.is_prompt:
            return
        usable = self._limits.usable(decided)
        self._path.order(now_s, instant, usable, concerned)

    def _catch_up(self, instant: Instant) -> None:
        """See to what came about since the last step, each slot at its own time."""
        for happenings in in_rounds(instant.earlier) if instant.earlier else ():
            odd = []
            for each in happenings:
                if each.guests is None:
                    self._path.turn_early(each)
                    odd.append((each.slots, each.at_s))
                elif each.turn is Turn.LEAVES:
                    self._unplug(each.slots, each.at_s)
                else:
                    is_active = self._plug(self.view.now_s, each.guests, each.rows, each.slots, each.at_s)
                    odd.append((each.slots[is_active], each.at_s[is_active]))
            if odd:
                slots, at_s = odd[0] if len(odd) == 1 else (np.concatenate(each) for each in zip(*odd, strict=True))
                self._path.respond_early(slots, at_s)

    def _plug(
        self, now_s: float, guests: Guests, rows: Ints, slots: Ints, at_s: Floats | None
    ) -> NDArray[np.bool_] | slice:
        """Cars come to `slots`, `at_s` or now; at which of them something happens without an order."""
        view, vehicle = self.view, guests.vehicle[rows]
        pair = self._first_pair[slots] + vehicle
        visit, standing = guests.row[rows], view.visit[slots]
        view.visit[slots[::-1]] = visit[::-1]  # the first of two at one slot is there
        clash = (standing >= 0) | (view.visit[slots] != visit)
        if np.count_nonzero(clash):
            first = int(clash.argmax())
            other = standing[first] if standing[first] >= 0 else view.visit[slots[first]]
            raise VisitsOverlap.at(self.ensemble, guests, int(rows[first]), int(other))
        view.is_plugged[slots], view.vehicle[slots] = True, vehicle
        target, floor = guests.target_kwh[rows], guests.floor_kwh[rows]
        view.target_kwh[slots], view.floor_kwh[slots] = target, floor
        view.declared_s[slots] = guests.declared_s[rows]
        view.capacity_kwh[slots] = self._pairs.capacity_kwh[vehicle]
        view.efficiency[slots] = self._pairs.efficiency.take(pair)
        self._departure_s[slots] = guests.departure_s[rows]
        self._limits.plug(slots, pair)
        classes = self._class[slots] = self._classes.take(pair)
        ceiling = target if self.controller.charges_to_target else np.full(slots.size, np.inf)
        self.fleet.plug_many(slots, classes, guests.energy_kwh[rows], floor, ceiling, at_s)
        self._visits.open(slots, self.fleet, at_s)
        return self._path.come(now_s, slots, vehicle)

    def _unplug(self, slots: Ints, at_s: Floats | None) -> None:
        """Cars leave `slots`, `at_s` or now."""
        view = self.view
        energy = self.fleet.unplug_many(slots, at_s)
        self._visits.close(view, slots, self.fleet, energy, np.ones(slots.size, dtype=np.bool_))
        view.clear(slots)
        self._limits.unplug(slots)
        self._path.leave(slots)

    def _revise(self, numbers: Ints, slots: Ints) -> None:
        """Drivers change their mind; one whose car is not there is not heard."""
        if self._revisions is None:
            return
        there = self.view.visit[slots] == self._revisions.row[numbers]
        slots, numbers = slots[there], numbers[there]
        declared, target = self._revisions.declared_s[numbers], self._revisions.target_kwh[numbers]
        self.view.declared_s[slots] = np.where(np.isnan(declared), self.view.declared_s[slots], declared)
        news = ~np.isnan(target)
        slots, target = slots[news], target[news]
        self.view.target_kwh[slots] = target
        if self.controller.charges_to_target and slots.size:
            # A new ceiling is a new stay for the kernel; the registers of the slot run on.
            energy = self.fleet.unplug_many(slots)
            self.fleet.plug_many(slots, self._class[slots], energy, self.view.floor_kwh[slots], target)
            self._path.hold(slots)

    def _neighbours(self, instant: Instant) -> Ints | None:
        """All slots of the replicas in which someone comes, leaves or changes his mind; None: of all replicas.

        A decision between steps concerns these alone: other replicas are other futures.
        """
        replicas, evses = self.ensemble.replicas, len(self.ensemble.evses)
        if replicas == 1:
            return None
        slots = [each.slots for each in instant.happenings if each.guests is not None]
        concerned = np.unique(np.concatenate(slots + [those for _, those in instant.revisions]) // evses)
        return None if concerned.size == replicas else (concerned[:, None] * evses + np.arange(evses)).reshape(-1)
