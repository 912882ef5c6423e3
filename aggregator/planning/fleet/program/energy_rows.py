"""Battery limits as rows over the powers alone, so that only those that bind need be.

An energy is what a car brings and the sum of what its powers have added, so a program can do without it as a column and
without a row for its dynamics in every step. Of all limits of floor and capacity one in a hundred binds: they are rows
that are added as they are broken, the deepest of each excursion first. A site's program has a fifth of the rows then,
and its simplex half the work.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array

from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program, least_energy, stored

_TOLERANCE_KWH = 2e-7


class EnergyRows:
    """Floor and capacity of every cell of a program without energies; a row has the number of its cell."""

    is_mendable = False

    def __init__(self, problem: Problem, program: Program) -> None:
        evs, ev = problem.evs, program.cells.ev
        self._problem, self._program = problem, program
        self._there = program.cells.discharge != NONE
        self._added = (problem.step_h * evs.charge_efficiency)[ev]
        self._drawn = (problem.step_h / evs.discharge_efficiency)[ev[self._there]]
        self._lower = least_energy(problem, program.cells) - evs.energy_kwh[ev]
        self._upper = (evs.capacity_kwh - evs.energy_kwh)[ev]

    def __len__(self) -> int:
        return len(self._lower)

    def stored(self, x: Floats) -> Floats:
        """Shape (cell,): what is in the battery at the end of each cell's step, less what the car has brought."""
        cells, columns = self._program.cells, self._program.columns
        step = self._added * x[columns["charge"]]
        step[self._there] -= self._drawn * x[columns["discharge"]]
        total = np.cumsum(step)
        return np.asarray(total - np.repeat(total[cells.first] - step[cells.first], cells.last - cells.first + 1))

    def broken(self, x: Floats) -> Ints:
        """The worst cell of every run of an EV's cells that are over, or under."""
        energy = self.stored(x)
        over, under = energy - self._upper, self._lower - energy
        excess = np.maximum(over, under)
        bad = excess > _TOLERANCE_KWH
        if not bad.any():
            return np.zeros(0, dtype=np.int64)
        ev = self._program.cells.ev
        side = np.where(bad, np.where(over > under, 1, -1), 0)
        begins = np.ones(len(side), dtype=bool)
        begins[1:] = (side[1:] != side[:-1]) | (ev[1:] != ev[:-1])
        begin = np.flatnonzero(begins)
        run = np.cumsum(begins) - 1
        worst = np.flatnonzero(bad & (excess >= np.maximum.reduceat(excess, begin)[run]))
        return np.asarray(worst[np.unique(run[worst], return_index=True)[1]])

    def rows(self, numbers: Ints) -> tuple[csr_array, Floats, Floats]:
        """Rows over the program's columns, with their limits."""
        parts = stored(self._problem, self._program.cells, self._program.columns, numbers)
        columns, rows, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        matrix = csr_array(coo_array((values, (rows, columns)), shape=(len(numbers), len(self._program.cost))))
        return matrix, self._lower[numbers], self._upper[numbers]

    def values(self, numbers: Ints, dual: Floats, departure: Floats, floor: Floats) -> Floats:
        """Shape (cell,): what a kWh more in the battery at the end of the step would save.

        dual: of the rows with these numbers; departure, floor: of the program's own rows.
        """
        cells, evs = self._program.cells, self._problem.evs
        at = np.zeros(len(cells))
        at[numbers] = dual
        at[cells.last] += departure
        at[(evs.energy_kwh < evs.floor_kwh)[cells.ev]] += floor
        # From each cell to the EV's last: whatever the energy serves later.
        total = np.cumsum(at)
        return np.asarray(np.repeat(total[cells.last], cells.last - cells.first + 1) - total + at)
