"""The planning problem as a Pyomo model that reads like its definition.

V2G-LP1 for one site: minimise energy, demand charge, wear, and the prices of whatever cannot be met. Drivers' targets,
the floor, the cap, the feeder and the event are all soft in that order of price, so the model is never infeasible:
idle EVs and paid slack always satisfy it.

    charge, discharge   kW, step averages at the connector, per plugged (ev, step)
    energy              kWh at the end of the step, battery side
    bought, sold        kW at the connection point; net = bought - sold
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import LinearExpression

from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.windows import Window, event_limits, site_limits, step_hours, unearned_kw

Cell = tuple[int, int]
_Terms = list[tuple[float, pyo.Var]]


def build(problem: Problem, spans: tuple[Window, ...]) -> pyo.ConcreteModel:
    """The model of `problem`; EVs and steps are numbered as in the problem."""
    hours = step_hours(problem)
    m = pyo.ConcreteModel()
    _ev_part(m, spans, hours)
    _site_part(m, problem, spans)
    _event_part(m, problem)
    _feeder_part(m, problem, spans)
    _change_part(m, spans)
    m.cost = pyo.Objective(expr=_cost(m, problem, spans, hours))
    return m


def _row(terms: _Terms, constant: float = 0.0) -> LinearExpression:
    return LinearExpression(constant=constant, linear_coefs=[k for k, _ in terms], linear_vars=[v for _, v in terms])


def _ev_part(m: pyo.ConcreteModel, spans: tuple[Window, ...], hours: Floats) -> None:
    cells = [(i, t) for i, span in enumerate(spans) for t in span.steps]
    can_discharge = [(i, t) for i, t in cells if spans[i].discharge_kw[t] > 0]
    m.charge = pyo.Var(cells, bounds=lambda _, i, t: (0.0, float(spans[i].charge_kw[t])))
    m.discharge = pyo.Var(can_discharge, bounds=lambda _, i, t: (0.0, float(spans[i].discharge_kw[t])))
    m.energy = pyo.Var(cells, bounds=lambda _, i, _t: (spans[i].lower_kwh, spans[i].upper_kwh))

    def dynamics(m: pyo.ConcreteModel, i: int, t: int) -> tuple[LinearExpression, float]:
        ev, terms = spans[i].ev, [(1.0, m.energy[i, t]), (-hours[t] * spans[i].ev.charge_efficiency, m.charge[i, t])]
        if (i, t) in m.discharge:
            terms.append((hours[t] / ev.discharge_efficiency, m.discharge[i, t]))
        if t == spans[i].first:
            return _row(terms), ev.energy_kwh
        return _row([*terms, (-1.0, m.energy[i, t - 1])]), 0.0

    m.dynamics = pyo.Constraint(cells, rule=dynamics)

    # charge <= at_empty - slope * mean energy of the step
    tapering = [(i, k, t) for i, span in enumerate(spans) for k in range(len(span.tapers)) for t in span.steps]

    def taper(m: pyo.ConcreteModel, i: int, k: int, t: int) -> tuple[None, LinearExpression, float]:
        line = spans[i].tapers[k]
        half = line.slope_per_h / 2
        terms, limit = [(1.0, m.charge[i, t]), (half, m.energy[i, t])], line.at_empty_kw
        if t == spans[i].first:
            return None, _row(terms), limit - half * spans[i].ev.energy_kwh
        return None, _row([*terms, (half, m.energy[i, t - 1])]), limit

    m.taper = pyo.Constraint(tapering, rule=taper)

    # energy[due - 1] + shortfall >= need, and so it stays: what a car could lose again
    leaving = [i for i, span in enumerate(spans) if span.first < span.last and span.need_kwh > span.lower_kwh]
    m.shortfall = pyo.Var(leaving, bounds=lambda _, i: (0.0, spans[i].need_kwh - spans[i].lower_kwh))
    m.departure = pyo.Constraint(leaving, rule=lambda m, i: (
        spans[i].need_kwh, _row([(1.0, m.energy[i, spans[i].due - 1]), (1.0, m.shortfall[i])]), None))
    staying = [(i, t) for i in leaving for t in range(spans[i].due, spans[i].last) if spans[i].discharge_kw[t] > 0]
    m.stays_ready = pyo.Constraint(staying, rule=lambda m, i, t: (
        spans[i].need_kwh, _row([(1.0, m.energy[i, t]), (1.0, m.shortfall[i])]), None))

    # energy + early_missing >= what a driver who leaves here could have had
    early = [(i, t) for i, t in cells if spans[i].leave[t] > 0 and spans[i].early_target_kwh[t] > spans[i].lower_kwh]
    _missing(m, "early", early, {(i, t): float(spans[i].early_target_kwh[t]) for i, t in early}, spans)
    # energy + below_floor >= the floor, as far as it is reachable
    low = [(i, t) for i, t in cells if spans[i].starts_below_floor and spans[i].floor_kwh[t] > spans[i].lower_kwh]
    _missing(m, "floor", low, {(i, t): float(spans[i].floor_kwh[t]) for i, t in low}, spans)


    # energy + guard_missing >= what the car would hold without any signal; only where this plan could hold less
    guarded = [(i, t) for i, t in cells
               if spans[i].guard_kwh[t] > (
                   spans[i].lower_kwh if spans[i].discharge_kw.any() else spans[i].ev.energy_kwh)]
    _missing(m, "guard", guarded, {(i, t): float(spans[i].guard_kwh[t]) for i, t in guarded}, spans)


def _missing(m: pyo.ConcreteModel, name: str, cells: list[Cell], wanted: dict[Cell, float],
             spans: tuple[Window, ...]) -> None:
    """Variables `name_missing` and rows `name_wanted`: energy + missing >= wanted."""
    missing = pyo.Var(cells, bounds=lambda _, i, t: (0.0, wanted[i, t] - spans[i].lower_kwh))
    m.add_component(f"{name}_missing", missing)
    m.add_component(f"{name}_wanted", pyo.Constraint(cells, rule=lambda m, i, t: (
        wanted[i, t], _row([(1.0, m.energy[i, t]), (1.0, missing[i, t])]), None)))


def _site_part(m: pyo.ConcreteModel, problem: Problem, spans: tuple[Window, ...]) -> None:
    steps = range(problem.grid.steps)
    most = np.maximum(0.0, problem.base_kw + sum((span.charge_kw for span in spans), np.zeros(len(steps))))
    least = np.maximum(0.0, sum((span.discharge_kw for span in spans), np.zeros(len(steps))) - problem.base_kw)
    import_limit, export_limit = site_limits(problem)
    m.bought = pyo.Var(steps, bounds=lambda _, t: (0.0, float(most[t])))
    m.sold = pyo.Var(steps, bounds=lambda _, t: (0.0, float(least[t])))
    m.over_import = pyo.Var(steps, bounds=lambda _, t: (0.0, max(0.0, float(most[t] - import_limit[t]))))
    m.over_export = pyo.Var(steps, bounds=lambda _, t: (0.0, max(0.0, float(least[t] - export_limit[t]))))
    m.peak = pyo.Var(bounds=(problem.peak_so_far_kw, max(problem.peak_so_far_kw, float(most.max()))))

    at_step: list[_Terms] = [[(1.0, m.bought[t]), (-1.0, m.sold[t])] for t in steps]
    for i, t in m.charge:
        at_step[t].append((-1.0, m.charge[i, t]))
    for i, t in m.discharge:
        at_step[t].append((1.0, m.discharge[i, t]))
    m.balance = pyo.Constraint(steps, rule=lambda _, t: (_row(at_step[t]), float(problem.base_kw[t])))
    # bought and sold may both be positive within one step where prices make that free; the caps hold on their balance.
    m.import_cap = pyo.Constraint(steps, rule=lambda m, t: (
        None, _row([(1.0, m.bought[t]), (-1.0, m.sold[t]), (-1.0, m.over_import[t])]), float(import_limit[t])))
    m.export_cap = pyo.Constraint(steps, rule=lambda m, t: (
        None, _row([(1.0, m.sold[t]), (-1.0, m.bought[t]), (-1.0, m.over_export[t])]), float(export_limit[t])))
    m.peak_holds = pyo.Constraint(steps, rule=lambda m, t: (None, _row([(1.0, m.bought[t]), (-1.0, m.peak)]), 0.0))

    # Where selling pays more than buying costs, one binary per step keeps the meter from doing both.
    both_pay = [t for t in steps if problem.export_price[t] > problem.import_price[t] and most[t] > 0 and least[t] > 0]
    m.is_buying = pyo.Var(both_pay, domain=pyo.Binary)
    m.buys = pyo.Constraint(both_pay, rule=lambda m, t: (
        None, _row([(1.0, m.bought[t]), (-float(most[t]), m.is_buying[t])]), 0.0))
    m.sells = pyo.Constraint(both_pay, rule=lambda m, t: (
        None, _row([(1.0, m.sold[t]), (float(least[t]), m.is_buying[t])]), float(least[t])))


def _event_part(m: pyo.ConcreteModel, problem: Problem) -> None:
    limits = {(j, k): at for j, event in enumerate(event_limits(problem)) for k, at in enumerate(event) if at}
    m.event_missing = pyo.Var(list(limits), bounds=lambda m, j, k: (
        0.0, max(0.0, m.bought[limits[j, k][0]].ub - limits[j, k][1])))
    m.commitment = pyo.Constraint(list(limits), rule=lambda m, j, k: (
        None, _row([(1.0, m.bought[limits[j, k][0]]), (-1.0, m.sold[limits[j, k][0]]), (-1.0, m.event_missing[j, k])]),
        limits[j, k][1]))
    m.event_worst = pyo.Var(sorted({j for j, _ in limits}), bounds=lambda m, j: (
        0.0, max(m.event_missing[at].ub for at in limits if at[0] == j)))
    m.worst_holds = pyo.Constraint(list(limits), rule=lambda m, j, k: (
        None, _row([(1.0, m.event_missing[j, k]), (-1.0, m.event_worst[j])]), 0.0))

    # What was asked and not promised still earns: bought - sold - missing - unearned <= asked
    more = {(j, k): kw for j, event in enumerate(unearned_kw(problem)) for k, kw in enumerate(event)
            if kw > 0 and m.bought[limits[j, k][0]].ub > limits[j, k][1] - kw}
    m.unearned = pyo.Var(list(more), bounds=lambda _, j, k: (0.0, more[j, k]))
    m.asked = pyo.Constraint(list(more), rule=lambda m, j, k: (
        None, _row([(1.0, m.bought[limits[j, k][0]]), (-1.0, m.sold[limits[j, k][0]]), (-1.0, m.event_missing[j, k]),
                    (-1.0, m.unearned[j, k])]), limits[j, k][1] - more[j, k]))


def _feeder_part(m: pyo.ConcreteModel, problem: Problem, spans: tuple[Window, ...]) -> None:
    """Sum of per_kw * power - over <= most, for every row that the powers could cross."""
    number = {span.ev.id: i for i, span in enumerate(spans)}
    terms: dict[int, _Terms] = {}
    reach: dict[int, float] = {}
    for k, row in enumerate(problem.feeder_rows):
        found: _Terms = []
        most = 0.0
        for ev_id, per_kw in row.per_kw.items():
            at = (number[ev_id], row.step)
            for flow, sign in ((m.charge, 1.0), (m.discharge, -1.0)):
                if at in flow:
                    found.append((sign * per_kw, flow[at]))
                    most += max(0.0, sign * per_kw * flow[at].ub)
        if most > row.most_kw:
            terms[k], reach[k] = found, most - row.most_kw
    m.over_feeder = pyo.Var(list(terms), bounds=lambda _, k: (0.0, reach[k]))
    m.feeder = pyo.Constraint(list(terms), rule=lambda m, k: (
        None, _row([*terms[k], (-1.0, m.over_feeder[k])]), problem.feeder_rows[k].most_kw))


def _change_part(m: pyo.ConcreteModel, spans: tuple[Window, ...]) -> None:
    """What is moved >= |charge - discharge - held|, for every cell that has a set-point to hold to."""
    held = {(i, t): float(spans[i].held_kw[t]) for i, t in m.charge if not np.isnan(spans[i].held_kw[t])}
    m.moved = pyo.Var(list(held), bounds=lambda _, i, t: (0.0, max(
        held[i, t] + float(spans[i].discharge_kw[t]), float(spans[i].charge_kw[t]) - held[i, t])))

    def row(i: int, t: int, sign: float) -> LinearExpression:
        terms = [(1.0, m.moved[i, t]), (-sign, m.charge[i, t])]
        if (i, t) in m.discharge:
            terms.append((sign, m.discharge[i, t]))
        return _row(terms)

    m.moved_up = pyo.Constraint(list(held), rule=lambda _, i, t: (-held[i, t], row(i, t, 1.0), None))
    m.moved_down = pyo.Constraint(list(held), rule=lambda _, i, t: (held[i, t], row(i, t, -1.0), None))


def _cost(m: pyo.ConcreteModel, problem: Problem, spans: tuple[Window, ...], hours: Floats) -> LinearExpression:
    constant = -problem.demand_price * problem.peak_so_far_kw  # only the increase of the peak is paid
    constant += problem.shortfall_per_kwh * sum(
        max(0.0, span.need_kwh - span.ev.energy_kwh) for span in spans if span.first == span.last and span.matters)
    return _row([(float(k), v) for k, v in _cost_terms(m, problem, spans, hours)], constant)


def _cost_terms(m: pyo.ConcreteModel, problem: Problem, spans: tuple[Window, ...],
                hours: Floats) -> Iterator[tuple[float, pyo.Var]]:
    for flow in (m.charge, m.discharge):
        yield from ((hours[t] * spans[i].ev.wear_per_kwh, v) for (i, t), v in flow.items())
    for t in m.bought:
        yield hours[t] * problem.import_price[t], m.bought[t]
        yield -hours[t] * problem.export_price[t], m.sold[t]
        yield hours[t] * problem.cap_slack_per_kwh, m.over_import[t]
        yield hours[t] * problem.cap_slack_per_kwh, m.over_export[t]
    yield problem.demand_price, m.peak
    yield from ((problem.shortfall_per_kwh, v) for v in m.shortfall.values())
    yield from ((problem.early_price * spans[i].leave[t], v) for (i, t), v in m.early_missing.items())
    yield from ((problem.shortfall_per_kwh * hours[t], v) for (_, t), v in m.floor_missing.items())
    yield from ((problem.guard_per_kwh_h * spans[i].ev.guard_weight * hours[t], v)
                for (i, t), v in m.guard_missing.items())
    for (j, k), v in m.event_missing.items():
        event = problem.commitments[j]
        yield hours[event.steps[k]] * event.shortfall_per_kwh, v
    yield from ((problem.commitments[j].worst_per_kw, v) for j, v in m.event_worst.items())
    for (j, k), v in m.unearned.items():
        event = problem.commitments[j]
        yield hours[event.steps[k]] * event.asked_per_kwh, v
    for k, v in m.over_feeder.items():
        yield hours[problem.feeder_rows[k].step] * problem.cap_slack_per_kwh, v
    yield from ((problem.change_per_kwh * hours[t], v) for (_, t), v in m.moved.items())
