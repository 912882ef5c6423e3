"""Judge a schedule without a solver: its energies, flows, peaks and its cost follow from its powers alone.

Written from the definition of the problem, not from the program that solves it, so that it can contradict it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aggregator.planning.fleet.problem import Floats, Problem


@dataclass(frozen=True, eq=False)
class Schedule:
    """What is decided.

    charge_kw, discharge_kw: shape (ev, step). curtailed_kw: PV held back, shape (site, step).
    unserved_kw, spilled_kw: import and export beyond what caps, lines and voltages have room for, shape (site, step).
    reserve_kw: sold, shape (product, block): symmetric, up, down.
    """

    charge_kw: Floats
    discharge_kw: Floats
    curtailed_kw: Floats
    unserved_kw: Floats
    spilled_kw: Floats
    reserve_kw: Floats


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What follows from a schedule.

    energy_kwh: shape (ev, step), end of step; before arrival what the car brings, afterwards what it leaves with.
    shortfall_kwh: shape (ev,). net_kw: shape (site, step), what the site imports. peak_kw: shape (site,).
    event_net_kw, event_shortfall_kw: shape (event step,). flow_kw, squared_voltage: shape (site, step), or None.
    costs: energy, wear, shortfall, below_floor, demand, event, reserve and limits; they sum to `objective`.
    """

    energy_kwh: Floats
    shortfall_kwh: Floats
    net_kw: Floats
    peak_kw: Floats
    event_net_kw: Floats
    event_shortfall_kw: Floats
    flow_kw: Floats | None
    squared_voltage: Floats | None
    costs: dict[str, float]

    @property
    def objective(self) -> float:
        return sum(self.costs.values())


def evaluate(problem: Problem, schedule: Schedule) -> Evaluation:
    """Follow a schedule through the problem."""
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    energy = energies(problem, schedule.charge_kw, schedule.discharge_kw)
    shortfall = np.maximum(0.0, evs.target_kwh - energy[:, -1])
    below = np.maximum(0.0, evs.floor_kwh[:, None] - energy) * _plugged(problem)
    low = evs.energy_kwh < evs.floor_kwh
    net = (ev_net(problem, schedule) + sites.base_kw - sites.pv_kw + schedule.curtailed_kw - schedule.unserved_kw
           + schedule.spilled_kw)
    bought, sold = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    peak = np.maximum(sites.peak_so_far_kw, bought.max(axis=1, initial=0.0))
    at_event = net[:, problem.event_steps].sum(axis=0)
    missing = np.maximum(0.0, at_event - problem.event_limit_kw)
    flow = voltage = None
    if problem.feeders is not None:
        flow = problem.feeders.carried(net)
        voltage = problem.feeders.squared_voltage(flow)
    reserve = 0.0
    if problem.reserve is not None:
        block_h = hours * np.bincount(problem.reserve.block, minlength=len(problem.reserve))
        reserve = -float((problem.reserve.prices * schedule.reserve_kw).sum(axis=0) @ block_h)
    costs = {
        "energy": hours * float((bought @ problem.import_price).sum() - (sold @ problem.export_price).sum()),
        "wear": hours * float(evs.wear_per_kwh @ (schedule.charge_kw.sum(axis=1) + schedule.discharge_kw.sum(axis=1))),
        "shortfall": problem.shortfall_per_kwh * float(shortfall.sum()),
        "below_floor": problem.shortfall_per_kwh * hours * float(below[low].sum()),
        "demand": float(sites.demand_price @ (peak - sites.peak_so_far_kw)),
        "event": hours * float(problem.event_price @ missing),
        "reserve": reserve,
        "limits": hours * (problem.limit_per_kwh or 0.0) * float(
            schedule.unserved_kw.sum() + schedule.spilled_kw.sum()),
    }
    return Evaluation(energy, shortfall, net, peak, at_event, missing, flow, voltage, costs)


