"""What a controller may look at while an ensemble runs: rows of the running state, not copies of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.battery import FleetState
from twin.engine.hardware import Limits
from twin.ensemble import Ensemble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class View:
    """What a controller may look at; implements `twin.controllers.FleetView`. Rows to read at once, not to keep."""

    def __init__(self, ensemble: Ensemble, fleet: FleetState, limits: Limits) -> None:
        n, points = ensemble.slots, len(ensemble.sites)
        self.ensemble = ensemble
        self.now_s = 0.0
        self.step = 0
        self.is_plugged = np.zeros(n, dtype=np.bool_)
        self.visit, self.vehicle = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
        self._of_car = np.full((5, n), np.nan)
        self.target_kwh, self.floor_kwh, self.declared_s, self.capacity_kwh, self.efficiency = self._of_car
        self.max_charge_kw, self.min_charge_kw = limits.max_charge_kw, limits.min_charge_kw
        self.max_discharge_kw, self.min_discharge_kw = limits.max_discharge_kw, limits.min_discharge_kw
        self.site = (
            np.arange(ensemble.replicas)[:, None] * points + ensemble.site_of_evse[None, :]
        ).reshape(-1)
        self._fleet = fleet
        self._room = np.ascontiguousarray((ensemble.import_cap_kw - ensemble.base_load_kw).T)
        self._export_room = np.ascontiguousarray((ensemble.export_cap_kw + ensemble.base_load_kw).T)

    def clear(self, slots: Ints) -> None:
        """Nobody is at `slots` any more."""
        self.is_plugged[slots] = False
        self.visit[slots] = self.vehicle[slots] = -1
        self._of_car[:, slots] = np.nan

    @property
    def energy_kwh(self) -> Floats:
        return self._fleet.energy_kwh

    @property
    def power_kw(self) -> Floats:
        """Connector power now."""
        return self._fleet.power_kw

    @property
    def room_kw(self) -> Floats:
        return self._in_all_replicas(self._room[self.step])

    @property
    def export_room_kw(self) -> Floats:
        return self._in_all_replicas(self._export_room[self.step])

    def _in_all_replicas(self, by_site: Floats) -> Floats:
        return by_site if self.ensemble.replicas == 1 else np.tile(by_site, self.ensemble.replicas)

    def registers_kwh(self, slot: int) -> tuple[float, float]:
        """Energy imported and exported through the connector of this slot since the start."""
        return self._fleet.registers(slot)
