"""Minimum powers: which cells of an answer a car cannot follow, and what to decide about each.

A power is 0 or at least a minimum, unless the battery fills up within the step; a car that sleeps in a pause charges
from arrival on or not at all. Rounding carries its error on within each car, never raises a charge into a cap or an
event, and lets go of what turns out to have no room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program
from aggregator.planning.fleet.program.solver import Solver

Mask = NDArray[np.bool_]

SEEN_KW = 1e-7
"""Less is a solver's noise."""
HELD = 1e-6
"""kW and kWh by which a solver's answer may miss what holds it."""


def discharge_of(program: Program, x: Floats) -> Floats:
    """Discharge of an answer, shape (cell,)."""
    discharge = np.zeros(len(program.cells))
    discharge[program.cells.discharge != NONE] = x[program.columns["discharge"]]
    return discharge


@dataclass(frozen=True, eq=False)
class Decisions:
    """New bounds of some columns, each named once."""

    columns: Ints
    lower: Floats
    upper: Floats

    @staticmethod
    def none() -> Decisions:
        return Decisions(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.columns)

    def hold(self, solver: Solver) -> None:
        if len(self.columns):
            solver.set_bounds(self.columns, self.lower, self.upper)


class Rounding:
    """What to decide about minimum powers, from answer to answer of one program.

    crowded: shape (place,), sites and steps in which no charge may be raised to a minimum. let_go: shape (cell,), whose
    discharge was decided to be 0.
    """

    def __init__(self, problem: Problem, program: Program, relaxed: Floats) -> None:
        evs, cells = problem.evs, program.cells
        self.problem, self.program, self.ev = problem, program, cells.ev
        self.place = evs.site[cells.ev] * problem.steps + cells.step
        self.can = cells.discharge != NONE
        self.least = evs.min_charge_kw[cells.ev], evs.min_discharge_kw[cells.ev] * self.can
        self.most = evs.max_charge_kw[cells.ev], evs.max_discharge_kw[cells.ev] * self.can
        self.column = (program.columns["charge"].start + np.arange(len(cells)),
                       program.columns["discharge"].start + np.maximum(cells.discharge, 0))
        sites = problem.sites
        self.room = (sites.import_cap_kw - sites.base_kw + sites.pv_kw).ravel()
        self.is_called = np.isin(cells.step, problem.event_steps)
        self.unserved = self._unserved(relaxed)
        self.crowded = self.unserved > HELD
        self.let_go = np.zeros(len(cells), dtype=bool)

    def decide(self, x: Floats, solver: Solver, *, is_last: bool) -> Decisions:
        """What to hold from the next run on; nothing where the answer is followable.

        is_last: if there is a weak cell left, no car goes from nothing to something any more, so that no new one can
        come of it: what is taken from one car is free to become the weak cell of another.
        """
        powers = x[self.program.columns["charge"]], discharge_of(self.program, x)
        full = x[self.program.columns["energy"]] >= self.problem.evs.capacity_kwh[self.ev] - HELD
        self.crowded |= self._unserved(x) > self.unserved + HELD
        found: dict[int, tuple[float, float]] = {}
        crowded = self.crowded[self.place]
        for cell in np.flatnonzero((solver.lower[self.column[0]] > 0) & crowded):
            found[int(self.column[0][cell])] = 0.0, 0.0
        # What was let go of there is given its minimum after all; once, it may be more than the battery has.
        for cell in np.flatnonzero(self.let_go & crowded):
            found[int(self.column[1][cell])] = float(self.least[1][cell]), float(self.most[1][cell])
        self.let_go &= ~crowded
        if self._weak(powers, full, solver, found) and is_last:
            self._freeze(powers, found)
        self._asleep(x, powers, full, found)
        columns = np.array(list(found), dtype=np.int64)
        bounds = np.array(list(found.values()), dtype=float).reshape(-1, 2)
        self._let_go_of_too_much(columns, bounds, powers, solver)
        new = (solver.lower[columns] != bounds[:, 0]) | (solver.upper[columns] != bounds[:, 1])
        return Decisions(columns[new], bounds[new, 0].copy(), bounds[new, 1].copy())

    def _let_go_of_too_much(self, columns: Ints, bounds: Floats, powers: tuple[Floats, Floats],
                            solver: Solver) -> None:
        """Raise less where a battery could not follow all that is raised: the cells furthest from their minimum."""
        lower, upper = solver.lower.copy(), solver.upper.copy()
        lower[columns], upper[columns] = bounds.T
        at = np.full(len(lower), NONE)
        at[columns] = np.arange(len(columns))
        own = np.array([at[self.column[0]], np.where(self.can, at[self.column[1]], NONE)])
        # What is raised now, by way and cell; how little of it the linear plan wanted.
        raised = (own != NONE) & (bounds[own, 0] > 0) if len(columns) else np.zeros(own.shape, dtype=bool)
        share = np.array([powers[way] / np.maximum(self.least[way], SEEN_KW) for way in (0, 1)])
        for _ in range(self.problem.steps):
            stuck = ~self._can_follow(lower, upper)
            weakest = np.where(raised & stuck[self.ev], share, np.inf)
            if not np.isfinite(weakest).any():
                return
            lowest = np.full(len(self.problem.evs), np.inf)
            np.minimum.at(lowest, self.ev, weakest.min(axis=0))
            way, cell = np.nonzero(np.isfinite(weakest) & (weakest <= lowest[self.ev]))
            raised[way, cell] = False
            bounds[own[way, cell]] = 0.0
            lower[columns[own[way, cell]]] = upper[columns[own[way, cell]]] = 0.0

    def _can_follow(self, lower: Floats, upper: Floats) -> Mask:
        """Shape (ev,): whether each battery has a course within bounds of the powers: all that it can hold, by step."""
        evs, cells, hours = self.problem.evs, self.program.cells, self.problem.step_h
        stored, drawn = hours * evs.charge_efficiency, hours / evs.discharge_efficiency
        floor = np.minimum(evs.floor_kwh, evs.energy_kwh)
        least, most = evs.energy_kwh.copy(), evs.energy_kwh.copy()
        fine = np.ones(len(evs), dtype=bool)
        give = [np.where(self.can, side[self.column[1]], 0.0) for side in (lower, upper)]
        for step in range(self.problem.steps):
            ev = np.flatnonzero((evs.arrive <= step) & (step < evs.depart))
            cell = cells.first[ev] + step - evs.arrive[ev]
            take = self.column[0][cell]
            least[ev] = np.maximum(floor[ev], least[ev] + stored[ev] * lower[take] - drawn[ev] * give[1][cell])
            most[ev] = np.minimum(evs.capacity_kwh[ev],
                                  most[ev] + stored[ev] * upper[take] - drawn[ev] * give[0][cell])
            fine[ev] &= least[ev] <= most[ev] + HELD
        return fine

    def _unserved(self, x: Floats) -> Floats:
        return self.program.by_site(x, "unserved").ravel()

    def _weak(self, powers: tuple[Floats, Floats], full: Mask, solver: Solver,
              found: dict[int, tuple[float, float]]) -> int:
        """Decide cells between nothing and their minimum; how many there were."""
        count = 0
        for way in (0, 1):
            power, least, most, column = powers[way], self.least[way], self.most[way], self.column[way]
            weak = (power > SEEN_KW) & (power < least - HELD)
            if way == 0:
                weak &= ~full  # what the battery takes no more of, a car leaves by itself
            cells = np.flatnonzero(weak)
            raised = _carried(power[cells] / least[cells], self.ev[cells])
            raised |= self._is_spared(power, least, cells)
            if way == 0:
                raised &= ~self.is_called[cells] & ~self.crowded[self.place[cells]]
                raised &= self._fits(cells, raised, least, solver.lower[column])
            else:
                raised |= self.is_called[cells] | self.crowded[self.place[cells]]
                self.let_go[cells[~raised]] = True
            for cell, up in zip(cells.tolist(), raised.tolist(), strict=True):
                found.setdefault(int(column[cell]), (float(least[cell]), float(most[cell])) if up else (0.0, 0.0))
            count += len(cells)
        return count

    def _is_spared(self, power: Floats, least: Floats, cells: Ints) -> Mask:
        """Whether the car's other powers have as much above their minimums as its weak ones lack: they make up for it.

        What is let go of moves into yet another weak cell, because the powers that pay are at their most already.
        """
        count = len(self.problem.evs)
        lacks = np.bincount(self.ev[cells], least[cells] - power[cells], count)
        above = np.bincount(self.ev, np.where(power >= least, power - least, 0.0), count)
        return np.asarray((above >= lacks)[self.ev[cells]])

    def _fits(self, cells: Ints, raised: Mask, least: Floats, held: Floats) -> Mask:
        """Whether the minimums of a site's step fit under its cap, the earlier cells first."""
        taken = np.bincount(self.place, held, len(self.room))
        order = np.argsort(self.place[cells], kind="stable")
        own, place = np.where(raised, least[cells], 0.0)[order], self.place[cells][order]
        total = np.cumsum(own)
        begins = np.flatnonzero(np.diff(place, prepend=-1))
        before = np.repeat(total[begins] - own[begins], np.diff(np.append(begins, len(own))))
        fits = np.zeros(len(cells), dtype=bool)
        fits[order] = taken[place] + total - before <= self.room[place] + HELD
        return fits

    def _freeze(self, powers: tuple[Floats, Floats], found: dict[int, tuple[float, float]]) -> None:
        """No power may go from nothing to something, or from its minimum to less."""
        for way in (0, 1):
            power, least = powers[way], self.least[way]
            there = self.can if way else np.ones(len(power), dtype=bool)
            for cell in np.flatnonzero(there & (power <= SEEN_KW)):
                found.setdefault(int(self.column[way][cell]), (0.0, 0.0))
            for cell in np.flatnonzero(there & (power >= least - HELD) & (power > SEEN_KW)):
                found.setdefault(int(self.column[way][cell]), (float(least[cell]), float(self.most[way][cell])))

    def _asleep(self, x: Floats, powers: tuple[Floats, Floats], full: Mask,
                found: dict[int, tuple[float, float]]) -> None:
        """Let cars that would sleep through a pause charge from arrival on, as long as what they are to get lasts."""
        evs, cells, hours = self.problem.evs, self.program.cells, self.problem.step_h
        energy = x[self.program.columns["energy"]]
        active = (powers[0] > SEEN_KW) | (powers[1] > SEEN_KW)
        for ev in np.flatnonzero(evs.sleeps > 0):
            own = slice(int(cells.first[ev]), int(cells.last[ev]) + 1)
            if not _is_woken(active[own], full[own]):
                continue
            stored = float(evs.min_charge_kw[ev] * hours * evs.charge_efficiency[ev])
            gained = float(energy[own][-1] - evs.energy_kwh[ev])
            last = int(np.flatnonzero(active[own])[-1]) + 1
            count = 0 if gained <= HELD else min(last, max(1, int(gained / stored + HELD)))
            crowded = np.flatnonzero(self.crowded[self.place[own]])
            count = min(count, int(crowded[0])) if len(crowded) else count
            if count * stored > evs.capacity_kwh[ev] - evs.energy_kwh[ev]:
                count = 0  # less than one step of the minimum would fill it
            for k, cell in enumerate(range(own.start, own.stop)):
                found[int(self.column[0][cell])] = (
                    (float(self.least[0][cell]), float(self.most[0][cell])) if k < count else (0.0, 0.0))
                if self.can[cell]:
                    found[int(self.column[1][cell])] = 0.0, 0.0


def _is_woken(active: Mask, full: Mask) -> bool:
    """Whether there is power after a step without, in which the battery was not full."""
    paused = np.flatnonzero(~active & ~full)
    return bool(len(paused) and active[paused[0]:].any())


def _carried(share: Floats, ev: Ints) -> Mask:
    """Which weak cells to raise, so that each car's energy stays about the same: the error is carried on."""
    if not len(share):
        return np.zeros(0, dtype=bool)
    total = np.cumsum(share)
    begins = np.flatnonzero(np.diff(ev, prepend=-1))
    total -= np.repeat(total[begins] - share[begins], np.diff(np.append(begins, len(share))))
    raised = np.floor(total + 0.5)
    before = np.append(0.0, raised[:-1])
    before[begins] = 0.0
    return np.asarray(raised > before)
