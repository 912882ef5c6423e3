"""One block of replicas on its way through time: the agenda, the cars, and what each EVSE was last told.

SimPy holds one event per instant at which anything changes: cars that come and go, steps of the grid, orders that
arrive late, stairs of a ramp, cars that fall asleep, faults. All that happens at one instant, in all replicas, is done
at once on arrays; between instants the cars are exact without being touched (see `twin.battery`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import simpy
from numpy.typing import NDArray

from twin.assets import Response
from twin.battery import FleetState
from twin.controllers import Controller
from twin.engine.guests import Guests, VisitsOverlap
from twin.engine.hardware import KINDS, Condition, Letter, Limits, Link, Pairs
from twin.engine.record import StepRecord, VisitRecord
from twin.engine.view import View
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultKind, FaultPlan
from twin.ledger import LEDGER_TOLERANCE
from twin.response import Followers, Stair
from twin.response.sleep import Alarm, Sleepers
from twin.visits import Revisions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# With more slots than this share changing at an instant, whole rows are faster than picking them.
_FEW = 0.25


_AT_ONCE = Response()


@dataclass(slots=True)
class _Instant:
    """Everything that happens at one time."""

    step: int = -1
    plugs: list[tuple[Guests, Ints]] = field(default_factory=list)
    unplugs: list[tuple[Guests, Ints]] = field(default_factory=list)
    earlier_plugs: list[tuple[Guests, Ints]] = field(default_factory=list)
    earlier_unplugs: list[tuple[Guests, Ints]] = field(default_factory=list)
    fault_ends: list[Ints] = field(default_factory=list)
    fault_begins: list[Ints] = field(default_factory=list)
    back: list[Ints] = field(default_factory=list)
    revisions: list[tuple[Ints, Ints]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    fallbacks: list[tuple[Ints, Ints]] = field(default_factory=list)
    stairs: list[Stair] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)


class Course:
    """One run of some replicas: admit visits, run to a time, admit more, and ask for the outcome at the end."""

    def __init__(
        self, ensemble: Ensemble, controller: Controller, *, faults: FaultPlan | None, revisions: Revisions | None,
        response: bool, record_evses: bool, record_visits: bool,
    ) -> None:
        n = ensemble.slots
        self.ensemble, self.controller, self._revisions = ensemble, controller, revisions
        self.end_s = float(ensemble.grid.step_s * ensemble.grid.steps)
        self._pairs = Pairs(ensemble)
        self._kind = np.tile(self._pairs.kind, ensemble.replicas)
        self.fleet = FleetState(n)
        self._classes = self._pairs.classes(self.fleet, ensemble.vehicles)
        self._limits = Limits(n, self._pairs)
        self.view = View(ensemble, self.fleet, self._limits)
        self._departure_s, self._free_s = np.zeros(n), np.full(n, -np.inf)
        self._turn = np.zeros(n, dtype=np.int64)
        self._class = np.zeros(n, dtype=np.int64)
        self._wanted, self._received, self._taken = np.zeros(n), np.zeros(n), np.zeros(n)
        self._record = StepRecord(ensemble, self.view.site, has_evses=record_evses)
        self._visits = VisitRecord(n, len(ensemble.evses), is_kept=record_visits)
        self._occurrences: Counter[str] = Counter()
        self._agenda: dict[float, _Instant] = {}
        self._env = simpy.Environment()

        responses = [evse.response for evse in ensemble.evses]
        has_response = response and any(one != _AT_ONCE for one in responses)
        self._followers = Followers(responses * ensemble.replicas) if has_response else None
        sleeps = response and any(vehicle.sleep is not None for vehicle in ensemble.vehicles)
        self._sleepers = Sleepers(n, ensemble.vehicles) if sleeps else None
        self._faults = faults
        self._link = None if faults is None else Link(ensemble, faults)
        self._condition = None if faults is None else Condition(n)
        self._rated_kw = np.tile([evse.max_charge_kw for evse in ensemble.evses], ensemble.replicas)
        self._outage = np.zeros(n, dtype=np.int64)
        self._is_fallen_back = np.zeros(n, dtype=np.bool_)
        self._fallback_kw = np.zeros(n) if faults is None or not faults.fallback_kw.size else faults.fallback_kw
        self._is_direct = self._link is None and self._followers is None and self._sleepers is None
        # Where nobody decides between steps, and nothing but the car answers, a step's comings and goings are seen to
        # together at its end.
        self._is_patient = self._is_direct and revisions is None and not controller.asks_between
        if faults is not None:
            self._expect_faults(faults)
        self._at(0.0).step = 0

    # ------------------------------------------------------------------ agenda

    def admit(self, guests: Guests) -> None:
        """Put the visits of one table on the agenda; none of them may arrive before the time that was run to."""
        leaves = np.flatnonzero(guests.departure_s < self.end_s)
        leaves = leaves[np.argsort(guests.departure_s[leaves], kind="stable")]
        come, go = guests.arrival_s, guests.departure_s[leaves]
        if self._is_patient:
            # Who comes or goes inside a step is seen to at its end, each at its own time.
            step_s = float(self.ensemble.grid.step_s)
            come, go = np.ceil(come / step_s) * step_s, np.ceil(go / step_s) * step_s
        everyone = np.arange(guests.row.size)
        for begin, end, time_s in _groups(come):
            instant, rows = self._at(time_s), everyone[begin:end]
            for which, part in _split(rows, guests.arrival_s[rows] < time_s):
                (instant.earlier_plugs if which else instant.plugs).append((guests, part))
        for begin, end, time_s in _groups(go):
            instant, rows = self._at(time_s), leaves[begin:end]
            for which, part in _split(rows, guests.departure_s[rows] < time_s):
                (instant.earlier_unplugs if which else instant.unplugs).append((guests, part))
        if self._revisions is not None and guests.row.size:
            self._expect_revisions(self._revisions, guests)

    def run_until(self, time_s: float) -> None:
        """Let everything happen that happens before `time_s`."""
        if time_s > self._env.now:
            self._env.run(until=time_s)

    def finish(self) -> Outcome:
        """Run to the end of the grid and settle everything."""
        last = self._at(self.end_s)
        self.run_until(math.inf)
        self.fleet.advance_to(self.end_s)
        self._come_and_go(self.end_s, last.earlier_plugs, last.earlier_unplugs, is_earlier=True)
        self._record.close_step(self.ensemble.grid.steps - 1, self.fleet, self.view.is_plugged)
        stays = np.flatnonzero(self.view.is_plugged)
        energy = self.fleet.energy_at_now[stays]
        self._visits.close(self.view, stays, self.fleet, energy, self._departure_s[stays] <= self.end_s)
        ledger = self.fleet.ledger()
        ledger.check(LEDGER_TOLERANCE)
        factor = None if self._faults is None or (self._faults.meter_factor == 1.0).all() else self._faults.meter_factor
        if self._link is not None and self._link.lost:
            self._occurrences["order lost"] = self._link.lost
        return Outcome(
            ensemble=self.ensemble, import_kwh=self._record.import_kwh, export_kwh=self._record.export_kwh,
            evse_kwh=self._record.evse_kwh, battery_kwh=self._record.battery_kwh, visits=self._visits.outcome(),
            ledger=ledger, occurrences=dict(self._occurrences),
            metered_import_kwh=None if factor is None else ledger.import_kwh * factor,
            metered_export_kwh=None if factor is None else ledger.export_kwh * factor,
        )

    def _at(self, time_s: float) -> _Instant:
        """The instant at `time_s`, put on SimPy's queue when it is new."""
        instant = self._agenda.get(time_s)
        if instant is None:
            instant = self._agenda[time_s] = _Instant()
            # The exact time travels with the event: now + (t - now) may differ from t in the last bit.
            event = self._env.timeout(max(time_s - self._env.now, 0.0), time_s)
            event.callbacks.append(self._happen)
        return instant

    def _expect_faults(self, plan: FaultPlan) -> None:
        intervals = plan.intervals
        ahead = np.flatnonzero((intervals.start_s < self.end_s) & (intervals.end_s > 0.0))
        begins = np.maximum(intervals.start_s[ahead], 0.0)
        for begin, end, time_s in _groups(begins):
            self._at(time_s).fault_begins.append(ahead[begin:end])
        ends = ahead[np.argsort(intervals.end_s[ahead], kind="stable")]
        for begin, end, time_s in _groups(intervals.end_s[ends]):
            if time_s < self.end_s:
                self._at(time_s).fault_ends.append(ends[begin:end])

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
                self._at(max(float(revisions.time_s[number]), self._env.now)).revisions.append((numbers, slots))

    # ------------------------------------------------------------------ an instant

    def _happen(self, event: simpy.Event) -> None:
        now_s = float(event.value)  # type: ignore[arg-type]
        instant = self._agenda.pop(now_s)
        if now_s >= self.end_s:
            return
        self.fleet.advance_to(now_s)
        self.view.now_s = now_s
        if instant.earlier_plugs or instant.earlier_unplugs:
            self._come_and_go(now_s, instant.earlier_plugs, instant.earlier_unplugs, is_earlier=True)
        if instant.step >= 0:
            self._turn_step(instant.step)
        unsettled = self._turn_faults(now_s, instant) if instant.fault_ends or instant.fault_begins else []
        if instant.plugs or instant.unplugs:
            unsettled += self._come_and_go(now_s, instant.plugs, instant.unplugs, is_earlier=False)
        for numbers, slots in instant.revisions:
            self._revise(numbers, slots)
        if instant.step >= 0:
            self._decide(now_s, instant, None)
        elif self.controller.asks_between and (instant.plugs or instant.unplugs or instant.revisions):
            self._decide(now_s, instant, self._neighbours(instant))
        if not self._is_direct:
            self._settle(now_s, instant, unsettled)

    def _turn_step(self, step: int) -> None:
        if step > 0:
            self._record.close_step(step - 1, self.fleet, self.view.is_plugged)
        self.view.step = step
        if step + 1 < self.ensemble.grid.steps:
            self._at(float((step + 1) * self.ensemble.grid.step_s)).step = step + 1

    def _come_and_go(
        self, now_s: float, plugs: list[tuple[Guests, Ints]], unplugs: list[tuple[Guests, Ints]], *, is_earlier: bool
    ) -> list[Ints]:
        """Cars leave and come; slots whose hardware does something about it at once.

        With `is_earlier` each does so at its own time since the last step, so that several may take turns at one slot.
        """
        unsettled: list[Ints] = []
        while plugs or unplugs:
            waiting = sum(rows.size for _, rows in plugs + unplugs)
            stays: list[tuple[Guests, Ints]] = []
            for guests, rows in unplugs:
                is_there = self.view.visit[guests.slot[rows]] == guests.row[rows]
                self._unplug(guests, rows[is_there], is_earlier=is_earlier)
                stays += [(guests, rows[~is_there])] if not is_there.all() else []
            unplugs, outside = stays, []
            for guests, rows in plugs:
                slots = guests.slot[rows]
                self._turn[slots[::-1]] = rows[::-1]
                is_next = (self.view.visit[slots] < 0) & (self._turn[slots] == rows)
                unsettled += self._plug(now_s, guests, rows[is_next], is_earlier=is_earlier)
                outside += [(guests, rows[~is_next])] if not is_next.all() else []
            plugs = outside
            if plugs and sum(rows.size for _, rows in plugs + unplugs) == waiting:
                guests, rows = plugs[0]
                row = int(self.view.visit[guests.slot[rows[0]]])
                raise VisitsOverlap.at(self.ensemble, guests, int(rows[0]), row)
            if not plugs and sum(rows.size for _, rows in unplugs) == waiting:
                break
        return unsettled

    def _plug(self, now_s: float, guests: Guests, rows: Ints, *, is_earlier: bool) -> list[Ints]:
        view = self.view
        slots, vehicle, kind = guests.slot[rows], guests.vehicle[rows], self._kind[guests.slot[rows]]
        is_early = guests.arrival_s[rows] < self._free_s[slots]
        if is_early.any():
            raise VisitsOverlap.at(self.ensemble, guests, int(rows[is_early][0]), -1)
        view.is_plugged[slots] = True
        view.visit[slots] = guests.row[rows]
        view.target_kwh[slots], view.floor_kwh[slots] = guests.target_kwh[rows], guests.floor_kwh[rows]
        view.declared_s[slots] = guests.declared_s[rows]
        view.capacity_kwh[slots] = self._pairs.capacity_kwh[vehicle]
        view.efficiency[slots] = self._pairs.efficiency[kind, vehicle]
        self._departure_s[slots] = guests.departure_s[rows]
        self._limits.plug(slots, kind, vehicle)
        self._class[slots] = self._classes[kind, vehicle]
        ceiling = view.target_kwh[slots] if self.controller.charges_to_target else np.full(slots.size, np.inf)
        at_s = guests.arrival_s[rows] if is_earlier else None
        self.fleet.plug_many(
            slots, self._class[slots], guests.energy_kwh[rows], view.floor_kwh[slots], ceiling, at_s
        )
        self._visits.open(slots, self.fleet, at_s)
        return [] if self._is_direct else self._prepare(now_s, slots, vehicle)

    def _prepare(self, now_s: float, slots: Ints, vehicle: Ints) -> list[Ints]:
        """Link, hardware and cars begin a visit."""
        unsettled: list[Ints] = []
        if self._sleepers is not None:
            self._expect_alarms(self._sleepers.plug(now_s, slots, vehicle))
        if self._followers is not None:
            unsettled.append(slots[self._followers.has_idle_bias[slots]])
        if self._condition is not None:
            if stuck := self._condition.plug(slots):
                self._occurrences["visit stuck"] += stuck
            fallen = slots[self._is_fallen_back[slots]]
            self._received[fallen] = self._limits.usable_at(fallen, self._fallback_kw[fallen])
            unsettled += [slots[self._condition.is_affected[slots]], fallen]
        return unsettled

    def _unplug(self, guests: Guests, rows: Ints, *, is_earlier: bool) -> None:
        if not rows.size:
            return
        view, slots = self.view, guests.slot[rows]
        at_s = guests.departure_s[rows] if is_earlier else None
        energy = self.fleet.unplug_many(slots, at_s)
        self._visits.close(view, slots, self.fleet, energy, np.ones(slots.size, dtype=np.bool_))
        self._free_s[slots] = guests.departure_s[rows]
        view.is_plugged[slots] = False
        view.visit[slots] = -1
        for row in (view.target_kwh, view.floor_kwh, view.declared_s, view.capacity_kwh, view.efficiency):
            row[slots] = np.nan
        self._limits.unplug(slots)
        self._wanted[slots] = self._received[slots] = self._taken[slots] = 0.0
        if self._followers is not None:
            self._followers.reset(slots)
        if self._sleepers is not None:
            self._sleepers.unplug(slots)
        if self._condition is not None and self._link is not None:
            self._condition.unplug(slots)
            self._link.forget(slots)

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
            self.fleet.set_powers(slots, self._wanted[slots] if self._is_direct else self._taken[slots])

    # ------------------------------------------------------------------ from an order to the car

    def _neighbours(self, instant: _Instant) -> Ints | None:
        """All slots of the replicas in which someone comes, leaves or changes his mind; None: of all replicas.

        A decision between steps concerns these alone: other replicas are other futures.
        """
        replicas, evses = self.ensemble.replicas, len(self.ensemble.evses)
        if replicas == 1:
            return None
        slots = [guests.slot[rows] for guests, rows in instant.plugs + instant.unplugs]
        concerned = np.unique(np.concatenate(slots + [those for _, those in instant.revisions]) // evses)
        return None if concerned.size == replicas else (concerned[:, None] * evses + np.arange(evses)).reshape(-1)

    def _decide(self, now_s: float, instant: _Instant, concerned: Ints | None) -> None:
        """Ask the controller and order what is new at the slots that are concerned (None: at all)."""
        usable, before = self._limits.usable(self.controller.setpoints(self.view)), self._wanted
        if concerned is not None:
            decided = usable[concerned]
            usable = before.copy()
            usable[concerned] = decided
        self._wanted = usable
        if self._link is not None:
            if concerned is None and self._followers is None and self._sleepers is None and self._link.is_sure:
                self._hear(self._link, usable)
            else:
                self._send(now_s, instant, concerned)
            return
        if self._is_direct:
            self._drive(usable, before)
        elif (slots := np.flatnonzero(usable != before)).size:
            self._received[slots] = usable[slots]
            self._respond(now_s, instant, slots)

    def _hear(self, link: Link, usable: Floats) -> None:
        """`_send` for all slots where orders arrive at once and power follows at once: whole rows, few exceptions."""
        heard, out = usable.copy(), np.flatnonzero(link.is_out)
        heard[out] = self._received[out]
        told = usable.copy()
        told[out] = link.told_kw[out]
        link.told_kw, self._received = told, heard
        driven = heard
        if self._condition is not None and (ill := np.flatnonzero(self._condition.is_affected)).size:
            driven = heard.copy()
            driven[ill] = self._made_of(self._condition, ill, heard[ill])
        self._drive(driven, self._taken)
        self._taken = driven.copy() if driven is heard else driven

    def _drive(self, kw: Floats, before: Floats) -> None:
        """Bring what changes from `before` to `kw` to the cars."""
        changes = kw != before
        count = int(np.count_nonzero(changes))
        if count > _FEW * kw.size:
            self.fleet.set_powers(None, kw)
        elif count:
            slots = np.flatnonzero(changes)
            self.fleet.set_powers(slots, kw[slots])

    def _made_of(self, condition: Condition, slots: Ints, kw: Floats) -> Floats:
        """What faulty hardware at `slots` makes of `kw`."""
        made = condition.made_of(slots, kw, self._limits.max_charge_kw[slots], self._rated_kw[slots])
        return self._limits.usable_at(slots, made)

    def _send(self, now_s: float, instant: _Instant, slots: Ints | None) -> None:
        """Send what is wanted to `slots` (None: all), over a link that may be slow or lose it."""
        if self._link is None:
            return
        slots, letters = self._link.send(now_s, slots, self.view.visit, self._wanted)
        self._received[slots] = self._wanted[slots]
        self._respond(now_s, instant, slots)
        for letter in letters:
            if letter.time_s < self.end_s:
                self._at(letter.time_s).letters.append(letter)

    def _settle(self, now_s: float, instant: _Instant, unsettled: list[Ints]) -> None:
        """Let the link, the hardware and the cars do what is due now."""
        if self._link is not None:
            if instant.back:
                self._send(now_s, instant, np.concatenate(instant.back))
            unsettled += [self._open(self._link, letter) for letter in instant.letters]
            unsettled += [self._fall_back(self._link, *waiting) for waiting in instant.fallbacks]
        concerned = [slots for slots in unsettled if slots.size]
        if concerned:
            slots = np.unique(np.concatenate(concerned)) if len(concerned) > 1 else concerned[0]
            self._respond(now_s, instant, slots[self.view.is_plugged[slots]])
        if instant.stairs and self._followers is not None:
            slots, following = self._followers.climb(instant.stairs)
            for stair in following:
                if stair.time_s < self.end_s:
                    self._at(stair.time_s).stairs.append(stair)
            slots = slots[self.view.is_plugged[slots]]
            self._offer(now_s, slots, self._limits.clipped_at(slots, self._followers.level_kw[slots]))
        if instant.alarms and self._sleepers is not None:
            slots, felt, alarms = self._sleepers.ring(now_s, instant.alarms)
            self._expect_alarms(alarms)
            self._take(slots, felt)

    def _open(self, link: Link, letter: Letter) -> Ints:
        """A late order arrives, if the car is still there and the link is not down."""
        there = self.view.visit[letter.slots] == letter.visit
        unheard = there & link.is_out[letter.slots]
        link.forget(letter.slots[unheard], math.nan)
        there &= ~unheard
        slots: Ints = letter.slots[there]
        self._received[slots] = letter.kw[there]
        return slots

    def _fall_back(self, link: Link, slots: Ints, outage: Ints) -> Ints:
        """Without contact for too long chargers go to their fallback power."""
        slots = slots[link.is_out[slots] & (self._outage[slots] == outage)]
        self._is_fallen_back[slots] = True
        self._occurrences["fallback"] += int(slots.size)
        self._received[slots] = self._limits.usable_at(slots, self._fallback_kw[slots])
        link.forget(slots, math.nan)
        return slots

    def _turn_faults(self, now_s: float, instant: _Instant) -> list[Ints]:
        """Faults end and begin; the slots whose power they change."""
        plan, condition, link = self._faults, self._condition, self._link
        if plan is None or condition is None or link is None:
            return []
        intervals, outage = plan.intervals, KINDS.index(FaultKind.OUTAGE)
        touched: list[Ints] = []
        for rows in instant.fault_ends:
            condition.end(intervals.kind[rows], intervals.slot[rows])
            back = intervals.slot[rows[intervals.kind[rows] == outage]]
            link.is_out[back] = condition.is_under_way(FaultKind.OUTAGE, back)
            self._is_fallen_back[back] = link.is_out[back]
            instant.back.append(back)
            touched.append(intervals.slot[rows])
        for rows in instant.fault_begins:
            condition.begin(intervals.kind[rows], intervals.slot[rows], intervals.value[rows])
            for kind, count in zip(*np.unique(intervals.kind[rows], return_counts=True), strict=True):
                self._occurrences[KINDS[int(kind)].value] += int(count)
            cut = intervals.slot[rows[intervals.kind[rows] == outage]]
            link.is_out[cut] = True
            self._outage[cut] += 1
            touched.append(intervals.slot[rows])
            fallback_s = now_s + plan.fallback_after_s
            if cut.size and fallback_s < self.end_s:
                self._at(fallback_s).fallbacks.append((cut, self._outage[cut]))
        return touched

    def _respond(self, now_s: float, instant: _Instant, slots: Ints) -> None:
        """Hardware that has received a set-point, or whose condition has changed, acts on it."""
        kw = self._received[slots]
        if self._condition is not None and (affected := self._condition.is_affected[slots]).any():
            kw[affected] = self._made_of(self._condition, slots[affected], kw[affected])
            if self._followers is not None:
                # A contactor opens at once and without a ramp.
                dead = self._condition.has_no_power(slots)
                self._followers.reset(slots[dead])
                self._offer(now_s, slots[dead], kw[dead])
                slots, kw = slots[~dead], kw[~dead]
        if self._followers is None:
            self._offer(now_s, slots, kw)
            return
        for stair in self._followers.order(now_s, slots, kw):
            if stair.time_s <= now_s:
                instant.stairs.append(stair)
            elif stair.time_s < self.end_s:
                self._at(stair.time_s).stairs.append(stair)

    def _offer(self, now_s: float, slots: Ints, kw: Floats) -> None:
        """Offer power to the cars, which may be asleep."""
        if not slots.size:
            return
        if self._sleepers is not None:
            kw, alarms = self._sleepers.offer(now_s, slots, kw)
            self._expect_alarms(alarms)
        self._take(slots, kw)

    def _take(self, slots: Ints, kw: Floats) -> None:
        self._taken[slots] = kw
        self.fleet.set_powers(slots, kw)

    def _expect_alarms(self, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            if alarm.time_s < self.end_s:
                self._at(alarm.time_s).alarms.append(alarm)


def _groups(times_s: Floats) -> list[tuple[int, int, float]]:
    """Begin, end and value of each run of equal values of sorted `times_s`."""
    first = np.flatnonzero(np.diff(times_s, prepend=-np.inf))
    edges = [*first.tolist(), times_s.size]
    return list(zip(edges[:-1], edges[1:], times_s[first].tolist(), strict=True))


def _split(rows: Ints, is_earlier: NDArray[np.bool_]) -> Iterator[tuple[bool, Ints]]:
    """The rows that are earlier than their instant, and those that are not, where there are any."""
    for which in (True, False):
        part = rows[is_earlier == which]
        if part.size:
            yield which, part
