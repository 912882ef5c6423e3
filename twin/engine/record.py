"""What a run leaves behind: energies by step and by visit, as differences of exact registers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twin.battery import FleetState
from twin.controllers.sharing import Grouping
from twin.ensemble import Ensemble, VisitOutcome

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class StepRecord:
    """Energies of each step: by connection point always, by EVSE where asked for.

    import_kwh, export_kwh: shape (replica, site, step). evse_kwh, battery_kwh: shape (replica, evse, step) or None.
    """

    def __init__(self, ensemble: Ensemble, point: Ints, *, has_evses: bool) -> None:
        steps, points = ensemble.grid.steps, ensemble.replicas * len(ensemble.sites)
        self._shape = ensemble.replicas, len(ensemble.sites), len(ensemble.evses)
        self._by_point = Grouping(point, points)
        # Step by step in memory, so that a step is written in one piece.
        self._import, self._export = np.zeros((steps, points)), np.zeros((steps, points))
        self._imported, self._exported = np.zeros(points), np.zeros(points)
        self._evse = np.empty((steps, point.size)) if has_evses else None
        self._battery = np.empty((steps, point.size)) if has_evses else None
        self._net, self._net_before = np.zeros(point.size), np.zeros(point.size)
        self._seen: int | None = None

    @property
    def import_kwh(self) -> Floats:
        return self._by_replica(self._import, self._shape[1])

    @property
    def export_kwh(self) -> Floats:
        return self._by_replica(self._export, self._shape[1])

    @property
    def evse_kwh(self) -> Floats | None:
        return None if self._evse is None else self._by_replica(self._evse, self._shape[2])

    @property
    def battery_kwh(self) -> Floats | None:
        return None if self._battery is None else self._by_replica(self._battery, self._shape[2])

    def close_step(self, step: int, fleet: FleetState) -> None:
        """Book what has flowed since the last step was closed; before anyone comes or goes at this instant."""
        if fleet.is_empty and self._seen == fleet.comings:
            # Nobody was there at the end of the last step, and nobody has come since.
            if self._evse is not None and self._battery is not None:
                self._evse[step], self._battery[step] = 0.0, np.nan
            return
        self._seen = fleet.comings if fleet.is_empty else None
        net = fleet.import_at_now
        imported = self._by_point.sum(net)
        np.subtract(imported, self._imported, out=self._import[step])
        self._imported = imported
        if fleet.has_discharge:
            exported = self._by_point.sum(fleet.export_at_now)
            np.subtract(exported, self._exported, out=self._export[step])
            self._exported = exported
        if self._evse is not None and self._battery is not None:
            if fleet.has_discharge:
                net = np.subtract(net, fleet.export_at_now, out=self._net)
            np.subtract(net, self._net_before, out=self._evse[step])
            np.copyto(self._net_before, net)
            fleet.energy_into(self._battery[step])

    def _by_replica(self, by_step: Floats, width: int) -> Floats:
        return by_step.reshape(by_step.shape[0], self._shape[0], width).transpose(1, 2, 0)


class Standing(Protocol):
    """Who stands at each slot, and what was asked for."""

    @property
    def visit(self) -> Ints: ...
    @property
    def target_kwh(self) -> Floats: ...


class VisitRecord:
    """What each visit came to, from the registers of its slot when it began and when it ended."""

    def __init__(self, slots: int, evses: int, *, is_kept: bool) -> None:
        self._evses, self._is_kept = evses, is_kept
        self._before = tuple(np.zeros((3, slots)))
        self._closed: list[VisitOutcome] = []

    def open(self, slots: Ints, fleet: FleetState, at_s: Floats | None) -> None:
        """Cars have come to `slots`, `at_s` or now."""
        if self._is_kept:
            for before, register in zip(self._before, fleet.registers_many(slots, at_s), strict=True):
                before[slots] = register

    def close(self, standing: Standing, slots: Ints, fleet: FleetState, energy_kwh: Floats, has_left: Bools) -> None:
        """The cars at `slots` have left with `energy_kwh`, or the run ends (`has_left` False)."""
        if not self._is_kept or not slots.size:
            return
        imported, exported, lost = (
            register - before[slots] for before, register in zip(self._before, fleet.registers_many(slots), strict=True)
        )
        self._closed.append(VisitOutcome(
            row=standing.visit[slots], replica=slots // self._evses, energy_kwh=energy_kwh, imported_kwh=imported,
            exported_kwh=exported, lost_kwh=lost,
            shortfall_kwh=np.maximum(standing.target_kwh[slots] - energy_kwh, 0.0), has_left=has_left,
        ))

    def outcome(self) -> VisitOutcome:
        """All visits, in the order of their rows, replica by replica."""
        return VisitOutcome.in_order(self._closed)
