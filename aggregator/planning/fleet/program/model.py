"""The planning problem as a Pyomo model that reads like its definition: the reference for every faster path.

Steps t of `hours` h; EV i at site s(i), plugged for arrive <= t < depart. Minimise what energy, wear, missing energy,
peaks and missed events cost, less what reserve earns:

    energy[i,t] = energy[i,t-1] + hours (etac charge[i,t] - discharge[i,t] / etad)
    energy[i,last] + shortfall[i] >= target[i]
    bought - sold - curtailed - sum of (charge - discharge) + unserved - spilled = base - pv         per site and step
    bought <= peak[s]
    sum over sites of (bought - sold) <= limit + missed                                              per event step
    flow[s] = flow[next s] + bought[s] - sold[s],  voltage[s] = voltage[before s] - 2 (r flow[s] + x Q[s])
    up <= room to give, down <= room to take, in kW and in the battery for `sustain_h`
    sum of up >= sold symmetric + sold up,  sum of down >= sold symmetric + sold down                       per step

Rules are written over Pyomo's own sets and parameters only, so that Pyomo compiles each of them once as a template.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyomo.core.base.constraint as pyomo_constraint
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC
from pyomo.core.expr.numeric_expr import LinearExpression

from aggregator.planning.fleet.problem import PRODUCTS, Feeders, Floats, Ints, Problem, Reserve
from aggregator.planning.fleet.program.arrays import Cells, largest_net, least_energy

_Terms = list[tuple[float, pyo.Var]]


def build(problem: Problem) -> pyo.ConcreteModel:
    """The model of `problem`; EVs, sites and steps are numbered as in the problem."""
    with PauseGC():  # a model is some 100,000 objects that all live: looking for garbage takes longer than the rest
        return _model(problem)


def _model(problem: Problem) -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    cells = Cells.of(problem)
    _cars(m, problem, cells)
    _sites(m, problem, cells)
    if problem.events:
        _events(m, problem)
    if problem.feeders is not None:
        _feeders(m, problem, problem.feeders)
    if problem.reserve is not None:
        _reserve(m, problem, problem.reserve, cells)
    m.cost = pyo.Objective(expr=_cost(m, problem))
    return m


@contextmanager
def _one_template_per_rule() -> Iterator[None]:
    """Let Pyomo compile each rule once instead of once per index; inside, rules know Pyomo's sets and data only."""
    before = pyomo_constraint.TEMPLATIZE_CONSTRAINTS
    pyomo_constraint.TEMPLATIZE_CONSTRAINTS = True
    try:
        yield
    finally:
        pyomo_constraint.TEMPLATIZE_CONSTRAINTS = before


