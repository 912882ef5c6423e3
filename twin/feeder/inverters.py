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
from math import isfinite
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from twin.feeder.flow import Flow, Solution
from twin.feeder.grid_codes import Curve, GridCode, GridCodeError, Priority

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

TOLERANCE_PU = 1e-8
"""Largest difference between the voltages that inverters answered to and those that came of it."""

ROUNDS = 30
EXACT_AFTER = 8
"""Rounds with one slope of the grid for all steps; then those that are left get their own."""

LEAST_SHARE = 1.0 / 64.0
"""Of a step of Newton's method."""

SLOPE_STEP_PU = 1e-7


@dataclass(frozen=True, slots=True)
class Inverter:
    """An EVSE's inverter: its settings and its rated VA, which is also the most active power of its curves."""

    code: GridCode
    rated_va: float

    def __post_init__(self) -> None:
        if not (isfinite(self.rated_va) and self.rated_va > 0.0):
            raise GridCodeError(f"inverter {self.code.name}: rated_va", self.rated_va, "a finite number above 0")


@dataclass(frozen=True, eq=False)
class Memory:
    """What lags behind the voltage, and limits that come from elsewhere, each (evse, column).

    var_pu, out_pu, in_pu: what the curves had led to before: vars fed in, most power out and in, per rated VA.
    var_news, watt_news: share of what the curves say now that counts now (0 nothing yet, 1 all of it).
    limit_pu: most power in either direction, per rated VA, while an inverter comes back; 0 while it is disconnected.
    """

    var_pu: Floats
    out_pu: Floats
    in_pu: Floats
    var_news: Floats
    watt_news: Floats
    limit_pu: Floats


@dataclass(frozen=True, eq=False)
class _Group:
    """Inverters of one code."""

    code: GridCode
    rows: NDArray[np.intp]
    rated_va: Floats


class Behaviour:
    """Power of EVSEs as a function of order and voltage; rows are EVSEs, those without an inverter do as ordered.

    var_per_watt: reactive power of EVSEs that have no Volt-VAr curve.
    """

    def __init__(self, inverters: Sequence[Inverter | None], var_per_watt: float = 0.0) -> None:
        self.inverters, self.var_per_watt = tuple(inverters), var_per_watt
        codes = list(dict.fromkeys(inverter.code for inverter in inverters if inverter is not None))
        self._groups = []
        for code in codes:
            rows = [row for row, own in enumerate(inverters) if own is not None and own.code == code]
            rated = np.array([own.rated_va for own in inverters if own is not None and own.code == code])
            self._groups.append(_Group(code, np.array(rows, dtype=np.intp), rated[:, None]))

    @property
    def has_curves(self) -> bool:
        return any(group.code.has_curves for group in self._groups)

    def powers(self, orders_w: Floats, voltage_pu: Floats, memory: Memory | None = None) -> tuple[Floats, Floats]:
        """Watts and vars that are drawn at these voltages, (evse, column)."""
        p_w = orders_w.copy()
        q_var = self.var_per_watt * orders_w
        for group in self._groups:
            rows = group.rows
            held = None if memory is None else Memory(*(getattr(memory, each)[rows] for each in _PARTS))
            p_w[rows], q_var[rows] = self._of_group(group, orders_w[rows], voltage_pu[rows], held)
        return p_w, q_var

    def slopes(self, orders_w: Floats, voltage_pu: Floats, memory: Memory | None = None) -> tuple[Floats, Floats]:
        """Change of watts and vars per p.u. of the inverter's own voltage."""
        above = self.powers(orders_w, voltage_pu + SLOPE_STEP_PU, memory)
        below = self.powers(orders_w, voltage_pu - SLOPE_STEP_PU, memory)
        p, q = ((high - low) / (2.0 * SLOPE_STEP_PU) for high, low in zip(above, below, strict=True))
        return p, q

    def remember(self, voltage_pu: Floats, memory: Memory) -> Memory:
        """What the curves have led to after voltages held as long as `memory` says."""
        parts = {name: getattr(memory, name).copy() for name in ("var_pu", "out_pu", "in_pu")}
        for group in self._groups:
            rows = group.rows
            held = Memory(*(getattr(memory, each)[rows] for each in _PARTS))
            for name, value in zip(parts, _curves(group.code, voltage_pu[rows], held), strict=True):
                parts[name][rows] = value
        return Memory(parts["var_pu"], parts["out_pu"], parts["in_pu"], memory.var_news, memory.watt_news,
                      memory.limit_pu)

    def _of_group(self, group: _Group, orders_w: Floats, voltage_pu: Floats, held: Memory | None
                  ) -> tuple[Floats, Floats]:
        code, rated = group.code, group.rated_va
        var_pu, out_pu, in_pu = _curves(code, voltage_pu, held)
        limit = rated if held is None else rated * held.limit_pu
        p = np.clip(orders_w, -np.minimum(limit, rated * out_pu), np.minimum(limit, rated * in_pu))
        if code.volt_var is None:
            q = self.var_per_watt * p
        else:
            able = np.minimum(np.abs(p) / (rated * code.full_var_from_pu), 1.0)
            q = -rated * var_pu * able
            if not code.var_while_charging:
                q = np.where(p > 0.0, 0.0, q)
        if code.priority is Priority.REACTIVE:
            q = np.clip(q, -rated, rated)
            room = np.sqrt(rated**2 - q**2)
            return np.clip(p, -room, room), q
        room = np.sqrt(np.maximum(rated**2 - p**2, 0.0))
        return p, np.clip(q, -room, room)


