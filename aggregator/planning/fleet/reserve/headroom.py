"""Reserve on the summed headroom of a site's cars, exact for every single car by rows that are added when broken.

A car can give up no more than its power leaves room for, and no more than its battery sustains: a site's volume is the
sum of the smaller of both over its plugged cars. That sum is at most every sum that takes, car by car, either of the
two. The program has one such row per site, step and direction, with all powers; where its answer counts on more than
the cars have, the row with each car's smaller one is added. No column per car is needed, and the optimum is that of the
definition, which has two columns and four rows per car and step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from aggregator.planning.fleet.checker import Schedule, reserve_volume
from aggregator.planning.fleet.problem import Floats, Ints, Problem, Reserve
from aggregator.planning.fleet.program.arrays import NONE, Program, least_energy

_TOLERANCE_KW = 1e-5
_UP, _DOWN = 0, 1


@dataclass(frozen=True, eq=False, slots=True)
class Cut:
    """A site's reserve in one step is at most the headroom of its cars, each by power or by energy.

    way: 0 up, 1 down. place: the site times the number of steps plus the step. cells: of the cars. by_energy: shape
    (cell,), which headroom of each counts.
    """

    way: int
    place: int
    cells: Ints
    by_energy: NDArray[np.bool_]


class Headroom:
    """What each cell of a problem's program has in hand, up and down, by power and by energy, in kW.

    The cuts that it has found are lazy rows, numbered in the order in which they were found.

    Attributes:
        table: the cuts, by their numbers; another Headroom of the same problem can begin with them.
    """

    is_mendable = True  # reserve that the cars do not have is not sold

    def __init__(self, problem: Problem, program: Program, table: list[Cut] | None = None) -> None:
        reserve, evs, cells = problem.reserve, problem.evs, program.cells
        ev = cells.ev
        sustain_h = 0.0 if reserve is None else reserve.sustain_h
        # A call that lasts no time asks nothing of a battery: the rows of the powers say all.
        self._program, self._is_sold = program, sustain_h > 0
        self.table = [] if table is None else table
        self._number = {_key(cut): number for number, cut in enumerate(self.table)}
        self._place = evs.site[ev] * problem.steps + cells.step
        give = np.where(evs.may_discharge, evs.max_discharge_kw, 0.0)[ev]
        # Headroom up is a constant plus the power, or plus slope times the energy; down with the other sign.
        self._sign = np.array([1.0, -1.0])
        self._slope = np.array([evs.discharge_efficiency[ev], 1.0 / evs.charge_efficiency[ev]]) / (sustain_h or 1.0)
        self._power_room = np.array([give, evs.max_charge_kw[ev]])
        self._energy_room = self._slope * np.array([-least_energy(problem, cells), evs.capacity_kwh[ev]])

    def by_cell(self, x: Floats) -> tuple[Floats, Floats]:
        """By power and by energy, each of shape (way, cell)."""
        columns, cells = self._program.columns, self._program.cells
        power = x[columns["charge"]].copy()
        power[cells.discharge != NONE] -= x[columns["discharge"]]
        energy = x[columns["energy"]]
        return (self._power_room + self._sign[:, None] * power,
                self._energy_room + self._sign[:, None] * self._slope * energy)

    def volumes(self, x: Floats) -> Floats:
        """Shape (way, site, step): what the cars of each site have in hand together."""
        by_power, by_energy = self.by_cell(x)
        size = self._program.shape[0] * self._program.shape[1]
        each = np.minimum(by_power, by_energy) if self._is_sold else by_power
        return np.array([np.bincount(self._place, own, size) for own in each]).reshape(2, *self._program.shape)

    def broken(self, x: Floats) -> Ints:
        """Numbers of the cuts that an answer of the program breaks; none where it sells no more than its cars have."""
        if not self._is_sold:
            return np.zeros(0, dtype=np.int64)
        by_power, by_energy = self.by_cell(x)
        size, found = self._program.shape[0] * self._program.shape[1], []
        for way, name in ((_UP, "up"), (_DOWN, "down")):
            volume = np.bincount(self._place, np.minimum(by_power[way], by_energy[way]), size)
            over = x[self._program.columns[name]] > volume + _TOLERANCE_KW
            cells = np.flatnonzero(over[self._place])
            if not len(cells):
                continue
            cells = cells[np.argsort(self._place[cells], kind="stable")]
            places, begins = np.unique(self._place[cells], return_index=True)
            # Where no car is plugged, the row of the powers alone holds.
            for place, own in zip(places.tolist(), np.split(cells, begins[1:]), strict=True):
                found.append(self._enter(Cut(way, place, own, by_energy[way, own] < by_power[way, own])))
        return np.array(found, dtype=np.int64)

    def adopt(self, alone: Headroom, place: int, cells: Ints) -> Ints:
        """Numbers here of all cuts of a program of one site, whose first place and whose cells stand there in this."""
        return np.array([self._enter(Cut(cut.way, cut.place + place, cells[cut.cells], cut.by_energy))
                         for cut in alone.table], dtype=np.int64)

    def rows(self, numbers: Ints) -> tuple[csr_array, Floats, Floats]:
        """Rows over the program's columns in the order of their numbers, with their limits."""
        columns, discharge = self._program.columns, self._program.cells.discharge
        cuts = [self.table[number] for number in numbers.tolist()]
        size = np.array([len(cut.cells) for cut in cuts], dtype=np.int64)
        row, way = np.repeat(np.arange(len(cuts)), size), np.repeat([cut.way for cut in cuts], size)
        cell = np.concatenate([np.zeros(0, dtype=np.int64), *(cut.cells for cut in cuts)])
        energy = np.concatenate([np.zeros(0, dtype=bool), *(cut.by_energy for cut in cuts)])
        gives, sign = ~energy & (discharge[cell] != NONE), self._sign[way]
        slope = self._slope[way, cell]
        # A short call makes many kW of a kWh: such a row is scaled back to what a simplex is made for.
        scale = np.ones(len(cuts))
        np.minimum.at(scale, row[energy], 1.0 / slope[energy])
        own = np.array([columns[("up", "down")[cut.way]].start + cut.place for cut in cuts], dtype=np.int64)
        entries = (
            (np.arange(len(cuts)), own, scale),
            (row[~energy], columns["charge"].start + cell[~energy], (-sign * scale[row])[~energy]),
            (row[gives], columns["discharge"].start + discharge[cell[gives]], (sign * scale[row])[gives]),
            (row[energy], columns["energy"].start + cell[energy], (-sign * slope * scale[row])[energy]))
        at, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        matrix = csr_array(coo_array((value, (at, column.astype(np.int64))),
                                     shape=(len(cuts), len(self._program.cost))))
        room = np.where(energy, self._energy_room[way, cell], self._power_room[way, cell])
        return matrix, np.full(len(cuts), -np.inf), np.asarray(scale * np.bincount(row, room, len(cuts)))

    def _enter(self, cut: Cut) -> int:
        number = self._number.setdefault(_key(cut), len(self.table))
        if number == len(self.table):
            self.table.append(cut)
        return number


def _key(cut: Cut) -> tuple[int, int, bytes]:
    return cut.way, cut.place, cut.by_energy.tobytes()


def best_offer(problem: Problem, schedule: Schedule) -> Floats:
    """Shape (product, block), kW: the dearest reserve that the cars of a schedule have the headroom for."""
    reserve = problem.reserve
    if reserve is None:
        return np.zeros((3, 0))
    return offer_of(reserve, *reserve_volume(problem, schedule))


def offer_of(reserve: Reserve, up_kw: Floats, down_kw: Floats) -> Floats:
    """Shape (product, block), kW: the dearest reserve for headroom of shape (step,) up and down."""
    least = np.full((2, len(reserve)), np.inf)
    for way, volume in enumerate((up_kw, down_kw)):
        np.minimum.at(least[way], reserve.block, volume)
    up, down = np.where(np.isfinite(least), np.maximum(least, 0.0), 0.0)
    both, only_up, only_down = np.maximum(reserve.prices, 0.0)
    symmetric = np.where(both > only_up + only_down, np.minimum(up, down), 0.0)
    return np.array([symmetric, np.where(only_up > 0, up - symmetric, 0.0),
                     np.where(only_down > 0, down - symmetric, 0.0)])