def _cars(m: pyo.ConcreteModel, problem: Problem, cells: Cells) -> None:
    evs, hours = problem.evs, problem.step_h
    every, can = list(_pairs(cells.ev, cells.step)), cells.discharge >= 0
    v2g = [pair for pair, may in zip(every, can.tolist(), strict=True) if may]
    others = [pair for pair, may in zip(every, can.tolist(), strict=True) if not may]
    m.plugged = pyo.Set(initialize=every, dimen=2)
    m.v2g = pyo.Set(initialize=v2g, dimen=2)
    m.charging_only = pyo.Set(initialize=others, dimen=2)
    m.car = pyo.RangeSet(0, len(evs) - 1)

    m.charge = pyo.Var(m.plugged, bounds=_between(every, 0.0, evs.max_charge_kw[cells.ev]))
    m.discharge = pyo.Var(m.v2g, bounds=_between(v2g, 0.0, evs.max_discharge_kw[cells.ev[can]]))
    # energy[i, arrive - 1] is what the car brings.
    brought = list(_pairs(np.arange(len(evs)), evs.arrive - 1))
    m.energy = pyo.Var([*brought, *every], bounds=_between(
        [*brought, *every], np.append(evs.energy_kwh, least_energy(problem, cells)),
        np.append(evs.energy_kwh, evs.capacity_kwh[cells.ev])))
    m.shortfall = pyo.Var(m.car, bounds=_between(range(len(evs)), 0.0, evs.capacity_kwh))

    m.gain = _each(hours * evs.charge_efficiency, m.car)
    m.loss = _each(hours / evs.discharge_efficiency, m.car)
    m.target = _each(evs.target_kwh, m.car)
    m.leaving = pyo.Set(initialize=list(_pairs(np.arange(len(evs)), evs.depart - 1)), dimen=2)
    low = np.flatnonzero((evs.floor_kwh > evs.energy_kwh)[cells.ev])
    m.low = pyo.Set(initialize=[every[k] for k in low], dimen=2)
    m.below_floor = pyo.Var(m.low, bounds=lambda _, i, _t: (0.0, evs.floor_kwh[i] - evs.energy_kwh[i]))
    m.floor = _each(evs.floor_kwh, m.car)
    with _one_template_per_rule():
        m.dynamics = pyo.Constraint(m.v2g, rule=lambda m, i, t: (
            m.energy[i, t] - m.energy[i, t - 1] - m.gain[i] * m.charge[i, t] + m.loss[i] * m.discharge[i, t] == 0))
        m.dynamics_charging_only = pyo.Constraint(m.charging_only, rule=lambda m, i, t: (
            m.energy[i, t] - m.energy[i, t - 1] - m.gain[i] * m.charge[i, t] == 0))
        m.departure = pyo.Constraint(m.leaving, rule=lambda m, i, t: m.energy[i, t] + m.shortfall[i] >= m.target[i])
        m.floor_wanted = pyo.Constraint(
            m.low, rule=lambda m, i, t: m.energy[i, t] + m.below_floor[i, t] >= m.floor[i])


def _sites(m: pyo.ConcreteModel, problem: Problem, cells: Cells) -> None:
    sites = problem.sites
    m.site, m.step = pyo.RangeSet(0, len(sites) - 1), pyo.RangeSet(0, problem.steps - 1)
    grid = list(_grid(sites.base_kw))

    def up_to(most: Floats) -> pyo.Var:
        return pyo.Var(m.site, m.step, bounds=_between(grid, 0.0, most.ravel()))

    m.bought, m.sold, m.curtailed = up_to(sites.import_cap_kw), up_to(sites.export_cap_kw), up_to(sites.pv_kw)
    has_slack = problem.limit_per_kwh is not None
    if has_slack:
        most = largest_net(problem)
        m.unserved, m.spilled = up_to(most), up_to(most)
    m.peak = pyo.Var(m.site, bounds=lambda _, s: (
        sites.peak_so_far_kw[s], max(sites.peak_so_far_kw[s], sites.import_cap_kw[s].max())))

    there: dict[tuple[int, int], _Terms] = {at: [] for at in grid}
    where = _pairs(problem.evs.site[cells.ev], cells.step)
    for at, car, may in zip(where, m.plugged, (cells.discharge >= 0).tolist(), strict=True):
        there[at].append((-1.0, m.charge[car]))
        if may:
            there[at].append((1.0, m.discharge[car]))
    own = sites.base_kw - sites.pv_kw

    def balance(m: pyo.ConcreteModel, s: int, t: int) -> tuple[LinearExpression, float]:
        terms = [(1.0, m.bought[s, t]), (-1.0, m.sold[s, t]), (-1.0, m.curtailed[s, t]), *there[s, t]]
        if has_slack:
            terms += [(1.0, m.unserved[s, t]), (-1.0, m.spilled[s, t])]
        return _sum(terms), own[s, t]

    m.balance = pyo.Constraint(m.site, m.step, rule=balance)
    with _one_template_per_rule():
        m.peak_holds = pyo.Constraint(m.site, m.step, rule=lambda m, s, t: m.bought[s, t] - m.peak[s] <= 0)


