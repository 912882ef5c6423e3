"""Where the linear plan is exact: cells that no price makes charge and discharge at once.

Burning energy in a round trip pays only where a kWh at the site is worth less than what the wear of the trip costs
through its losses. Cells at or above that price are certified; only the others can need a repair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.problem import Evs, Floats, Problem


def burn_price(evs: Evs) -> Floats:
    """Shape (ev,): the price of a kWh below which burning pays; minus infinity where it never does.

    A round trip of 1 kWh charged gives back etac * etad kWh at the connector and wears for both, so it pays below
    -wear * (1 + etac * etad) / (1 - etac * etad); without loss nothing is burnt.
    """
    trip = evs.charge_efficiency * evs.discharge_efficiency
    with np.errstate(divide="ignore", invalid="ignore"):
        price = -evs.wear_per_kwh * (1.0 + trip) / (1.0 - trip)
    return np.where((trip < 1.0) & evs.may_discharge, price, -np.inf)


def uncertified(problem: Problem, site_price: Floats) -> NDArray[np.bool_]:
    """Shape (ev, step): cells that the price of their site, shape (site, step) in money per kWh, does not certify.

    Reserve prices power in both directions too: with it no cell of a car that may discharge is certified.
    """
    evs, ticks = problem.evs, np.arange(problem.steps)
    plugged = (evs.arrive[:, None] <= ticks) & (ticks < evs.depart[:, None])
    if problem.reserve is not None:
        return np.asarray(plugged & evs.may_discharge[:, None])
    # A solver's prices are right to its dual tolerance only, and at the very threshold burning is free, not forbidden.
    return np.asarray(plugged & (site_price[evs.site] <= burn_price(evs)[:, None] + 1e-7))


def paid_both_ways(problem: Problem) -> NDArray[np.bool_]:
    """Shape (step,): where selling pays more than buying costs, so that a plan would do both at one meter."""
    return np.asarray(problem.export_price > problem.import_price)
