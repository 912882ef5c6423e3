"""One block of a fleet, solved at given prices for what couples it to the others: a site, or a feeder with its sites.

A block's program has no energies, and of the battery limits only the rows that an answer has broken. A feeder's rows
rarely bind either, so they are left out at first and its sites are solved one by one. Where the flows that come out
break a line or a voltage, the sites' optimal bases together are a basis of their joint program, which stays dual
feasible when the broken rows are added: the dual simplex goes on from there, until nothing is broken.

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
from aggregator.planning.fleet.blocks.block_duals import BlockDuals
from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.blocks.sample import SampleAnswer, SampleTask, price_sample
from aggregator.planning.fleet.blocks.site_repair import RepairAnswer, RepairTask, repair_sites
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program, assemble
from aggregator.planning.fleet.program.feeder_rows import FeederRows, feeder_rows
from aggregator.planning.fleet.program.solver import NoPlan, Solver
from aggregator.planning.fleet.repair.followable import both_ways, put_right
from aggregator.planning.fleet.repair.one_way import choose_directions, only_so_far, tempted
from aggregator.planning.fleet.reserve.headroom import Cut, Headroom

KEPT = ("charge", "discharge", "curtailed", "unserved", "spilled")
"""The columns that make a plan; all others follow from them."""

_DIRECTED_GAP, _DIRECTED_S = 1e-3, 10.0
_DUAL_SIMPLEX, _PRIMAL_SIMPLEX = 1, 4
_BASIC = highspy.HighsBasisStatus.kBasic
_AT_LOWER = highspy.HighsBasisStatus.kLower
_VOLUMES = ("up_volume", "down_volume")
_OF_SITES = ("bought", "sold", "curtailed", "unserved", "spilled", "flow", "voltage", "up", "down", "balance", "peak",
             "up_power", "down_power")


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
    """

    block: int
    prices: Prices
    time_limit_s: float
    also: tuple[Prices, ...] = ()


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

    bound: proven lower bound of its cost with those prices. cuts: numbers of the feeder rows that had to be added.
    seconds: processor time.
    """

    block: int
    bound: float
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


@dataclass(frozen=True, eq=False)
class _Left:
    """From where a solver can go on: a basis, and the numbers of the lazy rows that its program had.

    table: the cuts that some of these numbers mean.
    """

    basis: highspy.HighsBasis
    added: Ints
    table: list[Cut] | None


@dataclass(frozen=True, eq=False)
class _Run:
    """What one run of the solver left."""

    x: Floats
    dual: Floats
    bound: float
    left: _Left


@dataclass(eq=False)
class _Memory:
    """What a block remembers between passes: of each of its sites alone, and of all together once they have to be."""

    of_sites: dict[int, _Left]
    joint: _Left | None = None


class BlockService:
    """Solves tasks of a problem's blocks, from where it left each the last time; picklable as long as it is new."""

    def __init__(self, problem: Problem, blocks: tuple[Ints, ...]) -> None:
        self._problem, self._blocks = problem, blocks
        self._memory: dict[int, _Memory] = {}
        self._asked: set[int] = set()
        self._is_tempted = bool(len(tempted(problem)[0]))

    def __call__(self, task: BlockTask | SampleTask | RepairTask) -> BlockAnswer | SampleAnswer | RepairAnswer | Late:
        """Solve one task.

        Raises:
            NoPlan: hard limits leave the block no plan; the message names its sites.
        """
        if isinstance(task, SampleTask):
            return price_sample(self._problem, task)
        if isinstance(task, RepairTask):
            return repair_sites(self._problem, task)
        sites = self._blocks[task.block]
        if self._is_tempted:
            return self._directed(task, sites)
        memory = self._memory.setdefault(task.block, _Memory({}))
        problem = block_problem(self._problem, sites)
        began = process_time()
        own = _program(problem)
        limits = None if self._problem.feeders is None else feeder_rows(self._problem, sites)
        try:
            if limits is None:
                block = _Warm(problem, own, task, memory.of_sites.get(0))
                memory.of_sites[0] = block.run.left
                run, rows, alone = block.run, block.rows, [block]
            else:
                run, rows, alone = self._on_feeder(task, problem, own, limits, memory)
            duals = _duals(own, rows, run)
            cuts = rows.of_feeder(run.left.added)
            plans = list(_plans(problem, *_one_way(task, problem, own, run.x, limits, cuts), sites))
        except NoPlan as fault:
            raise self._of_sites(fault, sites) from fault
        except _OutOfTime:
            return Late(task.block)
        for site, solver, of_feeder in zip(sites, alone, duals.feeder, strict=False):
            for x in solver.further(task, of_feeder):
                plans += _plans(solver.problem, solver.own, x, np.array([site]))
        return BlockAnswer(task.block, run.bound, tuple(plans), cuts, duals, process_time() - began)

    def _of_sites(self, fault: NoPlan, sites: Ints) -> NoPlan:
        names = ", ".join(self._problem.sites.ids[site] for site in sites[:5])
        return NoPlan(f"{names}{', ...' if len(sites) > 5 else ''}: {fault}")  # noqa: PLR2004 - same 5

    def _directed(self, task: BlockTask, sites: Ints) -> BlockAnswer | Late:
        """The answer where selling pays more than buying costs: every meter has one direction, chosen by binaries."""
        began, until = process_time(), monotonic() + task.time_limit_s
        part = self._problem if len(sites) == len(self._problem.sites) else self._problem.part(sites)
        problem = replace(part, events=(), reserve=self._problem.reserve, trusted=True)
        own = assemble(problem)
        program, headroom = _priced(own, task.prices), Headroom(problem, own)
        solver, proven = Solver(program), -np.inf
        if task.block in self._asked:
            proven = choose_directions(problem, solver, program, gap=_DIRECTED_GAP,
                                       time_limit_s=min(_DIRECTED_S, 0.7 * task.time_limit_s))
        else:
            # The first plan is to be there soon; rounding its directions is seldom far from the best choice.
            only_so_far(problem, solver, program)
            self._asked.add(task.block)
        try:
            solved = solver.run(until - monotonic(), headroom)
        except NoPlan as fault:
            raise self._of_sites(fault, sites) from fault
        if solved.status != "optimal":
            return Late(task.block)
        x = put_right(program, solver, solved, lambda: until - monotonic(), headroom).answer.x
        dual, rows = solved.row_dual, own.rows
        duals = BlockDuals(
            own.by_site_row(dual, "balance"), -own.by_site_row(dual, "peak"), own.by_site_row(dual, "flow"),
            own.by_site(x, "sold") > own.by_site(x, "bought"), -dual[rows["dynamics"]], np.abs(dual[rows["departure"]]))
        # Minus infinity where nothing was chosen: what the linear program says holds for every choice.
        bound = solved.bound if np.isneginf(proven) else min(proven, solved.bound)
        return BlockAnswer(task.block, bound, tuple(_plans(problem, own, x, sites)), np.zeros(0, dtype=np.int64), duals,
                           process_time() - began)

    def _on_feeder(self, task: BlockTask, problem: Problem, joint: Program, limits: FeederRows,
                   memory: _Memory) -> tuple[_Run, BlockRows, list[_Warm]]:
        """The run of the feeder as a whole, its rows, and the solvers of its sites, where these were asked."""
        sites: list[_Warm] = []
        if memory.joint is not None:
            block = _Warm(problem, joint, task, memory.joint, limits)
        else:
            sites = self._site_by_site(task, problem, memory)
            run = _joined(problem, joint, sites)
            rows = BlockRows(problem, joint, limits, run.left.table)
            if not len(rows.of_feeder(rows.broken(run.x))):
                return run, rows, sites
            block = _Warm(problem, joint, task, run.left, limits, dual=True)
        memory.joint = block.run.left
        memory.of_sites.clear()
        return block.run, block.rows, sites

    def _site_by_site(self, task: BlockTask, problem: Problem, memory: _Memory) -> list[_Warm]:
        found = []
        for site in range(len(problem.sites)):
            part = block_problem(problem, np.array([site]))
            found.append(_Warm(part, _program(part), task, memory.of_sites.get(site)))
            memory.of_sites[site] = found[-1].run.left
        return found


