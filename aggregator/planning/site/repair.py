"""Turn the relaxed optimum into set-points that cars can follow.

Charging is 0 or at least the minimum current, discharging 0 or at least what the car sustains, and never both in one
step. Failing cells are decided and the rest is solved again, warm: everything the model knows (cap, event, departure,
prices) then decides where the moved energy goes. What no solve can save is rounded by hand, downwards; a car that is
then short of less than its minimum brings gets one step of it where there is room.

Less than the minimum is followable where the battery itself takes no more: such a car is ordered the minimum and stops,
or tapers, by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.answer import Answer, Solvable
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.rounding import HELD_KW, TINY_KW, most_by_battery, round_down, top_up
from aggregator.planning.site.windows import Window, site_limits, step_hours

Decision = tuple[str, int, int, float, float]  # flow, ev, step, lower, upper
Mask = NDArray[np.bool_]

_ROUNDS = 12


@dataclass(frozen=True)
class Cells:
    """Where charge and discharge of the EVs stand among the columns: rows, steps and columns, aligned."""

    shape: tuple[int, int]
    charge: dict[tuple[int, int], int]
    discharge: dict[tuple[int, int], int]

    def powers(self, x: Floats) -> tuple[Floats, Floats]:
        """Charge and discharge of shape (ev, step) in kW; noise below a tenth of a milliwatt is 0."""
        grids = []
        for columns in (self.charge, self.discharge):
            grid = np.zeros(self.shape)
            if columns:
                rows, steps = zip(*columns, strict=True)
                grid[list(rows), list(steps)] = np.maximum(0.0, x[list(columns.values())])
            grid[grid < TINY_KW] = 0.0
            grids.append(grid)
        return grids[0], grids[1]


def repair(problem: Problem, spans: tuple[Window, ...], lp: Solvable, cells: Cells, answer: Answer,
           time_limit_s: float) -> tuple[Floats, Floats, Answer]:
    """Powers that cars can follow, and the answer of the last solve that led to them."""
    began = perf_counter()
    best, hours = answer, step_hours(problem)
    room_kw = site_limits(problem)[0] - problem.base_kw
    for attempt in range(_ROUNDS):
        charge, discharge = cells.powers(best.x)
        decisions = _with_room(_decide(hours, spans, charge, discharge, is_last=attempt >= _ROUNDS - 2), room_kw)
        left = time_limit_s - (perf_counter() - began)
        if not decisions or left <= 0:
            break
        again = _solve_with(lp, cells, decisions, left)
        if again is None:
            break
        best = again
    charge, discharge = cells.powers(best.x)
    return *top_up(problem, spans, *round_down(problem, spans, charge, discharge)), best


def _decide(hours: Floats, spans: tuple[Window, ...], charge: Floats, discharge: Floats, *,
            is_last: bool) -> list[Decision]:
    decisions: list[Decision] = []
    for row, span in enumerate(spans):
        ev = span.ev
        if charge[row].any() and discharge[row].any():
            for step in np.flatnonzero((charge[row] > 0) & (discharge[row] > 0)):
                flow = "discharge" if charge[row, step] >= discharge[row, step] else "charge"
                decisions.append((flow, row, int(step), 0.0, 0.0))
        weak = (charge[row] > 0) & (charge[row] < ev.min_charge_kw - TINY_KW) & ~span.is_capped_below_minimum
        if weak.any():
            weak &= charge[row] < most_by_battery(hours, span, charge[row], discharge[row]) - HELD_KW
        decisions += _round("charge", row, np.flatnonzero(weak), charge[row], ev.min_charge_kw, span.charge_kw,
                            is_last=is_last)
        weak = (discharge[row] > 0) & (discharge[row] < ev.min_discharge_kw - TINY_KW)
        decisions += _round("discharge", row, np.flatnonzero(weak), discharge[row], ev.min_discharge_kw,
                            span.discharge_kw, is_last=is_last)
        if span.starts_below_floor and discharge[row].any():
            decisions += [("discharge", row, int(step), 0.0, 0.0)
                          for step in np.flatnonzero(_below_floor(hours, span, charge[row], discharge[row]))]
    return decisions


def _round(flow: str, row: int, weak: NDArray[np.intp], power: Floats, minimum: float,
           most: Floats, *, is_last: bool) -> list[Decision]:
    """Round weak cells of one EV up or down, carrying the error on, so that its energy stays about the same."""
    decisions: list[Decision] = []
    carried = 0.0
    for step in weak:
        carried += power[step] / minimum
        if carried >= 0.5 and not is_last:  # noqa: PLR2004 - rounding
            carried -= 1.0
            decisions.append((flow, row, int(step), minimum, float(most[step])))
        else:
            decisions.append((flow, row, int(step), 0.0, 0.0))
    return decisions


def _with_room(decisions: list[Decision], room_kw: Floats) -> list[Decision]:
    """Raise to a minimum only while the minimums of a step fit under the cap; `room_kw` is what is left of it."""
    found: list[Decision] = []
    for flow, row, step, least, most in decisions:
        if flow == "charge" and least > 0.0:
            if least > room_kw[step] + TINY_KW:
                found.append((flow, row, step, 0.0, 0.0))
                continue
            room_kw[step] -= least
        found.append((flow, row, step, least, most))
    return found


def _below_floor(hours: Floats, span: Window, charge: Floats, discharge: Floats) -> Mask:
    """Cells that discharge although the cap kept the car from reaching its floor first."""
    ev = span.ev
    change = hours * (ev.charge_efficiency * charge - discharge / ev.discharge_efficiency)
    return (discharge > 0) & (ev.energy_kwh + np.cumsum(change) < ev.floor_kwh - TINY_KW)


def _solve_with(lp: Solvable, cells: Cells, decisions: list[Decision], time_limit_s: float) -> Answer | None:
    """Solve with decided cells; if raised minimums cannot all hold (a full battery), lower them too."""
    columns = {"charge": cells.charge, "discharge": cells.discharge}
    known: dict[int, tuple[float, float]] = {}
    for flow, row, step, least, most in decisions:
        column = columns[flow].get((row, step))
        if column is not None:  # of two decisions on one cell the one that forbids it holds
            held = known.get(column, (least, most))
            known[column] = (min(least, held[0]), min(most, held[1]))
    at = np.array(list(known), dtype=np.int32)
    low, high = np.array([low for low, _ in known.values()]), np.array([high for _, high in known.values()])
    lp.set_bounds(at, low, high)
    answer = lp.run(time_limit_s)
    if answer is None:
        lp.set_bounds(at, np.zeros_like(low), np.where(low > 0, 0.0, high))
        answer = lp.run(time_limit_s)
    return answer
