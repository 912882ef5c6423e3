"""A plan without a solver, for what a solver has not reached when the time is up: cars charge as they come.

Under the import cap of each site the cars that are plugged share the room in proportion to their power. Sites on a
feeder whose lines or voltages that would break do not charge at all; where the buildings alone break them, no power
flows there, at the price of power that limits have no room for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.checker import Schedule, evaluate
from aggregator.planning.fleet.problem import Feeders, Floats, Problem
from aggregator.planning.fleet.repair.by_hand import lowered, within_caps
from aggregator.planning.fleet.reserve.headroom import best_offer

_TOLERANCE = 5e-7  # kW, and p.u. of the squared voltage


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
        charge[:, step] = _under(room[:, step], np.maximum(power, np.where(power > 0, evs.min_charge_kw, 0.0)), problem)
        missing = np.maximum(0.0, missing - charge[:, step] * hours * evs.charge_efficiency)
    blocks = 0 if problem.reserve is None else len(problem.reserve)
    if evs.has_minimums:
        charge, _ = lowered(problem, charge, np.zeros_like(charge))
    schedule = _with_limits(problem, charge, curtailed, blocks)
    if problem.feeders is None:
        return schedule
    broken = np.asarray(_broken(problem, problem.feeders, schedule).any(axis=1))
    if not broken.any():
        return schedule
    charge[broken[problem.feeders.feeder[evs.site]]] = 0.0
    schedule = _with_limits(problem, charge, curtailed, blocks)
    if problem.limit_per_kwh is not None:
        # What the buildings alone bring about is priced like any other power that the limits have no room for.
        crowded = _broken(problem, problem.feeders, schedule)[problem.feeders.feeder]
        net = evaluate(problem, schedule).net_kw
        schedule.unserved_kw[crowded] += np.maximum(0.0, net[crowded])
        schedule.spilled_kw[crowded] += np.maximum(0.0, -net[crowded])
    return schedule


def followable_schedule(problem: Problem, schedule: Schedule) -> Schedule:
    """A schedule that cars and meters can follow, from any; its reserve is what its cars then have.

    Where lowering powers breaks a line or a voltage, the feeder's cars charge as they come.
    """
    charge, discharge = lowered(problem, schedule.charge_kw, schedule.discharge_kw)
    found = within_caps(problem, replace(schedule, charge_kw=charge, discharge_kw=discharge))
    feeders = problem.feeders
    if feeders is not None and (broken := np.asarray(_broken(problem, feeders, found).any(axis=1))).any():
        idle, sites = idle_schedule(problem), broken[feeders.feeder]
        evs = sites[problem.evs.site]
        found = replace(
            found, charge_kw=np.where(evs[:, None], idle.charge_kw, found.charge_kw),
            discharge_kw=np.where(evs[:, None], idle.discharge_kw, found.discharge_kw),
            **{name: np.where(sites[:, None], getattr(idle, name), getattr(found, name))
               for name in ("curtailed_kw", "unserved_kw", "spilled_kw")})
    return replace(found, reserve_kw=best_offer(problem, found))


def _under(room: Floats, power: Floats, problem: Problem) -> Floats:
    """What of the powers fits into the room of each site: in proportion, or with minimums the first to leave first."""
    evs = problem.evs
    if not evs.has_minimums:
        asked = np.bincount(evs.site, power, len(room))
        return np.asarray(power * np.minimum(1.0, room / np.maximum(asked, 1e-12))[evs.site])
    order = np.lexsort((evs.depart, evs.site))
    own, site = power[order], evs.site[order]
    before = np.cumsum(own) - own
    before -= np.repeat(before[np.flatnonzero(np.diff(site, prepend=-1))], np.bincount(site)[np.unique(site)])
    found = np.zeros_like(power)
    found[order] = np.clip(room[site] - before, 0.0, own)
    return np.where(found < evs.min_charge_kw, 0.0, found)


def _broken(problem: Problem, feeders: Feeders, schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (feeder, step): whether a line or a voltage is over its limit."""
    flow = feeders.carried(evaluate(problem, schedule).net_kw)
    voltage, (low, high) = feeders.squared_voltage(flow), problem.voltage_limits
    at_site = (np.abs(flow) > feeders.line_kw[:, None] + _TOLERANCE) | (
        voltage < low - _TOLERANCE) | (voltage > high + _TOLERANCE)
    broken = np.zeros((len(feeders.ids), problem.steps), dtype=bool)
    np.logical_or.at(broken, feeders.feeder, at_site)
    return broken


def _with_limits(problem: Problem, charge: np.ndarray, curtailed: np.ndarray, blocks: int) -> Schedule:
    """The schedule of these powers, with what the caps have no room for as the building itself leaves it."""
    sites = problem.sites
    ev_kw = np.zeros_like(sites.base_kw)
    np.add.at(ev_kw, problem.evs.site, charge)
    net = ev_kw + sites.base_kw - sites.pv_kw + curtailed
    unserved, spilled = np.maximum(0.0, net - sites.import_cap_kw), np.maximum(0.0, -net - sites.export_cap_kw)
    return Schedule(charge, np.zeros_like(charge), curtailed, unserved, spilled, np.zeros((3, blocks)))