def _program(problem: Problem) -> Program:
    """A block's program: energies are columns only where headroom for reserve needs them."""
    return assemble(problem, energies=problem.reserve is not None)


class _OutOfTime(RuntimeError):
    """The solver was stopped by its time limit."""


def _priced(program: Program, prices: Prices) -> Program:
    """A block's program with the prices of a task in its costs."""
    cost, upper, row_lower = program.cost.copy(), program.upper.copy(), program.row_lower.copy()
    sites = program.shape[0]
    cost[program.columns["bought"]] += np.tile(prices.net, sites)
    cost[program.columns["sold"]] -= np.tile(prices.net, sites)
    if program.columns["up"].stop > program.columns["up"].start:
        cost[program.columns["up"]] += np.tile(prices.up, sites)
        cost[program.columns["down"]] += np.tile(prices.down, sites)
        # What is sold is for the fleet as a whole to decide.
        upper[program.columns["sold_reserve"]] = 0.0
        for name in _VOLUMES:
            row_lower[program.rows[name]] = -np.inf
    return replace(program, cost=cost, upper=upper, row_lower=row_lower)


def _with_rows(program: Program, rows: csr_array, lower: Floats, upper: Floats) -> Program:
    """The program with more rows at its end."""
    return replace(program, matrix=csr_array(vstack([program.matrix, rows], format="csr")),
                   row_lower=np.concatenate([program.row_lower, lower]),
                   row_upper=np.concatenate([program.row_upper, upper]))


