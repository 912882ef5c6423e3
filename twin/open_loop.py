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
from twin.ensemble import Ensemble, Outcome, VisitOutcome
from twin.guests import Guests, VisitsOverlap
from twin.hardware import Pairs
from twin.ledger import LEDGER_TOLERANCE, Ledger
from twin.segment import (
    BEGIN_S,
    FLOW,
    HOURS_PER_SECOND,
    PROPORTIONAL,
    QUADRATIC,
    RATE,
    STANDBY,
    B,
    growth,
)

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
        begin = history.rows[BEGIN_S]
        flows = np.flatnonzero((history.rows[FLOW] > 0.0) & (history.ends_s > begin))
        visit, rows = history.slots[flows], history.rows[:, flows]
        since, until = begin[flows] + arrival[visit], history.ends_s[flows] + arrival[visit]
        first = np.floor(since / self._step_s).astype(np.int64)
        count = np.ceil(until / self._step_s).astype(np.int64) - first
        offset = np.cumsum(count) - count
        piece = np.repeat(np.arange(flows.size), count)
        step = np.arange(piece.size) - (offset - first)[piece]
        # Where each step ends inside its segment, in hours since the segment began; the last one with the segment.
        ends = ((step + 1) * self._step_s - since[piece]) * HOURS_PER_SECOND
        ends[offset + count - 1] = (until - since) * HOURS_PER_SECOND
        through, moved = _passed(rows, piece, ends)
        through, moved = _differences(through, offset), _differences(moved, offset)

        # A table reaches over few steps of a long grid: add up over these alone.
        low, high = int(first.min(initial=0)), int((first + count).max(initial=0))
        width, point = high - low, self._point[slot[visit]]
        if not width:
            return
        place = point[piece] * width + (step - low)
        self._import[:, low:high] += np.bincount(place, through, self._import.shape[0] * width).reshape(-1, width)
        if self._evse is not None and self._battery is not None:
            place = slot[visit[piece]] * width + (step - low)
            self._evse[:, low:high] += np.bincount(place, through, self._evse.shape[0] * width).reshape(-1, width)
            self._fill_batteries(slot, arrival, stay, energy, visit[piece], step, moved)

    def _fill_batteries(
        self, slot: Ints, arrival: Floats, stay: Floats, energy: Floats, visit: Ints, step: Ints, moved: Floats
    ) -> None:
        """Energy at the end of each step that a visit reaches; a car that leaves just then still counts."""
        if self._battery is None:
            return
        first = np.floor(arrival / self._step_s).astype(np.int64)
        count = np.ceil((arrival + stay) / self._step_s).astype(np.int64) - first
        offset = np.cumsum(count) - count
        gained = np.bincount(offset[visit] + step - first[visit], moved, int(count.sum()))
        whose = np.repeat(np.arange(slot.size), count)
        risen = np.cumsum(gained)
        before = risen[offset] - gained[offset]
        steps = np.arange(whose.size) - (offset - first)[whose]
        is_whole = (steps + 1) * self._step_s <= (arrival + stay)[whose]
        level = energy[whose] + (risen - before[whose])
        self._battery[slot[whose[is_whole]], steps[is_whole]] = level[is_whole]


def _passed(rows: Floats, piece: Ints, hours: Floats) -> tuple[Floats, Floats]:
    """Connector and battery energy from the begin of each piece's segment until `hours` later; see `twin.segment`."""
    through, moved = rows[FLOW][piece] * hours, rows[B][piece] * hours
    tapering = np.flatnonzero(rows[RATE][piece])
    if tapering.size:
        which, h = piece[tapering], hours[tapering]
        rate, power = rows[RATE][which], rows[B][which]
        fades = moved[tapering] * growth(rate * h)
        lost = rows[STANDBY][which] * h + rows[PROPORTIONAL][which] * fades
        if rows[QUADRATIC].any():
            lost += rows[QUADRATIC][which] * power * power * h * growth(2.0 * rate * h)
        moved[tapering] = fades
        through[tapering] = fades + lost
    return through, moved


def _differences(running: Floats, offset: Ints) -> Floats:
    """What each step adds to the running sums of its segment, which begin at `offset`."""
    added = np.diff(running, prepend=0.0)
    added[offset] = running[offset]
    return added
