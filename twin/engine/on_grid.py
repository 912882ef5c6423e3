"""Where EVSEs hang on a feeder: what the grid lets flow of what hardware and cars would take.

Whenever an order or a car has come or gone in a replica, and at every step, the grid is told what its EVSEs would draw
by themselves, and says what they draw; it also says when to ask again at the latest. Between those instants a car may
taper off: the grid hears of that at the next one, whatever happens in other replicas.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from twin.battery import FleetState
from twin.engine.agenda import Agenda
from twin.engine.hardware import Limits
from twin.ensemble import Ensemble, GridRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WITHHELD_KW = 1e-6
"""A difference below this is none."""


class GridAnswer(Protocol):
    """What flows from now on, (evse, replica), until somebody asks again, not later than `next_event_s`."""

    @property
    def delivered_kw(self) -> Floats: ...

    @property
    def q_kvar(self) -> Floats: ...

    @property
    def next_event_s(self) -> float: ...


class Grid(Protocol):
    """A feeder with inverters on it; `twin.feeder.inverters.in_time.GridResponse` is one.

    trips: (evse, replica). unsolved_s, unsettled_s: (replica,).
    """

    trips: Ints
    unsolved_s: Floats
    unsettled_s: Floats

    @property
    def replicas(self) -> int: ...

    def part(self, begin: int, end: int) -> Self: ...

    def answer(self, now_s: float, ordered_kw: Floats) -> GridAnswer: ...


class OnGrid:
    """The slots of one block of replicas on their grid. has_evses: keep the reactive energy of each step."""

    def __init__(
        self, grid: Grid, ensemble: Ensemble, fleet: FleetState, limits: Limits, agenda: Agenda, *, has_evses: bool
    ) -> None:
        if grid.replicas != ensemble.replicas:
            raise ValueError(f"grid: {grid.replicas} replicas, expected {ensemble.replicas}")
        self._grid, self._fleet, self._limits, self._agenda = grid, fleet, limits, agenda
        self._end_s = float(ensemble.grid.step_s * ensemble.grid.steps)
        self._shape = (ensemble.replicas, len(ensemble.evses))
        n = ensemble.slots
        self._visit, self._taken_kw = np.full(n, -1, dtype=np.int64), np.zeros(n)
        self._ordered_kw, self._withheld_kw = np.zeros(n), np.zeros(n)
        self._held, self._held_kw = np.zeros(0, dtype=np.int64), np.zeros(0)
        self._withheld_import_kwh, self._withheld_export_kwh = np.zeros(n), np.zeros(n)
        self._q_kvar = np.zeros(n)
        self._step_s = float(ensemble.grid.step_s)
        # Step by step in memory, as `StepRecord` keeps it.
        self._kvarh = np.zeros((ensemble.grid.steps, n)) if has_evses else None
        self._now_s, self._next_s = 0.0, 0.0

    def settle(self, now_s: float, taken_kw: Floats, visit: Ints, *, is_step: bool) -> None:
        """Let what the grid lets flow.

        taken_kw: what each slot's hardware offers its car. visit: that stands there, -1 where none does.
        """
        self._book(now_s)
        is_new = (taken_kw != self._taken_kw) | (visit != self._visit)
        self._taken_kw, self._visit = taken_kw.copy(), visit.copy()
        asks = np.repeat(is_step | is_new.reshape(self._shape).any(axis=1), self._shape[1])
        if not asks.any() and now_s < self._next_s:
            # A decision that goes out by whole rows sets all slots, also those whose order it leaves as it was.
            self._fleet.set_powers(self._held, self._held_kw)
            return
        is_plugged = visit >= 0
        free = (asks & is_plugged).nonzero()[0]
        self._fleet.set_powers(free, taken_kw[free])
        self._ordered_kw = np.where(asks, self._fleet.power_kw, self._ordered_kw)
        answer = self._grid.answer(now_s, self._ordered_kw.reshape(self._shape).T)
        delivered = np.ascontiguousarray(answer.delivered_kw.T).reshape(-1)
        held = self._held = ((np.abs(self._ordered_kw - delivered) > WITHHELD_KW) & is_plugged).nonzero()[0]
        # Less than the minimum of EVSE and car is nothing at all.
        self._held_kw = self._limits.usable_at(held, delivered[held])
        flows = taken_kw.copy()
        flows[held] = self._held_kw
        there = is_plugged.nonzero()[0]
        self._fleet.set_powers(there, flows[there])
        # A car that takes nothing of what the grid would let flow leaves its inverter idle.
        self._q_kvar = np.ascontiguousarray(answer.q_kvar.T).reshape(-1)
        self._q_kvar[held[self._held_kw == 0.0]] = 0.0
        self._withheld_kw[:] = 0.0
        self._withheld_kw[held] = self._ordered_kw[held] - self._held_kw
        self._next_s = answer.next_event_s
        if self._next_s < self._end_s:
            self._agenda.at(self._next_s)

    def finish(self) -> GridRecord:
        """What the grid withheld, up to the end."""
        self._book(self._end_s)
        by_slot = np.ascontiguousarray(self._grid.trips.T).reshape(-1)
        kvarh = None if self._kvarh is None else self._kvarh.reshape(-1, *self._shape).transpose(1, 2, 0)
        return GridRecord(
            self._withheld_import_kwh, self._withheld_export_kwh, by_slot, self._grid.unsolved_s,
            self._grid.unsettled_s, kvarh,
        )

    def _book(self, now_s: float) -> None:
        hours = (now_s - self._now_s) / 3600.0
        # Every step begins with a `settle`: what has passed since the last one lies within one step.
        step = int(self._now_s // self._step_s)
        self._now_s = now_s
        if hours > 0.0:
            if self._kvarh is not None:
                self._kvarh[step] += self._q_kvar * hours
            self._withheld_import_kwh += np.maximum(self._withheld_kw, 0.0) * hours
            self._withheld_export_kwh += np.maximum(-self._withheld_kw, 0.0) * hours
