"""Powers made followable without a solver, for what the time or the limits have left undone: step by step.

Each battery keeps as close to the course of its plan as whole minimums let it, and what a step has no room for, under
caps, lines and voltages, is left out of that step alone. What a car then lacks it gets where there is room, in its
cheapest steps first.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.checker import Schedule, energies, ev_net
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.repair.minimums import HELD, SEEN_KW
from aggregator.planning.fleet.room import Limits, settled

_ROUNDS = 2
_HALF = 0.5


def followed(problem: Problem, limits: Limits, schedule: Schedule) -> list[Schedule]:
    """Schedules that cars can follow, close to one that they cannot; without reserve.

    First under the peaks that it has planned, then with what is missing whatever peak it makes.
    """
    charge, discharge = _tracked(problem, limits, schedule)
    found = []
    for peaks in (True, False):
        upper = _under_peaks(problem, limits, schedule) if peaks else limits.upper
        charge = _filled(problem, limits, upper, schedule, charge, discharge)
        found.append(settled(problem, limits, Schedule(
            charge, discharge, schedule.curtailed_kw, schedule.unserved_kw, schedule.spilled_kw,
            schedule.reserve_kw)))
    return found


def _under_peaks(problem: Problem, limits: Limits, schedule: Schedule) -> Floats:
    """The upper limits, and where a higher peak costs none above what is planned."""
    sites = problem.sites
    net = ev_net(problem, schedule) + sites.base_kw - sites.pv_kw + schedule.curtailed_kw - schedule.unserved_kw
    peak = np.maximum(sites.peak_so_far_kw, net.max(axis=1, initial=0.0))
    upper = limits.upper.copy()
    upper[:len(sites)] = np.where((sites.demand_price > 0)[:, None], np.minimum(upper[:len(sites)], peak[:, None]),
                                  upper[:len(sites)])
    return upper


def _tracked(problem: Problem, limits: Limits, schedule: Schedule) -> tuple[Floats, Floats]:
    """Charge and discharge of shape (ev, step) that follow the energies of a schedule."""
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    wanted = np.clip(energies(problem, schedule.charge_kw, schedule.discharge_kw),
                     np.minimum(evs.floor_kwh, evs.energy_kwh)[:, None], evs.capacity_kwh[:, None])
    charge, discharge = np.zeros_like(schedule.charge_kw), np.zeros_like(schedule.discharge_kw)
    own = sites.base_kw - sites.pv_kw + schedule.curtailed_kw
    upper, called = _under_peaks(problem, limits, schedule), np.isin(np.arange(problem.steps), problem.event_steps)
    energy, least = evs.energy_kwh.copy(), np.minimum(evs.floor_kwh, evs.energy_kwh)
    asleep, sleeps = np.zeros(len(evs), bool), evs.sleeps > 0
    for step in range(problem.steps):
        plugged = (evs.arrive <= step) & (step < evs.depart)
        planned = schedule.charge_kw[:, step], schedule.discharge_kw[:, step]
        # A car that would sleep through a pause gets all it is to have, at its minimum where its plan has less.
        lacks = np.where(sleeps, wanted[:, -1], wanted[:, step]) - energy
        most = np.maximum(0.0, evs.capacity_kwh - energy) / (hours * evs.charge_efficiency)
        up = np.clip(lacks, 0.0, None) / (hours * evs.charge_efficiency)
        planned_up = np.where(sleeps, _awake(problem, step, planned[0], up), planned[0])
        up = np.minimum(up, np.where(called[step] | sleeps, planned_up, evs.max_charge_kw))
        up = np.where(plugged & ~asleep & (sleeps | (planned[0] > SEEN_KW)), np.minimum(up, most), 0.0)
        up = _whole(up, evs.min_charge_kw, most, may_raise=not called[step], may_fill=True)
        down = np.minimum(np.clip(-lacks, 0.0, None) * evs.discharge_efficiency / hours, evs.max_discharge_kw)
        there = np.maximum(0.0, energy - least) * evs.discharge_efficiency / hours
        down = np.where(plugged & (planned[1] > SEEN_KW) & (up == 0) & ~asleep & ~sleeps, np.minimum(down, there), 0.0)
        down = _whole(down, evs.min_discharge_kw, there, may_raise=True, may_fill=False)
        net = own[:, step] + np.bincount(evs.site, up - down, len(sites))
        carried = limits.weights @ net
        crowded = np.union1d(limits.crowded(upper[:, step] - carried),
                             limits.crowded(carried - limits.lower[:, step]))
        for group in crowded.tolist():
            cars = np.flatnonzero((limits.group[evs.site] == group) & ((up > 0) | (down > 0)))
            urgent = cars[np.argsort(_slack(problem, step, lacks, wanted, energy)[cars], kind="stable")]
            _admit(problem, limits, group, urgent, own[:, step], (limits.lower[:, step], upper[:, step]), up, down)
        energy = energy + hours * (evs.charge_efficiency * up - down / evs.discharge_efficiency)
        asleep |= plugged & sleeps & (up == 0.0) & (energy < evs.capacity_kwh - HELD)
        charge[:, step], discharge[:, step] = up, down
    return charge, discharge


def _awake(problem: Problem, step: int, planned: Floats, lacks: Floats) -> Floats:
    """Powers of cars that must not pause: at least the minimum, and as much as later steps cannot make up for."""
    evs = problem.evs
    later = np.maximum(0, evs.depart - step - 1) * evs.max_charge_kw
    return np.clip(np.maximum(planned, lacks - later), evs.min_charge_kw, evs.max_charge_kw)


def _whole(power: Floats, least: Floats, most: Floats, *, may_raise: bool, may_fill: bool) -> Floats:
    """Powers of which none is between nothing and its minimum; may_fill: unless it fills the battery."""
    weak = (power < least - HELD) & (power > 0)
    if may_fill:
        weak &= power < most - HELD
    raised = weak & may_raise & (power >= _HALF * least) & (least <= most)
    return np.where(power <= SEEN_KW, 0.0, np.where(raised, least, np.where(weak, 0.0, power)))


def _slack(problem: Problem, step: int, lacks: Floats, wanted: Floats, energy: Floats) -> Floats:
    """Hours that each car has left beyond those it needs for what its plan still gives it."""
    evs = problem.evs
    need = np.maximum(lacks, wanted.max(axis=1, initial=0.0) - energy) / np.maximum(
        evs.max_charge_kw * evs.charge_efficiency, SEEN_KW)
    return np.asarray((evs.depart - step) * problem.step_h - np.maximum(0.0, need))


def _admit(problem: Problem, limits: Limits, group: int, cars: Ints, own_kw: Floats, between: tuple[Floats, Floats],
           up: Floats, down: Floats) -> None:
    """Leave out of a step what its group has no room for: less discharge above, less charge below."""
    site, evs, count = problem.evs.site[cars], problem.evs, len(own_kw)
    for _ in range(_ROUNDS):
        for power, least, sign in ((down, evs.min_discharge_kw, -1.0), (up, evs.min_charge_kw, 1.0)):
            net = own_kw + np.bincount(site, up[cars] - down[cars], count)
            limit = between[1] if sign > 0 else -between[0]
            rows = limits.rows_of(group)
            if ((limit - sign * (limits.weights @ net))[rows] < -HELD).any():
                rest = net - sign * np.bincount(site, power[cars], count)
                # What fills a battery may be less than a minimum, but not less than that.
                whole = np.minimum(least[cars], power[cars])
                power[cars] = limits.given(group, limit - sign * (limits.weights @ rest), site, power[cars], whole)


def _filled(problem: Problem, limits: Limits, upper: Floats, schedule: Schedule, charge_kw: Floats,
            discharge_kw: Floats) -> Floats:
    """The charge with what cars lack at departure, in the cheapest of their steps that have room."""
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    charge = charge_kw.copy()
    energy = energies(problem, charge, discharge_kw)
    lacks = np.minimum(evs.target_kwh, evs.capacity_kwh) - energy[:, -1]
    powers = Schedule(charge, discharge_kw, schedule.curtailed_kw, schedule.unserved_kw, schedule.spilled_kw,
                      schedule.reserve_kw)
    net = ev_net(problem, powers) + sites.base_kw - sites.pv_kw + schedule.curtailed_kw
    slack = upper - limits.weights @ net
    event = np.bincount(problem.event_steps, problem.event_price, problem.steps)
    price = problem.import_price + event
    is_short = (lacks > HELD) & (evs.max_charge_kw > 0) & (evs.sleeps == 0)
    for ev in np.flatnonzero(is_short)[np.argsort(evs.depart[is_short], kind="stable")].tolist():
        site, stored = int(evs.site[ev]), hours * float(evs.charge_efficiency[ev])
        least, lack = float(evs.min_charge_kw[ev]), float(lacks[ev])
        cost = (price * hours + evs.wear_per_kwh[ev] * hours) / stored
        steps = np.arange(evs.arrive[ev], evs.depart[ev])
        room = np.minimum(limits.room(site, slack), evs.max_charge_kw[ev] - charge[ev])
        useful = (room[steps] > SEEN_KW) & (discharge_kw[ev, steps] <= 0) & (cost[steps] < problem.shortfall_per_kwh)
        for step in steps[useful][np.argsort(cost[steps[useful]], kind="stable")].tolist():
            space = float(evs.capacity_kwh[ev] - energy[ev, step:].max()) / stored
            more = min(float(room[step]), lack / stored, space)
            if charge[ev, step] + more < least:
                # The minimum, if half of it at least is lacking.
                more = least - float(charge[ev, step])
                if more > min(float(room[step]), space) or lack < _HALF * more * stored:
                    continue
            if more <= SEEN_KW:
                continue
            charge[ev, step] += more
            energy[ev, step:] += more * stored
            limits.take(site, slack[:, step], more)
            lack -= more * stored
            if lack <= HELD:
                break
    return charge


