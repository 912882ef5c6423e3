"""The planning problem as arrays for the solver, built without a loop over EVs, sites or steps.

The readable definition is `model`; a property test proves both equal. Columns and rows stand in named blocks, cells
(an EV in a step in which it is plugged) by EV, then by step, and everything of a site by site, then by step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from aggregator.planning.fleet.problem import PRODUCTS, Feeders, Floats, Ints, Problem, Reserve
from aggregator.planning.linear_program import LinearProgram

NONE = -1  # there is no such column


@dataclass(frozen=True, eq=False)
class Cells:
    """EVs in the steps in which they are plugged.

    ev, step: shape (cell,). first, last: shape (ev,), number of each EV's first and last cell.
    discharge: shape (cell,), its number among the cells that may discharge, or -1.
    """

    ev: Ints
    step: Ints
    first: Ints
    last: Ints
    discharge: Ints

    @staticmethod
    def of(problem: Problem) -> Cells:
        """The cells of a problem."""
        evs = problem.evs
        length = evs.depart - evs.arrive
        end = np.cumsum(length)
        first = end - length
        ev = np.repeat(np.arange(len(evs)), length)
        step = np.arange(len(ev)) - np.repeat(first - evs.arrive, length)
        can = evs.may_discharge[ev]
        return Cells(ev, step, first, end - 1, np.where(can, np.cumsum(can) - 1, NONE))

    def __len__(self) -> int:
        return len(self.ev)

    def until(self, numbers: Ints) -> tuple[Ints, Ints]:
        """The cells of an EV up to and with each of some cells, as two arrays: place in `numbers`, and cell."""
        length = numbers - self.first[self.ev[numbers]] + 1
        before = np.cumsum(length) - 1 - numbers
        return np.repeat(np.arange(len(numbers)), length), np.arange(length.sum()) - np.repeat(before, length)


@dataclass(frozen=True, eq=False)
class Program(LinearProgram):
    """The linear program of a planning problem, and where in it everything stands.

    columns, rows: where each named block stands. Columns: charge, discharge, energy, shortfall, below_floor,
        bought, sold, curtailed, unserved, spilled, peak, event, flow, voltage, up, down, sold_reserve. Rows: dynamics,
        departure, floor, balance, peak, event, flow, voltage, up_power, down_power, up_volume, down_volume.
        Blocks that a problem does not have are empty.
    """

    columns: dict[str, slice]
    rows: dict[str, slice]
    cells: Cells
    shape: tuple[int, int]

    def by_ev(self, x: Floats, name: str) -> Floats:
        """A block of the cells (charge, discharge, energy) as an array of shape (ev, step); else 0."""
        table = np.zeros((len(self.cells.first), self.shape[1]))
        block = x[self.columns[name]]
        if name == "discharge":
            there = self.cells.discharge != NONE
            table[self.cells.ev[there], self.cells.step[there]] = block
        elif len(block):
            table[self.cells.ev, self.cells.step] = block
        return table

    def by_site(self, x: Floats, name: str) -> Floats:
        """A block of the sites (bought, sold, curtailed, unserved, spilled, flow, voltage, up, down)."""
        block = x[self.columns[name]]
        return block.reshape(self.shape) if len(block) else np.zeros(self.shape)

    def by_site_row(self, values: Floats, name: str) -> Floats:
        """What rows of the sites (balance, peak, flow, voltage) have, shape (site, step); else 0."""
        block = values[self.rows[name]]
        return block.reshape(self.shape) if len(block) else np.zeros(self.shape)


def assemble(problem: Problem, *, energies: bool = True) -> Program:
    """The program of a problem; the program of `problem.part(sites)` is that of a block.

    energies: False leaves energies out as columns, and with them the rows of their dynamics and their limits; what a
    car has at departure is a sum of its powers then, and `energy_rows` has the limits. Not with reserve.
    """
    return _Assembly(problem, energies=energies).program()


class _Assembly:
    """Columns first, then rows over them."""

    def __init__(self, problem: Problem, *, energies: bool) -> None:
        self.problem, self.cells, self.energies = problem, Cells.of(problem), energies
        self._costs: list[tuple[Floats, Floats, Floats]] = []
        self._limits: list[tuple[Floats, Floats]] = []
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self.columns: dict[str, slice] = {}
        self.rows: dict[str, slice] = {}
        self._width = self._height = 0
        self._ev_columns()
        self._site_columns()
        if energies:
            self._battery_rows()
        else:
            self._summed_rows()
        self._site_rows()
        if problem.events:
            self._event_rows()
        if problem.feeders is not None:
            self._feeder_rows(problem.feeders)
        if problem.reserve is not None:
            self._reserve_rows(problem.reserve)
        for name in ("event", "flow", "voltage", "up", "down", "sold_reserve"):
            self.columns.setdefault(name, slice(self._width, self._width))
        for name in ("event", "flow", "voltage", *RESERVE_ROWS):
            self.rows.setdefault(name, slice(self._height, self._height))

    def _add(self, name: str, count: int, cost: Floats | float, lower: Floats | float, upper: Floats | float) -> None:
        self.columns[name] = slice(self._width, self._width + count)
        self._costs.append((_full(cost, count), _full(lower, count), _full(upper, count)))
        self._width += count

    def _rows(self, name: str, lower: Floats | float, upper: Floats | float, count: int,
              *terms: tuple[Ints, Floats | float]) -> int:
        """Rows with one entry of each term; a term's column NONE leaves it out. The number of the first."""
        begin = self._height
        at = np.arange(begin, begin + count)
        for columns, values in terms:
            there = columns != NONE
            if there.all():
                self._entries.append((at, columns, _full(values, count)))
            else:
                self._entries.append((at[there], columns[there], _full(values, count)[there]))
        self._limits.append((_full(lower, count), _full(upper, count)))
        self.rows[name] = slice(begin, begin + count)
        self._height += count
        return begin

    def _at(self, name: str) -> Ints:
        block = self.columns[name]
        return np.arange(block.start, block.stop)

    def _discharge(self) -> Ints:
        return np.where(self.cells.discharge == NONE, NONE, self.cells.discharge + self.columns["discharge"].start)

    def _ev_columns(self) -> None:
        problem, evs, ev = self.problem, self.problem.evs, self.cells.ev
        can = ev[self.cells.discharge != NONE]
        wear = problem.step_h * evs.wear_per_kwh
        self._add("charge", len(ev), wear[ev], 0.0, evs.max_charge_kw[ev])
        self._add("discharge", len(can), wear[can], 0.0, evs.max_discharge_kw[can])
        own = slice(None) if self.energies else slice(0)
        self._add("energy", len(ev[own]), 0.0, least_energy(problem, self.cells)[own], evs.capacity_kwh[ev][own])
        self._add("shortfall", len(evs), problem.shortfall_per_kwh, 0.0, evs.capacity_kwh)
        missing = (evs.floor_kwh - evs.energy_kwh)[ev]
        self.low = np.flatnonzero(missing > 0)  # cells of cars that arrive below their floor
        self._add("below_floor", len(self.low), problem.step_h * problem.shortfall_per_kwh, 0.0, missing[self.low])

    def _site_columns(self) -> None:
        problem, sites = self.problem, self.problem.sites
        count, hours = sites.base_kw.size, problem.step_h
        self._add("bought", count, np.tile(hours * problem.import_price, len(sites)), 0.0, sites.import_cap_kw.ravel())
        self._add("sold", count, np.tile(-hours * problem.export_price, len(sites)), 0.0, sites.export_cap_kw.ravel())
        self._add("curtailed", count, 0.0, 0.0, sites.pv_kw.ravel())
        slack = 0 if problem.limit_per_kwh is None else count
        most = largest_net(problem).ravel()[:slack]
        for name in ("unserved", "spilled"):
            self._add(name, slack, hours * (problem.limit_per_kwh or 0.0), 0.0, most)
        # A peak is never above what the cap lets in, so its bound is finite and proves bounds.
        so_far = sites.peak_so_far_kw
        self._add("peak", len(sites), sites.demand_price, so_far,
                  np.maximum(so_far, sites.import_cap_kw.max(axis=1, initial=0.0)))

    def _battery_rows(self) -> None:
        problem, evs, cells = self.problem, self.problem.evs, self.cells
        ev, hours, energy = cells.ev, problem.step_h, self._at("energy")
        is_first = np.zeros(len(cells), dtype=bool)
        is_first[cells.first] = True
        known = np.where(is_first, evs.energy_kwh[ev], 0.0)
        self._rows("dynamics", known, known, len(cells), (energy, 1.0), (np.where(is_first, NONE, energy - 1), -1.0),
                   (self._at("charge"), -hours * evs.charge_efficiency[ev]),
                   (self._discharge(), hours / evs.discharge_efficiency[ev]))
        self._rows("departure", evs.target_kwh, np.inf, len(evs), (energy[cells.last], 1.0),
                   (self._at("shortfall"), 1.0))
        self._rows("floor", evs.floor_kwh[ev[self.low]], np.inf, len(self.low), (energy[self.low], 1.0),
                   (self._at("below_floor"), 1.0))

    def _summed_rows(self) -> None:
        """Departure and floor, with the energy as what a car brings and the sum of what its powers have added."""
        evs, cells = self.problem.evs, self.cells
        self._rows("dynamics", 0.0, 0.0, 0)
        for name, at, target, missing in (
            ("departure", cells.last, evs.target_kwh, "shortfall"),
            ("floor", self.low, evs.floor_kwh[cells.ev[self.low]], "below_floor"),
        ):
            begin = self._rows(name, target - evs.energy_kwh[cells.ev[at]], np.inf, len(at), (self._at(missing), 1.0))
            for column, row, value in stored(self.problem, cells, self.columns, at):
                self._entries.append((begin + row, column, value))

    def _site_rows(self) -> None:
        problem, sites = self.problem, self.problem.sites
        own, count = (sites.base_kw - sites.pv_kw).ravel(), sites.base_kw.size
        terms: list[tuple[Ints, Floats | float]] = [
            (self._at("bought"), 1.0), (self._at("sold"), -1.0), (self._at("curtailed"), -1.0)]
        if problem.limit_per_kwh is not None:
            terms += [(self._at("unserved"), 1.0), (self._at("spilled"), -1.0)]
        begin = self._rows("balance", own, own, count, *terms)
        row = begin + problem.evs.site[self.cells.ev] * problem.steps + self.cells.step
        self._entries.append((row, self._at("charge"), np.full(len(row), -1.0)))
        can = self.cells.discharge != NONE
        self._entries.append((row[can], self._at("discharge"), np.ones(int(can.sum()))))
        self._rows("peak", -np.inf, 0.0, count, (self._at("bought"), 1.0),
                   (np.repeat(self._at("peak"), problem.steps), -1.0))

    def _event_rows(self) -> None:
        problem, steps = self.problem, self.problem.event_steps
        most = np.maximum(0.0, problem.sites.import_cap_kw[:, steps].sum(axis=0) - problem.event_limit_kw)
        self._add("event", len(steps), problem.step_h * problem.event_price, 0.0, most)
        begin = self._rows("event", -np.inf, problem.event_limit_kw, len(steps), (self._at("event"), -1.0))
        every = np.arange(len(problem.sites))[:, None] * problem.steps + steps
        row = np.broadcast_to(begin + np.arange(len(steps)), every.shape).ravel()
        for name, sign in (("bought", 1.0), ("sold", -1.0)):
            self._entries.append((row, self.columns[name].start + every.ravel(), np.full(every.size, sign)))

    def _feeder_rows(self, feeders: Feeders) -> None:
        problem, steps = self.problem, self.problem.steps
        count, before = problem.sites.base_kw.size, feeders.upstream
        rating = np.repeat(feeders.line_kw, steps)
        self._add("flow", count, 0.0, -rating, rating)
        low, high = problem.voltage_limits
        self._add("voltage", count, 0.0, low.ravel(), high.ravel())
        flow, voltage = self._at("flow"), self._at("voltage")
        after = np.full(len(before), NONE)
        after[before[before >= 0]] = np.flatnonzero(before >= 0)
        self._rows("flow", 0.0, 0.0, count, (flow, 1.0), (_of_site(flow, after, steps), -1.0),
                   (self._at("bought"), -1.0), (self._at("sold"), 1.0))
        drop = -2.0 * feeders.x_per_kw[:, None] * feeders.carried(feeders.reactive_kw) + (before < 0)[:, None]
        self._rows("voltage", drop.ravel(), drop.ravel(), count, (voltage, 1.0),
                   (_of_site(voltage, before, steps), -1.0), (flow, 2.0 * np.repeat(feeders.r_per_kw, steps)))

    def _reserve_rows(self, reserve: Reserve) -> None:
        problem, evs, cells, hours = self.problem, self.problem.evs, self.cells, self.problem.step_h
        ev, count = cells.ev, problem.sites.base_kw.size
        give = evs.max_discharge_kw[ev] * (cells.discharge != NONE)
        place = evs.site[ev] * problem.steps + cells.step
        most = np.bincount(place, evs.max_charge_kw[ev] + give, count).astype(float)
        self._add("up", count, 0.0, 0.0, most)
        self._add("down", count, 0.0, 0.0, most)
        blocks, prices = len(reserve), reserve.prices.ravel()
        length = np.tile(hours * np.bincount(reserve.block, minlength=blocks), len(PRODUCTS))
        every = float(evs.max_charge_kw.sum() + evs.max_discharge_kw.sum())
        self._add("sold_reserve", len(prices), -prices * length, 0.0, np.where(prices > 0, every, 0.0))
        up, down = self._at("up"), self._at("down")
        charge, can = self._at("charge"), cells.discharge != NONE
        # By power alone: what each battery sustains are rows that `headroom` adds where they are broken.
        take = evs.max_charge_kw[ev]
        for name, column, room, sign in (("up_power", up, give, 1.0), ("down_power", down, take, -1.0)):
            most = np.bincount(place, room, count).astype(float)
            begin = self._rows(name, -np.inf, most, count, (column, 1.0))
            self._entries.append((begin + place, charge, np.full(len(ev), -sign)))
            self._entries.append((begin + place[can], self._at("discharge"), np.full(int(can.sum()), sign)))
        for name, column, alone in (("up_volume", up, 1), ("down_volume", down, 2)):
            first = self.columns["sold_reserve"].start + reserve.block
            begin = self._rows(name, 0.0, np.inf, problem.steps, (first, -1.0), (first + alone * blocks, -1.0))
            self._entries.append((begin + np.arange(count) % problem.steps, column, np.ones(count)))

    def program(self) -> Program:
        rows, columns, values = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        matrix = csr_array(coo_array(
            (values, (rows.astype(np.int32), columns.astype(np.int32))), shape=(self._height, self._width)))
        cost, lower, upper = (np.concatenate(part) for part in zip(*self._costs, strict=True))
        row_lower, row_upper = (np.concatenate(part) for part in zip(*self._limits, strict=True))
        return Program(cost, -float(self.problem.sites.demand_price @ self.problem.sites.peak_so_far_kw), lower, upper,
                       row_lower, row_upper, matrix, self.columns, self.rows, self.cells,
                       self.problem.sites.base_kw.shape)


