"""A bound without a solve, for what the time has not reached: every kWh at its market price, batteries without a limit.

It is weak duality with the market price for the dual of each balance and none for any other row, column by column, so
that a fleet of any size has it at once.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.blocks.tasks import Prices
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import largest_net

_AT_ONCE = 4_000


def market_bound(problem: Problem, sites: Ints, prices: Prices) -> float:
    """No plan of these sites costs less, at the prices of a task."""
    market = problem.step_h * np.minimum(problem.import_price, problem.export_price) + prices.net
    return max(_bound(problem, sites, prices, dual) for dual in (market, np.zeros(problem.steps)))


def _bound(problem: Problem, sites: Ints, prices: Prices, dual: Floats) -> float:
    """The bound for duals of the balances of shape (step,), per kW."""
    table, hours = problem.sites, problem.step_h
    found = float(((table.base_kw - table.pv_kw)[sites] @ dual).sum())
    bought = hours * problem.import_price + prices.net - dual
    sold = -hours * problem.export_price - prices.net + dual
    for reduced, most in ((bought, table.import_cap_kw), (sold, table.export_cap_kw), (dual, table.pv_kw)):
        found += float((most[sites] @ np.minimum(reduced, 0.0)).sum())
    if problem.limit_per_kwh is not None:
        slack, most = hours * problem.limit_per_kwh, largest_net(problem)[sites]
        found += float((most @ (np.minimum(slack - dual, 0.0) + np.minimum(slack + dual, 0.0))).sum())
    return found + _of_evs(problem, sites, prices, dual)


def _of_evs(problem: Problem, sites: Ints, prices: Prices, dual: Floats) -> float:
    evs, ticks, found = problem.evs, np.arange(problem.steps), 0.0
    chosen = np.flatnonzero(np.isin(evs.site, sites))
    for begin in range(0, len(chosen), _AT_ONCE):
        own = chosen[begin:begin + _AT_ONCE]
        plugged = (evs.arrive[own, None] <= ticks) & (ticks < evs.depart[own, None])
        wear = problem.step_h * evs.wear_per_kwh[own, None]
        takes, gives = evs.max_charge_kw[own], np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)[own]
        at_step = takes @ (np.minimum(wear + dual, 0.0) * plugged) + gives @ (np.minimum(wear - dual, 0.0) * plugged)
        span = (takes + gives) @ plugged
        found += float(at_step.sum() + span @ (np.minimum(prices.up, 0.0) + np.minimum(prices.down, 0.0)))
    return found
