"""Decide on cells of a schedule that no car can follow: both directions at once, powers below a minimum.

The program knows neither; what it may do is narrowed cell by cell until what it answers can be driven.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.answer import Answer
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.windows import Window
from aggregator.planning.street.flow_check import Seen
from aggregator.planning.street.program import GridProgram

Mask = NDArray[np.bool_]

TINY_KW = 1e-6
"""A power that is none."""


class Cells:
    """The cells of a program, and what is decided on them round after round."""

    def __init__(self, problem: Problem, spans: Sequence[Window], program: GridProgram) -> None:
        self.program, self._spans, self._steps = program, spans, problem.grid.steps
        charging = np.array([np.where(span.is_capped_below_minimum, 0.0, span.ev.min_charge_kw) for span in spans])
        discharging = np.array([np.full(self._steps, span.ev.min_discharge_kw) for span in spans])
        self.minimum = program.cell_powers(*(part.reshape(-1, self._steps) for part in (charging, discharging)))

    def decide(self, seen: Seen, answer: Answer, *, may_raise: bool) -> None:
        """Narrow what the program may answer in cells that no car can follow.

        One that charges and discharges at once keeps the larger of both. Once the feeder holds, powers below a minimum
        are rounded to it or to nothing, each EV's error carried on, and cars that came below their floor give nothing
        before they have reached it.

        answer: what the schedule was seen from. may_raise: whether a power below a minimum may be rounded up.
        """
        program = self.program
        power = program.cell_powers(seen.charge, seen.discharge)
        other = program.cell_powers(seen.discharge, seen.charge)
        forbidden = (power > TINY_KW) & (other > TINY_KW) & (power <= other)
        raised = np.zeros(len(power), dtype=np.bool_)
        if seen.violations == 0:
            forbidden |= self._below_floor(seen) & (power > TINY_KW)
            weak = (power > TINY_KW) & (power < self.minimum - TINY_KW) & ~forbidden
            up = self._rounds_up(power, weak) if may_raise else raised
            raised, forbidden = weak & up, forbidden | (weak & ~up)
        crowded = self._crowded(seen, answer, power)
        forbidden |= crowded
        program.least[raised] = self.minimum[raised]
        program.least[forbidden] = program.most[forbidden] = 0.0

    def _crowded(self, seen: Seen, answer: Answer, power: Floats) -> Mask:
        """Of each step in which raised cells make a limit break, the raised cell with the least power."""
        program = self.program
        crowded = np.zeros(len(power), dtype=np.bool_)
        bought = program.slack(answer).max(axis=0) > TINY_KW
        raised = np.flatnonzero((program.least > 0.0) & bought[program.cell_step])
        if seen.violations and len(raised):
            order = raised[np.lexsort((power[raised], program.cell_step[raised]))]
            _, first = np.unique(program.cell_step[order], return_index=True)
            crowded[order[first]] = True
        return crowded

    def _below_floor(self, seen: Seen) -> Mask:
        """Discharging cells at whose end a car that came below its floor has not reached it."""
        below = np.zeros((len(self._spans), self._steps), dtype=np.bool_)
        for row, span in enumerate(self._spans):
            if span.starts_below_floor:
                change = self.program.hours * (span.ev.charge_efficiency * seen.charge[row]
                                               - seen.discharge[row] / span.ev.discharge_efficiency)
                below[row] = span.ev.energy_kwh + np.cumsum(change) < span.ev.floor_kwh - TINY_KW
        cells = below[self.program.cell_ev, self.program.cell_step]
        cells[:self.program.charging_cells] = False
        return cells

    def _rounds_up(self, power: Floats, weak: Mask) -> Mask:
        """Which of the weak cells are rounded up, so that every EV's energy in each direction stays about the same."""
        up = np.zeros(len(power), dtype=np.bool_)
        carried, whose = 0.0, (-1, False)
        for cell in np.flatnonzero(weak).tolist():
            now = int(self.program.cell_ev[cell]), cell < self.program.charging_cells
            carried = (carried if now == whose else 0.0) + power[cell] / self.minimum[cell]
            whose = now
            if carried >= 0.5 and self.program.most[cell] >= self.minimum[cell]:  # noqa: PLR2004 - rounding
                up[cell] = True
                carried -= 1.0
        return up
