"""What a scenario is once it is read: what a service may know of it, and what is true.

`PublicScenario` is what an operator would write into the service's configuration. `Truth` is the world itself: real
departures, batteries, the building's load. Nothing of the truth may reach a planner before it happens; what a
driver's app says on plug-in is `Truth.declared`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from twin.assets import Evse, Site, TimeGrid, Vehicle, Visit, World, pair_loss
from twin.battery import FleetState, usable_setpoint
from twin.scenario.tables import Protocol

Floats = NDArray[np.float64]
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station with one EVSE; the EVSE's id is the station's."""

    id: str
    protocol: Protocol
    vendor: str
    model: str
    evse: Evse


@dataclass(frozen=True, slots=True)
class DeclaredVisit:
    """What the driver's app says when the car plugs in.

    id_token: the card used at the station (personal data: never logged). requested_kwh: battery side.
    """

    visit_id: str
    evse_id: str
    id_token: str
    arrival: datetime
    departure: datetime
    requested_kwh: float
    vehicle_model: str
    v2g_consent: bool
    floor_soc: float


@dataclass(frozen=True)
class PublicScenario:
    """What a real service would be configured with. vehicles: by model; assumptions: sentences for the report."""

    name: str
    start: datetime
    end: datetime
    site: Site
    stations: tuple[Station, ...]
    vehicles: Mapping[str, Vehicle]
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """What really happens.

    visits: in order of arrival, with real departure and true energies; target_kwh is the request as far as it fits.
    declared: by visit id. building_kw: one value per minute from `start`, constant within the minute; PV subtracted.
    """

    site: Site
    evses: tuple[Evse, ...]
    start: datetime
    end: datetime
    visits: tuple[Visit, ...]
    declared: Mapping[str, DeclaredVisit]
    building_kw: Floats

    def building_at(self, when: datetime) -> float:
        """The building's load in kW; the first or last value outside the scenario's time."""
        minute = int((when - self.start) // MINUTE)
        return float(self.building_kw[min(max(minute, 0), self.building_kw.size - 1)])

    def possible_kwh(self, visit: Visit) -> float:
        """Battery energy that physics allows until the earlier of declared and real departure."""
        evse = next(evse for evse in self.evses if evse.id == visit.evse_id)
        return physically_possible_kwh(visit, self.declared[visit.id].departure, evse)

    def world(self, step_s: int = 60) -> World:
        """The true world over the scenario's time in steps of `step_s`, a divisor of its length."""
        grid = self.grid(step_s)
        return World(
            site=self.site, evses=self.evses, visits=self.visits, grid=grid, base_load_kw=self.base_load_kw(grid),
            import_cap_kw=np.full(grid.steps, self.site.import_cap_kw),
            export_cap_kw=np.full(grid.steps, self.site.export_cap_kw),
        )

    def grid(self, step_s: int) -> TimeGrid:
        """The scenario's time in steps of `step_s`, which divides it and fits whole minutes."""
        return time_grid(self.start, self.end, step_s)

    def base_load_kw(self, grid: TimeGrid) -> Floats:
        """Mean load of the building over each step of a grid of the scenario's time."""
        seconds = np.arange(self.building_kw.size + 1) * 60.0
        kwh = np.concatenate([[0.0], np.cumsum(self.building_kw)]) / 60.0
        edges = np.arange(grid.steps + 1) * float(grid.step_s)
        load: Floats = np.diff(np.interp(edges, seconds, kwh)) / grid.step_hours
        return load


def time_grid(start: datetime, end: datetime, step_s: int) -> TimeGrid:
    """From start to end in steps that divide that time and fit whole minutes; raises a `ValueError`."""
    length_s = int((end - start).total_seconds())
    if step_s <= 0 or length_s % step_s or (step_s % 60 and 60 % step_s):
        raise ValueError(f"step_s: {step_s}, expected a divisor or multiple of 60 that divides {length_s}")
    return TimeGrid(start, step_s, length_s // step_s)


def physically_possible_kwh(visit: Visit, until: datetime, evse: Evse) -> float:
    """Largest gain of battery energy in kWh at full power from arrival to the earlier of `until` and departure."""
    seconds = (min(until, visit.departure) - visit.arrival).total_seconds()
    if seconds <= 0:
        return 0.0
    alone = FleetState(1)
    alone.plug(0, visit.vehicle, visit.energy_kwh, loss=pair_loss(evse, visit.vehicle))
    alone.set_power(0, usable_setpoint(evse, visit.vehicle, evse.max_charge_kw))
    alone.advance(seconds)
    return float(alone.energy_kwh[0]) - visit.energy_kwh
