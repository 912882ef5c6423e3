"""One block of a fleet, solved at given prices for what couples it to the others: a site, or a feeder with its sites.

A feeder's rows rarely bind, so they are left out at first and its sites are solved one by one. Where the flows that
come out break a line or a voltage, the sites' optimal bases together are a basis of their joint program, which stays
dual feasible when the broken rows are added: the dual simplex goes on from there, until nothing is broken.

A service keeps no solver and no program between two passes, only the bases: they cost a tenth of the memory, and a
program is built again in a fraction of the time that its solve takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from time import monotonic, process_time

import highspy
import numpy as np
from scipy.sparse import csr_array, vstack

from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.arrays import NONE, Program, assemble
from aggregator.planning.fleet.feeder_rows import FeederRows, feeder_rows
from aggregator.planning.fleet.monolith import both_ways, put_right
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.sample import SampleAnswer, SampleTask, price_sample
from aggregator.planning.fleet.solver import NoPlan, Solver

KEPT = ("charge", "discharge", "curtailed", "unserved", "spilled", "up", "down")
"""The columns that make a plan; all others follow from them."""

_ROUNDS = 40
_DUAL_SIMPLEX, _PRIMAL_SIMPLEX = 1, 4
_BASIC = highspy.HighsBasisStatus.kBasic
_AT_LOWER = highspy.HighsBasisStatus.kLower
_VOLUMES = ("up_volume", "down_volume")
_OF_SITES = ("bought", "sold", "curtailed", "unserved", "spilled", "balance", "peak")


class BlockFault(RuntimeError):
    """The solver failed on a block in a way that its limits do not explain; the message says how."""


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

    also: other prices, at which a block that is one site gives a second plan while its solver is warm.
    """

    block: int
    prices: Prices
    time_limit_s: float
    also: Prices | None = None


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
    """The cheapest plan of a block at the prices of its task.

    bound: proven lower bound of its cost with those prices. cuts: numbers of the feeder rows that had to be added.
    site_price: shape (site of the block, step), per kW of a step: what one kW more of the building's load would cost.
    seconds: processor time.
    """

    block: int
    bound: float
    plans: tuple[SitePlan, ...]
    cuts: Ints
    site_price: Floats
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


@dataclass(eq=False)
class _Run:
    """What one run of the solver left: x, row duals, what they prove, and the basis to go on from."""

    x: Floats
    dual: Floats
    bound: float
    basis: highspy.HighsBasis
    second: Floats | None = None


@dataclass(eq=False)
class _Memory:
    """What a block remembers between passes. cuts: numbers of the feeder rows in its joint program, in their order."""

    of_sites: dict[int, highspy.HighsBasis]
    joint: highspy.HighsBasis | None = None
    cuts: Ints | None = None


class BlockService:
    """Solves tasks of a problem's blocks, from where it left each the last time; picklable as long as it is new."""

    def __init__(self, problem: Problem, blocks: tuple[Ints, ...]) -> None:
        self._problem, self._blocks = problem, blocks
        self._memory: dict[int, _Memory] = {}

    def __call__(self, task: BlockTask | SampleTask) -> BlockAnswer | SampleAnswer | Late:
        """Solve one task.

        Raises:
            NoPlan: hard limits leave the block no plan; the message names its sites.
        """
        if isinstance(task, SampleTask):
            return price_sample(self._problem, task)
        sites = self._blocks[task.block]
        memory = self._memory.setdefault(task.block, _Memory({}))
        problem = block_problem(self._problem, sites)
        began = process_time()
        own = assemble(problem)
        program = _priced(own, task.prices)
        cuts = np.zeros(0, dtype=np.int64)
        try:
            if self._problem.feeders is None:
                also = None if task.also is None else _priced(own, task.also)
                run = _solve(program, memory.of_sites.get(0), task.time_limit_s, also=also)
                memory.of_sites[0] = run.basis
            else:
                program, run, cuts = self._on_feeder(task, program, problem, memory)
        except NoPlan as fault:
            names = ", ".join(self._problem.sites.ids[site] for site in sites[:5])
            raise NoPlan(f"{names}{', ...' if len(sites) > 5 else ''}: {fault}") from fault  # noqa: PLR2004 - same 5
        except _OutOfTime:
            return Late(task.block)
        x = _one_way(task, program, run)
        plans = list(_plans(problem, own, sites, x))
        if run.second is not None:
            plans += _plans(problem, own, sites, run.second)
        return BlockAnswer(task.block, run.bound, tuple(plans), cuts,
                           run.dual[own.rows["balance"]].reshape(own.shape), process_time() - began)

    def _on_feeder(
        self, task: BlockTask, joint: Program, problem: Problem, memory: _Memory,
    ) -> tuple[Program, _Run, Ints]:
        limits = feeder_rows(self._problem, self._blocks[task.block])
        cuts = np.zeros(0, dtype=np.int64)
        if memory.joint is not None and memory.cuts is not None:
            cuts = memory.cuts
            joint = _with_rows(joint, limits, cuts)
            run = _solve(joint, memory.joint, task.time_limit_s)
        else:
            run = self._site_by_site(task, joint, problem, memory)
        for _ in range(_ROUNDS):
            broken = np.setdiff1d(limits.broken(_net(joint, run.x)), cuts)
            if not len(broken):
                break
            joint = _with_rows(joint, limits, broken)
            cuts = np.concatenate([cuts, broken])
            run = _solve(joint, _extended(run.basis, len(broken)), task.time_limit_s, dual=True)
        else:
            raise BlockFault(f"its feeder still had broken limits after {_ROUNDS} rounds")
        if len(cuts):
            memory.joint, memory.cuts = run.basis, cuts
            memory.of_sites.clear()
        return joint, run, cuts

    def _site_by_site(self, task: BlockTask, joint: Program, problem: Problem, memory: _Memory) -> _Run:
        runs = []
        for site in range(len(problem.sites)):
            alone = _priced(assemble(block_problem(problem, np.array([site]))), task.prices)
            run = _solve(alone, memory.of_sites.get(site), task.time_limit_s)
            memory.of_sites[site] = run.basis
            runs.append((alone, run))
        return _joined(joint, problem, runs)


