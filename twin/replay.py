"""Replay a world under a controller: SimPy holds the events, numpy the cars, and nothing is sampled.

Only what changes something is an event: a plug, an unplug, a new set-point, the hardware's answer to it.
All events of one instant are handled as one, and cars taper, fill up or reach their floor exactly in between
(see `twin.battery`). Means and energies are differences of exact integrals at minute and step boundaries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from twin.assets import Evse, Schedule, Visit, World, pair_limits
from twin.battery import SETPOINT_TOLERANCE_KW, FleetState
from twin.ledger import LEDGER_TOLERANCE, Ledger
from twin.response import Follower

Floats = NDArray[np.float64]

MINUTE_S = 60.0


class VisitsOverlap(ValueError):
    """Two cars would stand at one EVSE at the same time."""


class WorldView:
    """What a controller may look at while the world runs. Arrays are in the order of `evse_ids`."""

    def __init__(self, world: World, fleet: FleetState) -> None:
        self.world = world
        self.evse_ids = tuple(evse.id for evse in world.evses)
        self.visits: list[Visit | None] = [None] * len(self.evse_ids)
        self._fleet = fleet

    @property
    def energy_kwh(self) -> Floats:
        """Energy in each car now; NaN at an empty EVSE."""
        return self._fleet.energy_kwh

    @property
    def power_kw(self) -> Floats:
        """Connector power now."""
        return self._fleet.power_kw

    def registers_kwh(self, slot: int) -> tuple[float, float]:
        """Energy imported and exported through the connector of this EVSE since the start."""
        return self._fleet.registers(slot)


class Controller(Protocol):
    """Decides the set-point of every EVSE, at each grid step and whenever a car plugs in or leaves."""

    def setpoints(self, now: datetime, view: WorldView) -> Mapping[str, float] | Floats:
        """Set-points in kW: by EVSE id (missing ones keep 0), or an array in the order of `view.evse_ids`."""
        ...

    def ceiling_kwh(self, visit: Visit) -> float:
        """Battery energy at which charging of this visit stops by itself; inf for the car's own limit."""
        ...


class FollowSchedule:
    """Every EVSE holds the set-point that `schedule` has for the running step; 0 kW outside the schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._order: tuple[tuple[str, ...], Floats] | None = None

    def setpoints(self, now: datetime, view: WorldView) -> Floats:
        if self._order is None or self._order[0] is not view.evse_ids:
            row = {evse_id: index for index, evse_id in enumerate(self.schedule.evse_ids)}
            known = [row.get(evse_id, -1) for evse_id in view.evse_ids]
            silent = np.zeros((1, self.schedule.grid.steps))
            self._order = (view.evse_ids, np.vstack([self.schedule.power_kw, silent])[known])
        step = self.schedule.grid.index(now)
        if not 0 <= step < self.schedule.grid.steps:
            return np.zeros(len(view.evse_ids))
        powers: Floats = self._order[1][:, step]
        return powers

    def ceiling_kwh(self, visit: Visit) -> float:
        del visit
        return math.inf


class Uncontrolled:
    """No control at all: full power from plug-in until the battery holds the visit's target energy."""

    def setpoints(self, now: datetime, view: WorldView) -> Floats:
        del now
        return np.array([evse.max_charge_kw for evse in view.world.evses])

    def ceiling_kwh(self, visit: Visit) -> float:
        return visit.target_kwh


@dataclass(frozen=True, slots=True)
class VisitRun:
    """What one visit came to.

    energy_kwh: in the battery at departure, or at the end of the grid if the car is still there (`has_left` False).
    imported_kwh, exported_kwh: through the connector during the visit, both 0 or more.
    """

    visit: Visit
    energy_kwh: float
    imported_kwh: float
    exported_kwh: float
    has_left: bool


