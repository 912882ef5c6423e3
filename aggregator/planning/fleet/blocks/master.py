"""The small program that mixes the blocks' plans: which share of each, so that the fleet keeps its promises.

Every plan that a block has ever answered with is a column: its cost and what it does to the rows that couple the fleet.
A mix of feasible plans is feasible, and what an event lacks is paid for, so there is a plan after the first pass.

    min  cost @ share + shortfall of events - reserve sold     sum of each block's shares = 1
         events:  net import of all blocks - shortfall <= limit         reserve:  offered by all blocks - sold >= 0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array

from aggregator.planning.answer import SolverFault
from aggregator.planning.fleet.blocks.sample import event_share
from aggregator.planning.fleet.blocks.tasks import Prices, SitePlan
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.feeder_rows import FeederRows, feeder_rows
from aggregator.planning.highs import HeldProgram
from aggregator.planning.linear_program import LinearProgram

_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Coupling:
    """The rows that couple blocks, and the columns that are the fleet's own.

    Rows: the events' steps, then reserve up and reserve down by step. lower, upper: their limits.
    columns: of shape (row, column): shortfall of each event step in kW, reserve sold in each block of steps.
    """

    problem: Problem
    lower: Floats
    upper: Floats
    columns: Floats
    cost: Floats
    most: Floats

    @staticmethod
    def of(problem: Problem, blocks: Sequence[Ints], *, is_sample: bool = False) -> Coupling:
        """The coupling of some blocks of a problem; those of a sample get their share of the events' limits."""
        steps, hours, event_steps = problem.steps, problem.step_h, problem.event_steps
        sites = np.concatenate(blocks)
        caps = problem.sites.import_cap_kw[sites][:, event_steps].sum(axis=0)
        limit, events = problem.event_limit_kw, len(event_steps)
        if is_sample:
            limit = event_share(problem, sites)
        most = np.maximum(0.0, caps - limit)
        reserve = problem.reserve
        sold = 0 if reserve is None else reserve.prices.size
        rows = events + (0 if reserve is None else 2 * steps)
        columns = np.zeros((rows, events + sold))
        columns[:events, :events] = -np.eye(events)
        cost = np.concatenate([hours * problem.event_price, np.zeros(sold)])
        most = np.concatenate([most, np.zeros(sold)])
        if reserve is not None:
            up, down = events + np.arange(steps), events + steps + np.arange(steps)
            for product, rows_of in enumerate(((up, down), (up,), (down,))):
                for asked in rows_of:
                    columns[asked, events + product * len(reserve) + reserve.block] = -1.0
            hours_sold = hours * np.bincount(reserve.block, minlength=len(reserve))
            cost[events:] = -(reserve.prices * hours_sold).ravel()
            span = (problem.evs.max_charge_kw + problem.evs.max_discharge_kw)[np.isin(problem.evs.site, sites)].sum()
            most[events:] = np.where(reserve.prices > 0, span, 0.0).ravel()
        return Coupling(
            problem, np.concatenate([np.full(events, -np.inf), np.zeros(rows - events)]),
            np.concatenate([limit, np.full(rows - events, np.inf)]), columns, cost, most)

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def events(self) -> int:
        return len(self.problem.event_steps)

    def of_plan(self, plan: SitePlan) -> Floats:
        """What a site's plan does to the rows."""
        net = plan.net_kw[self.problem.event_steps]
        return net if self.problem.reserve is None else np.concatenate([net, plan.up_kw, plan.down_kw])

    def prices(self, dual: Floats) -> Prices:
        """What row duals mean for a block."""
        steps, events = self.problem.steps, self.events
        net = np.zeros(steps)
        np.add.at(net, self.problem.event_steps, -dual[:events])
        if self.problem.reserve is None:
            return Prices(net, np.zeros(steps), np.zeros(steps))
        return Prices(net, -dual[events:events + steps], -dual[events + steps:])

    def proper(self, dual: Floats) -> Floats:
        """The duals without what rounding has turned to the wrong side: a limit that is none has no price."""
        return np.where(np.isinf(self.lower), np.minimum(dual, 0.0), np.maximum(dual, 0.0))

    def bound(self, dual: Floats, block_bounds: float) -> float:
        """Proven lower bound of the whole from that of all blocks at the prices of proper `dual`."""
        side = np.where(dual > 0, self.lower, self.upper)
        used = dual != 0
        reduced = self.cost - self.columns.T @ dual
        return block_bounds + float(dual[used] @ side[used]) + float(np.minimum(reduced, 0.0) @ self.most)