class _OutOfTime(RuntimeError):
    """The solver was stopped by its time limit."""


def _priced(program: Program, prices: Prices) -> Program:
    """A block's program with the prices of a task in its costs."""
    cost, upper, row_lower = program.cost.copy(), program.upper.copy(), program.row_lower.copy()
    sites = program.shape[0]
    cost[program.columns["bought"]] += np.tile(prices.net, sites)
    cost[program.columns["sold"]] -= np.tile(prices.net, sites)
    if program.columns["up"].stop > program.columns["up"].start:
        cost[program.columns["up"]] += prices.up[program.cells.step]
        cost[program.columns["down"]] += prices.down[program.cells.step]
        # What is sold is for the fleet as a whole to decide.
        upper[program.columns["sold_reserve"]] = 0.0
        for name in _VOLUMES:
            row_lower[program.rows[name]] = -np.inf
    return replace(program, cost=cost, upper=upper, row_lower=row_lower)


def _with_rows(program: Program, limits: FeederRows, numbers: Ints) -> Program:
    """The program with feeder rows at its end."""
    rows, lower, upper = limits.rows(numbers, program)
    return replace(program, matrix=csr_array(vstack([program.matrix, rows], format="csr")),
                   row_lower=np.concatenate([program.row_lower, lower]),
                   row_upper=np.concatenate([program.row_upper, upper]))


def _solve(program: Program, basis: highspy.HighsBasis | None, time_limit_s: float, *, dual: bool = False,
           also: Program | None = None) -> _Run:
    """Solve, from a basis if there is one: with the primal simplex, unless only rows were added."""
    solver = _loaded(program, basis, dual=dual)
    solved = solver.run(time_limit_s)
    if solved.status != "optimal":
        raise _OutOfTime
    run = _Run(solved.x, solved.row_dual, solved.bound, solver.highs.getBasis())
    if also is not None:
        for name in ("bought", "sold"):
            columns = np.arange(program.columns[name].start, program.columns[name].stop, dtype=np.int32)
            solver.set_costs(columns, also.cost[columns])
        solver.set_option("simplex_strategy", _PRIMAL_SIMPLEX)
        second = solver.run(time_limit_s)
        if second.status == "optimal" and not any(map(len, both_ways(program, second.x))):
            run.second = second.x
    return run


def _loaded(program: Program, basis: highspy.HighsBasis | None, *, dual: bool) -> Solver:
    solver = Solver(program)
    if basis is not None:
        solver.set_option("presolve", "off")
        solver.set_option("simplex_strategy", _DUAL_SIMPLEX if dual else _PRIMAL_SIMPLEX)
        if solver.highs.setBasis(basis) == highspy.HighsStatus.kError:
            raise SolverFault("HiGHS refused a basis")
    return solver


def _one_way(task: BlockTask, program: Program, run: _Run) -> Floats:
    """The plan with no car and no meter going both ways, where prices make that pay; its bound stays."""
    cars, meters = both_ways(program, run.x)
    if not len(cars) and not len(meters):
        return run.x
    until = monotonic() + task.time_limit_s
    solver = _loaded(program, run.basis, dual=True)
    answer, _, _ = put_right(program, solver, solver.run(task.time_limit_s), lambda: until - monotonic())
    return answer.x if answer.is_feasible else run.x