@dataclass(frozen=True)
class Run:
    """The outcome of a replay. Powers are exact means at the connection point or connector, kW, import positive.

    minute_edges_s: shape (minutes + 1,), seconds after `world.grid.start`; the first edge is where the replay began,
        so the first minute may be a shorter one.
    net_kw, ev_kw: shape (minutes,), with and without the building.
    evse_step_kw: shape (evse, step), mean power of each EVSE; step 0 over the part that was replayed.
    step_net_kw: shape (step,), the same for the connection point.
    energy_kwh: shape (evse, step), in the battery at the end of each step; NaN at an empty EVSE.
    visits: by visit id, in order of arrival; visits that do not touch the replayed time are missing.
    piece_edges_s, evse_piece_kw: mean power of each EVSE between every two edges of minutes and steps, (evse, piece);
        None without a feeder.
    """

    world: World
    minute_edges_s: Floats
    net_kw: Floats
    ev_kw: Floats
    evse_step_kw: Floats
    step_net_kw: Floats
    energy_kwh: Floats
    visits: dict[str, VisitRun]
    ledger: Ledger
    piece_edges_s: Floats | None = None
    evse_piece_kw: Floats | None = None

    @property
    def ledger_residual(self) -> float:
        """Relative; see `Ledger.relative_residual`."""
        return self.ledger.relative_residual


def simulate(world: World, controller: Controller, *, response: bool = True) -> Run:
    """Replay `world` from its beginning to the end of its grid under `controller`.

    A car whose arrival is not after the beginning is plugged in from the beginning, with the visit's energy.
    Set-points pass `usable_setpoint`'s rules (ratings, minimum current) and, with `response`, the delay and ramp
    of each EVSE; every EVSE starts at 0 kW. At a visit's floor the car stops discharging by itself.

    Raises:
        VisitsOverlap: two visits share an EVSE at the same time.
        LedgerBroken: energy was not conserved (a fault of the twin itself).
    """
    replay = _Replay(world, controller, has_response=response)
    replay.run()
    return replay.outcome()


@dataclass(slots=True)
class _Instant:
    """Everything that happens at one time."""

    unplugs: list[int] = field(default_factory=list)
    plugs: list[tuple[int, Visit]] = field(default_factory=list)
    asks_controller: bool = False
    responding: set[int] = field(default_factory=set)


