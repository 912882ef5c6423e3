"""The bound without a solve is weak duality in the program of the same sites, and below every plan."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Alone
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.market_bound import market_bound
from aggregator.planning.fleet.blocks.tasks import Prices, block_problem, blocks_of
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.linear_program import lower_bound

Make = Callable[..., Problem]


@given(seed=st.integers(0, 10_000), count=st.integers(1, 3), negative=st.booleans(),
       limit=st.sampled_from([None, 1000.0]))
@settings(max_examples=25, deadline=None)
def test_it_is_that_of_the_program_at_the_market_price(
    make_fleet: Make, seed: int, count: int, negative: bool, limit: float | None,
) -> None:
    problem = make_fleet(seed, negative=negative, limit_per_kwh=limit)
    sites, net = np.arange(count), np.random.default_rng(seed).uniform(0.0, 0.5, problem.steps)
    program = assemble(block_problem(problem, sites))
    cost = program.cost.copy()
    cost[program.columns["bought"]] += np.tile(net, count)
    cost[program.columns["sold"]] -= np.tile(net, count)
    dual = np.zeros(len(program.row_lower))
    none = lower_bound(replace(program, cost=cost), dual)
    dual[program.rows["balance"]] = np.tile(
        problem.step_h * np.minimum(problem.import_price, problem.export_price) + net, count)
    free = np.zeros(problem.steps)
    assert market_bound(problem, sites, Prices(net, free, free)) == pytest.approx(
        max(none, lower_bound(replace(program, cost=cost), dual)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"feeders": True}, {"reserve": True}, {"negative": True, "events": 2}])
def test_a_search_without_any_time_has_a_finite_gap(make_fleet: Make, options: dict[str, object]) -> None:
    for seed in range(3):
        problem = make_fleet(seed, evs=14, sites=5, **options)
        found = decompose(problem, time_limit_s=0.0, executor=Alone(BlockService(problem, blocks_of(problem)))).plan
        best = solve_whole(problem)
        assert found.status == "time_limit"
        assert np.isfinite(found.gap)
        assert found.bound <= best.objective + 1e-7 * max(1.0, abs(best.objective))
