"""What EVSEs with a grid code really do: power and reactive power that answer to the voltage they themselves change.

An inverter's curves give power from voltage, the flow gives voltage from power; both hold at once in one point per
step. It is searched for with Newton's method on the voltages that the inverters see, all steps together: the curves'
slopes are exact, those of the grid are taken once for all steps and, where that does not do, exactly in each.

    solution = solve_with_inverters(flow, base_w, base_var, orders_w, spread, inverters)
    solution.delivered_w                            # (evse, column), never more than ordered
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twin.feeder.inverters.behaviour import Behaviour, Inverter, Memory
from twin.feeder.powerflow.flow import Flow, Solution

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)

TOLERANCE_PU = 1e-8
"""Largest difference between the voltages that inverters answered to and those that came of it."""

ROUNDS = 30
EXACT_AFTER = 8
"""Rounds with one slope of the grid for all steps; then those that are left get their own."""

LEAST_SHARE = 1.0 / 64.0
"""Of a step of Newton's method, and of the orders where they are approached step by step."""

BLOCK = 512
"""Columns that are solved together: their matrices of 40 EVSEs take some 7 MB."""


@dataclass(frozen=True, eq=False)
class InverterSolution:
    """Steps in which flow and inverters agree.

    solution: the flow, (terminal, *shape). delivered_w, q_var: drawn by each EVSE, (evse, *shape); NaN where there is
        no solution. voltage_pu: that each EVSE sees, the mean of its phases.
    mismatch_pu: largest difference between the voltages that were answered to and those that came of it, of `shape`.
    settled: whether that is small enough; where it is not, the figures are those of the best round and hold only to
        within the mismatch, or there is no solution at all (`solution.has_solution`).
    rounds: of the block of columns that took most.
    """

    solution: Solution
    delivered_w: Floats
    q_var: Floats
    voltage_pu: Floats
    mismatch_pu: Floats
    settled: Claims
    rounds: int


def solve_with_inverters(
    flow: Flow,
    base_w: Floats,
    base_var: Floats | None,
    orders_w: Floats,
    spread: csr_array,
    inverters: Sequence[Inverter | None],
    *,
    var_per_watt: float = 0.0,
    nominal_volts: float | None = None,
) -> InverterSolution:
    """Solve every step with what the inverters make of their orders, in the steady state of all curves.

    Args:
        flow: the feeder.
        base_w: what terminals draw without the EVSEs, (terminal, *shape).
        base_var: the same shape; None: no reactive power.
        orders_w: of each EVSE, positive while charging, (evse, *shape).
        spread: watts at each terminal per watt of each EVSE, (terminal, evse), as `Scene.spread`.
        inverters: of each EVSE; None: it does as ordered.
        var_per_watt: reactive power of EVSEs without a Volt-VAr curve.
        nominal_volts: phase to neutral, what the inverters take for 1 p.u.; None: each bus's rating.

    Raises:
        ValueError: shapes that do not fit.
    """
    couple = Coupling(flow, spread, Behaviour(inverters, var_per_watt), nominal_volts)
    base = np.asarray(base_w, dtype=np.float64)
    return couple.solve(base, np.zeros_like(base) if base_var is None else base_var, orders_w)