class _Replay:
    """One run of `simulate`: the agenda, the cars, and what each EVSE was last told."""

    def __init__(self, world: World, controller: Controller, *, has_response: bool) -> None:
        self.world = world
        self.controller = controller
        self.begin_s = (world.begin - world.grid.start).total_seconds() if world.begin is not None else 0.0
        self.end_s = float(world.grid.step_s * world.grid.steps)
        self.fleet = FleetState(len(world.evses), keep_history=True)
        self.fleet.advance_to(self.begin_s)
        self.view = WorldView(world, self.fleet)
        self.followers = [Follower(evse.response) for evse in world.evses] if has_response else None
        self.limits = _Limits(world.evses)
        self.ordered = np.zeros(len(world.evses))
        self.env = simpy.Environment(initial_time=self.begin_s)
        self.agenda: dict[float, _Instant] = {}
        self.visits: dict[str, VisitRun] = {}
        self.registers: dict[str, tuple[float, float]] = {}

    def run(self) -> None:
        slot_of = {evse_id: slot for slot, evse_id in enumerate(self.view.evse_ids)}
        for visit in self._visits_in_time():
            slot = slot_of[visit.evse_id]
            self._at(max(self._seconds(visit.arrival), self.begin_s)).plugs.append((slot, visit))
            if (leaves_s := self._seconds(visit.departure)) < self.end_s:
                self._at(leaves_s).unplugs.append(slot)
        step_s = self.world.grid.step_s
        for step in range(self.world.grid.steps):
            self._at(max(float(step * step_s), self.begin_s)).asks_controller = True
        self.env.run()
        self.fleet.advance_to(self.end_s)
        for slot, visit_there in enumerate(self.view.visits):
            if visit_there is not None:
                has_left = self._seconds(visit_there.departure) <= self.end_s
                self._book(slot, visit_there, float(self.fleet.energy_kwh[slot]), has_left=has_left)

    def _visits_in_time(self) -> list[Visit]:
        begin, end = self.world.begin or self.world.grid.start, self.world.grid.end
        present = [visit for visit in self.world.visits if visit.departure > begin and visit.arrival < end]
        present.sort(key=lambda visit: (visit.arrival, visit.id))
        by_evse: dict[str, list[Visit]] = {}
        for visit in present:
            by_evse.setdefault(visit.evse_id, []).append(visit)
        for visits in by_evse.values():
            for earlier, later in pairwise(visits):
                if max(later.arrival, begin) < earlier.departure:
                    raise VisitsOverlap(
                        f"visits {earlier.id} and {later.id} at EVSE {later.evse_id}: the later arrives "
                        f"{later.arrival.isoformat()}, expected not before {earlier.departure.isoformat()}"
                    )
        return present

    def _seconds(self, when: datetime) -> float:
        return (when - self.world.grid.start).total_seconds()

    def _at(self, time_s: float) -> _Instant:
        """The instant at `time_s`, put on SimPy's queue when it is new."""
        instant = self.agenda.get(time_s)
        if instant is None:
            instant = self.agenda[time_s] = _Instant()
            # The exact time travels with the event: now + (t - now) may differ from t in the last bit.
            event = self.env.timeout(max(time_s - self.env.now, 0.0))
            event.callbacks.append(lambda _: self._happen(time_s))
        return instant

    def _happen(self, now_s: float) -> None:
        instant = self.agenda.pop(now_s)
        self.fleet.advance_to(now_s)
        for slot in instant.unplugs:
            self._unplug(slot, now_s)
        for slot, visit in instant.plugs:
            self._plug(slot, visit)
        if instant.asks_controller or instant.plugs or instant.unplugs:
            self._order(now_s, instant)
        if instant.responding and self.followers is not None:
            slots = np.fromiter(sorted(instant.responding), dtype=np.intp)
            self.fleet.set_powers(slots, np.array([self.followers[slot].power_at(now_s) for slot in slots]))

    def _plug(self, slot: int, visit: Visit) -> None:
        ceiling = self.controller.ceiling_kwh(visit)
        self.fleet.plug(slot, visit.vehicle, visit.energy_kwh, floor_kwh=visit.floor_kwh, ceiling_kwh=ceiling)
        self.limits.plug(slot, visit)
        self.view.visits[slot] = visit
        self.registers[visit.id] = self.fleet.registers(slot)

    def _unplug(self, slot: int, now_s: float) -> None:
        visit = self.view.visits[slot]
        if visit is None:
            return
        self._book(slot, visit, self.fleet.unplug(slot), has_left=True)
        self.limits.unplug(slot)
        self.view.visits[slot] = None
        self.ordered[slot] = 0.0
        if self.followers is not None:
            self.followers[slot].reset(now_s)

    def _book(self, slot: int, visit: Visit, energy_kwh: float, *, has_left: bool) -> None:
        imported, exported = self.fleet.registers(slot)
        before = self.registers[visit.id]
        self.visits[visit.id] = VisitRun(visit, energy_kwh, imported - before[0], exported - before[1], has_left)

    def _order(self, now_s: float, instant: _Instant) -> None:
        now = self.world.grid.start + timedelta(seconds=now_s)
        wishes = self.controller.setpoints(now, self.view)
        if isinstance(wishes, Mapping):
            wishes = np.array([wishes.get(evse_id, 0.0) for evse_id in self.view.evse_ids])
        usable = self.limits.usable(wishes)
        changed = np.flatnonzero(usable != self.ordered)
        self.ordered = usable
        if not changed.size:
            return
        if self.followers is None:
            self.fleet.set_powers(changed, usable[changed])
            return
        for slot, kw in zip(changed.tolist(), usable[changed].tolist(), strict=True):
            for time_s in self.followers[slot].order(now_s, kw):
                if time_s <= now_s:
                    instant.responding.add(slot)
                elif time_s < self.end_s:
                    self._at(time_s).responding.add(slot)

    def outcome(self) -> Run:
        """Integrate the segments over minutes and steps."""
        ledger = self.fleet.ledger()
        ledger.check(LEDGER_TOLERANCE)
        grid = self.world.grid
        step_edges = np.maximum(np.arange(grid.steps + 1) * float(grid.step_s), self.begin_s)
        whole_minutes = np.arange(math.floor(self.begin_s / MINUTE_S) + 1, math.ceil(self.end_s / MINUTE_S))
        minute_edges = np.concatenate([[self.begin_s], whole_minutes * MINUTE_S, [self.end_s]])
        edges = np.union1d(minute_edges, step_edges)
        drawn_kwh, energy_kwh = self._integrate(edges)

        at_minute, at_step = np.searchsorted(edges, minute_edges), np.searchsorted(edges, step_edges)
        base_kwh = np.concatenate([[0.0], np.cumsum(self.world.base_load_kw)]) * grid.step_hours
        base_at_minute = np.interp(minute_edges, np.arange(grid.steps + 1) * float(grid.step_s), base_kwh)
        minute_hours = np.diff(minute_edges) / 3600.0
        step_hours = np.diff(step_edges) / 3600.0
        ev_kw = np.diff(drawn_kwh.sum(axis=0)[at_minute]) / minute_hours
        evse_step_kw = np.diff(drawn_kwh[:, at_step], axis=1) / step_hours
        return Run(
            world=self.world,
            minute_edges_s=minute_edges,
            net_kw=ev_kw + np.diff(base_at_minute) / minute_hours,
            ev_kw=ev_kw,
            evse_step_kw=evse_step_kw,
            step_net_kw=evse_step_kw.sum(axis=0) + self.world.base_load_kw,
            energy_kwh=energy_kwh[:, at_step[1:]],
            visits={visit.id: self.visits[visit.id] for visit in self._visits_in_time()},
            ledger=ledger,
            piece_edges_s=None if self.world.feeder is None else edges,
            evse_piece_kw=None if self.world.feeder is None else np.diff(drawn_kwh, axis=1) / (np.diff(edges) / 3600.0),
        )

    def _integrate(self, edges: Floats) -> tuple[Floats, Floats]:
        """Net connector energy since the start, and battery energy, at `edges`: each of shape (evse, edge)."""
        return self.fleet.history().at(edges, self.fleet.n)