def energies(problem: Problem, charge_kw: Floats, discharge_kw: Floats) -> Floats:
    """Shape (ev, step), kWh at the end of each step; powers of that shape, 0 where a car is away."""
    evs, hours = problem.evs, problem.step_h
    energy = charge_kw * (hours * evs.charge_efficiency)[:, None]
    energy -= discharge_kw * (hours / evs.discharge_efficiency)[:, None]
    np.cumsum(energy, axis=1, out=energy)
    energy += evs.energy_kwh[:, None]
    return energy


def ev_net(problem: Problem, schedule: Schedule) -> Floats:
    """Shape (site, step): what the EVs of each site take, less what they give."""
    count = len(problem.evs)
    at = csr_array((np.ones(count), (problem.evs.site, np.arange(count))), shape=(len(problem.sites), count))
    return np.asarray(at @ (schedule.charge_kw - schedule.discharge_kw))


def curtailment_of(problem: Problem, charge_kw: Floats, discharge_kw: Floats) -> Floats:
    """PV to hold back, shape (site, step), for powers that come without: where export costs, or where it has no room.

    Where buying is paid for, holding back more can pay; only a planner knows, so its own figure is better.
    """
    sites = problem.sites
    none = np.zeros_like(sites.base_kw)
    powers = Schedule(charge_kw, discharge_kw, none, none, none, np.zeros(0))
    surplus = -(ev_net(problem, powers) + sites.base_kw - sites.pv_kw)
    room = np.where(problem.export_price < 0, 0.0, sites.export_cap_kw)
    return np.clip(surplus - room, 0.0, sites.pv_kw)


def violations(problem: Problem, schedule: Schedule, *, tolerance: float = 1e-6) -> tuple[str, ...]:
    """Everything in which a schedule breaks the problem, in words that name the EV or site; empty if it is sound.

    tolerance: kW and kWh; on the squared voltage it is p.u.
    """
    truth = evaluate(problem, schedule)
    evs, sites, ids, plugged = problem.evs, problem.sites, problem.evs.ids, _plugged(problem)
    most_discharge = np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)
    least = np.minimum(evs.floor_kwh, evs.energy_kwh)
    net, caps = truth.net_kw, sites
    found = [
        *_worst("charges while away or above its power", ids,
                schedule.charge_kw - np.where(plugged, evs.max_charge_kw[:, None], 0.0), tolerance),
        *_worst("discharges while away or above its power", ids,
                schedule.discharge_kw - np.where(plugged, most_discharge[:, None], 0.0), tolerance),
        *_worst("has a negative power", ids, -np.minimum(schedule.charge_kw, schedule.discharge_kw), tolerance),
        *_worst("falls below its floor", ids, np.where(plugged, least[:, None] - truth.energy_kwh, 0.0), tolerance),
        *_worst("rises above its capacity", ids, truth.energy_kwh - evs.capacity_kwh[:, None], tolerance),
        *_worst("imports above its cap", sites.ids, net - caps.import_cap_kw, tolerance),
        *_worst("exports above its cap", sites.ids, -net - caps.export_cap_kw, tolerance),
        *_worst("holds back more PV than there is", sites.ids, schedule.curtailed_kw - sites.pv_kw, tolerance),
        *_worst("holds back less than nothing", sites.ids, -np.minimum(
            schedule.curtailed_kw, np.minimum(schedule.unserved_kw, schedule.spilled_kw)), tolerance),
    ]
    for what, excess in unfollowable(problem, schedule, tolerance).items():
        found += _worst(what, ids, excess, 2 * tolerance)  # a limit and a power, each to its tolerance
    if problem.limit_per_kwh is None:
        found += _worst("has power that its limits have no room for", sites.ids,
                        schedule.unserved_kw + schedule.spilled_kw, tolerance)
    if problem.feeders is not None and truth.flow_kw is not None and truth.squared_voltage is not None:
        feeders = problem.feeders
        found += _worst("has its line overloaded", sites.ids, np.abs(truth.flow_kw) - feeders.line_kw[:, None],
                        tolerance)
        low, high = problem.voltage_limits
        found += _worst("has too low a voltage", sites.ids, low - truth.squared_voltage, tolerance)
        found += _worst("has too high a voltage", sites.ids, truth.squared_voltage - high, tolerance)
    if problem.reserve is not None:
        up, down = reserve_volume(problem, schedule)
        asked_up, asked_down = problem.reserve.asked(schedule.reserve_kw)
        fleet = ("the fleet",)
        for direction, asked, there in (("less", asked_up, up), ("more", asked_down, down)):
            found += _worst(f"sells more reserve than it can take {direction}", fleet, (asked - there)[None],
                            tolerance * len(evs))
    return tuple(found)


