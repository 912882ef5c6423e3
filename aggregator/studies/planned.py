"""The service's own planner and gate over the twin: one course of drivers and faults after the other.

The planner knows what a service would know: what drivers declare, what meters and cars report, the typical day of the
building. It learns of departures when they happen and of events when they are announced.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from aggregator.fleet.beliefs import Beliefs, SiteDefaults, VehicleModel
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate
from aggregator.planning.site.forecast import BaseLoadForecast
from aggregator.planning.site.situation import SiteModel
from aggregator.signals.limits import LimitBook
from aggregator.signals.model import GridSignal, Obligation, SignalInterval
from aggregator.studies.events import SITE, Asked
from aggregator.studies.loop import LoopController, LoopLog
from aggregator.studies.terms import Terms, flat_rate
from twin.assets import Visit, World
from twin.drivers import Drawn
from twin.engine import run
from twin.engine.of_world import WorldController
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.faults import draw as draw_faults
from twin.scenario import Experiment
from twin.visits import Revisions, VisitTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PROGRAMME = "simulated event"
_FLOOR_SOC = 0.2
_REMEMBERED = 5000
"""Plans, at most; some tens of kB each."""


@dataclass
class PlannerRunner:
    """Implements `control.Runner`. committed: what the planner promised of each event, by id, shape (replica, step)."""

    experiment: Experiment
    drawn: Drawn
    terms: Terms = field(default_factory=Terms)
    committed: dict[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.memory = PlanMemory(min((event.known_from for event in self.experiment.events), default=None))

    @property
    def assumed(self) -> tuple[str, ...]:
        return self.terms.assumed

    def __call__(
        self, ensemble: Ensemble, events: tuple[Asked, ...], *, record_evses: bool, tell: Callable[[float], None]
    ) -> Outcome:
        # The planner keeps the site's own cap; an event reaches it as a signal, not as a cap.
        own = replace(ensemble, import_cap_kw=self.experiment.ensemble.import_cap_kw)
        self.committed = {one.event.id: np.tile(one.net_kw, (own.replicas, 1)) for one in events}
        outcomes = []
        for replica in range(own.replicas):
            share = replica / own.replicas

            def told(when: datetime, share: float = share) -> None:
                whole = (own.grid.end - own.grid.start).total_seconds()
                tell(share + (when - own.grid.start).total_seconds() / whole / own.replicas)

            outcomes.append(self._course(own.part(replica, replica + 1), replica, events, told, record_evses))
        merged = Outcome.merge(outcomes)
        return replace(merged, ensemble=own)

    def _course(
        self, ensemble: Ensemble, replica: int, events: tuple[Asked, ...], told: Callable[[datetime], None],
        record_evses: bool,
    ) -> Outcome:
        visits, rows, revisions = course_of(self.drawn, replica)
        world = world_of(ensemble, visits)
        controller = loop_controller(self.experiment, self.terms, world, visits, revisions, events, told, self.memory)
        outcome = run(
            ensemble, visits, WorldController(world, controller), faults=self._faults(replica, visits),
            revisions=revisions, record_evses=record_evses,
            grid=None if self.experiment.feeder is None else self.experiment.feeder.response(1),
        )
        for number, one in enumerate(events):
            self.committed[one.event.id][replica] = promised_net_kw(controller.log, _signal_id(number), one)
        return replace(outcome, visits=replace(outcome.visits, row=rows[outcome.visits.row]))

    def _faults(self, replica: int, visits: VisitTable) -> FaultPlan | None:
        """The faults of this course alone: draws are named by the replica, so they equal those of the whole study."""
        if self.experiment.faults is None:
            return None
        ensemble = self.experiment.ensemble
        return draw_faults(
            self.experiment.faults, evses=len(ensemble.evses), replicas=1, first_replica=replica,
            seconds=float(ensemble.grid.step_s * ensemble.grid.steps), seed=self.experiment.seed, visits=visits,
        )


class PlanMemory:
    """The gate, which answers the same question once: a course with an event begins as the course without it did.

    until: questions of later than this are not remembered (nobody asks them twice). Outcomes that are remembered come
    without the report of their replay. HiGHS decides the same for the same problem, so only time is saved.
    """

    def __init__(self, until: datetime | None) -> None:
        self._until = until
        self._known: dict[bytes, GateOutcome] = {}
        self.hits = 0

    def __call__(self, request: PlanRequest) -> GateOutcome:
        if self._until is None or request.problem.grid.start >= self._until:
            return plan_through_gate(request)
        question = hashlib.sha256(pickle.dumps(request)).digest()
        known = self._known.get(question)
        if known is None:
            outcome = plan_through_gate(request)
            known = replace(outcome, report=None)
            if len(self._known) < _REMEMBERED:
                self._known[question] = known
        else:
            self.hits += 1
        return known


def course_of(drawn: Drawn, replica: int) -> tuple[VisitTable, Ints, Revisions]:
    """The visits of one replica as a fleet of its own, their rows in the whole table, and what their drivers change."""
    whole = drawn.visits
    rows = np.arange(len(whole)) if whole.replica is None else np.flatnonzero(whole.replica == replica)
    position = np.full(len(whole), -1, dtype=np.int64)
    position[rows] = np.arange(rows.size)
    changes = drawn.revisions
    mine = np.flatnonzero(position[changes.row] >= 0)
    alone = replace(whole.take(rows), replica=np.zeros(rows.size, dtype=np.int64), ids=())
    return alone, rows, Revisions(
        position[changes.row[mine]], np.zeros(mine.size, dtype=np.int64), changes.time_s[mine],
        changes.declared_s[mine], changes.target_kwh[mine],
    )


def world_of(ensemble: Ensemble, visits: VisitTable) -> World:
    """The course as objects, visits named by their row (so that equal arrivals keep the order of the table)."""
    grid = ensemble.grid

    def at(seconds: float) -> datetime:
        return grid.start + timedelta(seconds=float(seconds))

    return World(
        site=ensemble.sites[SITE], evses=ensemble.evses, grid=grid,
        visits=tuple(
            Visit(
                f"{row:08d}", ensemble.evses[visits.evse[row]].id, ensemble.vehicles[visits.vehicle[row]],
                at(visits.arrival_s[row]), at(visits.departure_s[row]), float(visits.energy_kwh[row]),
                float(visits.target_kwh[row]), float(visits.floor_kwh[row]),
            )
            for row in range(len(visits))
        ),
        base_load_kw=ensemble.base_load_kw[SITE], import_cap_kw=ensemble.import_cap_kw[SITE],
        export_cap_kw=ensemble.export_cap_kw[SITE],
    )


def loop_controller(
    experiment: Experiment, terms: Terms, world: World, visits: VisitTable, revisions: Revisions,
    events: tuple[Asked, ...], told: Callable[[datetime], None],
    plan: Callable[[PlanRequest], GateOutcome] = plan_through_gate,
) -> LoopController:
    """The service's loop for one course; what a driver changes on the way is declared when it is said."""
    discharges = experiment.control.discharges
    said = {visit.id: _said(world, visit, float(visits.declared_s[row]), discharges=discharges)
            for row, visit in enumerate(world.visits)}
    later = []
    for row, time_s, declared_s, target_kwh in zip(
        revisions.row.tolist(), revisions.time_s.tolist(), revisions.declared_s.tolist(),
        revisions.target_kwh.tolist(), strict=True,
    ):
        visit = world.visits[row]
        before = said[visit.id]
        later.append((world.grid.start + timedelta(seconds=time_s), replace(
            before,
            departure=before.departure if np.isnan(declared_s) else world.grid.start + timedelta(seconds=declared_s),
            requested_kwh=before.requested_kwh if np.isnan(target_kwh) else target_kwh - visit.energy_kwh,
        )))
    evses = {evse.id: evse for evse in world.evses}

    def permitted_kw(session: LiveSession, _now: datetime) -> float:
        return evses[session.evse_id].max_discharge_kw if discharges and session.v2g_consent else 0.0

    zone = world.site.timezone
    vehicles = {
        vehicle.model: VehicleModel(vehicle, terms.wear_per_kwh) for vehicle in experiment.ensemble.vehicles
    }
    model = SiteModel(
        site=world.site, evses=evses, vehicles=vehicles, rate=terms.rate or flat_rate(zone),
        base_load=terms.base_load(zone) or _typical_day(world), arrivals=terms.arrivals(zone),
        steps=round(experiment.control.horizon_h * 3600 / 900),
    )
    return LoopController(
        model, Beliefs(vehicles, SiteDefaults(timedelta(hours=8), 10.0, next(iter(vehicles)))), said,
        permitted_kw=permitted_kw, later=later,
        reports_soc=frozenset(visit.id for visit in world.visits if visit.vehicle.max_discharge_kw > 0),
        signals=[_signal(number, one, world) for number, one in enumerate(events)],
        book=LimitBook(world.site.id, {_PROGRAMME: terms.programme(_PROGRAMME)}), peak_so_far_kw=terms.peak_so_far_kw,
        progress=told, plan=plan,
    )