class _Limits:
    """`usable_setpoint` for all EVSEs at once, kept in step with the cars that stand there."""

    def __init__(self, evses: Sequence[Evse]) -> None:
        self.evses = evses
        n = len(evses)
        self.max_charge, self.min_charge = np.zeros(n), np.array([evse.min_charge_kw for evse in evses])
        self.max_discharge, self.min_discharge = np.zeros(n), np.zeros(n)

    def plug(self, slot: int, visit: Visit) -> None:
        pair = pair_limits(self.evses[slot], visit.vehicle)
        self.max_charge[slot], self.min_charge[slot] = pair.max_charge_kw, pair.min_charge_kw
        self.max_discharge[slot], self.min_discharge[slot] = pair.max_discharge_kw, pair.min_discharge_kw

    def unplug(self, slot: int) -> None:
        self.max_charge[slot] = self.max_discharge[slot] = 0.0

    def usable(self, kw: Floats) -> Floats:
        clipped = np.minimum(np.maximum(kw, -self.max_discharge), self.max_charge)
        least = np.where(clipped < 0.0, self.min_discharge, self.min_charge) - SETPOINT_TOLERANCE_KW
        return np.where(np.abs(clipped) < np.maximum(least, SETPOINT_TOLERANCE_KW), 0.0, clipped)
