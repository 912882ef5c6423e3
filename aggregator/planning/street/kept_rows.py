"""The feeder's rows that a plan is held to: which of all limits are worth a row, and their tangents at a schedule.

A row that was kept once stays; every round draws all of them anew, since a tangent is trusted only at the schedule that
it was drawn at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.problem import Floats
from aggregator.planning.street.flow_check import MARGIN_PERCENT, FlowCheck, Seen
from aggregator.planning.street.program import FeederRows
from aggregator.planning.street.rows import RowKind

Complex = NDArray[np.complex128]
Ints = NDArray[np.intp]

NEAR_PERCENT = 1.0
"""Rows this close to their limit are kept."""

PER_PHASE = 2
"""Rows added per round, step, kind and phase."""

EVERYWHERE = 1
"""Rows per kind and phase that are kept at every step, once they break at any."""

OPPOSITE: dict[RowKind, RowKind] = {"low_voltage": "high_voltage", "high_voltage": "low_voltage"}
"""Kinds whose rows are the same with the other sign."""


class KeptRows:
    """Rows in the order in which they came, each a (kind, row, step); kind is a number in `kinds`."""

    def __init__(self, check: FlowCheck) -> None:
        self._grid, self._check = check.grid, check
        self.kinds: tuple[RowKind, ...] = tuple(check.grid.monitors)
        self.kind, self.row, self.step = (np.zeros(0, dtype=np.intp) for _ in range(3))
        state, steps, evses = check.base.state, check.base.state.shape[1], len(check.grid.scene.evse_ids)
        self._response: Complex = np.zeros((steps, len(state) - 1, evses), dtype=np.complex128)
        self._response_at = np.full((evses, steps), np.nan)

    def __len__(self) -> int:
        return len(self.kind)

    def _add(self, kind: int, row: Ints, step: Ints) -> None:
        own = self.kind == kind
        there = set(zip(self.row[own].tolist(), self.step[own].tolist(), strict=True))
        new = np.array([key not in there for key in zip(row.tolist(), step.tolist(), strict=True)], dtype=np.bool_)
        self.kind = np.concatenate((self.kind, np.full(int(new.sum()), kind, dtype=np.intp)))
        self.row = np.concatenate((self.row, row[new]))
        self.step = np.concatenate((self.step, step[new]))

    def keep(self, seen: Seen, everywhere: Ints | None = None) -> None:
        """Keep, of every step, kind and phase, the worst rows near or over their limit.

        everywhere: steps at all of which what broke most often is kept too.
        """
        for number, kind in enumerate(self.kinds):
            phases = self._grid.monitors[kind].phase
            with np.errstate(invalid="ignore"):
                near = (seen.excess[kind] > -NEAR_PERCENT) & ~self._check.unfixable[kind]
            for phase in np.unique(phases):
                own = np.flatnonzero(phases == phase)
                level = np.where(near[own], seen.excess[kind][own], -np.inf)
                worst = np.argsort(-level, axis=0, kind="stable")[:PER_PHASE]
                place, step = np.nonzero(np.take_along_axis(level, worst, axis=0) > -np.inf)
                self._add(number, own[worst[place, step]], step)
        if everywhere is not None:
            self._keep_everywhere(everywhere)

    def _keep_everywhere(self, occupied: Ints) -> None:
        """Keep what broke most often at every step with a car.

        A program that may not charge now would charge later instead, and meet the same cable there.
        """
        for number, kind in enumerate(self.kinds):
            monitor = self._grid.monitors[kind]
            count = np.bincount(self.row[self.kind == number], minlength=len(monitor.elements))
            for phase in np.unique(monitor.phase):
                own = np.flatnonzero(monitor.phase == phase)
                for row in own[np.argsort(-count[own], kind="stable")[:EVERYWHERE]]:
                    if count[row]:
                        steps = occupied[~self._check.unfixable[kind][row, occupied]]
                        self._add(number, np.full(len(steps), row), steps)

    def drawn(self, seen: Seen) -> FeederRows:
        """All of them anew, as tangents at the powers that were seen."""
        moved = (self._response_at != seen.at_kw).any(axis=0)
        needed = np.intersect1d(np.flatnonzero(moved), self.step)
        if len(needed):
            self._response[needed] = self._grid.response(seen.solution, needed)
            self._response_at[:, needed] = seen.at_kw[:, needed]
        slope = np.zeros((len(self), self._response.shape[2]))
        least, most = np.full(len(self), -np.inf), np.zeros(len(self))
        for number, kind in enumerate(self.kinds):
            own = np.flatnonzero(self.kind == number)
            if len(own):
                row, step = self.row[own], self.step[own]
                slope[own] = self._grid.slopes(seen.solution, self._response, kind, row, step)
                level = self._grid.levels(seen.excess, kind, row, step)
                shift = (slope[own] * seen.at_kw.T[step]).sum(axis=1) - level
                most[own] = self._grid.monitors[kind].limit[row] - MARGIN_PERCENT[kind] + shift
                least[own] = self._other_side(kind, row, step, level) + shift
        return FeederRows(self.kind, self.step, slope[:, self._check.evse], least, most)

    def _other_side(self, kind: RowKind, row: Ints, step: Ints, level: Floats) -> Floats:
        """The least level that the opposite limit allows, -inf where that is broken already.

        A current that is held in one direction alone comes back in the other: what is linear in the schedule is the
        signed current, and its size stays below the limit in both.
        """
        limit = self._grid.monitors[kind].limit[row]
        if kind in OPPOSITE:
            other = OPPOSITE[kind]
            free, limit = self._check.unfixable[other][row, step], self._grid.monitors[other].limit[row]
        else:
            free = np.zeros(len(row), dtype=np.bool_)
        bound = MARGIN_PERCENT[kind] - limit
        least: Floats = np.where(free | (level <= bound), -np.inf, bound)
        return least
