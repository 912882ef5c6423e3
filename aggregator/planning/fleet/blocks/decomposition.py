"""A fleet too large for one program, planned block by block on several processes, with a proven gap on every pass.

Dantzig-Wolfe decomposition: only events and reserve couple the blocks. A pass solves every block at prices for these;
the sum of their optima, less what the prices have promised, is a proven lower bound; a mix of all plans that the blocks
have answered with is a plan, and its duals are the next prices. The first prices come from the same done on a sample
of the fleet, which is a hundredth of the work, and the sample's from a smaller one.

    prices ──> blocks, in parallel ──> bound, plans ──> mix ──> cost, prices ──┐
      ^────────────────────────── smoothed ────────────────────────────────────┘
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.block_duals import BlockDuals, gathered
from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Crew, Executor
from aggregator.planning.fleet.blocks.directions import Choice
from aggregator.planning.fleet.blocks.market_bound import market_bound
from aggregator.planning.fleet.blocks.master import Box, Coupling, Mix, Pool
from aggregator.planning.fleet.blocks.mixing import recombined
from aggregator.planning.fleet.blocks.price_search import PriceSearch
from aggregator.planning.fleet.blocks.sample import SampleAnswer, SampleTask
from aggregator.planning.fleet.blocks.site_repair import RepairAnswer, RepairTask, put_together, tasks_of
from aggregator.planning.fleet.blocks.tasks import BlockAnswer, BlockTask, Late, Prices, blocks_of
from aggregator.planning.fleet.checker import Schedule, evaluate
from aggregator.planning.fleet.idle import idle_schedule
from aggregator.planning.fleet.plan import Duals, Plan, Repair, make_plan, relative_gap
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.monolith import Progress
from aggregator.planning.fleet.repair.certificate import paid_both_ways

_SAMPLE_EVS = 640
_LARGE_FLEET_EVS = 20_000
_SAMPLE_PART = 0.08
_SAMPLE_PASSES = 2
_FORGET_AFTER = 3
_FIRST_RADIUS = 0.05
_PARTS = 4
_FINISHING = 3.0
_CHOICE_SHARE = 0.6
_PASSES_SHARE = {False: 0.95, True: 0.5}
_LEAST_IN_PART = 10
_SPREAD = 0.5


Task = BlockTask | SampleTask | RepairTask
Answer = BlockAnswer | SampleAnswer | RepairAnswer | Late


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over all blocks came to.

    bound: best proven so far. objective: of the mix, as the master has it. seconds: since the start.
    """

    number: int
    bound: float
    objective: float
    gap: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A plan of the whole fleet, and how it was found.

    planned: shape (site,), whether a solver has planned the site; the time limit leaves the others to the plan without
    one. passes: over the whole fleet. replaced: workers that died and were replaced.
    """

    plan: Plan
    planned: NDArray[np.bool_]
    passes: tuple[Pass, ...]
    replaced: int


def decompose(
    problem: Problem, gap: float = 1e-3, time_limit_s: float = 600.0, workers: int = 2,
    progress: Progress | None = None, executor: Executor[Task, Answer] | None = None,
) -> Decomposition:
    """Plan block by block until the gap is proven, or the time is up; there is always a plan.

    gap: relative to the plan's cost. executor: where blocks are solved, if not on `workers` processes of its own;
    it serves a `BlockService(problem, blocks_of(problem))`.

    Raises:
        NoPlan: hard limits leave a block no plan; the message names its sites.
        CrewFault: a block ends every worker it is given to.
    """
    began, share = monotonic(), _PASSES_SHARE[problem.evs.has_minimums]
    with ExitStack() as stack:
        blocks = blocks_of(problem)
        own: Crew[Task, Answer] | None = None
        if executor is None:
            own = stack.enter_context(Crew(BlockService(problem, blocks), workers))
        before = monotonic()
        idle = idle_schedule(problem)
        # What comes after the last answer is work of the same kind, and is to end in time, too.
        until = began + max(0.0, time_limit_s - _FINISHING * (monotonic() - before))
        search = _Search(problem, blocks, executor or own, gap, began + share * (until - began), until,  # type: ignore[arg-type]
                         progress, idle)
        search.run()
        return search.result(0 if own is None else own.replaced)


@dataclass(eq=False)
class _Search:
    """The state of one decomposition.

    deadline, until: of the passes, and of what puts their mix right. idle: cars that charge as they come. is_late: the
    time ended a pass. bound: highest of the whole fleet so far. dual, duals: the prices it was proven at, of the
    coupling and by block. choice: of the directions of meters, where selling pays more than buying costs.
    """

    problem: Problem
    blocks: tuple[Ints, ...]
    executor: Executor[Task, Answer]
    gap: float
    deadline: float
    until: float
    progress: Progress | None
    idle: Schedule
    is_late: bool = False
    bound: float = -np.inf
    dual: Floats = field(default_factory=lambda: np.zeros(0))
    duals: dict[int, BlockDuals] = field(default_factory=dict)
    mix: Mix | None = None
    pool: Pool | None = None
    passes: list[Pass] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    choice: Choice = field(init=False)

    def __post_init__(self) -> None:
        is_tempted = bool(paid_both_ways(self.problem).any())
        self.choice = Choice(Pool(Coupling.of(self.problem, self.blocks), dict(enumerate(self.blocks)))
                             if is_tempted else None)

    def run(self) -> None:
        """Prices from samples, better ones from a larger sample, then the whole fleet."""
        self._began = monotonic()
        self.pool = Pool(Coupling.of(self.problem, self.blocks), dict(enumerate(self.blocks)))
        order = np.random.default_rng(0).permutation(len(self.blocks))
        box = self._first_prices(order)
        self._note("first prices")
        sample = self._sample(order)
        if len(self.pool.coupling) and sample:
            few = Pool(Coupling.of(self.problem, [self.blocks[k] for k in sample], is_sample=True),
                       {k: self.blocks[k] for k in sample})
            box = self._passes(few, box, _SAMPLE_PASSES)
            self.pool.add(few.plans)
        self._note("sample")
        self._passes(self.pool, box, None)
        self._note("passes")

    def _note(self, phase: str) -> None:
        self.seconds[phase] = monotonic() - self._began - sum(self.seconds.values())

    def _evs_until(self, order: Ints, parts: Sequence[Ints]) -> Ints:
        """How many EVs the sites of some parts have up to each place of an order."""
        evs = np.bincount(self.problem.evs.site, minlength=len(self.problem.sites))
        return np.cumsum([evs[parts[part]].sum() for part in order])

    def _first_prices(self, order: Ints) -> Box:
        """The mean of several samples' prices, and how far they are from each other."""
        rows = 0 if self.pool is None else len(self.pool.coupling)
        none = Box(np.zeros(rows), np.full(rows, np.inf))
        wanted, parts = _SAMPLE_EVS // (4 if self.choice.is_open else 1), self.blocks
        if self.problem.reserve is not None:
            # A feeder of it takes longer than all its sites alone; a sample knows no feeders anyway.
            wanted, parts = _SAMPLE_EVS // 8, tuple(np.arange(len(self.problem.sites))[:, None])
            order = np.random.default_rng(0).permutation(len(parts))
        until, count = self._evs_until(order, parts), self.executor.workers
        if not rows or until[-1] < 2 * count * wanted:
            return none
        edges = np.searchsorted(until, wanted * np.arange(count + 1))
        left = max(0.0, self.deadline - monotonic())
        tasks = [SampleTask(np.sort(np.concatenate([parts[k] for k in order[begin:max(end, begin + 1)]])), left)
                 for begin, end in itertools.pairwise(edges)]
        answers = [answer for _, answer in self.executor.map(tasks, self.deadline)]
        duals = [answer.dual for answer in answers if isinstance(answer, SampleAnswer) and answer.dual is not None]
        if not duals:
            return none
        centre = self.pool.coupling.proper(np.mean(duals, axis=0)) if self.pool is not None else np.zeros(rows)
        return Box(centre, np.maximum(np.ptp(duals, axis=0), _FIRST_RADIUS * np.abs(centre).max()))

    def _sample(self, order: Ints) -> list[int]:
        """Blocks that are a small part of a large fleet, enough for prices close to its own; else none."""
        until = self._evs_until(order, self.blocks)
        if until[-1] < _LARGE_FLEET_EVS or self.choice.is_open:
            return []
        few: list[int] = order[:int(np.searchsorted(until, until[-1] * _SAMPLE_PART)) + 1].tolist()
        return few

    def _passes(self, pool: Pool, box: Box, most: int | None) -> Box:
        """Passes over a pool's blocks until the gap is proven, or nothing moves; a box for the passes after them."""
        is_whole, blocks, number = most is None, list(pool.blocks), 0
        prices, turns = PriceSearch(self.gap, box), self._turns(blocks)
        while monotonic() < self.deadline and (most is None or number < most):
            if self.choice.is_open:
                turns = self._turns(blocks)  # all of them
            asked, dual = next(turns), prices.dual
            spread = _SPREAD * np.abs(dual).max(initial=0.0) if number == 0 and prices.box.is_finite else 0.0
            answers = self._solve(asked, pool.coupling, dual, spread)
            is_cut_short = len(answers) < len(asked)
            self._gather(answers, pool, prices)
            if len(asked) == len(blocks):
                self._prove(answers, pool, prices, is_whole=is_whole, is_cut_short=is_cut_short)
            self.is_late |= is_cut_short
            if not pool.is_complete:
                break
            mix = pool.solve(prices.box if prices.box.is_finite else None)
            number += 1
            if is_whole:
                self._keep(mix)
                self._report(mix.cost)
            else:
                # Its mix prices the coupling too; between both the bound of the whole is the highest, mostly.
                prices.box = Box(0.5 * (mix.dual + prices.box.centre), prices.box.radius)
            if is_cut_short or not len(dual):
                break
            is_done = prices.has_ended(mix.cost, is_full=len(asked) == len(blocks))
            mix = pool.forget_idle(mix, _FORGET_AFTER)
            if is_whole:
                self.mix = mix
            prices.move(mix)
            if self.choice.is_open:
                prices.dual = dual
            elif is_done and not self._reopened(prices, mix):
                break
        return prices.box

    def _gather(self, answers: Sequence[BlockAnswer], pool: Pool, prices: PriceSearch) -> None:
        """Take the plans of a pass into the pool; those that chose directions begin another search."""
        if self.choice.take(answers, pool):
            prices.begin_anew()
        for answer in answers:
            pool.add(answer.plans)
            pool.cut(answer.block, answer.cuts)

    def _prove(self, answers: Sequence[BlockAnswer], pool: Pool, prices: PriceSearch, *, is_whole: bool,
               is_cut_short: bool) -> None:
        """Take in the bound of a pass over all blocks."""
        if is_whole:
            self._take(answers, prices.dual)
        if not is_cut_short:
            prices.take(pool.coupling.bound(prices.dual, sum(answer.reached for answer in answers)))

    def _reopened(self, prices: PriceSearch, mix: Mix) -> bool:
        """Whether another choice of directions may gain something; it is made at prices of its own."""
        if relative_gap(mix.cost, self.bound) <= self.gap:
            return False
        dual = self.choice.reopen(self.bound)
        if dual is None or self.pool is None:
            return False
        dual = self.pool.coupling.proper(dual)
        # Near the prices of the highest bound it is higher, mostly, than at those of a mix of few plans.
        prices.dual = 0.5 * (dual + self.dual) if len(self.dual) else dual
        return True

    def _keep(self, mix: Mix) -> None:
        self.mix = mix
        if self.pool is not None:
            self.choice.keep(mix, self.pool.plans)

    def _turns(self, blocks: list[int]) -> Iterator[list[int]]:
        """Who is asked in each pass: all for a bound, and between two bounds parts in turn for a better mix.

        Near the best prices the bound is tight at once and only the mix lacks plans to choose from; a part of the
        blocks gives it those.
        """
        parts = _PARTS if len(blocks) >= _LEAST_IN_PART * _PARTS else 1
        order = np.random.default_rng(1).permutation(blocks).tolist()
        while True:
            yield blocks
            for part in range(parts if parts > 1 else 0):
                yield order[part::parts]

    def _report(self, objective: float) -> None:
        self.passes.append(Pass(len(self.passes) + 1, self.bound, objective, relative_gap(objective, self.bound),
                                monotonic() - self._began))
        if self.progress is not None:
            self.progress(len(self.passes), self.bound, objective)

    def _solve(self, blocks: Sequence[int], coupling: Coupling, dual: Floats,
               spread: float = 0.0) -> list[BlockAnswer]:
        """Plans of some blocks at the prices of `dual`; not of all of them if the time is up before.

        spread: how far around `dual` each block is asked for two further plans, one where the events are dearer and one
        where they are cheaper, and each block at other prices: where all blocks answer to the same prices their plans
        all say the same, and no mix of them hits every step of an event.
        """
        prices = coupling.prices(dual)
        left = max(0.0, self.deadline - monotonic())
        choice_s = self.choice.seconds(_CHOICE_SHARE * left * self.executor.workers / len(blocks))
        tasks = []
        for block in blocks:
            also: tuple[Prices, ...] = ()
            if spread > 0 and self.problem.reserve is None:
                dearer, cheaper = np.random.default_rng(block).uniform(0.0, spread, (2, len(dual)))
                also = tuple(coupling.prices(coupling.proper(other)) for other in (dual - dearer, dual + cheaper))
            tasks.append(BlockTask(block, prices, left, also, self.choice.takes.get(block), choice_s))
        answers = (answer for _, answer in self.executor.map(tasks, self.deadline))
        return [answer for answer in answers if isinstance(answer, BlockAnswer)]

    def _take(self, answers: Sequence[BlockAnswer], dual: Floats) -> float:
        """Take in what a pass proves; blocks that it did not reach count with what their prices alone prove."""
        if self.pool is None:
            return -np.inf
        coupling = self.pool.coupling
        bounds = {answer.block: answer.bound for answer in answers}
        prices = coupling.prices(dual)
        missing = [sites for block, sites in self.pool.blocks.items() if block not in bounds]
        rest = market_bound(self.problem, np.concatenate(missing), prices) if missing else 0.0
        proven = coupling.bound(dual, sum(bounds.values()) + rest)
        if proven > self.bound:
            self.bound = proven
            if not missing:
                self.dual, self.duals = dual, {answer.block: answer.duals for answer in answers}
        return proven

    def result(self, replaced: int) -> Decomposition:
        """The plan of the last mix, judged without the solver."""
        if self.pool is None:
            raise RuntimeError("nothing has been planned yet")
        pool, mix, plans = self.pool, self.mix, tuple(self.pool.plans)
        if self.choice.kept is not None:
            mix, plans = self.choice.kept
        if np.isneginf(self.bound):
            self._take((), np.zeros(len(pool.coupling)))
        planned = np.zeros(len(self.problem.sites), dtype=bool)
        planned[[plan.site for plan in plans]] = True
        idle = self.idle
        if mix is None:
            # The time was up before every site had a plan: those that have one follow their last.
            latest = {plan.site: k for k, plan in enumerate(plans)}
            shares = np.zeros(len(plans))
            shares[list(latest.values())] = 1.0
            mix = Mix(shares, np.zeros(len(pool.coupling)), np.inf, idle.reserve_kw)
        schedule, netted = recombined(self.problem, plans, mix, idle)
        self._note("recombination")
        schedule, repair = self._put_right(schedule, idle, planned)
        self.is_late |= monotonic() >= self.deadline
        plan = make_plan(self.problem, schedule, self.bound, wanted_gap=self.gap, duals=self._prices(),
                         repair=replace(repair, cells=netted + repair.cells),
                         seconds=self.seconds, is_late=self.is_late)
        self._note("repair")
        return Decomposition(plan, planned, tuple(self.passes), replaced)

    def _put_right(self, schedule: Schedule, idle: Schedule, planned: NDArray[np.bool_]) -> tuple[Schedule, Repair]:
        """What cars and meters can follow, block by block where the mix is not that, and what it costs."""
        left = max(0.0, self.until - monotonic())
        tasks = tasks_of(self.problem, self.blocks, schedule, planned, set(self.choice.takes), left,
                         self.executor.workers)
        if not tasks and relative_gap(evaluate(self.problem, schedule).objective, self.bound) <= self.gap:
            return schedule, Repair()
        answers = [answer for _, answer in self.executor.map(tasks, self.until)] if tasks else []
        return put_together(self.problem, self.blocks, schedule,
                            [answer for answer in answers if isinstance(answer, RepairAnswer)], idle)

    def _prices(self) -> Duals | None:
        """Those that prove the bound; none if the time was up before every block had answered to them."""
        if not self.duals:
            return None
        events = len(self.problem.event_steps)
        return gathered(self.problem, self.blocks, [self.duals[k] for k in range(len(self.blocks))],
                        self.dual[:events])