class Coupling:
    """A flow and the inverters on it, made ready to be solved together again and again.

    nominal_volts: phase to neutral, what the inverters take for 1 p.u.; None: each bus's rating.
    """

    def __init__(
        self, flow: Flow, spread: csr_array, behaviour: Behaviour, nominal_volts: float | None = None
    ) -> None:
        evses = len(behaviour.inverters)
        if spread.shape != (len(flow.terminals), evses):
            raise ValueError(f"spread: shape {spread.shape}, expected ({len(flow.terminals)}, {evses})")
        self.flow, self.behaviour = flow, behaviour
        self._spread = csr_array(spread)
        self._base_volts: Floats = flow.network.base_volts[flow.network.point_of]
        if nominal_volts is not None:
            self._base_volts = nominal_volts * np.array([
                1.0 if terminal.other is None else sqrt(3.0) for terminal in flow.terminals
            ])
        at = self._spread.T.astype(bool).astype(np.float64)
        phases = np.asarray(at.sum(axis=1)).reshape(-1, 1)
        self._mean = csr_array(at.multiply(1.0 / phases))
        self._phases = tuple(np.flatnonzero(row) for row in at.toarray())

    def terminal_pu(self, solution: Solution) -> Floats:
        """Voltages of all terminals over what inverters take for 1 p.u., (terminal, column)."""
        size: Floats = np.abs(solution.terminal_voltages()) / self._base_volts[:, None]
        return size

    def seen(self, terminal_pu: Floats) -> Floats:
        """Mean of each EVSE's phases."""
        mean: Floats = self._mean @ terminal_pu
        return mean

    def extremes(self, terminal_pu: Floats) -> tuple[Floats, Floats]:
        """Lowest and highest of each EVSE's phases."""
        low = np.stack([terminal_pu[rows].min(axis=0) for rows in self._phases])
        return low, np.stack([terminal_pu[rows].max(axis=0) for rows in self._phases])

    def solve(
        self, base_w: Floats, base_var: Floats, orders_w: Floats, memory: Memory | None = None,
        near_pu: Floats | None = None,
    ) -> InverterSolution:
        """As `solve_with_inverters`; (evse, column): memory of curves that lag and of inverters that come back, and
        voltages near which to search.
        """
        orders = np.asarray(orders_w, dtype=np.float64)
        shape = orders.shape[1:]
        given = [np.asarray(each, dtype=np.float64) for each in (base_w, base_var)]
        rows = (len(self.flow.terminals), len(self.behaviour.inverters))
        for name, value, count in zip(("base_w", "base_var", "orders_w"), (*given, orders), (*rows[:1] * 2, rows[1]),
                                      strict=True):
            if value.shape != (count, *shape):
                raise ValueError(f"{name}: shape {value.shape}, expected {(count, *shape)}")
        columns = prod(shape)
        base, vars_, flat = (value.reshape(len(value), columns) for value in (*given, orders))
        parts = [
            _Search(self, base[:, part], vars_[:, part], flat[:, part],
                    None if memory is None else memory.columns(part)
                    ).run(None if near_pu is None else near_pu[:, part])
            for part in (slice(first, first + BLOCK) for first in range(0, max(columns, 1), BLOCK))
        ]
        return _joined(self.flow, shape, parts)

    @cached_property
    def slopes_at_rest(self) -> tuple[Floats, Floats]:
        """Of the voltages that EVSEs see by watts and vars of EVSEs, p.u. each, with nothing on the feeder."""
        nothing = np.zeros((len(self.flow.terminals), 1))
        by_w, by_var = self.slopes(self.flow.solve(nothing), np.zeros(1, dtype=np.intp))
        return by_w[0], by_var[0]

    def slopes(self, solution: Solution, columns: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """The same, exactly at solved columns, (column, evse, evse)."""
        found = []
        for change in solution.gradients(columns).terminal_voltage():
            own = change / self._base_volts[None, :, None]
            found.append(np.stack([self._mean @ (self._spread.T @ each.T).T for each in own]))
        return found[0], found[1]

    def flow_at(self, base_w: Floats, base_var: Floats, p_w: Floats, q_var: Floats) -> Solution:
        return self.flow.solve(base_w + self._spread @ p_w, base_var + self._spread @ q_var)


@dataclass(eq=False)
class _Answer:
    """A flow, the powers that lead to it and the voltages that come of it; rows of columns."""

    state: NDArray[np.complex128]
    demand: NDArray[np.complex128]
    has_solution: Claims
    p_w: Floats
    q_var: Floats
    came_pu: Floats

    def columns(self, which: NDArray[np.intp] | Claims) -> _Answer:
        return _Answer(*(getattr(self, name)[..., which] for name in self.__dataclass_fields__))

    def put(self, columns: NDArray[np.intp], other: _Answer) -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name)[..., columns] = getattr(other, name)

    def solution(self, flow: Flow) -> Solution:
        return Solution(flow, self.has_solution.shape, self.state, self.demand, self.has_solution)