def _events(m: pyo.ConcreteModel, problem: Problem) -> None:
    steps, limits = problem.event_steps, problem.event_limit_kw
    most = np.maximum(0.0, problem.sites.import_cap_kw[:, steps].sum(axis=0) - limits)
    m.missed = pyo.Var(range(len(steps)), bounds=_between(range(len(steps)), 0.0, most))

    def event(m: pyo.ConcreteModel, j: int) -> tuple[None, LinearExpression, float]:
        t = int(steps[j])
        net = [term for s in m.site for term in ((1.0, m.bought[s, t]), (-1.0, m.sold[s, t]))]
        return None, _sum([*net, (-1.0, m.missed[j])]), limits[j]

    m.event = pyo.Constraint(range(len(steps)), rule=event)


def _feeders(m: pyo.ConcreteModel, problem: Problem, feeders: Feeders) -> None:
    before = feeders.upstream.tolist()
    after = {s: k for k, s in enumerate(before) if s >= 0}
    reactive = feeders.carried(feeders.reactive_kw)
    rating, r, x = feeders.line_kw, feeders.r_per_kw, feeders.x_per_kw
    low, high = problem.voltage_limits
    m.flow = pyo.Var(m.site, m.step, bounds=lambda _, s, _t: (-rating[s], rating[s]))
    m.voltage = pyo.Var(m.site, m.step, bounds=lambda _, s, t: (low[s, t], high[s, t]))

    def flow(m: pyo.ConcreteModel, s: int, t: int) -> tuple[LinearExpression, float]:
        terms = [(1.0, m.flow[s, t]), (-1.0, m.bought[s, t]), (1.0, m.sold[s, t])]
        return _sum([*terms, (-1.0, m.flow[after[s], t])] if s in after else terms), 0.0

    def voltage(m: pyo.ConcreteModel, s: int, t: int) -> tuple[LinearExpression, float]:
        terms, drop = [(1.0, m.voltage[s, t]), (2.0 * r[s], m.flow[s, t])], -2.0 * x[s] * reactive[s, t]
        if before[s] < 0:
            return _sum(terms), 1.0 + drop  # the source holds 1 p.u.
        return _sum([*terms, (-1.0, m.voltage[before[s], t])]), drop

    m.flows = pyo.Constraint(m.site, m.step, rule=flow)
    m.voltages = pyo.Constraint(m.site, m.step, rule=voltage)


def _reserve(m: pyo.ConcreteModel, problem: Problem, reserve: Reserve, cells: Cells) -> None:
    evs, hours = problem.evs, reserve.sustain_h
    give = np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)
    most = (evs.max_charge_kw + give)[cells.ev]
    m.up = pyo.Var(m.plugged, bounds=_between(list(m.plugged), 0.0, most))
    m.down = pyo.Var(m.plugged, bounds=_between(list(m.plugged), 0.0, most))
    prices, every = reserve.prices, float(evs.max_charge_kw.sum() + evs.max_discharge_kw.sum())
    m.product = pyo.Set(initialize=PRODUCTS)
    m.sold_reserve = pyo.Var(m.product, range(len(reserve)), bounds=lambda _, product, b: (
        0.0, every if prices[PRODUCTS.index(product), b] > 0 else 0.0))
    m.give, m.take = _each(give, m.car), _each(evs.max_charge_kw, m.car)
    m.drawn, m.stored = _each(hours / evs.discharge_efficiency, m.car), _each(hours * evs.charge_efficiency, m.car)
    m.least, m.most = _each(np.minimum(evs.floor_kwh, evs.energy_kwh), m.car), _each(evs.capacity_kwh, m.car)
    with _one_template_per_rule():
        m.up_power = pyo.Constraint(
            m.v2g, rule=lambda m, i, t: m.up[i, t] - m.charge[i, t] + m.discharge[i, t] <= m.give[i])
        m.up_power_charging_only = pyo.Constraint(
            m.charging_only, rule=lambda m, i, t: m.up[i, t] - m.charge[i, t] <= 0)
        m.down_power = pyo.Constraint(
            m.v2g, rule=lambda m, i, t: m.down[i, t] + m.charge[i, t] - m.discharge[i, t] <= m.take[i])
        m.down_power_charging_only = pyo.Constraint(
            m.charging_only, rule=lambda m, i, t: m.down[i, t] + m.charge[i, t] <= m.take[i])
        m.up_energy = pyo.Constraint(
            m.plugged, rule=lambda m, i, t: m.energy[i, t] - m.drawn[i] * m.up[i, t] >= m.least[i])
        m.down_energy = pyo.Constraint(
            m.plugged, rule=lambda m, i, t: m.energy[i, t] + m.stored[i] * m.down[i, t] <= m.most[i])
    there: dict[int, list[tuple[int, int]]] = {t: [] for t in m.step}
    for car in m.plugged:
        there[car[1]].append(car)
    for name, volume in (("up", m.up), ("down", m.down)):
        def enough(m: pyo.ConcreteModel, t: int, volume: pyo.Var = volume,
                   alone: str = name) -> tuple[float, LinearExpression, None]:
            terms = [(1.0, volume[car]) for car in there[t]]
            sold = [(-1.0, m.sold_reserve[product, int(reserve.block[t])]) for product in ("symmetric", alone)]
            return 0.0, _sum([*terms, *sold]), None

        m.add_component(f"{name}_volume", pyo.Constraint(m.step, rule=enough))


