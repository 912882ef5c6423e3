"""For every block of a fleet the one of several schedules that costs the fleet least.

Blocks meet in events and reserve only, so what a block costs alone is counted once, and a change of its schedule is
judged by that and by what it does to the fleet's net import in events and to its headroom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.checker import Schedule, ev_headroom, evaluate
from aggregator.planning.fleet.idle import HARD_PER_KWH
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.reserve.headroom import offer_of

_SWEEPS = 3


def cheapest_choice(
    problem: Problem, blocks: Sequence[Ints], choices: Sequence[Schedule], may: NDArray[np.bool_],
) -> Ints:
    """Shape (block,): number of a schedule for each block; may: shape (schedule, block), the last may always be taken.

    Block by block, beside what the others do, until no block gains by another.
    """
    number = np.zeros(len(problem.sites), dtype=np.int64)
    for block, sites in enumerate(blocks):
        number[sites] = block
    parts = [_parts(problem, number, len(blocks), choice) for choice in choices]
    costs, nets, headrooms = (np.array([part[k] for part in parts]) for k in range(3))
    may = may.copy()
    may[-1] = True
    picked = np.where(may, costs, np.inf).argmin(axis=0)
    every = np.arange(len(blocks))
    net, headroom = nets[picked, every].sum(axis=0), headrooms[picked, every].sum(axis=0)
    for _ in range(_SWEEPS):
        was = picked.copy()
        for block in every.tolist():
            net -= nets[picked[block], block]
            headroom -= headrooms[picked[block], block]
            totals = [costs[k, block] + _coupled(problem, net + nets[k, block], headroom + headrooms[k, block])
                      if may[k, block] else np.inf for k in range(len(choices))]
            picked[block] = int(np.argmin(totals))
            net += nets[picked[block], block]
            headroom += headrooms[picked[block], block]
        if (picked == was).all():
            break
    return np.asarray(picked)


def _parts(problem: Problem, block: Ints, count: int, schedule: Schedule) -> tuple[Floats, Floats, Floats]:
    """By block: its own cost, its net import of shape (event step,), its headroom of shape (2, step).

    block: shape (site,), number of each site's.
    """
    evs, sites, hours, truth = problem.evs, problem.sites, problem.step_h, evaluate(problem, schedule)
    plugged = (evs.arrive[:, None] <= np.arange(problem.steps)) & (np.arange(problem.steps) < evs.depart[:, None])
    below = (np.maximum(0.0, evs.floor_kwh[:, None] - truth.energy_kwh) * plugged).sum(axis=1)
    of_evs = hours * evs.wear_per_kwh * (schedule.charge_kw + schedule.discharge_kw).sum(axis=1)
    of_evs += problem.shortfall_per_kwh * (
        truth.shortfall_kwh + np.where(evs.energy_kwh < evs.floor_kwh, hours * below, 0.0))
    net = truth.net_kw
    of_sites = hours * (np.maximum(net, 0.0) @ problem.import_price - np.maximum(-net, 0.0) @ problem.export_price)
    of_sites += sites.demand_price * (truth.peak_kw - sites.peak_so_far_kw)
    beyond = HARD_PER_KWH if problem.limit_per_kwh is None else problem.limit_per_kwh
    of_sites += hours * beyond * (schedule.unserved_kw + schedule.spilled_kw).sum(axis=1)
    cost = np.bincount(block, of_sites, count) + np.bincount(block[evs.site], of_evs, count)
    at_event = np.zeros((count, len(problem.event_steps)))
    np.add.at(at_event, block, net[:, problem.event_steps])
    headroom = np.zeros((count, 2, problem.steps))
    if problem.reserve is not None:
        for way, volume in enumerate(ev_headroom(problem, schedule)):
            np.add.at(headroom[:, way], block[evs.site], volume)
    return np.asarray(cost, dtype=float), at_event, headroom


def _coupled(problem: Problem, net_kw: Floats, headroom_kw: Floats) -> float:
    """What events and reserve cost the fleet."""
    cost = problem.step_h * float(problem.event_price @ np.maximum(0.0, net_kw - problem.event_limit_kw))
    if problem.reserve is not None:
        block_h = problem.step_h * np.bincount(problem.reserve.block, minlength=len(problem.reserve))
        cost -= float((problem.reserve.prices * offer_of(problem.reserve, *headroom_kw)).sum(axis=0) @ block_h)
    return cost
