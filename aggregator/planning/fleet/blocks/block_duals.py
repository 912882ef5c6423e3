"""The prices behind a fleet's plan, gathered from those of its blocks at the prices that prove the bound.

Together they are one feasible dual solution of the whole fleet's program, and the bound is its value. So whatever the
plan does against these prices costs, in sum over all cars, sites and steps, what the plan lies above the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.plan import Duals, site_prices
from aggregator.planning.fleet.problem import Floats, Ints, Problem


@dataclass(frozen=True, eq=False)
class BlockDuals:
    """The prices behind a block's cheapest plan; of shape (site of the block, step) in money per kW of a step.

    site: what one kW more of a building's load would cost. peak: for a higher peak. feeder: for lines and voltages.
    is_selling: where a kW more would be a kW less sold. energy: shape (cell,), what a kWh more in a battery at the end
    of the step would save. target: shape (ev,), what a kWh less of target would save.
    """

    site: Floats
    peak: Floats
    feeder: Floats
    is_selling: NDArray[np.bool_]
    energy: Floats
    target: Floats


def gathered(problem: Problem, blocks: Sequence[Ints], duals: Sequence[BlockDuals], event_dual: Floats) -> Duals:
    """Prices of the fleet from those of all its blocks, in the blocks' order.

    event_dual: shape (event step,), of the rows that limit the fleet's net import.
    """
    evs, hours = problem.evs, problem.step_h
    sites = np.concatenate(blocks)

    def at_sites(name: str) -> NDArray[Any]:
        parts = np.concatenate([getattr(one, name) for one in duals])
        table = np.zeros_like(parts)
        table[sites] = parts
        return table

    block_of_site = np.zeros(len(problem.sites), dtype=np.int64)
    block_of_site[sites] = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    order = np.argsort(block_of_site[evs.site], kind="stable")  # the EVs of a block stand in the order of the fleet
    length = (evs.depart - evs.arrive)[order]
    step = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length - evs.arrive[order], length)
    energy = np.zeros((len(evs), problem.steps))
    energy[np.repeat(order, length), step] = np.concatenate([one.energy for one in duals])
    target = np.zeros(len(evs))
    target[order] = np.concatenate([one.target for one in duals])

    price, feeder, is_selling = at_sites("site") / hours, at_sites("feeder") / hours, at_sites("is_selling")
    event = np.zeros_like(price)
    np.add.at(event.T, problem.event_steps, -event_dual[:, None] / hours)
    site = site_prices(problem, price, is_selling, event, at_sites("peak") / hours, feeder)
    return Duals(site, energy, target, np.abs(event_dual))
