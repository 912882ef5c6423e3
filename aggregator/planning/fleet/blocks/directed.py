"""Blocks where selling pays more than buying costs: every meter has one direction in each such step.

A linear program would do both at one meter, in shares that sum to 1, as if a step could be cut in two, and lies some
ten percent below every plan. So the directions of each site are chosen by a program of its own, at the
prices for what couples it to the others; with them held, its block is as linear as any other, pass by pass.
"""

from __future__ import annotations

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.tasks import BlockTask, block_problem
from aggregator.planning.fleet.blocks.warm import OutOfTime, priced
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.arrays import Program, assemble
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.one_way import best_directions, one_way_program
from aggregator.planning.fleet.reserve.headroom import Headroom

Mask = NDArray[np.bool_]

_GAP = 1e-3
_LEAST_S = 0.1
"""In less time the search for the best directions finds none; those that the linear program leans to are taken."""


def block_program(problem: Problem, takes: Mask | None, *, is_whole: bool = False) -> Program:
    """A block's program, without prices; energies are columns only where headroom for reserve needs them, or is_whole.

    takes: shape (tempted meter of the block,), which meters buy; None: both, in shares.
    """
    return one_way_program(problem, assemble(problem, energies=is_whole or problem.reserve is not None), takes)


def choose(problem: Problem, task: BlockTask) -> tuple[Mask, float]:
    """The directions of a block's tempted meters, and what no choice of them costs less than at the task's prices.

    problem: of the block, without its feeder's rows; with them nothing costs less.

    Raises:
        NoPlan: hard limits exclude every plan of a site.
        OutOfTime: there is no time for the linear programs.
    """
    until, late = monotonic() + task.choice_s, monotonic() + task.time_limit_s
    takes: list[Mask] = []
    proven, count = 0.0, len(problem.sites)
    for site in range(count):
        part = block_problem(problem, np.array([site]))
        own = block_program(part, None, is_whole=True)
        program = priced(own, task.prices)
        solver = Solver(program)
        solved = solver.run(late - monotonic(), Headroom(part, own))
        if solved.status != "optimal":
            raise OutOfTime
        share = (until - monotonic()) / (count - site)
        chosen = best_directions(part, solver, program, gap=_GAP, time_limit_s=share) if share > _LEAST_S else None
        if chosen is None:
            paid = part.export_price > part.import_price
            chosen = (own.by_site(solved.x, "bought") >= own.by_site(solved.x, "sold"))[0, paid], -np.inf
        takes.append(chosen[0])
        proven += max(solved.bound, chosen[1])
    return np.concatenate(takes), proven


def of_site(takes: Mask | None, site: int, sites: int) -> Mask | None:
    """The part of a block's directions that is one site's."""
    return None if takes is None else takes.reshape(sites, -1)[site]
