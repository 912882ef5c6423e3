"""Powers made followable without a solver, for what the time or the limits have left undone: step by step, only less.

Cells are only ever lowered, so no car leaves its battery's limits; what the site then has too much or too little of is
held back, or is power that its limits have no room for, in the open and at its price.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aggregator.planning.fleet.checker import Schedule, ev_net
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.repair.minimums import HELD, SEEN_KW


def lowered(problem: Problem, charge_kw: Floats, discharge_kw: Floats) -> tuple[Floats, Floats]:
    """Charge and discharge of shape (ev, step): one direction, 0 or at least the minimum, and no waking."""
    evs, hours = problem.evs, problem.step_h
    charge, discharge = charge_kw.copy(), discharge_kw.copy()
    energy, least = evs.energy_kwh.copy(), np.minimum(evs.floor_kwh, evs.energy_kwh)
    is_asleep = np.zeros(len(evs), dtype=bool)
    for step in range(problem.steps):
        up, down = charge[:, step], discharge[:, step]
        net = up - down
        both = np.minimum(up, down) > SEEN_KW
        up, down = np.where(both, np.maximum(net, 0.0), up), np.where(both, np.maximum(-net, 0.0), down)
        most = np.maximum(0.0, evs.capacity_kwh - energy) / (hours * evs.charge_efficiency)
        up = np.minimum(up, most)
        down = np.minimum(down, np.maximum(0.0, energy - least) * evs.discharge_efficiency / hours)
        # Less than the minimum is followable where the battery itself takes no more.
        up = np.where((up < evs.min_charge_kw - HELD) & (up < most - HELD) | (up <= SEEN_KW) | is_asleep, 0.0, up)
        down = np.where((down < evs.min_discharge_kw - HELD) | (down <= SEEN_KW) | is_asleep, 0.0, down)
        energy = energy + hours * (evs.charge_efficiency * up - down / evs.discharge_efficiency)
        is_there = (evs.arrive <= step) & (step < evs.depart)
        is_full = energy >= evs.capacity_kwh - HELD
        is_asleep |= is_there & (evs.sleeps > 0) & (up == 0.0) & (down == 0.0) & ~is_full
        charge[:, step], discharge[:, step] = up, down
    return charge, discharge


def within_caps(problem: Problem, schedule: Schedule) -> Schedule:
    """The schedule with PV held back, and power that the caps have no room for, as its powers need them."""
    sites = problem.sites
    own = ev_net(problem, schedule) + sites.base_kw - sites.pv_kw
    # More import than the cap lets in needs less PV held back first, more export needs more.
    back = np.clip(sites.import_cap_kw - own, 0.0, schedule.curtailed_kw)
    back = np.clip(np.maximum(back, -sites.export_cap_kw - own), 0.0, sites.pv_kw)
    # What a feeder has no room for stays: the caps alone do not say how much it is.
    keep = 0.0 if problem.feeders is None else 1.0
    unserved, spilled = keep * schedule.unserved_kw, keep * schedule.spilled_kw
    net = own + back - unserved + spilled
    return replace(schedule, curtailed_kw=back, unserved_kw=unserved + np.maximum(0.0, net - sites.import_cap_kw),
                   spilled_kw=spilled + np.maximum(0.0, -net - sites.export_cap_kw))
