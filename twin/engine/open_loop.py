"""Uncontrolled charging from visit to visit, without a clock.

Where a car takes its full power from plug-in to target, whatever else happens, its visit depends on nothing but itself.
All visits of a table then run side by side, each on the time since its own arrival, through the same kernel as ever;
what each segment brings is laid out over the steps of the grid in closed form.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from twin.battery import FleetState
from twin.battery.segment import (
    BEGIN_S,
    FLOW,
    HOURS_PER_SECOND,
    PROPORTIONAL,
    QUADRATIC,
    RATE,
    STANDBY,
    B,
)
from twin.engine.guests import Guests, VisitsOverlap
from twin.engine.hardware import Pairs
from twin.ensemble import Ensemble, Outcome, VisitOutcome
from twin.ledger import LEDGER_TOLERANCE, Ledger

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TOGETHER = 8192
"""Visits that run side by side: their rows stay in a second-level cache."""


class OpenLoop:
    """Admit visits table by table; nothing is kept of a visit but its outcome and its share of the records."""

    def __init__(self, ensemble: Ensemble, *, record_evses: bool, record_visits: bool) -> None:
        n, steps = ensemble.slots, ensemble.grid.steps
        self._ensemble, self._record_visits = ensemble, record_visits
        self._step_s = float(ensemble.grid.step_s)
        self._pairs = Pairs(ensemble)
        self._kind = np.tile(self._pairs.kind, ensemble.replicas)
        points = len(ensemble.sites)
        self._point = (np.arange(ensemble.replicas)[:, None] * points + ensemble.site_of_evse).reshape(-1)
        self._import = np.zeros((ensemble.replicas * points, steps))
        self._evse = np.zeros((n, steps)) if record_evses else None
        self._battery = np.full((n, steps), np.nan) if record_evses else None
        self._free_s = np.full(n, -np.inf)
        self._total = np.zeros((3, n))
        self._visits: list[VisitOutcome] = []

    def admit(self, guests: Guests) -> None:
        """Run the visits of one table to their ends."""
        self._require_room(guests)
        for begin in range(0, guests.row.size, _TOGETHER):
            self._run(guests, slice(begin, begin + _TOGETHER))

    def finish(self) -> Outcome:
        """Settle everything. Raise `LedgerBroken` if energy was not conserved."""
        ensemble = self._ensemble
        shape = ensemble.replicas, -1, ensemble.grid.steps
        imported, stored, lost = self._total
        ledger = Ledger(imported, np.zeros_like(imported), stored, lost)
        ledger.check(LEDGER_TOLERANCE)
        by_point = self._import.reshape(shape)
        return Outcome(
            ensemble=ensemble, import_kwh=by_point, export_kwh=np.zeros_like(by_point),
            evse_kwh=None if self._evse is None else self._evse.reshape(shape),
            battery_kwh=None if self._battery is None else self._battery.reshape(shape),
            visits=VisitOutcome.in_order(self._visits), ledger=ledger,
        )

    def _require_room(self, guests: Guests) -> None:
        """Nobody comes before the car before has left."""
        order = np.argsort(guests.slot, kind="stable")
        slot, come, go = guests.slot[order], guests.arrival_s[order], guests.departure_s[order]
        is_first = np.diff(slot, prepend=-1) != 0
        free = np.where(is_first, self._free_s[slot], np.concatenate([[0.0], go[:-1]]))
        if (come < free).any():
            self._overlap(guests, int(order[np.argmax(come < free)]))
        is_last = np.diff(slot, append=-1) != 0
        self._free_s[slot[is_last]] = go[is_last]

    def _overlap(self, guests: Guests, place: int) -> NoReturn:
        there = np.flatnonzero((guests.slot == guests.slot[place]) & (guests.departure_s > guests.arrival_s[place]))
        there = there[there < place]
        raise VisitsOverlap.at(self._ensemble, guests, place, int(guests.row[there[-1]]) if there.size else -1)

    def _run(self, guests: Guests, which: slice) -> None:
        slot, vehicle, energy = guests.slot[which], guests.vehicle[which], guests.energy_kwh[which]
        arrival, departure = guests.arrival_s[which], guests.departure_s[which]
        end_s = self._step_s * self._ensemble.grid.steps
        kind, everyone = self._kind[slot], np.arange(slot.size)
        cars = FleetState(slot.size, keep_history=True)
        classes = self._pairs.classes(cars, self._ensemble.vehicles)
        cars.plug_many(everyone, classes[kind, vehicle], energy, guests.floor_kwh[which], guests.target_kwh[which])
        cars.set_powers(None, self._pairs.full_kw[kind, vehicle])
        stay = np.minimum(departure, end_s) - arrival
        cars.advance_to(float(stay.max()))
        left = cars.unplug_many(everyone, stay)
        imported, exported, lost = cars.registers_many(everyone)
        for account, amount in enumerate((imported, left - energy, lost)):
            self._total[account] += np.bincount(slot, amount, minlength=self._ensemble.slots)
        if self._record_visits:
            self._visits.append(VisitOutcome(
                row=guests.row[which], replica=slot // len(self._ensemble.evses), energy_kwh=left,
                imported_kwh=imported, exported_kwh=exported, lost_kwh=lost,
                shortfall_kwh=np.maximum(guests.target_kwh[which] - left, 0.0), has_left=departure <= end_s,
            ))
        self._lay_out(cars, slot, arrival, stay, energy)

    def _lay_out(self, cars: FleetState, slot: Ints, arrival: Floats, stay: Floats, energy: Floats) -> None:
        """Spread what flowed over the steps: each segment is cut at the steps it crosses."""
        history = cars.history()
        begin, rate = history.rows[BEGIN_S], history.rows[RATE]
        flows = (history.rows[FLOW] > 0.0) & (history.ends_s > begin)
        risen = _Risen(slot, arrival, stay, self._step_s) if self._battery is not None else None
        for is_tapering in (False, True):
            chosen = np.flatnonzero(flows & ((rate != 0.0) == is_tapering))
            if chosen.size:
                visit = history.slots[chosen]
                since, until = begin[chosen] + arrival[visit], history.ends_s[chosen] + arrival[visit]
                cuts = Cuts(since, until, self._step_s)
                law = _tapering if is_tapering else _constant
                through, moved = law(history.rows[:, chosen], cuts, needs_moved=risen is not None)
                self._book(cuts, slot[visit], through)
                if risen is not None:
                    risen.add(cuts, visit, moved)
        if risen is not None and self._battery is not None:
            risen.fill(self._battery, energy)

    def _book(self, cuts: Cuts, slot: Ints, through: Floats) -> None:
        # A table reaches over few steps of a long grid: add up over these alone.
        low, high = cuts.reach
        records = [(self._import, self._point[slot])] + ([] if self._evse is None else [(self._evse, slot)])
        for record, line in records:
            place = cuts.steps_from(line * (high - low) - low)
            added = np.bincount(place, through, record.shape[0] * (high - low))
            record[:, low:high] += added.reshape(record.shape[0], high - low)


class Cuts:
    """Intervals [since, until) cut at the steps they cross: the pieces of the first, then those of the second, ..."""

    def __init__(self, since: Floats, until: Floats, step_s: float) -> None:
        self.since, self.until, self.step_s = since, until, step_s
        self.first = np.floor(since / step_s).astype(np.int64)
        self.count = np.ceil(until / step_s).astype(np.int64) - self.first
        self.begin = np.cumsum(self.count) - self.count
        self.last = self.begin + self.count - 1
        self.pieces = int(self.count.sum())

    @property
    def reach(self) -> tuple[int, int]:
        """The half-open range of steps that the intervals touch."""
        return int(self.first.min()), int((self.first + self.count).max())

    def each(self, values: Floats) -> Floats:
        """The value of its interval for each piece."""
        return np.repeat(values, self.count)

    def steps_from(self, origin: Ints) -> Ints:
        """The step of each piece, plus the origin of its interval."""
        steps: Ints = np.repeat(origin + self.first - self.begin, self.count)
        steps += np.arange(self.pieces)
        return steps


def _constant(rows: Floats, cuts: Cuts, *, needs_moved: bool) -> tuple[Floats, Floats]:
    """Connector and battery energy of each piece of segments of constant power."""
    early = cuts.since - cuts.first * cuts.step_s
    late = (cuts.first + cuts.count) * cuts.step_s - cuts.until

    def spread(power: Floats) -> Floats:
        per_s = power * HOURS_PER_SECOND
        energy = cuts.each(per_s * cuts.step_s)
        energy[cuts.begin] -= per_s * early
        energy[cuts.last] -= per_s * late
        return energy

    return spread(rows[FLOW]), spread(rows[B]) if needs_moved else np.zeros(0)


def _tapering(rows: Floats, cuts: Cuts, *, needs_moved: bool) -> tuple[Floats, Floats]:
    """The same of segments that follow a falling limit; see `twin.battery.segment`."""
    rate, power = rows[RATE] * HOURS_PER_SECOND, rows[B]
    seconds = cuts.steps_from(np.ones_like(cuts.first)) * cuts.step_s - cuts.each(cuts.since)
    seconds[cuts.last] = cuts.until - cuts.since
    exponent = cuts.each(rate) * seconds
    # B/k expm1(k t): the rate is not 0 here, and expm1 keeps its precision near 0.
    moved = _added(cuts.each(power / rows[RATE]) * np.expm1(exponent), cuts)
    through = cuts.each(1.0 + rows[PROPORTIONAL]) * moved
    if rows[STANDBY].any():
        seconds *= cuts.each(rows[STANDBY] * HOURS_PER_SECOND)
        through += _added(seconds, cuts)
    if rows[QUADRATIC].any():
        exponent *= 2.0
        factor = cuts.each(rows[QUADRATIC] * power * power / (2.0 * rows[RATE]))
        through += _added(factor * np.expm1(exponent), cuts)
    return through, moved if needs_moved else np.zeros(0)


def _added(running: Floats, cuts: Cuts) -> Floats:
    """What each piece adds to the running sum of its interval."""
    added = np.diff(running, prepend=0.0)
    added[cuts.begin] = running[cuts.begin]
    return added


class _Risen:
    """By how much each battery rises in each step of its visit."""

    def __init__(self, slot: Ints, arrival: Floats, stay: Floats, step_s: float) -> None:
        self._slot, self._step_s, self._leaves = slot, step_s, arrival + stay
        self._cuts = Cuts(arrival, self._leaves, step_s)
        self._by_piece = np.zeros(self._cuts.pieces)

    def add(self, cuts: Cuts, visit: Ints, moved: Floats) -> None:
        place = cuts.steps_from(self._cuts.begin[visit] - self._cuts.first[visit])
        self._by_piece += np.bincount(place, moved, self._cuts.pieces)

    def fill(self, battery: Floats, energy: Floats) -> None:
        """Energy at the end of each step that a visit reaches; a car that leaves just then still counts."""
        cuts, sums = self._cuts, np.cumsum(self._by_piece)
        level = sums + cuts.each(energy - (sums[cuts.begin] - self._by_piece[cuts.begin]))
        step = cuts.steps_from(np.zeros_like(cuts.first))
        is_whole = np.ones(cuts.pieces, dtype=np.bool_)
        is_whole[cuts.last] = (cuts.first + cuts.count) * self._step_s <= self._leaves
        line = np.repeat(self._slot, cuts.count)
        battery[line[is_whole], step[is_whole]] = level[is_whole]
