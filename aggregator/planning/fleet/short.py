"""Why a car leaves short of its target, and what would have been needed.

Told from the plan's powers alone, so that it is known at any size and without prices: which limits leave no room in the
steps in which the car takes less than it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Floats, Problem

_FELT = 1e-6  # kWh; below is solver noise
_NO_ROOM_KW = 1e-4
_NO_ROOM_PU = 1e-6  # of the squared voltage


@dataclass(frozen=True, slots=True)
class Lack:
    """A car that leaves short.

    possible_kwh: in its battery at full power over its whole stay. beyond_kw: what a target above that needs beyond its
    own power throughout its stay. steps: of its stay, in which it takes less than it can. more_kw: on average in them,
    what would have met its target as far as its power can. limits: what has no room for more in them, by how many
    steps; nothing where only prices decide.
    """

    ev: int
    missing_kwh: float
    possible_kwh: float
    beyond_kw: float
    more_kw: float
    steps: tuple[int, ...]
    limits: tuple[tuple[str, int], ...]


def most_energy(problem: Problem) -> Floats:
    """Shape (ev,): what each car could leave with at full power over its whole stay, in kWh."""
    evs = problem.evs
    stay = problem.step_h * (evs.depart - evs.arrive)
    return np.minimum(evs.capacity_kwh, evs.energy_kwh + stay * evs.max_charge_kw * evs.charge_efficiency)


def lacks(problem: Problem, plan: Plan, most: int | None = None) -> tuple[Lack, ...]:
    """Everyone who leaves short, those that miss most first; `most` of them, if it is given."""
    missing = plan.outcome.shortfall_kwh
    short = [ev for ev in np.argsort(-missing, kind="stable")[:most].tolist() if missing[ev] > _FELT]
    possible, limits = most_energy(problem), _Limits(problem, plan)
    return tuple(_lack(problem, plan, limits, ev, float(possible[ev])) for ev in short)


def _lack(problem: Problem, plan: Plan, limits: _Limits, ev: int, possible_kwh: float) -> Lack:
    evs, missing = problem.evs, float(plan.outcome.shortfall_kwh[ev])
    stay = np.arange(evs.arrive[ev], evs.depart[ev])
    per_step = problem.step_h * float(evs.charge_efficiency[ev])
    beyond = max(0.0, float(evs.target_kwh[ev]) - possible_kwh)
    power = plan.schedule.charge_kw[ev, stay]
    steps = stay[power < evs.max_charge_kw[ev] - _NO_ROOM_KW]
    found = {}
    for name, room in limits.of(ev, steps):
        # Between 0 and a minimum power there is no room either.
        least = np.maximum(0.0, evs.min_charge_kw[ev] - plan.schedule.charge_kw[ev, steps])
        if count := int((room <= np.maximum(_NO_ROOM_KW, np.where(least > 0, least - _NO_ROOM_KW, 0.0))).sum()):
            found[name] = count
    more = max(0.0, missing - beyond) / (per_step * max(1, len(steps)))
    return Lack(ev, missing, possible_kwh, beyond / (per_step * len(stay)), more, tuple(steps.tolist()),
                tuple(sorted(found.items(), key=lambda one: -one[1])))


class _Limits:
    """What limits leave, in kW of charging; voltages, events, peaks and reserve: 0 where they are at their end."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.upstream = None if problem.feeders is None else problem.feeders.upstream
        self.low = None if problem.feeders is None else problem.voltage_limits[0]

    def of(self, ev: int, steps: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
        """(name, shape (step,)) of every limit over a car."""
        problem, outcome = self.problem, self.plan.outcome
        site = int(problem.evs.site[ev])
        name, net = problem.sites.ids[site], outcome.net_kw[site, steps]
        yield f"import cap of {name}", problem.sites.import_cap_kw[site, steps] - net
        yield from self._feeder(site, steps)
        if problem.sites.demand_price[site] > 0:
            yield f"billed peak of {name}", outcome.peak_kw[site] - net
        yield from self._events(steps)
        if problem.reserve is not None:
            sold = sum(problem.reserve.asked(self.plan.schedule.reserve_kw), np.zeros(problem.steps))
            yield "reserve sold", _at_its_end(sold[steps] > _NO_ROOM_KW)
        if problem.evs.sleeps[ev]:
            stay = self.plan.power_kw[ev, problem.evs.arrive[ev]:problem.evs.depart[ev]]
            asleep = np.logical_or.accumulate(np.abs(stay) <= _FELT)
            yield "its own sleep after a pause", _at_its_end(asleep[steps - problem.evs.arrive[ev]])

    def _feeder(self, site: int, steps: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
        feeders, outcome, ids = self.problem.feeders, self.plan.outcome, self.problem.sites.ids
        flow, voltage = outcome.flow_kw, outcome.squared_voltage
        if feeders is None or flow is None or voltage is None or self.upstream is None or self.low is None:
            return
        at = site
        while at >= 0:
            yield f"line into {ids[at]}", feeders.line_kw[at] - flow[at, steps]
            at = int(self.upstream[at])
        for other in np.flatnonzero(feeders.feeder == feeders.feeder[site]):
            is_low = voltage[other, steps] <= self.low[other, steps] + _NO_ROOM_PU
            yield f"voltage of {ids[other]}", _at_its_end(is_low)

    def _events(self, steps: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
        at = 0
        for event in self.problem.events:
            net = self.plan.outcome.event_net_kw[at:at + len(event.steps)]
            at += len(event.steps)
            full = event.steps[net >= event.max_net_kw - _NO_ROOM_KW]
            yield f"event {event.id}", _at_its_end(np.isin(steps, full))


def _at_its_end(is_so: NDArray[np.bool_]) -> Floats:
    return np.where(is_so, 0.0, np.inf)