_PARTS = ("var_pu", "out_pu", "in_pu", "var_news", "watt_news", "limit_pu")


def _curves(code: GridCode, voltage_pu: Floats, held: Memory | None) -> tuple[Floats, Floats, Floats]:
    """Vars fed in, most power out and most power in, per rated VA."""
    var = _at(code.volt_var, voltage_pu, 0.0)
    out, into = _at(code.volt_watt, voltage_pu, 1.0), _at(code.charge_volt_watt, voltage_pu, 1.0)
    if held is None:
        return var, out, into
    return (
        held.var_pu + held.var_news * (var - held.var_pu),
        held.out_pu + held.watt_news * (out - held.out_pu),
        held.in_pu + held.watt_news * (into - held.in_pu),
    )


def _at(curve: Curve | None, voltage_pu: Floats, otherwise: float) -> Floats:
    return np.full(voltage_pu.shape, otherwise) if curve is None else curve.at(voltage_pu)


@dataclass(frozen=True, eq=False)
class InverterSolution:
    """Steps in which flow and inverters agree.

    solution: the flow, (…, column). delivered_w, q_var: drawn by each EVSE, (evse, column); NaN where there is no
        solution. voltage_pu: that each EVSE sees, the mean of its phases.
    mismatch_pu: largest difference between the voltages that were answered to and those that came of it, per column.
    settled: whether that is small enough; where it is not, the figures are those of the last round and no solution.
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
) -> InverterSolution:
    """Solve every column with what the inverters make of their orders, in the steady state of all curves.

    Args:
        flow: the feeder.
        base_w: what terminals draw without the EVSEs, (terminal, column).
        base_var: the same shape; None: no reactive power.
        orders_w: of each EVSE, positive while charging, (evse, column).
        spread: watts at each terminal per watt of each EVSE, (terminal, evse), as `Scene.spread`.
        inverters: of each EVSE; None: it does as ordered.
        var_per_watt: reactive power of EVSEs without a Volt-VAr curve.

    Raises:
        ValueError: shapes that do not fit.
    """
    couple = Coupling(flow, spread, Behaviour(inverters, var_per_watt))
    base = np.asarray(base_w, dtype=np.float64)
    return couple.solve(base, np.zeros_like(base) if base_var is None else base_var, orders_w)


class Coupling:
    """A flow and the inverters on it, made ready to be solved together again and again."""

    def __init__(self, flow: Flow, spread: csr_array, behaviour: Behaviour) -> None:
        evses = len(behaviour.inverters)
        if spread.shape != (len(flow.terminals), evses):
            raise ValueError(f"spread: shape {spread.shape}, expected ({len(flow.terminals)}, {evses})")
        self.flow, self.behaviour = flow, behaviour
        self._spread = csr_array(spread)
        self._base_volts: Floats = flow.network.base_volts[flow.network.point_of]
        at = self._spread.T.astype(bool).astype(np.float64)
        phases = np.asarray(at.sum(axis=1)).reshape(-1, 1)
        self._mean = csr_array(at.multiply(1.0 / phases))
        self._phases = tuple(np.flatnonzero(row) for row in at.toarray())

    @classmethod
    def of_kinds(cls, flow: Flow, spread: csr_array, inverters: Sequence[Inverter | None], var_per_watt: float) -> Self:
        return cls(flow, spread, Behaviour(inverters, var_per_watt))

    def terminal_pu(self, solution: Solution) -> Floats:
        """Voltages of all terminals over their rating, (terminal, column)."""
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
        self, base_w: Floats, base_var: Floats, orders_w: Floats, memory: Memory | None = None
    ) -> InverterSolution:
        """As `solve_with_inverters`; memory: of curves that lag and of inverters that come back."""
        orders = np.asarray(orders_w, dtype=np.float64)
        expected = (len(self.behaviour.inverters), base_w.shape[1])
        if orders.shape != expected:
            raise ValueError(f"orders_w: shape {orders.shape}, expected {expected}")
        return _Search(self, base_w, np.asarray(base_var, dtype=np.float64), orders, memory).run()

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


class _Search:
    """Newton's method for the voltages that inverters see; columns advance together, each with its own share."""

    def __init__(
        self, couple: Coupling, base_w: Floats, base_var: Floats, orders_w: Floats, memory: Memory | None
    ) -> None:
        self._couple, self._base_w, self._base_var = couple, base_w, base_var
        self._orders, self._memory = orders_w, memory

    def _answer(self, u: Floats, part: NDArray[np.intp]) -> tuple[Solution, Floats, Floats, Floats]:
        """Flow, watts and vars at voltages `u`, and the voltages that come of them."""
        p, q = self._couple.behaviour.powers(self._orders[:, part], u, _part(self._memory, part))
        solution = self._couple.flow_at(self._base_w[:, part], self._base_var[:, part], p, q)
        return solution, p, q, self._couple.seen(self._couple.terminal_pu(solution))

    def _start(self, columns: NDArray[np.intp]) -> Floats:
        """Voltages under the orders as they stand; where those have no flow, without EVSEs."""
        couple = self._couple
        solution = couple.flow_at(self._base_w, self._base_var, self._orders, 0.0 * self._orders)
        u = couple.seen(couple.terminal_pu(solution))
        lost = columns[~solution.has_solution]
        if len(lost):
            bare = couple.flow.solve(self._base_w[:, lost], self._base_var[:, lost])
            u[:, lost] = couple.seen(couple.terminal_pu(bare))
        return u

    def run(self) -> InverterSolution:
        couple = self._couple
        columns = np.arange(self._orders.shape[1])
        if not couple.behaviour.has_curves:
            solution, p, q, came = self._answer(np.ones_like(self._orders), columns)
            return self._outcome(solution, p, q, came, np.where(solution.has_solution, 0.0, np.nan), 1)
        u = self._start(columns)
        gap, size = np.full_like(u, np.inf), np.full(len(columns), np.inf)
        ahead, share = np.zeros_like(u), np.ones(len(columns))
        open_ = columns[np.isfinite(u).all(axis=0)]
        turn = 0
        while len(open_) and turn < ROUNDS:
            turn += 1
            trial = u[:, open_] + share[open_] * ahead[:, open_]
            solution, _, _, came = self._answer(trial, open_)
            new_gap = came - trial
            new_size = np.where(solution.has_solution, np.abs(new_gap).max(axis=0, initial=0.0), np.inf)
            better = (new_size < size[open_]) | ~np.isfinite(size[open_])
            good = open_[better]
            u[:, good], gap[:, good], size[good] = trial[:, better], new_gap[:, better], new_size[better]
            share[good] = 1.0
            share[open_[~better]] *= 0.5
            unsettled = better & (new_size > TOLERANCE_PU) & np.isfinite(new_size)
            if unsettled.any():
                rows = open_[unsettled]
                exact = solution if turn > EXACT_AFTER else None
                ahead[:, rows] = self._newton(u[:, rows], gap[:, rows], rows, exact, np.flatnonzero(unsettled))
            open_ = open_[(size[open_] > TOLERANCE_PU) & np.isfinite(size[open_]) & (share[open_] >= LEAST_SHARE)]
        solution, p, q, came = self._answer(np.where(np.isfinite(u), u, 1.0), columns)
        mismatch = np.where(solution.has_solution, np.abs(came - u).max(axis=0, initial=0.0), np.nan)
        return self._outcome(solution, p, q, came, mismatch, turn)

    def _newton(
        self, u: Floats, gap: Floats, columns: NDArray[np.intp], exact: Solution | None, at: NDArray[np.intp]
    ) -> Floats:
        """Steps of the voltages in these columns; exact: take the grid's slopes at its columns `at`."""
        p_slope, q_slope = self._couple.behaviour.slopes(self._orders[:, columns], u, _part(self._memory, columns))
        by_w, by_var = self._couple.slopes_at_rest if exact is None else self._couple.slopes(exact, at)
        step = gap.copy()
        bent = np.flatnonzero(((p_slope != 0.0) | (q_slope != 0.0)).any(axis=0))
        if len(bent):
            if exact is not None:
                by_w, by_var = by_w[bent], by_var[bent]
            matrix = -(by_w * p_slope.T[bent][:, None, :] + by_var * q_slope.T[bent][:, None, :])
            matrix[:, np.arange(len(u)), np.arange(len(u))] += 1.0
            step[:, bent] = np.linalg.solve(matrix, gap.T[bent][:, :, None])[:, :, 0].T
        return step

    def _outcome(
        self, solution: Solution, p: Floats, q: Floats, came: Floats, mismatch: Floats, rounds: int
    ) -> InverterSolution:
        solved = solution.has_solution
        p, q = np.where(solved, p, np.nan), np.where(solved, q, np.nan)
        return InverterSolution(
            solution, p, q, np.where(solved, came, np.nan), mismatch, solved & (mismatch <= 2.0 * TOLERANCE_PU), rounds
        )


def _part(memory: Memory | None, columns: NDArray[np.intp]) -> Memory | None:
    return None if memory is None else Memory(*(getattr(memory, each)[:, columns] for each in _PARTS))
