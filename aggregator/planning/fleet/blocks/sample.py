"""First prices for what couples a fleet: those of a sample of its sites, with the sample's share of the promises."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.one_way import one_way_program


@dataclass(frozen=True, eq=False)
class SampleTask:
    """Price the coupling by some sites alone, as one program without feeders."""

    sites: Ints
    time_limit_s: float


@dataclass(frozen=True, eq=False)
class SampleAnswer:
    """dual: shape (coupling row,), as the master has them; None if the time was too short."""

    dual: Floats | None


def event_share(problem: Problem, sites: Ints) -> Floats:
    """The limit of each event step for some sites alone: their own load, and their EVs' share of what is asked."""
    steps = problem.event_steps
    own = (problem.sites.base_kw - problem.sites.pv_kw)[:, steps]
    is_in = np.isin(problem.evs.site, sites)
    share = is_in.mean() if len(is_in) else len(sites) / len(problem.sites)
    return np.asarray(own[sites].sum(axis=0) + (problem.event_limit_kw - own.sum(axis=0)) * share)


def price_sample(problem: Problem, task: SampleTask) -> SampleAnswer:
    """Solve a sample and read its prices."""
    limits = np.split(event_share(problem, task.sites),
                      np.cumsum([len(event.steps) for event in problem.events])[:-1]) if problem.events else []
    events = tuple(replace(event, max_net_kw=limit) for event, limit in zip(problem.events, limits, strict=True))
    part = replace(problem, feeders=None, trusted=True).part(task.sites)
    sampled = replace(part, events=events, reserve=problem.reserve, trusted=True)
    program = one_way_program(sampled, assemble(sampled, energies=problem.reserve is not None))
    solver = Solver(program)
    if problem.reserve is None:
        solver.set_option("presolve", "off")
    solved = solver.run(task.time_limit_s, BlockRows(sampled, program, None))
    if solved.status != "optimal":
        return SampleAnswer(None)
    names = ("event", "up_volume", "down_volume")
    return SampleAnswer(np.concatenate([solved.row_dual[program.rows[name]] for name in names]))