def _cost(m: pyo.ConcreteModel, problem: Problem) -> LinearExpression:
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    wear = (hours * evs.wear_per_kwh).tolist()
    terms: _Terms = [(wear[i], power) for powers in (m.charge, m.discharge) for (i, _), power in powers.items()]
    terms += [(problem.shortfall_per_kwh, missing) for missing in m.shortfall.values()]
    terms += [(hours * problem.shortfall_per_kwh, missing) for missing in m.below_floor.values()]
    buy, sell = (hours * problem.import_price).tolist(), (-hours * problem.export_price).tolist()
    terms += [(price[t], power) for price, powers in ((buy, m.bought), (sell, m.sold))
              for (_, t), power in powers.items()]
    terms += [(sites.demand_price[s], m.peak[s]) for s in m.site]
    if problem.limit_per_kwh is not None:
        slack = hours * problem.limit_per_kwh
        terms += [(slack, power) for powers in (m.unserved, m.spilled) for power in powers.values()]
    if problem.events:
        terms += [(hours * price, m.missed[j]) for j, price in enumerate(problem.event_price.tolist())]
    if problem.reserve is not None:
        block_h = hours * np.bincount(problem.reserve.block, minlength=len(problem.reserve))
        terms += [(-price * block_h[b], m.sold_reserve[product, b])
                  for product, prices in zip(PRODUCTS, problem.reserve.prices.tolist(), strict=True)
                  for b, price in enumerate(prices)]
    # Only the increase of the peak is paid.
    return _sum(terms, -float(sites.demand_price @ sites.peak_so_far_kw))


def _sum(terms: _Terms, constant: float = 0.0) -> LinearExpression:
    return LinearExpression(constant=constant, linear_coefs=[k for k, _ in terms], linear_vars=[v for _, v in terms])


def _pairs(first: Ints, second: Ints) -> Iterator[tuple[int, int]]:
    return zip(first.tolist(), second.tolist(), strict=True)


def _grid(like: Floats) -> Iterator[tuple[int, int]]:
    return ((s, t) for s in range(like.shape[0]) for t in range(like.shape[1]))


def _between(index: Iterable[Any], lower: Floats | float, upper: Floats) -> dict[Any, tuple[float, float]]:
    low = np.broadcast_to(lower, upper.shape).tolist()
    return dict(zip(index, zip(low, upper.tolist(), strict=True), strict=True))


def _each(values: Floats, index: pyo.Set) -> pyo.Param:
    return pyo.Param(index, initialize=dict(enumerate(values.tolist())), mutable=True, within=pyo.Reals)
