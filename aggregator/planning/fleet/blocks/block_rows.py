"""The rows that a block's program gets only once they are broken: battery limits, lines and voltages, headroom.

One numbering for all of them, so that a block can remember in a few integers which it has, and in which order.

    0 ... cells ... │ feeder's rows: lines, then voltages │ cuts of the reserve, as they are found
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, vstack

from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Program
from aggregator.planning.fleet.program.energy_rows import EnergyRows
from aggregator.planning.fleet.program.feeder_rows import FeederRows
from aggregator.planning.fleet.reserve.headroom import Cut, Headroom


class BlockRows:
    """Lazy rows of one block's program, which has its energies as columns only where it offers reserve.

    feeder: None where the block is not held to one. table: the cuts that numbers of an earlier program speak of.
    """

    is_mendable = False

    def __init__(self, problem: Problem, program: Program, feeder: FeederRows | None,
                 table: list[Cut] | None = None) -> None:
        self._problem, self._program, self._feeder = problem, program, feeder
        self._energy = EnergyRows(problem, program) if problem.reserve is None else None
        self.headroom = None if problem.reserve is None else Headroom(problem, program, table)
        self.cells = len(program.cells)
        self.fixed = self.cells + 2 * program.shape[0] * program.shape[1]

    @property
    def table(self) -> list[Cut] | None:
        """The cuts found so far."""
        return None if self.headroom is None else self.headroom.table

    def broken(self, x: Floats) -> Ints:
        """Numbers of rows that an answer breaks; cuts that are new get one."""
        found = [np.zeros(0, dtype=np.int64)]
        if self._energy is not None:
            found.append(self._energy.broken(x))
        if self._feeder is not None:
            net = self._program.by_site(x, "bought") - self._program.by_site(x, "sold")
            found.append(self.cells + self._feeder.broken(net))
        if self.headroom is not None:
            found.append(self.fixed + self.headroom.broken(x))
        return np.concatenate(found)

    def rows(self, numbers: Ints) -> tuple[csr_array, Floats, Floats]:
        """Rows over the program's columns in the order of their numbers, with their limits."""
        of_cells, of_feeder = numbers < self.cells, self._of_feeder(numbers)
        places, parts = [], []
        if self._energy is not None and of_cells.any():
            places.append(np.flatnonzero(of_cells))
            parts.append(self._energy.rows(numbers[of_cells]))
        if self._feeder is not None and of_feeder.any():
            places.append(np.flatnonzero(of_feeder))
            parts.append(self._feeder.rows(numbers[of_feeder] - self.cells, self._program))
        of_cuts = numbers >= self.fixed
        if self.headroom is not None and of_cuts.any():
            places.append(np.flatnonzero(of_cuts))
            parts.append(self.headroom.rows(numbers[of_cuts] - self.fixed))
        if not parts:
            return csr_array((0, len(self._program.cost))), np.zeros(0), np.zeros(0)
        matrix, lower, upper = parts[0]
        if len(parts) > 1:
            order = np.argsort(np.concatenate(places))
            matrix = csr_array(vstack([part[0] for part in parts], format="csr")[order])
            lower, upper = (np.concatenate([part[side] for part in parts])[order] for side in (1, 2))
        return matrix, lower, upper

    def of_feeder(self, numbers: Ints) -> Ints:
        """The feeder's own numbers of those rows that are its."""
        return np.asarray(numbers[self._of_feeder(numbers)] - self.cells)

    def feeder_price(self, numbers: Ints, dual: Floats) -> Floats:
        """Shape (site, step): what rows with these numbers and duals add to what a kW at a site costs."""
        own = self._of_feeder(numbers)
        if self._feeder is None:
            return np.zeros(self._program.shape)
        return self._feeder.prices(numbers[own] - self.cells, dual[own])

    def energy_value(self, numbers: Ints, dual: Floats) -> Floats:
        """Shape (cell,): what a kWh more in a battery at the end of a step would save; dual: of all rows."""
        rows, count = self._program.rows, len(self._program.row_lower)
        if self._energy is None:
            return np.asarray(-dual[rows["dynamics"]])
        own = numbers < self.cells
        return self._energy.values(numbers[own], dual[count:][own], dual[rows["departure"]], dual[rows["floor"]])

    def adopt(self, site: int, alone: BlockRows, numbers: Ints) -> Ints:
        """The numbers here of rows that a program of one site alone has."""
        place = np.flatnonzero(self._problem.evs.site[self._program.cells.ev] == site)
        if self.headroom is None or alone.headroom is None:
            return np.asarray(place[numbers])
        cuts = self.headroom.adopt(alone.headroom, site * self._problem.steps, place)
        return np.asarray(self.fixed + cuts[numbers - alone.fixed])

    def _of_feeder(self, numbers: Ints) -> np.ndarray:
        of_feeder: np.ndarray = (numbers >= self.cells) & (numbers < self.fixed)
        return of_feeder
