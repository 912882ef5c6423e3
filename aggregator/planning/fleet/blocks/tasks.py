"""What is asked of a block of a fleet at given prices for what couples it to the others, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.block_duals import BlockDuals
from aggregator.planning.fleet.problem import Floats, Ints, Problem

KEPT = ("charge", "discharge", "curtailed", "unserved", "spilled")
"""The columns that make a plan; all others follow from them."""


@dataclass(frozen=True, eq=False)
class Prices:
    """What a block pays, beside its own costs, for what it does to the fleet; every array has shape (step,).

    net: per kW of net import. up, down: per kW of reserve (negative where it is paid for it).
    """

    net: Floats
    up: Floats
    down: Floats


@dataclass(frozen=True, eq=False)
class BlockTask:
    """Solve block number `block` at `prices` within time_limit_s.

    also: other prices, at which its sites give further plans while their solvers are warm.
    takes: shape (tempted meter of the block,), which meters buy where selling pays more; the others sell. None leaves
    it open. choice_s: above 0, the seconds in which to choose that anew.
    """

    block: int
    prices: Prices
    time_limit_s: float
    also: tuple[Prices, ...] = ()
    takes: NDArray[np.bool_] | None = None
    choice_s: float = 0.0

    @property
    def expected_s(self) -> float:
        """Choosing ends by itself, and takes long."""
        return self.choice_s


@dataclass(frozen=True, eq=False)
class SitePlan:
    """What a block's plan is for one of its sites.

    cost: without the prices of the task. net_kw, up_kw, down_kw: shape (step,), what the site does to the fleet.
    kept: the columns named in `KEPT`, one after the other, of the site's cells by EV and step.
    """

    site: int
    cost: float
    net_kw: Floats
    up_kw: Floats
    down_kw: Floats
    kept: Floats


@dataclass(frozen=True, eq=False)
class BlockAnswer:
    """The cheapest plan of a block at the prices of its task, then those at other prices.

    bound: proven lower bound of its cost with those prices; minus infinity where directions of meters were held that
    were chosen at others. reached: the same for plans with these directions alone. takes: the directions, if there are
    any to choose. cuts: numbers of the feeder rows that had to be added. seconds: processor time.
    """

    block: int
    bound: float
    reached: float
    takes: NDArray[np.bool_] | None
    plans: tuple[SitePlan, ...]
    cuts: Ints
    duals: BlockDuals
    seconds: float


@dataclass(frozen=True, slots=True)
class Late:
    """The answer to a task whose time was up before its solver was done."""

    block: int


def blocks_of(problem: Problem) -> tuple[Ints, ...]:
    """The sites of each block: those of every feeder, or each alone where there are no feeders."""
    if problem.feeders is None:
        return tuple(np.array([site]) for site in range(len(problem.sites)))
    order = np.lexsort((problem.feeders.position, problem.feeders.feeder))
    edges = np.flatnonzero(np.diff(problem.feeders.feeder[order])) + 1
    return tuple(np.sort(part) for part in np.split(order, edges))


def block_problem(problem: Problem, sites: Ints) -> Problem:
    """The problem of a block, with the reserve it may offer and without feeder rows."""
    part = problem if len(sites) == len(problem.sites) else problem.part(sites)
    return replace(part, events=(), feeders=None, reserve=problem.reserve, trusted=True)
