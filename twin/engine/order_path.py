"""The way from what the controller wants to the car: link and fallback, faults, the hardware's response, sleep.

    wanted ──link──> received ──faults──> made of it ──response──> offered ──sleep──> taken ──> the battery

Where nothing is late or ramps, a whole decision travels as rows; otherwise slot by slot, as instants of the agenda.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin.assets import Response
from twin.battery import FleetState
from twin.engine.agenda import Agenda, Happening, Instant, Turn
from twin.engine.hardware import KINDS, OUTAGE, Condition, Letter, Limits, Link
from twin.engine.view import View
from twin.ensemble import Ensemble
from twin.faults import FaultIntervals, FaultPlan
from twin.response import Followers
from twin.response.sleep import Alarm, Sleepers

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# With more slots than this share changing at an instant, whole rows are faster than picking them.
_FEW = 0.125

_AT_ONCE = Response()


class OrderPath:
    """What each slot was last ordered, what has come of it on the way, and what stands in the way.

    response: hardware and cars answer as they do; False: at once and exactly. occurrences: what went wrong, counted.
    """

    def __init__(
        self, ensemble: Ensemble, fleet: FleetState, limits: Limits, view: View, agenda: Agenda,
        faults: FaultPlan | None, *, end_s: float, response: bool,
    ) -> None:
        n = ensemble.slots
        self._fleet, self._limits, self._view, self._agenda, self._end_s = fleet, limits, view, agenda, end_s
        self._wanted, self._received, self._taken = np.zeros(n), np.zeros(n), np.zeros(n)
        self.occurrences: Counter[str] = Counter()
        self._followers, self._sleepers = None, None
        if response and ensemble.is_slow_to_respond:
            responses = [evse.response for evse in ensemble.evses]
            if any(each != _AT_ONCE for each in responses):
                self._followers = Followers(responses * ensemble.replicas)
            if any(vehicle.sleep is not None for vehicle in ensemble.vehicles):
                self._sleepers = Sleepers(n, ensemble.vehicles)
        self._plan = faults
        self._link = None if faults is None else Link(ensemble, faults)
        self._condition = None if faults is None else Condition(n)
        kinds, kind = ensemble.kinds
        self._rated_kw = np.tile(np.array([evse.max_charge_kw for evse in kinds])[kind], ensemble.replicas)
        self._is_fallen_back = np.zeros(n, dtype=np.bool_)
        self._fallback_kw = np.zeros(n) if faults is None or not faults.fallback_kw.size else faults.fallback_kw
        self._is_immediate = self._followers is None and self._sleepers is None

    @property
    def is_prompt(self) -> bool:
        """An order that gets through is obeyed at once, so that slots may be seen to at times of their own."""
        return self._is_immediate and (self._link is None or self._link.is_sure)

    @property
    def taken_kw(self) -> Floats:
        """What each slot's hardware offers its car, whatever the grid makes of it."""
        return self._taken

    @property
    def orders_lost(self) -> int:
        return 0 if self._link is None else self._link.lost

    def expect_faults(self) -> None:
        """Put all faults on the agenda, and count those that begin."""
        if self._plan is None:
            return
        faults = self._plan.intervals
        ahead = ((faults.start_s < self._end_s) & (faults.end_s > 0.0)).nonzero()[0]
        begins_s, ends_s = np.maximum(faults.start_s[ahead], 0.0), faults.end_s[ahead]
        falls_s = begins_s + self._plan.fallback_after_s
        falls = (faults.kind[ahead] == OUTAGE) & (falls_s < np.minimum(ends_s, self._end_s))
        for turn, at_s, rows in (
            (Turn.FAULT_BEGINS, begins_s, ahead),
            (Turn.FAULT_ENDS, ends_s[ends_s < self._end_s], ahead[ends_s < self._end_s]),
            (Turn.FALLS_BACK, falls_s[falls], ahead[falls]),
        ):
            order = np.argsort(at_s, kind="stable")
            self._agenda.expect(turn, at_s[order], faults.slot[rows[order]], rows[order])
        for kind, count in zip(KINDS, np.bincount(faults.kind[ahead], minlength=len(KINDS)).tolist(), strict=True):
            if count:
                self.occurrences[kind.value] = count
        if falls.any():
            self.occurrences["fallback"] = int(np.count_nonzero(falls))

    # ------------------------------------------------------------------ cars

    def come(self, now_s: float, slots: Ints, vehicle: Ints) -> NDArray[np.bool_] | slice:
        """Cars plug in at `slots`; at which of them the hardware does something without an order."""
        if self._sleepers is not None:
            self._expect_alarms(self._sleepers.plug(now_s, slots, vehicle))
        is_active = None if self._followers is None else self._followers.has_idle_bias[slots]
        if self._condition is not None:
            if stuck := self._condition.plug(slots):
                self.occurrences["visit stuck"] += stuck
            fallen = slots[self._is_fallen_back[slots]]
            if fallen.size and self._link is not None:
                self._received[fallen] = self._limits.usable_at(fallen, self._fallback_kw[fallen])
                self._link.forget(fallen, math.nan)
            is_odd = self._condition.is_affected[slots]
            if self._is_immediate and np.count_nonzero(is_odd):
                # Without power nothing happens, and hardware that responds at once has nothing to forget.
                is_odd &= ~self._condition.has_no_power(slots)
            is_odd |= self._is_fallen_back[slots]
            is_active = is_odd if is_active is None else is_active | is_odd
        return slice(0) if is_active is None else is_active

    def leave(self, slots: Ints) -> None:
        """Cars are gone from `slots`, and with them what was ordered for them."""
        self._wanted[slots] = self._received[slots] = self._taken[slots] = 0.0
        if self._followers is not None:
            self._followers.reset(slots)
        if self._sleepers is not None:
            self._sleepers.unplug(slots)
        if self._condition is not None and self._link is not None:
            self._condition.unplug(slots)
            self._link.forget(slots)

    def hold(self, slots: Ints) -> None:
        """Cars that were replugged by the kernel go on as before."""
        self._fleet.set_powers(slots, self._taken[slots])

    # ------------------------------------------------------------------ orders

    def order(self, now_s: float, instant: Instant, usable: Floats, concerned: Ints | None) -> None:
        """The controller has decided `usable`; only for the slots that are `concerned` (None: for all)."""
        before = self._wanted
        if concerned is not None:
            decided = usable[concerned]
            usable = before.copy()
            usable[concerned] = decided
        self._wanted = usable
        if self._link is not None and not self._link.is_sure:
            self._send(self._link, now_s, instant, concerned)
            return
        changes = usable != before
        count = np.count_nonzero(changes)
        if self._is_immediate and count > _FEW * usable.size:
            self._order_all(usable)
        elif count:
            slots = changes.nonzero()[0]
            if self._link is not None:
                self._send(self._link, now_s, instant, slots)
            else:
                self._received[slots] = usable[slots]
                self._respond(now_s, instant, slots)

    def _order_all(self, usable: Floats) -> None:
        """The same, slot by slot, as `_send` and `_respond`, by whole rows with a few exceptions."""
        heard = usable
        if self._link is not None:
            out, told_kw = self._link.is_out.nonzero()[0], self._link.told_kw
            told_out = told_kw[out]
            np.copyto(told_kw, usable)
            if out.size:
                heard = usable.copy()
                heard[out] = self._received[out]
                told_kw[out] = told_out
        np.copyto(self._received, heard)
        if self._condition is not None and (ill := self._condition.is_affected.nonzero()[0]).size:
            heard = heard.copy()
            heard[ill] = self._made_of(self._condition, ill, heard[ill])
        np.copyto(self._taken, heard)
        self._fleet.set_powers(None, heard)

    def _send(self, link: Link, now_s: float, instant: Instant, slots: Ints | None) -> None:
        """Send what is wanted to `slots` (None: all), over a link that may be slow or lose it."""
        slots, letters = link.send(now_s, slots, self._view.visit, self._wanted)
        self._received[slots] = self._wanted[slots]
        self._respond(now_s, instant, slots)
        for letter in letters:
            if letter.time_s < self._end_s:
                self._agenda.at(letter.time_s).letters.append(letter)

    # ------------------------------------------------------------------ what is due

    def turn(self, happening: Happening) -> None:
        """Faults end or begin, chargers without contact fall back; nothing is done about it yet."""
        if self._plan is None or self._condition is None or self._link is None:
            return
        faults, slots, rows = self._plan.intervals, happening.slots, happening.rows
        if happening.turn is Turn.FALLS_BACK:
            self._is_fallen_back[slots] = True
            self._received[slots] = self._limits.usable_at(slots, self._fallback_kw[slots])
            self._link.forget(slots, math.nan)
            return
        kind = faults.kind[rows]
        if happening.turn is Turn.FAULT_ENDS:
            self._condition.end(kind, slots)
        else:
            self._condition.begin(kind, slots, faults.value[rows])
        is_cut = kind == OUTAGE
        if np.count_nonzero(is_cut):
            cut = slots[is_cut]
            self._link.is_out[cut] = happening.turn is Turn.FAULT_BEGINS
            self._is_fallen_back[cut] = False

    def turn_early(self, happening: Happening) -> None:
        """`turn` since the last step, and what is heard when contact is back; where orders are prompt."""
        self.turn(happening)
        if self._link is not None and self._plan is not None and happening.turn is Turn.FAULT_ENDS:
            is_back = self._plan.intervals.kind[happening.rows] == OUTAGE
            if np.count_nonzero(is_back):
                back = happening.slots[is_back]
                self._received[back] = self._link.told_kw[back] = self._wanted[back]

    def respond_early(self, slots: Ints, at_s: Floats) -> None:
        """Hardware whose condition has changed acts on it, each at its own time since the last step."""
        there = self._view.is_plugged[slots]
        count = np.count_nonzero(there)
        if count and self._condition is not None:
            if count < there.size:
                slots, at_s = slots[there], at_s[there]
            kw = self._taken[slots] = self._made_of(self._condition, slots, self._received[slots])
            self._fleet.set_powers(slots, kw, at_s)

    def settle(self, now_s: float, instant: Instant, active: Sequence[Ints]) -> None:
        """Let the link, the hardware and the cars do what is due now; `active`: where cars have just come."""
        unsettled = [slots for slots in active if slots.size]
        if self._link is not None:
            faults = [each for each in instant.happenings if each.turn <= Turn.FAULT_BEGINS]
            unsettled += [each.slots for each in faults]
            if any(each.turn is Turn.FAULT_ENDS for each in faults):
                self._send(self._link, now_s, instant, self._back(faults))
            unsettled += [self._open(self._link, letter) for letter in instant.letters]
            for each in instant.happenings:
                if each.turn is Turn.FALLS_BACK:
                    self.turn(each)
                    unsettled.append(each.slots)
        if unsettled:
            slots = np.unique(np.concatenate(unsettled))
            self._respond(now_s, instant, slots[self._view.is_plugged[slots]])
        if instant.stairs and self._followers is not None:
            slots, following = self._followers.climb(instant.stairs)
            for stair in following:
                if stair.time_s < self._end_s:
                    self._agenda.at(stair.time_s).stairs.append(stair)
            slots = slots[self._view.is_plugged[slots]]
            self._offer(now_s, slots, self._limits.clipped_at(slots, self._followers.level_kw[slots]))
        if instant.alarms and self._sleepers is not None:
            slots, felt, alarms = self._sleepers.ring(now_s, instant.alarms)
            self._expect_alarms(alarms)
            self._take(slots, felt)

    def _back(self, faults: Sequence[Happening]) -> Ints:
        """Slots that have contact again."""
        intervals: FaultIntervals | None = None if self._plan is None else self._plan.intervals
        slots = [
            each.slots[intervals.kind[each.rows] == OUTAGE]
            for each in faults if each.turn is Turn.FAULT_ENDS and intervals is not None
        ]
        return np.concatenate(slots)

    def _open(self, link: Link, letter: Letter) -> Ints:
        """A late order arrives, if the car is still there and the link is not down."""
        there = self._view.visit[letter.slots] == letter.visit
        unheard = there & link.is_out[letter.slots]
        link.forget(letter.slots[unheard], math.nan)
        there &= ~unheard
        slots: Ints = letter.slots[there]
        self._received[slots] = letter.kw[there]
        return slots

    # ------------------------------------------------------------------ hardware and car

    def _made_of(self, condition: Condition, slots: Ints, kw: Floats) -> Floats:
        """What hardware at `slots`, faulty or not, makes of `kw`."""
        odd = condition.is_affected[slots].nonzero()[0]
        if odd.size:
            those = slots[odd]
            made = condition.made_of(those, kw[odd], self._limits.max_charge_kw[those], self._rated_kw[those])
            kw = kw.copy()
            kw[odd] = self._limits.usable_at(those, made) if made.any() else 0.0
        return kw

    def _respond(self, now_s: float, instant: Instant, slots: Ints) -> None:
        """Hardware that has received a set-point, or whose condition has changed, acts on it."""
        kw = self._received[slots]
        if self._condition is not None and (affected := self._condition.is_affected[slots]).any():
            kw = self._made_of(self._condition, slots, kw)
            if self._followers is not None:
                # A contactor opens at once and without a ramp.
                dead = affected & self._condition.has_no_power(slots)
                self._followers.reset(slots[dead])
                self._offer(now_s, slots[dead], kw[dead])
                slots, kw = slots[~dead], kw[~dead]
        if self._followers is None:
            self._offer(now_s, slots, kw)
            return
        for stair in self._followers.order(now_s, slots, kw):
            if stair.time_s <= now_s:
                instant.stairs.append(stair)
            elif stair.time_s < self._end_s:
                self._agenda.at(stair.time_s).stairs.append(stair)

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
        self._fleet.set_powers(slots, kw)

    def _expect_alarms(self, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            if alarm.time_s < self._end_s:
                self._agenda.at(alarm.time_s).alarms.append(alarm)