def unfollowable(problem: Problem, schedule: Schedule, tolerance: float) -> dict[str, Floats]:
    """What no car can do, by what it is, of shape (ev, step) in kW: how far it is from what the car can.

    Less than a minimum is followable where the battery fills up within the step. Full cars do not fall asleep.
    """
    evs, plugged = problem.evs, _plugged(problem)
    charge, discharge = schedule.charge_kw, schedule.discharge_kw
    full = energies(problem, charge, discharge) >= evs.capacity_kwh[:, None] - tolerance
    paused = plugged & (np.maximum(charge, discharge) <= tolerance) & ~full & (evs.sleeps > 0)[:, None]
    asleep = np.logical_or.accumulate(paused, axis=1)
    return {
        "charges and discharges at once": np.minimum(charge, discharge),
        "charges below its minimum": np.where((charge > tolerance) & ~full, evs.min_charge_kw[:, None] - charge, 0.0),
        "discharges below its minimum": np.where(
            discharge > tolerance, evs.min_discharge_kw[:, None] - discharge, 0.0),
        "takes power after it fell asleep": np.where(asleep, charge + discharge, 0.0),
    }


def reserve_volume(problem: Problem, schedule: Schedule) -> tuple[Floats, Floats]:
    """Shape (step,) each: the most the fleet can give up and take more, by power and sustained by its batteries."""
    up, down = ev_headroom(problem, schedule)
    return up.sum(axis=0), down.sum(axis=0)


def ev_headroom(problem: Problem, schedule: Schedule) -> tuple[Floats, Floats]:
    """Shape (ev, step) each: the most that each car can give up and take more; 0 without reserve."""
    if problem.reserve is None:
        none = np.zeros((len(problem.evs), problem.steps))
        return none, none
    evs, sustain, plugged = problem.evs, problem.reserve.sustain_h, _plugged(problem)
    energy = energies(problem, schedule.charge_kw, schedule.discharge_kw)
    net = schedule.charge_kw - schedule.discharge_kw
    up = net + np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)[:, None]
    down = evs.max_charge_kw[:, None] - net
    if sustain > 0:
        least = np.minimum(evs.floor_kwh, evs.energy_kwh)
        up = np.minimum(up, (energy - least[:, None]) * evs.discharge_efficiency[:, None] / sustain)
        down = np.minimum(down, (evs.capacity_kwh[:, None] - energy) / evs.charge_efficiency[:, None] / sustain)
    return up * plugged, down * plugged


def _plugged(problem: Problem) -> NDArray[np.bool_]:
    evs, ticks = problem.evs, np.arange(problem.steps)
    return np.asarray((evs.arrive[:, None] <= ticks) & (ticks < evs.depart[:, None]))


def _worst(what: str, ids: tuple[str, ...], excess: Floats, tolerance: float) -> list[str]:
    """One sentence per row that is over in any step."""
    over = np.flatnonzero((excess > tolerance).any(axis=1))
    return [f"{ids[k]} {what} by {excess[k].max():g} in step {int(excess[k].argmax())}" for k in over]