class _Warm:
    """A program solved at the prices of a task, and its solver, which is warm for others.

    left: from where another run of the same program can be taken up: with the primal simplex, unless only rows are new.

    Attributes:
        problem, own, rows: the program, without prices, and its lazy rows. run: at the prices of the task.
    """

    def __init__(self, problem: Problem, own: Program, task: BlockTask, left: _Left | None,
                 limits: FeederRows | None = None, *, dual: bool = False) -> None:
        self.problem, self.own = problem, own
        self.rows = BlockRows(problem, own, limits, None if left is None else left.table)
        self._until = monotonic() + task.time_limit_s
        program, added = _priced(own, task.prices), np.zeros(0, dtype=np.int64)
        if left is not None and len(left.added):
            program, added = _with_rows(program, *self.rows.rows(left.added)), left.added
        self._solver = Solver(program)
        self._solver.added = added
        if problem.reserve is None:
            # Nothing is left to presolve without energies, and more rows come later.
            self._solver.set_option("presolve", "off")
        if left is not None:
            self._solver.set_option("presolve", "off")
            self._solver.set_option("simplex_strategy", _DUAL_SIMPLEX if dual else _PRIMAL_SIMPLEX)
            if self._solver.highs.setBasis(left.basis) == highspy.HighsStatus.kError:
                raise SolverFault("HiGHS refused a basis")
        solved = self._solver.run(task.time_limit_s, self.rows)
        if solved.status != "optimal":
            raise _OutOfTime
        basis = _Left(self._solver.highs.getBasis(), self._solver.added, self.rows.table)
        self.run = _Run(solved.x, solved.row_dual, solved.bound, basis)

    def further(self, task: BlockTask, of_feeder: Floats) -> Iterator[Floats]:
        """Plans at the task's other prices, with what its feeder's limits cost, shape (step,), on top of them."""
        columns = np.r_[self.own.columns["bought"], self.own.columns["sold"]]
        for other in task.also:
            priced = _priced(self.own, replace(other, net=other.net + of_feeder))
            self._solver.set_costs(columns, priced.cost[columns])
            self._solver.set_option("simplex_strategy", _PRIMAL_SIMPLEX)
            again = self._solver.run(self._until - monotonic(), self.rows)
            if again.status != "optimal":
                return
            if not any(map(len, both_ways(self.own, again.x))):
                yield again.x


