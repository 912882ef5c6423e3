"""What a month would have cost with perfect foresight: the yardstick of `acn_planning.py`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from markets.rate import RateSchedule
from twin.assets import Schedule, World


def foresight(
    world: World, rate: RateSchedule, event_steps: Sequence[int], *, event_net_kw: float, event_per_kwh: float,
    wear_per_kwh: float, loss: float,
) -> Schedule:
    """The cheapest month for who knows all of it, as one linear program written apart from the planner's.

    A car that is there for part of a step can charge for that part. Columns: charge, discharge and energy of each
    plugged (car, step); what is bought, what an event is exceeded by, what a car misses; the month's peak.
    """
    grid = world.grid
    hours = grid.step_hours
    cars, steps, shares, firsts = [], [], [], []
    for number, visit in enumerate(world.visits):
        begin, end = ((when - grid.start).total_seconds() / grid.step_s for when in (visit.arrival, visit.departure))
        own = np.arange(int(begin), int(np.ceil(end)))
        firsts.append(len(cars))
        cars += [number] * len(own)
        steps += own.tolist()
        shares += (np.minimum(own + 1, end) - np.maximum(own, begin)).tolist()
    car_of, step_of, share = np.array(cars), np.array(steps), np.array(shares)
    cells, count, width = len(car_of), len(world.visits), grid.steps
    of = {name: np.array([getattr(visit.vehicle, name) for visit in world.visits])
          for name in ("max_charge_kw", "max_discharge_kw")}
    energy, target, floor = (np.array([getattr(visit, name) for visit in world.visits])
                             for name in ("energy_kwh", "target_kwh", "floor_kwh"))
    capacity = np.array([visit.vehicle.battery.capacity_kwh for visit in world.visits])
    places = np.cumsum([0, cells, cells, cells, width, len(event_steps), count, 1])
    charge, discharge, held, bought, over, missing, peak = (
        np.arange(a, b) for a, b in pairwise(places))
    cost = np.zeros(places[-1])
    cost[charge] = cost[discharge] = wear_per_kwh * hours * share
    cost[bought] = hours * rate.prices(grid.start, grid.step_s, width).import_per_kwh
    cost[over], cost[missing], cost[peak] = event_per_kwh * hours, 100.0, rate.demand_price_per_kw
    lower, upper = np.zeros(places[-1]), np.full(places[-1], np.inf)
    upper[charge], upper[discharge] = of["max_charge_kw"][car_of], of["max_discharge_kw"][car_of]
    lower[held], upper[held] = floor[car_of], capacity[car_of]
    lower[held] = np.minimum(lower[held], energy[car_of])
    upper[bought] = world.import_cap_kw
    first = np.array(firsts)
    is_first = np.zeros(cells, dtype=bool)
    is_first[first] = True
    cell, later = np.arange(cells), np.flatnonzero(~is_first)

    def rows(height: int, *terms: tuple[np.ndarray, np.ndarray, np.ndarray | float]) -> csr_array:
        at, column, value = (np.concatenate([np.broadcast_to(term[k], term[0].shape) for term in terms])
                             for k in range(3))
        return csr_array((value, (at, column)), shape=(height, places[-1]))

    # energy after = energy before + stored - drawn
    dynamics = rows(cells, (cell, held, 1.0), (later, held[later] - 1, -1.0),
                    (cell, charge, -hours * share / (1.0 + loss)), (cell, discharge, hours * share * (1.0 + loss)))
    starts = np.where(is_first, energy[car_of], 0.0)
    step = np.arange(width)
    balance = rows(width, (step, bought, 1.0), (step_of, charge, -share), (step_of, discharge, share))
    last = np.append(first[1:], cells) - 1
    at_most = vstack((
        rows(count, (np.arange(count), held[last], -1.0), (np.arange(count), missing, -1.0)),
        rows(width, (step, bought, 1.0), (step, np.repeat(peak, width), -1.0)),
        rows(len(event_steps), (np.arange(len(event_steps)), bought[event_steps], 1.0),
             (np.arange(len(event_steps)), over, -1.0)),
    ))
    limit = np.concatenate((-target, np.zeros(width), np.full(len(event_steps), event_net_kw)))
    answer = linprog(cost, at_most, limit, vstack((dynamics, balance)),
                     np.concatenate((starts, world.base_load_kw)), np.column_stack((lower, upper)), method="highs")
    if answer.status != 0:
        raise SystemExit(f"foresight: {answer.message}")
    power = np.zeros((len(world.evses), width))
    row = {evse.id: number for number, evse in enumerate(world.evses)}
    at = np.array([row[visit.evse_id] for visit in world.visits])[car_of]
    # Of two cars that share an EVSE and a step, the one that is there longer is followed.
    order = np.argsort(share, kind="stable")
    power[at[order], step_of[order]] = (answer.x[charge] - answer.x[discharge])[order]
    return Schedule(grid, tuple(row), power)
