"""Where EVSEs hang on a feeder: what the grid lets flow of what hardware and cars would take.

At every instant of the agenda, whatever happened, the grid is told what all EVSEs would draw by themselves and says
what they draw; it also says when to ask again at the latest. Between instants a car may taper off; the grid hears of
that at the next one, at the latest when the next step of the grid begins.
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
    def next_event_s(self) -> float: ...


class Grid(Protocol):
    """A feeder with inverters on it; `twin.feeder.grid_response.GridResponse` is one.

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
    """The slots of one block of replicas on their grid."""

    def __init__(self, grid: Grid, ensemble: Ensemble, fleet: FleetState, limits: Limits, agenda: Agenda) -> None:
        if grid.replicas != ensemble.replicas:
            raise ValueError(f"grid: {grid.replicas} replicas, expected {ensemble.replicas}")
        self._grid, self._fleet, self._limits, self._agenda = grid, fleet, limits, agenda
        self._end_s = float(ensemble.grid.step_s * ensemble.grid.steps)
        self._shape = (ensemble.replicas, len(ensemble.evses))
        self._is_held = np.zeros(ensemble.slots, dtype=np.bool_)
        self._withheld_kw = np.zeros(ensemble.slots)
        self._withheld_import_kwh, self._withheld_export_kwh = np.zeros(ensemble.slots), np.zeros(ensemble.slots)
        self._now_s = 0.0

    def settle(self, now_s: float, taken_kw: Floats, is_plugged: NDArray[np.bool_]) -> None:
        """Let what the grid lets flow; taken_kw: what each slot's hardware offers its car."""
        self._book(now_s)
        held = (self._is_held & is_plugged).nonzero()[0]
        if held.size:
            self._fleet.set_powers(held, taken_kw[held])
        ordered = self._fleet.power_kw
        answer = self._grid.answer(now_s, ordered.reshape(self._shape).T)
        delivered = np.ascontiguousarray(answer.delivered_kw.T).reshape(-1)
        self._is_held = (np.abs(ordered - delivered) > WITHHELD_KW) & is_plugged
        held = self._is_held.nonzero()[0]
        self._withheld_kw[:] = 0.0
        if held.size:
            # Less than the minimum of EVSE and car is nothing at all.
            usable = self._limits.usable_at(held, delivered[held])
            self._fleet.set_powers(held, usable)
            self._withheld_kw[held] = ordered[held] - usable
        if answer.next_event_s < self._end_s:
            self._agenda.at(answer.next_event_s)

    def finish(self) -> GridRecord:
        """What the grid withheld, up to the end."""
        self._book(self._end_s)
        by_slot = np.ascontiguousarray(self._grid.trips.T).reshape(-1)
        return GridRecord(
            self._withheld_import_kwh, self._withheld_export_kwh, by_slot, self._grid.unsolved_s, self._grid.unsettled_s
        )

    def _book(self, now_s: float) -> None:
        hours = (now_s - self._now_s) / 3600.0
        self._now_s = now_s
        if hours > 0.0:
            self._withheld_import_kwh += np.maximum(self._withheld_kw, 0.0) * hours
            self._withheld_export_kwh += np.maximum(-self._withheld_kw, 0.0) * hours
