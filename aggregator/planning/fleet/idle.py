"""A plan without a solver, for what a solver has not reached when the time is up: cars charge as they come.

Under the import cap of each site the cars that are plugged share the room in proportion to their power. Sites on a
feeder whose lines or voltages that would break do not charge at all.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.checker import Schedule, evaluate
from aggregator.planning.fleet.problem import Problem


def idle_schedule(problem: Problem) -> Schedule:
    """Charging on arrival up to the target, within the caps; no discharge and no reserve."""
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    charge = np.zeros((len(evs), problem.steps))
    own = sites.base_kw - sites.pv_kw
    curtailed = np.clip(-own - sites.export_cap_kw, 0.0, sites.pv_kw)
    curtailed = np.where(problem.export_price < 0, np.clip(-own, 0.0, sites.pv_kw), curtailed)
    room = np.maximum(0.0, sites.import_cap_kw - own - curtailed)
    missing = np.maximum(0.0, evs.target_kwh - evs.energy_kwh)
    for step in range(problem.steps):
        plugged = (evs.arrive <= step) & (step < evs.depart)
        power = np.where(plugged, np.minimum(evs.max_charge_kw, missing / (hours * evs.charge_efficiency)), 0.0)
        asked = np.bincount(evs.site, power, len(sites))
        share = np.minimum(1.0, room[:, step] / np.maximum(asked, 1e-12))
        charge[:, step] = power * share[evs.site]
        missing = np.maximum(0.0, missing - charge[:, step] * hours * evs.charge_efficiency)
    blocks = 0 if problem.reserve is None else len(problem.reserve.price_per_kw_h)
    schedule = _with_limits(problem, charge, curtailed, blocks)
    if problem.feeders is not None:
        feeders, truth = problem.feeders, evaluate(problem, schedule)
        flow, voltage = truth.flow_kw, truth.squared_voltage
        if flow is not None and voltage is not None:
            broken = (np.abs(flow) > feeders.line_kw[:, None]) | (voltage < feeders.least_squared_voltage)
            bad = np.zeros(len(feeders.ids), dtype=bool)
            np.logical_or.at(bad, feeders.feeder, broken.any(axis=1))
            charge[bad[feeders.feeder][evs.site]] = 0.0
            schedule = _with_limits(problem, charge, curtailed, blocks)
    return schedule


def _with_limits(problem: Problem, charge: np.ndarray, curtailed: np.ndarray, blocks: int) -> Schedule:
    """The schedule of these powers, with what the caps have no room for as the building itself leaves it."""
    sites = problem.sites
    ev_kw = np.zeros_like(sites.base_kw)
    np.add.at(ev_kw, problem.evs.site, charge)
    net = ev_kw + sites.base_kw - sites.pv_kw + curtailed
    unserved, spilled = np.maximum(0.0, net - sites.import_cap_kw), np.maximum(0.0, -net - sites.export_cap_kw)
    return Schedule(charge, np.zeros_like(charge), curtailed, unserved, spilled, np.zeros(blocks))