RESERVE_ROWS = ("up_power", "down_power", "up_volume", "down_volume")


def least_energy(problem: Problem, cells: Cells) -> Floats:
    """Shape (cell,): the floor; below it only for a car that arrives below, which keeps what it brought."""
    evs = problem.evs
    return np.minimum(evs.floor_kwh, evs.energy_kwh)[cells.ev]


def stored(problem: Problem, cells: Cells, columns: dict[str, slice], numbers: Ints) -> list[tuple[Ints, Ints, Floats]]:
    """What an EV's powers add to its energy up to the end of each of some cells: columns, places, kWh per kW."""
    evs, (row, cell) = problem.evs, cells.until(numbers)
    ev, gives = cells.ev[cell], cells.discharge[cell] != NONE
    added, drawn = problem.step_h * evs.charge_efficiency, problem.step_h / evs.discharge_efficiency
    return [(columns["charge"].start + cell, row, added[ev]),
            (columns["discharge"].start + cells.discharge[cell[gives]], row[gives], -drawn[ev[gives]])]


def largest_net(problem: Problem) -> Floats:
    """Shape (site, step): the largest net load, of either sign, that any plan of a site can have."""
    evs, sites, cells = problem.evs, problem.sites, Cells.of(problem)
    ev_kw = np.zeros(sites.base_kw.size)
    power = np.maximum(evs.max_charge_kw, evs.max_discharge_kw)
    np.add.at(ev_kw, evs.site[cells.ev] * problem.steps + cells.step, power[cells.ev])
    reach = ev_kw.reshape(sites.base_kw.shape) + np.abs(sites.base_kw) + sites.pv_kw
    caps = sites.import_cap_kw + sites.export_cap_kw
    return np.asarray(reach + caps)


def _of_site(columns: Ints, other: Ints, steps: int) -> Ints:
    """The column of another site in the same step; NONE where there is no other site."""
    found = columns.reshape(-1, steps)[other]
    found[other < 0] = NONE
    return found.ravel()


def _full(value: Floats | float, count: int) -> Floats:
    return np.broadcast_to(np.asarray(value, dtype=float), (count,))
