"""From the answer of a linear program to one that cars and meters can follow.

A linear program may charge and discharge one car at once, buy and sell at one meter, and order less than a charger or a
car can do: a power is 0 or at least a minimum, and a car that falls asleep in a pause takes nothing more. Such cells
are decided, and the program is solved again from its last basis, so that all it knows (caps, events, feeders, reserve,
targets) decides where the moved energy goes. Rounding carries its error on within each car, never raises a power into
a cap or an event, and lets go of what turns out to have no room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.arrays import NONE, Program
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.solver import LazyRows, NoPlan, Solved, Solver

Mask = NDArray[np.bool_]

SEEN_KW = 1e-7
"""Less is a solver's noise."""
HELD = 1e-6
"""kW and kWh by which a solver's answer may miss what holds it."""
_ROUNDS = 12
_LAST = 2


@dataclass(frozen=True, eq=False)
class Righted:
    """The last answer, and what was decided on the way to it.

    cells, meters: held to one direction. minimums: cells decided to be 0 or at least their minimum.
    is_followable: nothing is left to decide.
    """

    answer: Solved
    cells: int = 0
    meters: int = 0
    minimums: int = 0
    is_followable: bool = True


def put_right(
    program: Program, solver: Solver, relaxed: Solved, left: Callable[[], float], limits: LazyRows | None = None,
    problem: Problem | None = None,
) -> Righted:
    """Decide and solve again until cars and meters can follow, or the time is up.

    problem: whose minimum powers hold too; None leaves them out. The program has energies then.
    """
    answer, cells, meters = relaxed, 0, 0
    rounding = None if problem is None or not problem.evs.has_minimums else _Rounding(problem, program, relaxed.x)
    decided = 0
    for attempt in range(_ROUNDS):
        cars, sites = both_ways(program, answer.x)
        weak = _Decisions.none() if rounding is None else rounding.decide(
            answer.x, solver, is_last=attempt >= _ROUNDS - _LAST)
        if not len(cars) and not len(sites) and not len(weak):
            return Righted(answer, cells, meters, decided)
        if left() <= 0:
            break
        cells, meters, decided = cells + len(cars), meters + len(sites), decided + len(weak)
        before = solver.lower.copy(), solver.upper.copy()
        weak.hold(solver)
        _hold(solver, answer.x, program.columns["charge"].start + cars,
              program.columns["discharge"].start + program.cells.discharge[cars])
        _hold(solver, answer.x, program.columns["bought"].start + sites, program.columns["sold"].start + sites)
        again = _run(solver, weak, before, left, limits)
        if again is None or not again.is_feasible:
            break
        answer = again
    return Righted(answer, cells, meters, decided, is_followable=False)


def both_ways(program: Program, x: Floats) -> tuple[Ints, Ints]:
    """Numbers of the cells that charge and discharge at once, and of the meters that buy and sell."""
    cars = np.flatnonzero(np.minimum(x[program.columns["charge"]], _discharge(program, x)) > SEEN_KW)
    meters = np.flatnonzero(np.minimum(x[program.columns["bought"]], x[program.columns["sold"]]) > SEEN_KW)
    return cars, meters


def _discharge(program: Program, x: Floats) -> Floats:
    """Shape (cell,)."""
    discharge = np.zeros(len(program.cells))
    discharge[program.cells.discharge != NONE] = x[program.columns["discharge"]]
    return discharge


def _hold(solver: Solver, x: Floats, taking: Ints, giving: Ints) -> None:
    """Let the smaller of two opposite powers be 0 from now on."""
    off = np.where(x[taking] >= x[giving], giving, taking)
    solver.set_bounds(off, np.zeros(len(off)), np.zeros(len(off)))


