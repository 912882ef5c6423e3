"""From a block's solution to what each of its sites does, and to the prices behind it."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.block_duals import BlockDuals
from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.blocks.directed import block_program
from aggregator.planning.fleet.blocks.joint import owners
from aggregator.planning.fleet.blocks.tasks import KEPT, BlockTask, SitePlan
from aggregator.planning.fleet.blocks.warm import Run, priced
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Program
from aggregator.planning.fleet.program.feeder_rows import FeederRows
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.followable import both_ways, put_right
from aggregator.planning.fleet.reserve.headroom import Headroom


def one_way(
    task: BlockTask, problem: Problem, own: Program, x: Floats, limits: FeederRows | None,
    takes: NDArray[np.bool_] | None,
) -> tuple[Program, Floats]:
    """The plan with no car and no meter going both ways, where prices make that pay, and the program it is of."""
    cars, meters = both_ways(own, x)
    if not len(cars) and not len(meters):
        return own, x
    # What is held to one direction may run into any battery limit: here all of them are there from the start.
    whole, until = block_program(problem, takes, is_whole=True), monotonic() + task.time_limit_s
    program = priced(whole, task.prices)
    # It may run into other lines and voltages, too, than the plan that goes both ways.
    solver, rows = Solver(program), BlockRows(problem, whole, limits)
    relaxed = solver.run(task.time_limit_s, rows)
    if not relaxed.is_feasible:
        return own, x
    return whole, put_right(program, solver, relaxed, lambda: until - monotonic(), rows).answer.x


def _net(program: Program, x: Floats) -> Floats:
    """Net import of shape (site, step)."""
    return program.by_site(x, "bought") - program.by_site(x, "sold")


def plans_of(problem: Problem, program: Program, x: Floats, sites: Ints) -> Iterator[SitePlan]:
    """A block's plan, site by site."""
    count = program.shape[0]
    cost = -problem.sites.demand_price * problem.sites.peak_so_far_kw
    kept: list[list[Floats]] = [[] for _ in range(count)]
    for name, block in program.columns.items():
        owner = owners(name, block, program, problem)
        if owner is None:
            continue
        cost = cost + np.bincount(owner, program.cost[block] * x[block], count)
        if name in KEPT:
            parts = np.split(x[block][np.argsort(owner, kind="stable")], np.cumsum(np.bincount(owner, minlength=count)))
            for site in range(count):
                kept[site].append(parts[site])
    net, (up, down) = _net(program, x), np.zeros((2, *program.shape))
    if problem.reserve is not None:
        # All that the cars have, not only what had a price: another site's plan may fall short of it.
        up, down = Headroom(problem, program).volumes(x)
    for site in range(count):
        # A copy: a view would be pickled with all that it is a view of.
        yield SitePlan(int(sites[site]), float(cost[site]), net[site].copy(), up[site].copy(), down[site].copy(),
                       np.concatenate(kept[site]))


def duals_of(own: Program, rows: BlockRows, run: Run) -> BlockDuals:
    dual, added = run.dual, run.left.added
    is_selling = own.by_site(run.x, "sold") > own.by_site(run.x, "bought")
    return BlockDuals(
        own.by_site_row(dual, "balance"), -own.by_site_row(dual, "peak"),
        rows.feeder_price(added, dual[len(own.row_lower):]), is_selling, rows.energy_value(added, dual),
        np.abs(dual[own.rows["departure"]]))
