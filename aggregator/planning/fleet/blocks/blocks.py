"""One block of a fleet, solved at given prices for what couples it to the others: a site, or a feeder with its sites.

A block's program has no energies, and of the battery limits only the rows that an answer has broken. A feeder's rows
rarely bind either, so they are left out at first and its sites are solved one by one. Where the flows that come out
break a line or a voltage, the sites' optimal bases together are a basis of their joint program, which stays dual
feasible when the broken rows are added: the dual simplex goes on from there, until nothing is broken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import process_time

import numpy as np

from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.blocks.directed import block_program, choose, of_site
from aggregator.planning.fleet.blocks.joint import joined
from aggregator.planning.fleet.blocks.sample import SampleAnswer, SampleTask, price_sample
from aggregator.planning.fleet.blocks.site_plans import duals_of, one_way, plans_of
from aggregator.planning.fleet.blocks.site_repair import RepairAnswer, RepairTask, repair_sites
from aggregator.planning.fleet.blocks.tasks import BlockAnswer, BlockTask, Late, block_problem
from aggregator.planning.fleet.blocks.warm import Left, OutOfTime, Run, Warm
from aggregator.planning.fleet.problem import Ints, Problem
from aggregator.planning.fleet.program.arrays import Program
from aggregator.planning.fleet.program.feeder_rows import FeederRows, feeder_rows
from aggregator.planning.fleet.program.solver import NoPlan


@dataclass(eq=False)
class _Memory:
    """What a block remembers between passes: of each of its sites alone, and of all together once they have to be."""

    of_sites: dict[int, Left]
    joint: Left | None = None


class BlockService:
    """Solves tasks of a problem's blocks, from where it left each the last time; picklable as long as it is new."""

    def __init__(self, problem: Problem, blocks: tuple[Ints, ...]) -> None:
        self._problem, self._blocks = problem, blocks
        self._memory: dict[int, _Memory] = {}

    def __call__(self, task: BlockTask | SampleTask | RepairTask) -> BlockAnswer | SampleAnswer | RepairAnswer | Late:
        """Solve one task.

        Raises:
            NoPlan: hard limits leave the block no plan; the message names its sites.
        """
        if isinstance(task, SampleTask):
            return price_sample(self._problem, task)
        if isinstance(task, RepairTask):
            return repair_sites(self._problem, task)
        sites, began = self._blocks[task.block], process_time()
        problem = block_problem(self._problem, sites)
        try:
            takes, proven = choose(problem, task) if task.choice_s > 0 else (task.takes, None)
            try:
                answer = self._solved(replace(task, takes=takes), problem, sites)
            except NoPlan:
                if takes is None:
                    raise
                # Chosen site by site, they may leave no plan beside hard limits of the feeder.
                answer = self._solved(replace(task, takes=None), problem, sites)
        except NoPlan as fault:
            names = ", ".join(self._problem.sites.ids[site] for site in sites[:5])
            more = ", ..." if len(sites) > 5 else ""  # noqa: PLR2004 - same 5
            raise NoPlan(f"{names}{more}: {fault}") from fault
        except OutOfTime:
            return Late(task.block)
        is_open = takes is None
        bound = answer.reached if is_open else -np.inf if proven is None else proven
        return replace(answer, bound=bound, seconds=process_time() - began)

    def _solved(self, task: BlockTask, problem: Problem, sites: Ints) -> BlockAnswer:
        """The answer with the directions of the task."""
        memory, takes = self._memory.setdefault(task.block, _Memory({})), task.takes
        own = block_program(problem, takes)
        limits = None if self._problem.feeders is None else feeder_rows(self._problem, sites)
        if limits is None:
            block = Warm(problem, own, task, memory.of_sites.get(0))
            memory.of_sites[0] = block.run.left
            run, rows, alone = block.run, block.rows, [block]
        else:
            run, rows, alone = self._on_feeder(task, problem, own, limits, memory)
        duals = duals_of(own, rows, run)
        cuts = rows.of_feeder(run.left.added)
        plans = list(plans_of(problem, *one_way(task, problem, own, run.x, limits, takes), sites))
        for site, solver, of_feeder in zip(sites, alone, duals.feeder, strict=False):
            for x in solver.further(task, of_feeder):
                plans += plans_of(solver.problem, solver.own, x, np.array([site]))
        return BlockAnswer(task.block, run.bound, run.bound, takes, tuple(plans), cuts, duals, 0.0)

    def _on_feeder(self, task: BlockTask, problem: Problem, joint: Program, limits: FeederRows,
                   memory: _Memory) -> tuple[Run, BlockRows, list[Warm]]:
        """The run of the feeder as a whole, its rows, and the solvers of its sites, where these were asked."""
        sites: list[Warm] = []
        if memory.joint is not None:
            block = Warm(problem, joint, task, memory.joint, limits)
        else:
            sites = self._site_by_site(task, problem, memory)
            run = joined(problem, joint, sites)
            rows = BlockRows(problem, joint, limits, run.left.table)
            if not len(rows.of_feeder(rows.broken(run.x))):
                return run, rows, sites
            block = Warm(problem, joint, task, run.left, limits, dual=True)
        memory.joint = block.run.left
        memory.of_sites.clear()
        return block.run, block.rows, sites

    def _site_by_site(self, task: BlockTask, problem: Problem, memory: _Memory) -> list[Warm]:
        found = []
        for site in range(len(problem.sites)):
            part = block_problem(problem, np.array([site]))
            own = block_program(part, of_site(task.takes, site, len(problem.sites)))
            found.append(Warm(part, own, task, memory.of_sites.get(site)))
            memory.of_sites[site] = found[-1].run.left
        return found
