"""What the flow says of a schedule: which limits break because of EVs, by how much, and where there is no flow at all.

Rows that break without any EV are nobody's to mend: they are left out here, once and for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.site.problem import Floats, Problem
from aggregator.planning.street.rows import GridRows, RowKind
from twin.feeder.powerflow.flow import Solution

Mask = NDArray[np.bool_]

MARGIN_PERCENT: dict[RowKind, float] = {
    "low_voltage": 0.0025, "high_voltage": 0.0025, "line": 0.05, "transformer": 0.05, "winding": 0.05,
    "unbalance": 0.002,
}
"""Kept free of every limit, for what tangents still miss in the last round; each is worth about as many kW."""

_SHARES = 7
"""Halvings by which the largest share of the EVs' power is found that the flow can solve."""
_BACK = 0.9
"""Share of that at which rows are drawn: at the very edge tangents are endless."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A schedule in the flow.

    charge, discharge: kW, (ev, step). at_kw: of the EVSEs in `solution`, (evse, step): less where the flow has no
    solution at what was asked. excess: per cent over the limit by kind, (row, step); broken: where EVs are why.
    lost: steps without a solution.
    """

    charge: Floats
    discharge: Floats
    solution: Solution
    at_kw: Floats
    excess: dict[RowKind, Floats]
    broken: dict[RowKind, Mask]
    lost: Mask

    @property
    def violations(self) -> int:
        return sum(int(mask.sum()) for mask in self.broken.values()) + int(self.lost.sum())

    @property
    def worst_percent(self) -> float:
        return max((float(over[self.broken[kind]].max(initial=0.0)) for kind, over in self.excess.items()), default=0.0)

    def worst_of_steps(self) -> Floats:
        """The largest excess of each step, in margins of its kind."""
        worst = np.where(self.lost, np.inf, 0.0)
        for kind, over in self.excess.items():
            worst = np.maximum(worst, np.where(self.broken[kind], over, 0.0).max(axis=0) / MARGIN_PERCENT[kind])
        return worst


class FlowCheck:
    """Asks the flow about schedules of one problem.

    evse: of each EV, its place in the scene. base: the flow without EVs. unfixable: (row, step) by kind that break, or
    have no flow, in it.
    """

    def __init__(self, problem: Problem, grid: GridRows) -> None:
        self.grid = grid
        self._ids = grid.scene.evse_ids
        self.evse = np.array([self._ids.index(ev.evse_id) for ev in problem.evs], dtype=np.intp)
        self.base = grid.solve(np.zeros((len(self._ids), problem.grid.steps)))
        with np.errstate(invalid="ignore"):
            self.unfixable: dict[RowKind, Mask] = {
                kind: ~(over <= 0.0) for kind, over in grid.excess(self.base).items()}

    def see(self, charge: Floats, discharge: Floats) -> Seen:
        """What the flow says of these powers, (ev, step)."""
        evse_kw = np.zeros((len(self._ids), charge.shape[1]))
        np.add.at(evse_kw, self.evse, charge - discharge)
        solution, at_kw = self._solvable(evse_kw)
        excess = self.grid.excess(solution)
        with np.errstate(invalid="ignore"):
            broken = {kind: (over > 0.0) & ~self.unfixable[kind] for kind, over in excess.items()}
        return Seen(charge, discharge, solution, at_kw, excess, broken, (at_kw != evse_kw).any(axis=0))

    def _solvable(self, evse_kw: Floats) -> tuple[Solution, Floats]:
        """The flow, and the powers at which it was drawn.

        These are the powers asked for, or where EVs leave a step without a solution, a share that has one.
        """
        solution = self.grid.solve(evse_kw)
        lost = np.flatnonzero(~solution.has_solution & self.base.has_solution)
        if not len(lost):
            return solution, evse_kw
        at_kw = evse_kw.copy()
        low, high = np.zeros(len(lost)), np.ones(len(lost))
        for _ in range(_SHARES):
            share = (low + high) / 2.0
            at_kw[:, lost] = evse_kw[:, lost] * share
            solved = self.grid.solve(at_kw).has_solution[lost]
            low, high = np.where(solved, share, low), np.where(solved, high, share)
        at_kw[:, lost] = evse_kw[:, lost] * low * _BACK
        return self.grid.solve(at_kw), at_kw