def _net(program: Program, x: Floats) -> Floats:
    """Net import of shape (site, step)."""
    return program.by_site(x, "bought") - program.by_site(x, "sold")


def _plans(problem: Problem, program: Program, sites: Ints, x: Floats) -> Iterator[SitePlan]:
    """A block's plan, site by site."""
    count, steps = program.shape
    cost = -problem.sites.demand_price * problem.sites.peak_so_far_kw
    kept: list[list[Floats]] = [[] for _ in range(count)]
    for name, block in program.columns.items():
        owner = _owners(name, block, program, problem)
        if owner is None:
            continue
        cost = cost + np.bincount(owner, program.cost[block] * x[block], count)
        if name in KEPT:
            parts = np.split(x[block][np.argsort(owner, kind="stable")], np.cumsum(np.bincount(owner, minlength=count)))
            for site in range(count):
                kept[site].append(parts[site])
    net = _net(program, x)
    offered = np.zeros((2, count, steps))
    at = problem.evs.site[program.cells.ev], program.cells.step
    for way, name in enumerate(("up", "down")):
        if problem.reserve is not None:
            np.add.at(offered[way], at, x[program.columns[name]])
    for site in range(count):
        # A copy: a view would be pickled with all that it is a view of.
        yield SitePlan(int(sites[site]), float(cost[site]), net[site].copy(), offered[0, site].copy(),
                       offered[1, site].copy(), np.concatenate(kept[site]))


def _joined(joint: Program, problem: Problem, runs: list[tuple[Program, _Run]]) -> _Run:
    """Solution and basis of a joint program from those of its sites, which share no row."""
    x, dual = np.zeros(len(joint.cost)), np.zeros(len(joint.row_lower))
    columns: list[highspy.HighsBasisStatus] = [_AT_LOWER] * len(x)
    rows: list[highspy.HighsBasisStatus] = [_BASIC] * len(dual)
    own_columns = [list(run.basis.col_status) for _, run in runs]
    own_rows = [list(run.basis.row_status) for _, run in runs]
    for name, block in joint.columns.items():
        owner = _owners(name, block, joint, problem)
        if owner is None:
            continue
        place = block.start + np.argsort(owner, kind="stable")
        x[place] = np.concatenate([run.x[program.columns[name]] for program, run in runs])
        _spread(columns, place, (own[program.columns[name]] for (program, _), own in zip(runs, own_columns,
                                                                                         strict=True)))
    for name, block in joint.rows.items():
        owner = _owners(name, block, joint, problem)
        if owner is None:
            continue
        place = block.start + np.argsort(owner, kind="stable")
        dual[place] = np.concatenate([run.dual[program.rows[name]] for program, run in runs])
        _spread(rows, place, (own[program.rows[name]] for (program, _), own in zip(runs, own_rows, strict=True)))
    basis = highspy.HighsBasis()
    basis.col_status, basis.row_status, basis.valid = columns, rows, True
    return _Run(x, dual, sum(run.bound for _, run in runs), basis)


def _owners(name: str, block: slice, program: Program, problem: Problem) -> Ints | None:
    """The site of each column or row of a named block; None where it is the fleet's, or empty."""
    cells, evs, sites = program.cells, problem.evs, program.shape[0]
    if block.stop == block.start or name == "sold_reserve" or name in _VOLUMES:
        return None
    if name in _OF_SITES:
        return np.repeat(np.arange(sites), (block.stop - block.start) // sites)
    if name in ("departure", "shortfall"):
        return evs.site
    of_cells: Ints = evs.site[cells.ev]
    if name == "discharge":
        of_cells = of_cells[cells.discharge != NONE]
    elif name in ("floor", "below_floor"):
        of_cells = of_cells[(evs.energy_kwh < evs.floor_kwh)[cells.ev]]
    return of_cells


def _spread(whole: list[highspy.HighsBasisStatus], place: Ints,
            parts: Iterable[list[highspy.HighsBasisStatus]]) -> None:
    flat = [status for part in parts for status in part]
    for k, status in zip(place.tolist(), flat, strict=True):
        whole[k] = status


def _extended(basis: highspy.HighsBasis, rows: int) -> highspy.HighsBasis:
    """The basis with some rows more, each of them basic: it stays dual feasible."""
    longer = highspy.HighsBasis()
    longer.col_status = basis.col_status
    longer.row_status = [*basis.row_status, *[_BASIC] * rows]
    longer.valid = True
    return longer