def promised_net_kw(log: LoopLog, signal_id: str, asked: Asked) -> Floats:
    """What the planner answered that it would hold, net kW per step of the event; inf where it answered nothing."""
    for decision in log.decisions:
        if decision.signal_id == signal_id and len(decision.committed_net_kw) == asked.net_kw.size:
            return np.array(decision.committed_net_kw)
    return np.full(asked.net_kw.shape, np.inf)


def _said(world: World, visit: Visit, declared_s: float, *, discharges: bool) -> DepartureTarget:
    """What the driver declares on plug-in. A floor of the whole battery is a driver who does not consent."""
    capacity = visit.vehicle.battery.capacity_kwh
    consents = discharges and visit.vehicle.max_discharge_kw > 0 and visit.floor_kwh < capacity
    return DepartureTarget(
        visit.id, world.grid.start + timedelta(seconds=declared_s), visit.target_kwh - visit.energy_kwh,
        visit.vehicle.model, consents, visit.floor_kwh / capacity if consents else _FLOOR_SOC,
    )


def _signal_id(number: int) -> str:
    return f"event-{number}"


def _signal(number: int, asked: Asked, world: World) -> GridSignal:
    grid = world.grid
    intervals = tuple(
        SignalInterval(grid.at(asked.steps.start + k), grid.at(asked.steps.start + k + 1), float(kw))
        for k, kw in enumerate(asked.net_kw.tolist())
    )
    return GridSignal(
        _signal_id(number), "simulation", asked.event.id, 1, _signal_id(number),
        max(asked.event.known_from, grid.start), _PROGRAMME, Obligation.COMMITTED, world.site.id, intervals,
    )


def _typical_day(world: World) -> BaseLoadForecast:
    """The mean of each local hour; an hour that the scenario does not have is like the whole."""
    local = ZoneInfo(world.site.timezone)
    hours = np.array([when.astimezone(local).hour for when in world.grid.times()])
    mean = float(world.base_load_kw.mean())
    by_hour: Mapping[int, float] = {
        hour: float(world.base_load_kw[hours == hour].mean()) for hour in np.unique(hours).tolist()
    }
    return BaseLoadForecast(tuple(by_hour.get(hour, mean) for hour in range(24)), world.site.timezone)