def _one_way(
    task: BlockTask, problem: Problem, own: Program, x: Floats, limits: FeederRows | None, cuts: Ints,
) -> tuple[Program, Floats]:
    """The plan with no car and no meter going both ways, where prices make that pay, and the program it is of."""
    cars, meters = both_ways(own, x)
    if not len(cars) and not len(meters):
        return own, x
    # What is held to one direction may run into any battery limit: here all of them are there from the start.
    whole, until = assemble(problem), monotonic() + task.time_limit_s
    program = _priced(whole, task.prices)
    if limits is not None:
        program = _with_rows(program, *limits.rows(cuts, program))
    solver, headroom = Solver(program), Headroom(problem, whole)
    relaxed = solver.run(task.time_limit_s, headroom)
    if not relaxed.is_feasible:
        return own, x
    return whole, put_right(program, solver, relaxed, lambda: until - monotonic(), headroom).answer.x


def _net(program: Program, x: Floats) -> Floats:
    """Net import of shape (site, step)."""
    return program.by_site(x, "bought") - program.by_site(x, "sold")


def _plans(problem: Problem, program: Program, x: Floats, sites: Ints) -> Iterator[SitePlan]:
    """A block's plan, site by site."""
    count = program.shape[0]
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
    net, (up, down) = _net(program, x), np.zeros((2, *program.shape))
    if problem.reserve is not None:
        # All that the cars have, not only what had a price: another site's plan may fall short of it.
        up, down = Headroom(problem, program).volumes(x)
    for site in range(count):
        # A copy: a view would be pickled with all that it is a view of.
        yield SitePlan(int(sites[site]), float(cost[site]), net[site].copy(), up[site].copy(), down[site].copy(),
                       np.concatenate(kept[site]))


def _duals(own: Program, rows: BlockRows, run: _Run) -> BlockDuals:
    dual, added = run.dual, run.left.added
    is_selling = own.by_site(run.x, "sold") > own.by_site(run.x, "bought")
    return BlockDuals(
        own.by_site_row(dual, "balance"), -own.by_site_row(dual, "peak"),
        rows.feeder_price(added, dual[len(own.row_lower):]), is_selling, rows.energy_value(added, dual),
        np.abs(dual[own.rows["departure"]]))


def _joined(problem: Problem, joint: Program, sites: list[_Warm]) -> _Run:
    """Solution and basis of a joint program from those of its sites, which share no row."""
    x, dual = np.zeros(len(joint.cost)), np.zeros(len(joint.row_lower))
    columns: list[highspy.HighsBasisStatus] = [_AT_LOWER] * len(x)
    rows: list[highspy.HighsBasisStatus] = [_BASIC] * len(dual)
    own_columns = [list(site.run.left.basis.col_status) for site in sites]
    own_rows = [list(site.run.left.basis.row_status) for site in sites]
    for name, block in joint.columns.items():
        owner = _owners(name, block, joint, problem)
        if owner is None:
            continue
        place = block.start + np.argsort(owner, kind="stable")
        x[place] = np.concatenate([site.run.x[site.own.columns[name]] for site in sites])
        _spread(columns, place, (own[site.own.columns[name]] for site, own in zip(sites, own_columns, strict=True)))
    for name, block in joint.rows.items():
        owner = _owners(name, block, joint, problem)
        if owner is None:
            continue
        place = block.start + np.argsort(owner, kind="stable")
        dual[place] = np.concatenate([site.run.dual[site.own.rows[name]] for site in sites])
        _spread(rows, place, (own[site.own.rows[name]] for site, own in zip(sites, own_rows, strict=True)))
    lazy = BlockRows(problem, joint, None)
    added = [lazy.adopt(number, site.rows, site.run.left.added) for number, site in enumerate(sites)]
    behind = [site.run.dual[len(site.own.row_lower):] for site in sites]
    for site, own in zip(sites, own_rows, strict=True):
        rows += own[len(site.own.row_lower):]
    basis = highspy.HighsBasis()
    basis.col_status, basis.row_status, basis.valid = columns, rows, True
    return _Run(x, np.concatenate([dual, *behind]), sum(site.run.bound for site in sites),
                _Left(basis, np.concatenate(added), lazy.table))


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
