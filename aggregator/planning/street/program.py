"""The planning program with a feeder's rows behind it, and a price on leaving the last schedule.

Every charging and discharging cell is two columns: up to the last schedule, and above it. So a move costs something in
either direction, and a program that is drawn anew round after round does not wander among plans that cost the same:
its tangents stay true. The price never touches what is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, hstack

from aggregator.planning.answer import Answer
from aggregator.planning.site.arrays import NONE, Ints, Program, assemble
from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.site.warm import WarmProgram
from aggregator.planning.site.windows import Window, step_hours

SLACK_PER_PERCENT_H = 1000.0
"""Price of a limit crossed by one per cent for an hour: a per cent of a cable is a few tenths of a kW."""

_STEEP = 1e-9
"""Per cent per kW below which an EV does not move a row."""


@dataclass(frozen=True, eq=False)
class FeederRows:
    """least <= slope @ (net kW of the EVs in `step`) - slack of (kind, step), and the same without slack <= most.

    kind: number of the kind. slope: (row, ev).
    """

    kind: Ints
    step: Ints
    slope: Floats
    least: Floats
    most: Floats


class GridProgram:
    """One problem, solved again and again under rows that change.

    Attributes:
        program: the problem alone.
        cells: the columns of charging, then of discharging, and cell_ev, cell_step: whose and when.
        least, most: kW that each cell must hold; raised and lowered by who decides on it.
        last: the answer of the last run.
    """

    def __init__(self, problem: Problem, spans: tuple[Window, ...], kinds: int) -> None:
        self.program: Program = assemble(problem, spans)
        self.hours = step_hours(problem)
        charging, discharging = (np.nonzero(at != NONE) for at in (self.program.charge, self.program.discharge))
        self.cells = np.concatenate((self.program.charge[charging], self.program.discharge[discharging]))
        self.cell_ev = np.concatenate((charging[0], discharging[0]))
        self.cell_step = np.concatenate((charging[1], discharging[1]))
        self.charging_cells = len(charging[0])
        self.least, self.most = np.zeros(len(self.cells)), self.program.upper[self.cells].copy()
        self._width = len(self.program.cost)
        self._above = np.full(self._width, NONE, dtype=np.intp)
        self._above[self.cells] = self._width + np.arange(len(self.cells))
        first = self._width + len(self.cells)
        self._slack = first + np.arange(kinds * problem.grid.steps, dtype=np.intp).reshape(kinds, problem.grid.steps)
        self._warm = WarmProgram(self._split(), np.tile(SLACK_PER_PERCENT_H * self.hours, kinds))
        self._rows = 0
        self._drawn: FeederRows | None = None

    def _split(self) -> Program:
        own, cells = self.program, self.cells
        none = np.zeros(len(cells))
        return replace(
            own, cost=np.concatenate((own.cost, own.cost[cells])), lower=np.concatenate((own.lower, none)),
            upper=np.concatenate((own.upper, none)),
            matrix=csr_array(hstack((own.matrix, own.matrix[:, cells]), format="csr")),
        )

    def run(self, time_limit_s: float) -> Answer | None:
        """Solve as it stands.

        Rows give up their other side, and decided cells their minimum, where these exclude every solution; None if
        there still is none.
        """
        answer = self._warm.run(time_limit_s)
        if answer is None and self._drawn is not None:
            free = np.full(len(self._drawn.kind), -np.inf)
            self.draw(replace(self._drawn, least=free))
            answer = self._warm.run(time_limit_s)
        raised = self.least > 0.0
        if answer is None and raised.any():
            self.least[raised] = self.most[raised] = 0.0
            both = np.concatenate((self.cells, self._above[self.cells]))
            now = np.minimum(self._warm.upper[self.cells], self.most)
            self._warm.set_bounds(both, np.zeros(len(both)), np.concatenate((now, self.most - now)))
            answer = self._warm.run(time_limit_s)
        return answer

    def joined(self, answer: Answer) -> Floats:
        """The columns of the problem alone."""
        x = answer.x[:self._width].copy()
        x[self.cells] += answer.x[self._above[self.cells]]
        return x

    def cost(self, answer: Answer) -> float:
        """Of the problem alone: without slack, without the price of moving."""
        return float(self.program.cost @ self.joined(answer)) + self.program.offset

    def slack(self, answer: Answer) -> Floats:
        """Per cent by which limits are crossed, (kind, step)."""
        slack: Floats = answer.x[self._slack]
        return slack

    def row_prices(self, answer: Answer) -> Floats:
        """What each of the feeder's rows would save per per cent of room, 0 or more."""
        return np.maximum(0.0, -answer.row_dual[len(self.program.row_lower):])

    def cell_powers(self, charge: Floats, discharge: Floats) -> Floats:
        """Powers of shape (ev, step) as they stand in `cells`."""
        n = self.charging_cells
        return np.concatenate((
            charge[self.cell_ev[:n], self.cell_step[:n]], discharge[self.cell_ev[n:], self.cell_step[n:]]))

    def start_from(self, charge: Floats, discharge: Floats, price: Floats) -> None:
        """Price moves away from these powers, (ev, step), by `price` per kWh of each step."""
        now = np.clip(self.cell_powers(charge, discharge), self.least, self.most)
        dear, cost = (price * self.hours)[self.cell_step], self.program.cost[self.cells]
        both = np.concatenate((self.cells, self._above[self.cells]))
        self._warm.set_bounds(both, np.concatenate((self.least, np.zeros(len(now)))),
                              np.concatenate((now, self.most - now)))
        self._warm.set_costs(both, np.concatenate((cost - dear, cost + dear)))

    def draw(self, rows: FeederRows) -> None:
        """Put these rows in place of the last ones; those that were there before come first, in their order."""
        count = len(rows.kind)
        blocks = []
        for columns, sign in ((self.program.charge, 1.0), (self.program.discharge, -1.0)):
            there = columns[:, rows.step].T
            at, ev = np.nonzero((there != NONE) & (np.abs(rows.slope) > _STEEP))
            blocks.append((at, there[at, ev], sign * rows.slope[at, ev]))
        blocks += [(at, self._above[column], value) for at, column, value in blocks]
        every = np.arange(count, dtype=np.intp)
        blocks.append((every, self._slack[rows.kind, rows.step], np.full(count, -1.0)))
        row, column, value = (np.concatenate(part) for part in zip(*blocks, strict=True))
        matrix = csr_array((value, (row, column)), shape=(count, int(self._slack[-1, -1]) + 1))
        self._warm.replace_rows(matrix, rows.least, rows.most, np.where(every < self._rows, every, NONE))
        self._rows, self._drawn = count, rows