@dataclass(frozen=True, eq=False)
class Mix:
    """A solution of the master.

    shares: shape (column,). dual: shape (coupling row,). reserve_kw: sold, shape (product, block).
    """

    shares: Floats
    dual: Floats
    cost: float
    reserve_kw: Floats


@dataclass(frozen=True, eq=False)
class Box:
    """Where the next prices are looked for: within radius of centre, both of shape (coupling row,)."""

    centre: Floats
    radius: Floats

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.radius).all())


class Pool:
    """The plans of some blocks' sites, and the master program over them.

    A block is solved as a whole and mixed site by site: that leaves many more mixes. What a mix must then keep of a
    feeder's limits are rows of the master, added as they are broken.
    """

    def __init__(self, coupling: Coupling, blocks: Mapping[int, Ints]) -> None:
        self.coupling = coupling
        self.blocks = dict(blocks)
        self.plans: list[SitePlan] = []
        self._idle: list[int] = []
        sites = np.concatenate(list(self.blocks.values()))
        self._row = {int(site): row for row, site in enumerate(sites)}
        self._limits: dict[int, FeederRows] = {}
        if coupling.problem.feeders is not None:
            self._limits = {block: feeder_rows(coupling.problem, own) for block, own in self.blocks.items()}
        self._cuts: dict[int, Ints] = {block: np.zeros(0, dtype=np.int64) for block in self.blocks}

    def add(self, plans: Iterable[SitePlan]) -> None:
        """Take in plans of sites."""
        new = list(plans)
        self.plans.extend(new)
        self._idle.extend([0] * len(new))

    def forget(self, sites: Ints) -> None:
        """Drop all plans of some sites."""
        stays = [k for k, stay in enumerate(~np.isin([plan.site for plan in self.plans], sites)) if stay]
        self.plans = [self.plans[k] for k in stays]
        self._idle = [self._idle[k] for k in stays]

    def cut(self, block: int, numbers: Ints) -> None:
        """Keep some rows of a block's feeder from now on."""
        self._cuts[block] = np.union1d(self._cuts[block], numbers)

    @property
    def is_complete(self) -> bool:
        """Whether every site has a plan."""
        return len({plan.site for plan in self.plans}) == len(self._row)

    def solve(self, box: Box | None = None) -> Mix:
        """The cheapest mix, with the best prices within the box.

        Raises:
            SolverFault: a site has no plan, or the solver failed.
        """
        if not self.is_complete:
            raise SolverFault("a site has no plan to mix")
        held = self._load()
        coupling, count = self.coupling, len(self.plans)
        rows, own = len(coupling), coupling.columns.shape[1]
        for _ in range(_ROUNDS):
            x, dual, cost = _run(held)
            shares = np.maximum(x[:count], 0.0)
            broken = self._broken(shares)
            if not broken:
                break
            for block, numbers in broken.items():
                self.cut(block, numbers)
            held = self._load()
        else:
            raise SolverFault(f"a mix still broke a feeder's limits after {_ROUNDS} rounds")
        place = np.array([self._row[plan.site] for plan in self.plans])
        shares /= np.bincount(place, shares)[place]
        self._idle = [0 if share > 0 else idle + 1 for share, idle in zip(shares, self._idle, strict=True)]
        if box is not None and rows:
            # A row may be missed at a price: that price is as far as its dual can go.
            at = np.arange(rows)
            for sign, price in ((1.0, box.centre + box.radius), (-1.0, box.radius - box.centre)):
                missed = csc_array((np.full(rows, sign), (at, at)), shape=(len(held.row_lower), rows))
                held.add_columns(missed, price, np.zeros(rows), np.full(rows, np.inf))
            _, dual, _ = _run(held)
        sold = np.maximum(x[count + coupling.events:count + own], 0.0).reshape(3, -1)
        return Mix(shares, coupling.proper(dual[:rows]), cost, sold)

    def forget_idle(self, mix: Mix, passes: int) -> Mix:
        """Drop the plans that no mix of the last passes used, for the memory; the mix over those that stay."""
        stays = [k for k, idle in enumerate(self._idle) if idle < passes]
        self.plans = [self.plans[k] for k in stays]
        self._idle = [self._idle[k] for k in stays]
        return Mix(mix.shares[stays], mix.dual, mix.cost, mix.reserve_kw)

    def _load(self) -> HeldProgram:
        coupling, count = self.coupling, len(self.plans)
        rows, own = len(coupling), coupling.columns.shape[1]
        net = np.array([plan.net_kw for plan in self.plans])
        effect = np.array([coupling.of_plan(plan) for plan in self.plans]).reshape(count, rows)
        column, row = np.nonzero(effect)
        own_row, own_column = np.nonzero(coupling.columns)
        place = np.array([self._row[plan.site] for plan in self.plans])
        entries = [(row, column, effect[column, row]), (rows + place, np.arange(count), np.ones(count)),
                   (own_row, count + own_column, coupling.columns[own_row, own_column])]
        lower, upper, height = [coupling.lower, np.ones(len(self._row))], [coupling.upper, np.ones(len(self._row))], 0
        for block, cuts in self._cuts.items():
            if not len(cuts):
                continue
            weights, step, least, most = self._limits[block].of_net(cuts)
            local = {int(site): k for k, site in enumerate(self.blocks[block])}
            there = np.array([k for k, plan in enumerate(self.plans) if plan.site in local])
            value = weights[:, [local[self.plans[k].site] for k in there]] * net[there][:, step].T
            at, which = np.nonzero(value)
            entries.append((rows + len(self._row) + height + at, there[which], value[at, which]))
            lower.append(least)
            upper.append(most)
            height += len(cuts)
        total_rows = rows + len(self._row) + height
        at_rows, at_columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
        matrix = csr_array(coo_array((values, (at_rows, at_columns)), shape=(total_rows, count + own)))
        # A share is at most 1 by its row; a bound would take part of the row's dual.
        return HeldProgram(LinearProgram(
            np.concatenate([[plan.cost for plan in self.plans], coupling.cost]), 0.0, np.zeros(count + own),
            np.concatenate([np.full(count, np.inf), coupling.most]), np.concatenate(lower), np.concatenate(upper),
            matrix))

    def _broken(self, shares: Floats) -> dict[int, Ints]:
        """Rows of feeders that a mix breaks, by block."""
        if not self._limits:
            return {}
        net = np.zeros((len(self._row), self.coupling.problem.steps))
        for share, plan in zip(shares, self.plans, strict=True):
            if share > 0:
                net[self._row[plan.site]] += share * plan.net_kw
        found = {}
        for block, sites in self.blocks.items():
            broken = np.setdiff1d(self._limits[block].broken(net[[self._row[int(site)] for site in sites]]),
                                  self._cuts[block])
            if len(broken):
                found[block] = broken
        return found


def _run(held: HeldProgram) -> tuple[Floats, Floats, float]:
    """Values, row duals and cost of the master's optimum."""
    highs = held.highs
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise SolverFault(f"the master ended with: {highs.modelStatusToString(highs.getModelStatus())}")
    solution = highs.getSolution()
    return np.array(solution.col_value), np.array(solution.row_dual), float(highs.getObjectiveValue())