def _run(solver: Solver, weak: _Decisions, before: tuple[Floats, Floats], left: Callable[[], float],
         limits: LazyRows | None) -> Solved | None:
    """Solve with what was decided; without what was raised if that leaves no plan; None if nothing does."""
    try:
        return solver.run(left(), limits)
    except NoPlan:
        pass
    raised = weak.columns[weak.lower > 0]
    solver.set_bounds(raised, np.zeros(len(raised)), np.zeros(len(raised)))
    try:
        return solver.run(left(), limits)
    except NoPlan:
        changed = np.flatnonzero((solver.lower != before[0]) | (solver.upper != before[1]))
        solver.set_bounds(changed, before[0][changed], before[1][changed])
        return None


@dataclass(frozen=True, eq=False)
class _Decisions:
    """New bounds of some columns, each named once."""

    columns: Ints
    lower: Floats
    upper: Floats

    @staticmethod
    def none() -> _Decisions:
        return _Decisions(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.columns)

    def hold(self, solver: Solver) -> None:
        if len(self.columns):
            solver.set_bounds(self.columns, self.lower, self.upper)


class _Rounding:
    """What to decide about minimum powers, from answer to answer of one program.

    crowded: shape (place,), sites and steps in which no power may be raised to a minimum.
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

    def decide(self, x: Floats, solver: Solver, *, is_last: bool) -> _Decisions:
        """What to hold from the next run on; nothing where the answer is followable.

        is_last: cars with a weak cell get no further freedom, so that no new one can come of it.
        """
        powers = x[self.program.columns["charge"]], _discharge(self.program, x)
        full = x[self.program.columns["energy"]] >= self.problem.evs.capacity_kwh[self.ev] - HELD
        self.crowded |= self._unserved(x) > self.unserved + HELD
        found: dict[int, tuple[float, float]] = {}
        for cell in np.flatnonzero((solver.lower[self.column[0]] > 0) & self.crowded[self.place]):
            found[int(self.column[0][cell])] = 0.0, 0.0
        weak_evs = self._weak(powers, full, solver, found)
        if is_last:
            self._freeze(powers, np.isin(self.ev, weak_evs), found)
        self._asleep(x, powers, full, found)
        columns = np.array(list(found), dtype=np.int64)
        bounds = np.array(list(found.values()), dtype=float).reshape(-1, 2)
        new = (solver.lower[columns] != bounds[:, 0]) | (solver.upper[columns] != bounds[:, 1])
        return _Decisions(columns[new], bounds[new, 0].copy(), bounds[new, 1].copy())

    def _unserved(self, x: Floats) -> Floats:
        return self.program.by_site(x, "unserved").ravel()

    def _weak(self, powers: tuple[Floats, Floats], full: Mask, solver: Solver,
              found: dict[int, tuple[float, float]]) -> Ints:
        """Decide cells between nothing and their minimum; the EVs that had one."""
        evs: list[Ints] = []
        for way in (0, 1):
            power, least, most, column = powers[way], self.least[way], self.most[way], self.column[way]
            weak = (power > SEEN_KW) & (power < least - HELD)
            if way == 0:
                weak &= ~full  # what the battery takes no more of, a car leaves by itself
            cells = np.flatnonzero(weak)
            raised = _carried(power[cells] / least[cells], self.ev[cells])
            if way == 0:
                raised &= ~self.is_called[cells] & ~self.crowded[self.place[cells]]
                raised &= self._fits(cells, raised, least, solver.lower[column])
            else:
                raised |= self.is_called[cells] | self.crowded[self.place[cells]]
            for cell, up in zip(cells.tolist(), raised.tolist(), strict=True):
                found.setdefault(int(column[cell]), (float(least[cell]), float(most[cell])) if up else (0.0, 0.0))
            evs.append(self.ev[cells])
        return np.unique(np.concatenate(evs))

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

    def _freeze(self, powers: tuple[Floats, Floats], cells: Mask, found: dict[int, tuple[float, float]]) -> None:
        """No power of these cells may go from nothing to something, or from its minimum to less."""
        for way in (0, 1):
            power, least = powers[way], self.least[way]
            there = cells & (self.can if way else True)
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
    return np.asarray(np.floor(total + 0.5) > np.floor(total - share + 0.5))
