"""A scenario as the engine runs it: an ensemble, columns of visits, and the settings of those who act in it.

Everything a simulation needs and nothing that only a service needs. Recorded and written visits are the same in every
replica, visits by rule are redrawn; departures and faults are redrawn by `twin.drivers` and `twin.faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twin.assets import Visit
from twin.drivers import DriverModel
from twin.ensemble import Ensemble
from twin.faults import FaultModel
from twin.scenario.ageing import Ageing
from twin.scenario.on_feeder import OnFeeder
from twin.scenario.sizes import check_work
from twin.scenario.tables import ControlName
from twin.scenario.world import DeclaredVisit, PublicScenario, Truth
from twin.visits import COLUMNS, VisitTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Event:
    """A wish of the grid, at the connection point; one of max_net_kw and reduction_kw is given.

    max_net_kw: net import at or below this in [start, end); below 0 asks for export. reduction_kw: this much less
    than without the event. promised_kw: mean reduction that was promised; None: nothing was.
    known_from: when controllers may know of it.
    """

    id: str
    start: datetime
    end: datetime
    max_net_kw: float | None
    reduction_kw: float | None
    promised_kw: float | None
    known_from: datetime


@dataclass(frozen=True, slots=True)
class Control:
    """Who decides the set-points: a name of `ControlTable` and its options. schedule: absolute path of its file."""

    name: ControlName
    discharges: bool = False
    schedule: Path | None = None
    horizon_h: float = 24.0
    between_steps: bool = True


@dataclass(frozen=True)
class Experiment:
    """All that a simulation of a scenario needs.

    ensemble: one site (index 0), stations in file order, caps without events. visits: in order of arrival; real
    departures are the recorded ones; with a column `replica` where visits are redrawn. Where a driver does not consent
    to discharge the floor is the whole battery.
    events: in order of start. drivers, faults: models for `twin.drivers` and `twin.faults`; faults None: all works.
    ageing: how stays are judged; None: wear is not asked for. feeder: the grid they hang on, where there is one.
    dropped: visits that are not part of it, counted by reason (in replica 0). assumptions: sentences for the report.
    visits_in: makes the visits for another number of replicas.
    """

    name: str
    ensemble: Ensemble
    visits: VisitTable
    drivers: DriverModel
    faults: FaultModel | None
    control: Control
    events: tuple[Event, ...]
    ageing: Ageing | None
    feeder: OnFeeder | None
    seed: int
    dropped: Mapping[str, int]
    assumptions: tuple[str, ...]
    visits_in: Callable[[int], VisitTable] = field(repr=False, compare=False)

    def with_replicas(self, replicas: int, seed: int | None = None) -> Experiment:
        """The same experiment with another number of replicas and, where given, another seed of drivers and faults.

        Raises:
            ScenarioError: more replicas than can be gone through.
        """
        seed = self.seed if seed is None else seed
        check_work(self.name, len(self.ensemble.evses), self.ensemble.grid.steps, replicas)
        if replicas == self.ensemble.replicas:
            return replace(self, seed=seed)
        ensemble = replace(self.ensemble, replicas=replicas)
        return replace(self, ensemble=ensemble, seed=seed, visits=self.visits_in(replicas))

    def event_limit_kw(self) -> Floats:
        """Most net import in kW that the events allow, by step: shape (step,); inf without a limit.

        A step that an event touches is limited as a whole. Events that ask for a reduction set no limit here: what
        they allow depends on the run without them.
        """
        grid = self.ensemble.grid
        limit = np.full(grid.steps, np.inf)
        for event in self.events:
            if event.max_net_kw is None:
                continue
            first = max(grid.index(event.start), 0)
            last = -(-(event.end - grid.start).total_seconds() // grid.step_s)
            limit[first : max(int(last), 0)] = np.minimum(limit[first : max(int(last), 0)], event.max_net_kw)
        return limit


def ensemble_of(public: PublicScenario, truth: Truth, step_s: int, replicas: int = 1) -> Ensemble:
    """The scenario's site and stations over its time, with its building, as copies for the engine."""
    grid = truth.grid(step_s)
    return Ensemble(
        sites=(truth.site,), evses=truth.evses, vehicles=tuple(public.vehicles.values()), grid=grid,
        base_load_kw=truth.base_load_kw(grid)[np.newaxis],
        import_cap_kw=np.full((1, grid.steps), truth.site.import_cap_kw),
        export_cap_kw=np.full((1, grid.steps), truth.site.export_cap_kw),
        replicas=replicas,
    )


Course = Sequence[tuple[Visit, DeclaredVisit]]
"""Visits in order of arrival, as they are and as they are declared."""


def table_of(public: PublicScenario, visits: Course) -> VisitTable:
    """The true visits as columns. The floor of a driver who does not consent to discharge is the whole battery."""
    evse = {station.id: number for number, station in enumerate(public.stations)}
    vehicle = {model: number for number, model in enumerate(public.vehicles)}
    true = [visit for visit, _ in visits]

    def seconds(times: list[datetime]) -> Floats:
        return np.array([(time - public.start).total_seconds() for time in times])

    return VisitTable(
        evse=np.array([evse[visit.evse_id] for visit in true], dtype=np.int64),
        vehicle=np.array([vehicle[visit.vehicle.model] for visit in true], dtype=np.int64),
        arrival_s=seconds([visit.arrival for visit in true]),
        departure_s=seconds([visit.departure for visit in true]),
        declared_s=seconds([said.departure for _, said in visits]),
        energy_kwh=np.array([visit.energy_kwh for visit in true]),
        target_kwh=np.array([visit.target_kwh for visit in true]),
        floor_kwh=np.array([
            visit.floor_kwh if said.v2g_consent else visit.vehicle.battery.capacity_kwh for visit, said in visits
        ]),
        ids=tuple(visit.id for visit in true),
    )


def together(fixed: VisitTable, by_rule: VisitTable, replicas: int) -> VisitTable:
    """Visits that are the same in every replica and visits by rule, in order of arrival.

    by_rule: without the column `replica` where they too are the same in all.
    """
    copies = 1 if by_rule.replica is None else replicas
    row = np.tile(np.arange(len(fixed)), copies)
    columns = {name: np.concatenate([getattr(fixed, name)[row], getattr(by_rule, name)]) for name in COLUMNS}
    names = np.array([*fixed.ids, *by_rule.ids], dtype=object)
    name = np.concatenate([row, len(fixed) + np.arange(len(by_rule))])
    if by_rule.replica is None:
        order, replica = np.argsort(columns["arrival_s"], kind="stable"), None
    else:
        replica = np.concatenate([np.repeat(np.arange(copies), len(fixed)), by_rule.replica])
        order = np.lexsort((replica, columns["arrival_s"]))
        replica = replica[order]
    return VisitTable(
        **{key: column[order] for key, column in columns.items()}, replica=replica, ids=tuple(names[name[order]]),
    )
