"""Turn the relaxed optimum into set-points that cars can follow.

Charging is 0 or at least the minimum current, discharging 0 or at least what the car sustains, and never both in one
step. Failing cells are decided and the rest is solved again, warm: everything the model knows (cap, event, departure,
prices) then decides where the moved energy goes. What no solve can save is rounded by hand, downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.answer import Answer, Solvable
from aggregator.planning.problem import Floats, Problem
from aggregator.planning.windows import Window, step_hours

Decision = tuple[str, int, int, float, float]  # flow, ev, step, lower, upper
Mask = NDArray[np.bool_]

_TINY_KW = 1e-7
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
            grid[grid < _TINY_KW] = 0.0
            grids.append(grid)
        return grids[0], grids[1]


def repair(problem: Problem, spans: tuple[Window, ...], lp: Solvable, cells: Cells, answer: Answer,
           time_limit_s: float) -> tuple[Floats, Floats, Answer]:
    """Powers that cars can follow, and the answer of the last solve that led to them."""
    began = perf_counter()
    best, hours = answer, step_hours(problem)
    for attempt in range(_ROUNDS):
        charge, discharge = cells.powers(best.x)
        decisions = _decide(hours, spans, charge, discharge, is_last=attempt >= _ROUNDS - 2)
        left = time_limit_s - (perf_counter() - began)
        if not decisions or left <= 0:
            break
        again = _solve_with(lp, cells, decisions, left)
        if again is None:
            break
        best = again
    charge, discharge = cells.powers(best.x)
    return *round_down(problem, spans, charge, discharge), best


def _decide(hours: Floats, spans: tuple[Window, ...], charge: Floats, discharge: Floats, *,
            is_last: bool) -> list[Decision]:
    decisions: list[Decision] = []
    for row, span in enumerate(spans):
        ev = span.ev
        if charge[row].any() and discharge[row].any():
            for step in np.flatnonzero((charge[row] > 0) & (discharge[row] > 0)):
                flow = "discharge" if charge[row, step] >= discharge[row, step] else "charge"
                decisions.append((flow, row, int(step), 0.0, 0.0))
        weak = (charge[row] > 0) & (charge[row] < ev.min_charge_kw - _TINY_KW) & ~span.is_capped_below_minimum
        decisions += _round("charge", row, np.flatnonzero(weak), charge[row], ev.min_charge_kw, span.charge_kw,
                            is_last=is_last)
        weak = (discharge[row] > 0) & (discharge[row] < ev.min_discharge_kw - _TINY_KW)
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


def _below_floor(hours: Floats, span: Window, charge: Floats, discharge: Floats) -> Mask:
    """Cells that discharge although the cap kept the car from reaching its floor first."""
    ev = span.ev
    change = hours * (ev.charge_efficiency * charge - discharge / ev.discharge_efficiency)
    return (discharge > 0) & (ev.energy_kwh + np.cumsum(change) < ev.floor_kwh - _TINY_KW)


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
    up = min([up, max(0.0, span.upper_kwh - energy_kwh) / stored,
              *(max(0.0, line.most_kw(energy_kwh, stored)) for line in span.tapers)])
    down = min(down, max(0.0, energy_kwh - ev.floor_kwh) * ev.discharge_efficiency / hours)
    least = 0.0 if span.is_capped_below_minimum[step] else ev.min_charge_kw
    # Solver tolerance must not drop a cell that stands at its minimum.
    if up < least:
        up = least if up >= least - 1e-6 else 0.0
    if down < ev.min_discharge_kw:
        down = ev.min_discharge_kw if down >= ev.min_discharge_kw - 1e-6 else 0.0
    return (up if up > _TINY_KW else 0.0), (down if down > _TINY_KW else 0.0)
