"""A world of objects as an ensemble of columns, and a controller of objects in the engine of columns.

For planners that think in visits and EVSE ids (`twin.replay.Controller`): the same planner runs in the fast engine,
for one replica, under the same faults as every other controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from twin.assets import AssetError, Vehicle, Visit, World
from twin.controllers import FleetView
from twin.ensemble import Ensemble
from twin.replay import Controller, WorldView
from twin.visits import VisitTable

Floats = NDArray[np.float64]


def ensemble_of(world: World, replicas: int = 1) -> tuple[Ensemble, VisitTable]:
    """The world as `replicas` equal copies, and its visits in order of arrival (declared: the departure).

    Raises:
        AssetError: the world does not begin with its grid.
    """
    if world.begin is not None and world.begin != world.grid.start:
        raise AssetError("begin", world.begin.isoformat(), f"the start of the grid, {world.grid.start.isoformat()}")
    visits = visits_in_order(world)
    vehicles = tuple(dict.fromkeys(visit.vehicle for visit in visits))
    ensemble = Ensemble(
        (world.site,), world.evses, vehicles, world.grid, world.base_load_kw[None, :], world.import_cap_kw[None, :],
        world.export_cap_kw[None, :], replicas,
    )
    return ensemble, _table(world, visits, vehicles)


def visits_in_order(world: World) -> tuple[Visit, ...]:
    """The visits as rows of the table of `ensemble_of`."""
    return tuple(sorted(world.visits, key=lambda visit: (visit.arrival, visit.id)))


def _table(world: World, visits: tuple[Visit, ...], vehicles: tuple[Vehicle, ...]) -> VisitTable:
    evse = {evse.id: number for number, evse in enumerate(world.evses)}
    vehicle = {vehicle: number for number, vehicle in enumerate(vehicles)}
    start = world.grid.start
    leaves = np.array([(visit.departure - start).total_seconds() for visit in visits])
    return VisitTable(
        evse=np.array([evse[visit.evse_id] for visit in visits], dtype=np.int64),
        vehicle=np.array([vehicle[visit.vehicle] for visit in visits], dtype=np.int64),
        arrival_s=np.array([(visit.arrival - start).total_seconds() for visit in visits]),
        departure_s=leaves, declared_s=leaves,
        energy_kwh=np.array([visit.energy_kwh for visit in visits], dtype=np.float64),
        target_kwh=np.array([visit.target_kwh for visit in visits], dtype=np.float64),
        floor_kwh=np.array([visit.floor_kwh for visit in visits], dtype=np.float64),
        ids=tuple(visit.id for visit in visits),
    )


class _MeteredView(FleetView, Protocol):
    """What the engine's view can tell beside `FleetView`: what meters measure."""

    @property
    def power_kw(self) -> Floats: ...

    def registers_kwh(self, slot: int) -> tuple[float, float]: ...


class _ObjectView:
    """`twin.replay.WorldView` over the engine's view of one replica."""

    def __init__(self, world: World, view: _MeteredView) -> None:
        self.world = world
        self.evse_ids = tuple(evse.id for evse in world.evses)
        self._known = visits_in_order(world)
        self._view = view

    @property
    def visits(self) -> list[Visit | None]:
        return [None if row < 0 else self._known[row] for row in self._view.visit.tolist()]

    @property
    def energy_kwh(self) -> Floats:
        return self._view.energy_kwh

    @property
    def power_kw(self) -> Floats:
        return self._view.power_kw

    def registers_kwh(self, slot: int) -> tuple[float, float]:
        return self._view.registers_kwh(slot)


class WorldController:
    """Lets a `twin.replay.Controller` decide in `twin.engine.run`, on the ensemble of `ensemble_of(world)`."""

    asks_between = True

    def __init__(self, world: World, controller: Controller) -> None:
        """Raise a `ValueError` if the controller stops some visits at their target and others elsewhere."""
        self._world, self._controller = world, controller
        ceilings = [(controller.ceiling_kwh(visit), visit) for visit in world.visits]
        self.charges_to_target = bool(ceilings) and all(ceiling == visit.target_kwh for ceiling, visit in ceilings)
        if not self.charges_to_target:
            for ceiling, visit in ceilings:
                if ceiling < visit.vehicle.battery.soc_max * visit.vehicle.battery.capacity_kwh:
                    raise ValueError(
                        f"visit {visit.id}: ceiling_kwh {ceiling!r}, expected every visit to stop at its target, "
                        "or none before the car's own limit"
                    )
        self._seen: tuple[FleetView, _ObjectView] | None = None

    def setpoints(self, view: FleetView) -> Floats:
        """Raise an `AssetError` if more than one replica runs: an object-style controller knows one world."""
        if view.ensemble.replicas != 1:
            raise AssetError("replicas", view.ensemble.replicas, "1 for a controller of one world")
        if self._seen is None or self._seen[0] is not view:
            # The engine's own view measures; a protocol of arrays alone does not say so.
            self._seen = view, _ObjectView(self._world, cast("_MeteredView", view))
        now = self._world.grid.start + timedelta(seconds=view.now_s)
        wishes = self._controller.setpoints(now, cast("WorldView", self._seen[1]))
        if isinstance(wishes, Mapping):
            return np.array([wishes.get(evse_id, 0.0) for evse_id in self._seen[1].evse_ids])
        return wishes
