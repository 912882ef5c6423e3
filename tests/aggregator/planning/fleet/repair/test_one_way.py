"""Where selling pays more than buying costs, the plan is the best in which every meter has one direction."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Alone
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.checker import violations
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.program.solver import Solver
from aggregator.planning.fleet.repair.one_way import tempted

Make = Callable[..., Problem]


def _tempting(problem: Problem) -> Problem:
    """Export pays more than import in the middle of the day."""
    price = problem.export_price.copy()
    price[1:3] = problem.import_price[1:3] + 0.4
    caps = np.maximum(problem.sites.export_cap_kw, 10.0)
    return replace(problem, export_price=price, sites=replace(problem.sites, export_cap_kw=caps))


@pytest.mark.parametrize("seed", range(12))
def test_the_plan_is_the_best_of_all_directions(seed: int, make_fleet: Make) -> None:
    problem = _tempting(make_fleet(seed, steps=4, sites=2, evs=8))
    program = assemble(problem)
    meters, buys, sells = tempted(problem)
    bought, sold = (program.columns[name].start + meters for name in ("bought", "sold"))
    best = np.inf
    for directions in product((True, False), repeat=len(meters)):
        solver = Solver(program)
        takes = np.array(directions)
        solver.set_bounds(bought, np.zeros(len(meters)), np.where(takes, buys, 0.0))
        solver.set_bounds(sold, np.zeros(len(meters)), np.where(takes, 0.0, sells))
        best = min(best, solver.run(10.0).objective)
    plan = solve_whole(problem, gap=1e-6)
    assert violations(problem, plan.schedule) == ()
    assert plan.objective == pytest.approx(best + plan.repair.cost, rel=2e-6, abs=1e-6)
    assert plan.bound <= best + 1e-6 * max(1.0, abs(best))
    assert plan.gap <= 1e-6 + plan.repair.cost


def test_a_plain_linear_plan_would_sell_what_it_buys_at_the_same_meter(make_fleet: Make) -> None:
    """Without what this file tests, the plan would count on money that no meter pays."""
    problem = _tempting(make_fleet(1, steps=4, sites=2, evs=8))
    dreamt = Solver(assemble(problem)).run(10.0).objective
    assert dreamt < solve_whole(problem).bound - 1.0


@pytest.mark.parametrize("feeders", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_fleet_in_blocks_has_one_direction_per_meter_and_a_bound_that_knows_it(
    seed: int, feeders: bool, make_fleet: Make,
) -> None:
    problem = _tempting(make_fleet(seed, steps=4, sites=4, evs=12, feeders=feeders))
    whole = solve_whole(problem, gap=1e-6)
    found = decompose(problem, 1e-2, 60.0, executor=Alone(BlockService(problem, blocks_of(problem))))
    scale = max(1.0, abs(whole.objective))
    assert violations(problem, found.plan.schedule) == ()
    assert found.plan.bound <= whole.objective + 1e-6 * scale
    assert found.plan.objective >= whole.bound - 1e-6 * scale
    # A mix of directions is no plan: between the best of all and what prices alone prove there is something left.
    assert found.plan.gap <= 0.011


def test_meters_are_left_alone_where_buying_costs_more(make_fleet: Make) -> None:
    assert len(tempted(make_fleet(1))[0]) == 0
