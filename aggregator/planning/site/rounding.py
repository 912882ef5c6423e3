"""Make powers followable by hand, without a solver: EV by EV, step by step.

`round_down` only ever takes; `top_up` gives back one step at the minimum to whom that left short.

Less than the minimum is followable where the battery itself takes no more: such a car is ordered the minimum and stops,
or tapers, by itself.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.site.checker import evaluate, over_feeder
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.windows import Window, event_limits, site_limits, step_hours

TINY_KW = 1e-7
"""Less is noise."""
HELD_KW = 1e-6
"""A solver ends this close to what holds it."""
_SHORT_KWH = 1e-3


def round_down(problem: Problem, spans: tuple[Window, ...], charge: Floats, discharge: Floats) -> tuple[Floats, Floats]:
    """Make any powers followable, EV by EV, without a solver.

    Cells are only ever lowered, so the import cap cannot be crossed by it; energies stay between floor and capacity.
    """
    hours = step_hours(problem)
    charge, discharge = charge.copy(), discharge.copy()
    for row, span in enumerate(spans):
        energy = span.ev.energy_kwh
        for step in range(len(hours)):
            up = float(min(charge[row, step], span.charge_kw[step]))
            down = float(min(discharge[row, step], span.discharge_kw[step]))
            up, down = _single_direction(up, down)
            up, down = _within_battery(span, step, up, down, energy, float(hours[step]))
            charge[row, step], discharge[row, step] = up, down
            energy += hours[step] * (span.ev.charge_efficiency * up - down / span.ev.discharge_efficiency)
    return charge, discharge


def _single_direction(up: float, down: float) -> tuple[float, float]:
    if up > 0 and down > 0:
        return (up - down, 0.0) if up >= down else (0.0, down - up)
    return up, down


def _within_battery(span: Window, step: int, up: float, down: float, energy_kwh: float,
                    hours: float) -> tuple[float, float]:
    ev = span.ev
    stored = hours * ev.charge_efficiency
    most = _most_kw(span, energy_kwh, stored)
    up = min(up, most)
    down = min(down, max(0.0, energy_kwh - ev.floor_kwh) * ev.discharge_efficiency / hours)
    least = 0.0 if span.is_capped_below_minimum[step] else ev.min_charge_kw
    # Solver tolerance must not drop a cell that stands at its minimum, or where the battery holds it.
    if up < least - HELD_KW:
        up = up if up >= most - HELD_KW else 0.0
    elif up < least:
        up = least
    if down < ev.min_discharge_kw:
        down = ev.min_discharge_kw if down >= ev.min_discharge_kw - HELD_KW else 0.0
    return (up if up > TINY_KW else 0.0), (down if down > TINY_KW else 0.0)


def _most_kw(span: Window, energy_kwh: float, stored: float) -> float:
    """What the battery takes as the mean of a step that begins with energy_kwh and stores `stored` kWh per kW."""
    return min([max(0.0, span.upper_kwh - energy_kwh) / stored,
                *(max(0.0, line.most_kw(energy_kwh, stored)) for line in span.tapers)])


def most_by_battery(hours: Floats, span: Window, charge: Floats, discharge: Floats) -> Floats:
    """Shape (step,): the most that the battery takes in each step after what these powers did before it."""
    ev = span.ev
    change = hours * (ev.charge_efficiency * charge - discharge / ev.discharge_efficiency)
    before = ev.energy_kwh + np.cumsum(change) - change
    return np.array([_most_kw(span, energy, stored) for energy, stored in zip(
        before.tolist(), (hours * ev.charge_efficiency).tolist(), strict=True)])


def top_up(problem: Problem, spans: tuple[Window, ...], charge: Floats, discharge: Floats) -> tuple[Floats, Floats]:
    """Give cars that rounding left short one idle step or more at their minimum, where it costs less than the want.

    Only steps are used in which neither cap nor event nor the feeder nor the peak so far is touched, the cheapest
    first, of these the earliest.
    """
    hours, before = step_hours(problem), (charge, discharge)
    left = {row: span.need_kwh - _due_kwh(hours, span, charge[row], discharge[row])
            for row, span in enumerate(spans) if span.first < span.last and span.ev.min_charge_kw > 0.0}
    left = {row: kwh for row, kwh in left.items() if kwh > _SHORT_KWH}
    if not left:
        return before
    charge = charge.copy()
    room = _room_kw(problem, charge, discharge)
    for row, kwh in left.items():
        _top_up_one(problem, spans[row], row, kwh, charge, discharge, room)
    after = round_down(problem, spans, charge, discharge)
    return after if evaluate(problem, *after).objective < evaluate(problem, *before).objective else before


def _top_up_one(problem: Problem, span: Window, row: int, short_kwh: float, charge: Floats, discharge: Floats,
                room: Floats) -> None:
    hours, ev, least = step_hours(problem), span.ev, span.ev.min_charge_kw
    brings = hours * ev.charge_efficiency * least
    price = problem.import_price * hours * least + ev.wear_per_kwh * hours * least
    battery = most_by_battery(hours, span, charge[row], discharge[row])
    idle = np.zeros(len(hours), dtype=np.bool_)
    idle[span.first:span.due] = True
    idle &= (charge[row] == 0.0) & (discharge[row] == 0.0) & (span.charge_kw >= least) & (room >= least)
    idle &= battery > TINY_KW
    for step in np.argsort(price, kind="stable"):
        if short_kwh <= _SHORT_KWH or not idle[step]:
            continue
        kw = float(np.clip(short_kwh / (hours[step] * ev.charge_efficiency), least, min(
            span.charge_kw[step], room[step], max(least, battery[step]))))
        rows_before = sum(over_feeder(problem, charge - discharge))
        charge[row, step] = kw
        worth = problem.shortfall_per_kwh * min(short_kwh, float(brings[step])) > price[step]
        if not worth or sum(over_feeder(problem, charge - discharge)) > rows_before:
            charge[row, step] = 0.0
            continue
        room[step] -= kw
        short_kwh -= kw * float(hours[step]) * ev.charge_efficiency


def _due_kwh(hours: Floats, span: Window, charge: Floats, discharge: Floats) -> float:
    """In the battery when the target is due, or where the horizon ends."""
    ev, until = span.ev, slice(0, span.due)
    change = ev.charge_efficiency * charge[until] - discharge[until] / ev.discharge_efficiency
    return ev.energy_kwh + float(hours[until] @ change)


def _room_kw(problem: Problem, charge: Floats, discharge: Floats) -> Floats:
    """Shape (step,): what could be drawn beyond these powers without cost but energy's own."""
    net = problem.base_kw + (charge - discharge).sum(axis=0)
    limit, _ = site_limits(problem)
    for event in event_limits(problem):
        for step, kw in (at for at in event if at is not None):
            limit[step] = min(limit[step], kw)
    if problem.demand_price > 0.0:
        limit = np.minimum(limit, max(problem.peak_so_far_kw, float(net.max())))
    room: Floats = limit - net
    return room
