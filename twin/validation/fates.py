"""A world in many copies, each with its own drivers and faults: what a schedule may meet when it is followed.

Whatever is run in the same copies meets the same drivers and the same faults (common random numbers), so that the
difference between two runs is the doing of their set-points alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twin import drivers as driver_draws
from twin import faults as fault_draws
from twin.assets import World
from twin.controllers import Controller
from twin.drivers import Drawn, DriverModel
from twin.drivers.departures import RecordedDepartures
from twin.engine import run
from twin.engine.of_world import ensemble_of
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultModel, FaultPlan

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fates:
    """A world in many copies, its drivers and faults drawn: whatever is run in it meets the same."""

    world: World
    visit_ids: tuple[str, ...]
    ensemble: Ensemble
    drawn: Drawn
    plan: FaultPlan | None

    @classmethod
    def draw(
        cls, world: World, *, replicas: int, drivers: DriverModel | None = None, faults: FaultModel | None = None,
        seed: int = 0,
    ) -> Self:
        """Draw them. drivers None: everyone leaves as the world has it. faults None: nothing fails."""
        ensemble, visits = ensemble_of(_within_the_grid(world), replicas)
        model = drivers or DriverModel(departures=RecordedDepartures())
        capacity = np.array([v.battery.capacity_kwh * v.battery.soc_max for v in ensemble.vehicles])
        drawn = driver_draws.draw(visits, model, replicas=replicas, seed=seed, capacity_kwh=capacity)
        plan = None if faults is None else fault_draws.draw(
            faults, evses=len(world.evses), replicas=replicas, seconds=float(world.grid.step_s * world.grid.steps),
            seed=seed, visits=drawn.visits,
        )
        return cls(world, visits.ids, ensemble, drawn, plan)

    def run(self, controller: Controller, *, has_faults: bool = True, record_evses: bool = False) -> Outcome:
        """Run all copies under `controller`."""
        return run(
            self.ensemble, self.drawn.visits, controller, faults=self.plan if has_faults else None,
            revisions=self.drawn.revisions, record_evses=record_evses,
        )

    def net_kw(self, outcome: Outcome) -> Floats:
        """Mean net power of each step, shape (replica, step); of the first step over the part that is run."""
        power: Floats = (outcome.import_kwh - outcome.export_kwh)[:, 0] / step_hours(self.world)
        return power + self.world.base_load_kw


def step_hours(world: World) -> Floats:
    """Length of each step in hours; the first counts from the world's beginning."""
    hours = np.full(world.grid.steps, world.grid.step_hours)
    if world.begin is not None:
        hours[0] -= (world.begin - world.grid.start).total_seconds() / 3600.0
    return hours


def _within_the_grid(world: World) -> World:
    """`world` without visits that do not touch its time; cars that are there at its beginning arrive then."""
    begin = world.begin or world.grid.start
    visits = tuple(
        visit if visit.arrival >= begin else replace(visit, arrival=begin)
        for visit in world.visits if visit.departure > begin and visit.arrival < world.grid.end
    )
    return replace(world, visits=visits, begin=None)
