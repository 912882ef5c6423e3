"""What power beyond caps, lines and voltages has to cost: so much that nobody buys it who could do without.

A fixed price would mean one thing in euros and another in dong: the usual one is a multiple of the dearest price of the
problem itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from aggregator.planning.fleet.problem import Floats, Problem

FROM_PRICES: Final = float("nan")
"""Given as `limit_per_kwh` (this very object): the usual price. Any other NaN is a fault."""

TIMES: Final = 100.0
"""The usual price by the dearest: what a mix of several gains together does not reach either."""

LEAST_TIMES: Final = 2.0
"""Of the dearest price: below, it would pay to exceed a limit in one of these ways alone."""

_MOST: Final = 1e9  # of any price of a problem


def usual_limit_price(problem: Problem) -> float:
    """`TIMES` the dearest price, per kWh; 1 where nothing has one."""
    return min(_MOST, TIMES * dearest(problem)) or 1.0


def dearest(problem: Problem) -> float:
    """The most that a kWh beyond a limit could save or earn in one way, per kWh; values that cannot be are left out."""
    with np.errstate(all="ignore"):  # numbers beyond all floats are faults, which are named elsewhere
        return max(map(_most, _worths(problem)))


def _worths(problem: Problem) -> Iterator[float | Floats]:
    """By way: traded, not missed at departure, at an event, at a floor, kept out of a peak, or sold as reserve."""
    evs, reserve, hours = problem.evs, problem.reserve, problem.step_h
    horizon_h = hours * np.size(problem.import_price)
    yield problem.import_price
    yield problem.export_price
    yield problem.shortfall_per_kwh
    for event in problem.events:
        yield event.shortfall_per_kwh
    if hours > 0:
        yield problem.sites.demand_price / hours
    if evs.energy_kwh.shape == evs.floor_kwh.shape and (evs.energy_kwh < evs.floor_kwh).any():
        yield problem.shortfall_per_kwh * horizon_h
    if reserve is not None:
        # A kWh in the battery is 1 / sustain_h kW that can be sold in every later hour.
        sustain_h = reserve.sustain_h
        times = max(1.0, horizon_h / sustain_h) if sustain_h > 0 else 1.0
        for price in (reserve.price_per_kw_h, reserve.up_price_per_kw_h, reserve.down_price_per_kw_h):
            yield price * times


def _most(values: float | Floats) -> float:
    found = np.abs(np.asarray(values, dtype=float))
    return float(found[np.isfinite(found)].max(initial=0.0))