class _Search:
    """Newton's method for the voltages that inverters see; columns advance together, each by its own share of a step.

    Kept for every column: the voltages of the smallest mismatch so far, that mismatch, and the flow and powers there.
    """

    def __init__(
        self, couple: Coupling, base_w: Floats, base_var: Floats, orders_w: Floats, memory: Memory | None
    ) -> None:
        self._couple, self._base_w, self._base_var = couple, base_w, base_var
        self._orders, self._memory = orders_w, memory
        columns = orders_w.shape[1]
        self._u, self._size = np.ones_like(orders_w), np.full(columns, np.inf)
        self._scale = np.ones(columns)
        self._kept: _Answer | None = None

    def run(self, near_pu: Floats | None) -> InverterSolution:
        columns = np.arange(self._orders.shape[1])
        if not self._couple.behaviour.has_curves:
            answer = self._answer(self._u, columns)
            return self._outcome(answer, np.where(answer.has_solution, 0.0, np.inf), 1)
        rounds = self._improve(self._start(columns) if near_pu is None else near_pu, columns)
        lost = columns[self._size > TOLERANCE_PU]
        if len(lost):
            rounds += self._lead(lost)
        answer = self._answer(self._u, columns) if self._kept is None else self._kept
        answer.has_solution = np.isfinite(self._size)
        answer.state[:, ~answer.has_solution] = np.nan
        return self._outcome(answer, self._size, rounds)

    def _outcome(self, answer: _Answer, mismatch: Floats, rounds: int) -> InverterSolution:
        solved = answer.has_solution
        p, q, came = (np.where(solved, value, np.nan) for value in (answer.p_w, answer.q_var, answer.came_pu))
        solution = answer.solution(self._couple.flow)
        return InverterSolution(solution, p, q, came, mismatch, mismatch <= TOLERANCE_PU, rounds)

    def _answer(self, u: Floats, columns: NDArray[np.intp]) -> _Answer:
        """What comes of voltages `u` in these columns."""
        p, q = self._couple.behaviour.powers(self._ordered(columns), u, self._held(columns))
        solution = self._couple.flow_at(self._base_w[:, columns], self._base_var[:, columns], p, q)
        came = self._couple.seen(self._couple.terminal_pu(solution))
        return _Answer(solution.state, solution.demand, solution.has_solution, p, q, came)

    def _keep(self, columns: NDArray[np.intp], answer: _Answer) -> None:
        """The best so far in these columns."""
        if self._kept is None:
            self._kept = self._answer(self._u, np.arange(len(self._size))) if len(columns) < len(self._size) else answer
        self._kept.put(columns, answer)

    def _ordered(self, columns: NDArray[np.intp]) -> Floats:
        ordered: Floats = self._orders[:, columns] * self._scale[columns]
        return ordered

    def _held(self, columns: NDArray[np.intp]) -> Memory | None:
        return None if self._memory is None else self._memory.columns(columns)

    def _start(self, columns: NDArray[np.intp]) -> Floats:
        """Voltages under the orders as they stand; where those have no flow, without EVSEs."""
        couple = self._couple
        solution = couple.flow_at(self._base_w, self._base_var, self._orders, 0.0 * self._orders)
        u = couple.seen(couple.terminal_pu(solution))
        lost = columns[~solution.has_solution]
        if len(lost):
            bare = couple.flow.solve(self._base_w[:, lost], self._base_var[:, lost])
            u[:, lost] = couple.seen(couple.terminal_pu(bare))
        return np.where(np.isfinite(u), u, 1.0)

    def _lead(self, columns: NDArray[np.intp]) -> int:
        """Follow the solution from no order to the whole, where it is not found at once; returns the rounds."""
        best = self._u[:, columns].copy(), self._size[columns].copy()
        kept = None if self._kept is None else self._kept.columns(columns)
        near = self._couple.flow.solve(self._base_w[:, columns], self._base_var[:, columns])
        near_u = self._couple.seen(self._couple.terminal_pu(near))
        reached, step = np.zeros(len(columns)), np.full(len(columns), 0.5)
        rounds = 0
        going = np.flatnonzero(near.has_solution)
        while len(going):
            those = columns[going]
            self._scale[those] = np.minimum(reached[going] + step[going], 1.0)
            self._size[those] = np.inf
            rounds += self._improve(near_u[:, going], those, exact_after=0)
            good = self._size[those] <= TOLERANCE_PU
            near_u[:, going[good]] = self._u[:, those[good]]
            reached[going[good]] = self._scale[those[good]]
            step[going] *= np.where(good, 1.5, 0.25)
            going = np.flatnonzero(near.has_solution & (reached < 1.0) & (step >= LEAST_SHARE))
        failed = np.flatnonzero(reached < 1.0)
        self._u[:, columns[failed]], self._size[columns[failed]] = best[0][:, failed], best[1][failed]
        if self._kept is not None and kept is not None:
            self._kept.put(columns[failed], kept.columns(failed))
        self._scale[columns] = 1.0
        return rounds

    def _improve(self, start: Floats, columns: NDArray[np.intp], exact_after: int = EXACT_AFTER) -> int:
        """Search from these voltages in these columns; returns the rounds it took."""
        self._u[:, columns] = start
        ahead, share = np.zeros_like(self._u), np.ones(self._u.shape[1])
        open_ = columns
        for turn in range(ROUNDS):
            trial = self._u[:, open_] + share[open_] * ahead[:, open_]
            answer = self._answer(trial, open_)
            gap = answer.came_pu - trial
            size = np.where(answer.has_solution, np.abs(gap).max(axis=0, initial=0.0), np.inf)
            better = size < self._size[open_]
            good, bad = open_[better], open_[~better]
            self._u[:, good], self._size[good] = trial[:, better], size[better]
            if len(good):
                self._keep(good, answer.columns(better))
            share[good] = 1.0
            share[bad] *= 0.5
            going = np.flatnonzero(better & (size > TOLERANCE_PU))
            if len(going):
                exact = answer.solution(self._couple.flow) if turn >= exact_after else None
                ahead[:, open_[going]] = self._newton(trial[:, going], gap[:, going], open_[going], exact, going)
            left = self._size[open_]
            open_ = open_[(left > TOLERANCE_PU) & np.isfinite(left) & (share[open_] >= LEAST_SHARE)]
            if not len(open_):
                return turn + 1
        return ROUNDS

    def _newton(
        self, u: Floats, gap: Floats, columns: NDArray[np.intp], exact: Solution | None, at: NDArray[np.intp]
    ) -> Floats:
        """Steps of the voltages in these columns; exact: take the grid's slopes at its columns `at`."""
        p_slope, q_slope = self._couple.behaviour.slopes(self._ordered(columns), u, self._held(columns))
        is_bent = (p_slope != 0.0) | (q_slope != 0.0)
        most = int(is_bent.sum(axis=0).max(initial=0))
        if not most:
            return gap
        # Only EVSEs whose power bends couple the equations: those first, and as many as the fullest column has.
        first = np.argsort(~is_bent, axis=0, kind="stable")[:most]
        rows, each = first.T[:, :, None], np.arange(len(columns))[:, None, None]
        if exact is None:
            by_w, by_var = (slope[:, first].transpose(2, 0, 1) for slope in self._couple.slopes_at_rest)
        else:
            by_w, by_var = (slope[each, np.arange(len(u))[:, None], first.T[:, None, :]]
                            for slope in self._couple.slopes(exact, at))
        reach = (
            by_w * np.take_along_axis(p_slope, first, 0).T[:, None, :]
            + by_var * np.take_along_axis(q_slope, first, 0).T[:, None, :]
        )
        matrix = -np.take_along_axis(reach, rows, 1)
        matrix[:, np.arange(most), np.arange(most)] += 1.0
        bent = np.linalg.solve(matrix, np.take_along_axis(gap, first, 0).T[:, :, None])
        step: Floats = gap + (reach @ bent)[:, :, 0].T
        return step


def _joined(flow: Flow, shape: tuple[int, ...], parts: Sequence[InverterSolution]) -> InverterSolution:
    def side_by_side(values: Sequence[NDArray[Number]]) -> NDArray[Number]:
        whole = values[0] if len(values) == 1 else np.concatenate(values, axis=-1)
        return whole.reshape(*whole.shape[:-1], *shape)

    flows = [part.solution for part in parts]
    state, demand = (np.concatenate([getattr(each, name) for each in flows], axis=1) for name in ("state", "demand"))
    delivered, q_var, voltage, mismatch = (
        side_by_side([getattr(part, name) for part in parts])
        for name in ("delivered_w", "q_var", "voltage_pu", "mismatch_pu")
    )
    return InverterSolution(
        Solution(flow, shape, state, demand, side_by_side([each.has_solution for each in flows])),
        delivered, q_var, voltage, mismatch, side_by_side([part.settled for part in parts]),
        max(part.rounds for part in parts),
    )
