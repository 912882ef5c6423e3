"""Uncontrolled charging from visit to visit, without a clock.

Where a car takes its full power from plug-in to target, whatever else happens, its visit depends on nothing but itself.
All visits of a table then run side by side, each on the time since its own arrival (see `twin.battery.full_charge`);
what each piece of their charges brings is laid out over the steps of the grid in closed form.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from twin.battery.full_charge import SLOPE, FullCharge, Stretches
from twin.battery.segment import HOURS_PER_SECOND
from twin.engine.guests import Guests, VisitsOverlap
from twin.engine.hardware import Pairs
from twin.engine.step_cuts import ConstantOverSteps, Cuts, StepGrowth, TaperOverSteps
from twin.ensemble import Ensemble, Outcome, VisitOutcome
from twin.ledger import LEDGER_TOLERANCE, Ledger

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SECONDS_PER_HOUR = 3600.0

_TOGETHER = 1024
"""Visits that run side by side at most: more of them would only be slower, since their rows leave the cache."""

_PIECES = 40_000
"""Steps that visits side by side reach over, about: the same for the rows of pieces that stays are cut into."""


class OpenLoop:
    """Admit visits table by table; nothing is kept of a visit but its outcome and its share of the records."""

    def __init__(self, ensemble: Ensemble, *, record_evses: bool, record_visits: bool) -> None:
        n, steps = ensemble.slots, ensemble.grid.steps
        self._ensemble, self._record_visits = ensemble, record_visits
        self._step_s = float(ensemble.grid.step_s)
        pairs = Pairs(ensemble)
        # The kind of a car at a connector: kind of EVSE * vehicles + vehicle.
        self._charge = FullCharge([
            (vehicle, loss, float(full_kw)) for losses, powers in zip(pairs.losses, pairs.full_kw, strict=True)
            for vehicle, loss, full_kw in zip(ensemble.vehicles, losses, powers, strict=True)
        ])
        self._kind = np.tile(pairs.kind * len(ensemble.vehicles), ensemble.replicas)
        self._growth = StepGrowth(self._charge.pieces[SLOPE], self._step_s)
        points = len(ensemble.sites)
        self._point = (np.arange(ensemble.replicas)[:, None] * points + ensemble.site_of_evse).reshape(-1)
        self._points = ensemble.replicas * points
        self._has_evses = record_evses
        # Energies by EVSE where these are kept, which the points are summed from in the end; else by point.
        self._record = np.zeros((n if record_evses else self._points, steps))
        self._battery = np.full((n, steps), np.nan) if record_evses else None
        self._free_s = np.full(n, -np.inf)
        self._total = np.zeros((3, n))
        self._visits: list[VisitOutcome] = []

    def admit(self, guests: Guests) -> None:
        """Run the visits of one table to their ends."""
        if not guests.row.size:
            return
        # Neighbours together: the records they share are then few at a time.
        order = np.argsort(guests.slot, kind="stable")
        self._require_room(guests, order)
        leaves = np.minimum(guests.departure_s, self._step_s * self._ensemble.grid.steps)
        steps = float((leaves - guests.arrival_s).mean()) / self._step_s + 1.0
        together = int(min(max(_PIECES / steps, 1.0), _TOGETHER))
        parts = [self._run(guests, order[begin : begin + together]) for begin in range(0, order.size, together)]
        results = np.empty((3, order.size))
        results[:, order] = np.concatenate(parts, axis=1)
        energy, imported, lost = results
        for account, amount in enumerate((imported, energy - guests.energy_kwh, lost)):
            self._total[account] += np.bincount(guests.slot, amount, minlength=self._ensemble.slots)
        if self._record_visits:
            end_s = self._step_s * self._ensemble.grid.steps
            self._visits.append(VisitOutcome(
                row=guests.row, replica=guests.slot // len(self._ensemble.evses), energy_kwh=energy,
                imported_kwh=imported, exported_kwh=np.zeros(energy.size), lost_kwh=lost,
                shortfall_kwh=np.maximum(guests.target_kwh - energy, 0.0), has_left=guests.departure_s <= end_s,
            ))

    def finish(self) -> Outcome:
        """Settle everything. Raise `LedgerBroken` if energy was not conserved."""
        ensemble = self._ensemble
        shape = ensemble.replicas, -1, ensemble.grid.steps
        imported, stored, lost = self._total
        ledger = Ledger(imported, np.zeros_like(imported), stored, lost)
        ledger.check(LEDGER_TOLERANCE)
        by_point = (self._by_point() if self._has_evses else self._record).reshape(shape)
        return Outcome(
            ensemble=ensemble, import_kwh=by_point, export_kwh=np.zeros_like(by_point),
            evse_kwh=self._record.reshape(shape) if self._has_evses else None,
            battery_kwh=None if self._battery is None else self._battery.reshape(shape),
            visits=VisitOutcome.in_order(self._visits), ledger=ledger,
        )

    def _by_point(self) -> Floats:
        order = np.argsort(self._point, kind="stable")
        point = self._point[order]
        first = np.flatnonzero(np.diff(point, prepend=-1))
        sums = np.zeros((self._points, self._record.shape[1]))
        sums[point[first]] = np.add.reduceat(self._record[order], first, axis=0)
        return sums

    def _require_room(self, guests: Guests, order: Ints) -> None:
        """Nobody comes before the car before has left. `order`: by slot, then by arrival."""
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

    def _run(self, guests: Guests, which: Ints) -> Floats:
        """Rows of energy in the battery on leaving, imported and lost, of some visits; their steps are booked."""
        slot, energy, arrival = guests.slot[which], guests.energy_kwh[which], guests.arrival_s[which]
        leaves = np.minimum(guests.departure_s[which], self._step_s * self._ensemble.grid.steps)
        kind = self._kind[slot] + guests.vehicle[which]
        charges = self._charge.run(kind, energy, guests.target_kwh[which], (leaves - arrival) * HOURS_PER_SECOND)
        rests = arrival.copy()
        for stretches in charges.stretches:
            visit = stretches.visit
            come, go = arrival[visit], leaves[visit]
            since = come + stretches.begin_h * _SECONDS_PER_HOUR
            until = np.minimum(since + stretches.hours * _SECONDS_PER_HOUR, go)
            np.copyto(until, go, where=stretches.is_cut)
            rests[visit] = until
            is_level, lasts = stretches.columns[SLOPE] == 0.0, until > since
            for which_law in (lasts & is_level, lasts & ~is_level):
                chosen = np.flatnonzero(which_law)
                if chosen.size == visit.size:
                    self._lay_out(stretches, Cuts(since, until, self._step_s), slot)
                elif chosen.size:
                    self._lay_out(stretches.part(chosen), Cuts(since[chosen], until[chosen], self._step_s), slot)
        if self._battery is not None:
            stands = np.flatnonzero(leaves > rests)
            cuts = Cuts(rests[stands], leaves[stands], self._step_s)
            place = cuts.counted_from(slot[stands] * self._battery.shape[1] + cuts.first)
            self._show(self._battery, cuts, place, np.repeat(charges.energy_kwh[stands], cuts.count))
        return np.array([charges.energy_kwh, charges.imported_kwh, charges.lost_kwh])

    def _lay_out(self, stretches: Stretches, cuts: Cuts, slot: Ints) -> None:
        """Spread stretches, all of constant power or all of taper, over the steps they cross."""
        laid = (TaperOverSteps if stretches.columns[SLOPE, 0] else ConstantOverSteps)(stretches, cuts, self._growth)
        steps = self._record.shape[1]
        line = slot[stretches.visit]
        place = cuts.counted_from((line if self._has_evses else self._point[line]) * steps + cuts.first)
        np.add.at(self._record.reshape(-1), place, laid.energy())
        if self._battery is not None:
            self._show(self._battery, cuts, place, laid.level())

    def _show(self, battery: Floats, cuts: Cuts, place: Ints, level: Floats) -> None:
        """Energy at the end of each step that is reached; a car that leaves just then still counts."""
        is_whole = cuts.is_whole()
        battery.reshape(-1)[place[is_whole]] = level[is_whole]
