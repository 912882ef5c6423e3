"""What no schedule that a feeder holds can cost less than: the program with limits that every one of them keeps.

The three-phase flow is not convex, so the tangents of the search prove nothing. These rows do. Take one phase of a
cable behind which are only loads between that phase and ground. By Kirchhoff's law its current is the sum of theirs,

    I = sum over loads k of conj(s_k / v_k),       |I| >= Re(I e^(-j theta)) for every angle theta,

and a load that draws p + jq at |v| e^(j (theta + delta)) adds (p cos delta + q sin delta) / |v| to the right side. In a
schedule that the feeder holds |v| lies between the limits of its connection point, and delta is small: between two
places the voltage falls by at most impedance times ampacity. So each load adds at least a known number, linear in what
its EV charges and discharges, and the sum of these may not exceed the ampacity. The other way round the same holds for
-I, so that discharge is bounded too. Of a transformer: what is drawn behind it, losses being 0 or more, may not exceed
its rating.

Limits that break without any EV bind nobody: where one is used here, the row is left out in that step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aggregator.planning.site.arrays import NONE, Ints, Program
from aggregator.planning.site.problem import Floats
from aggregator.planning.site.warm import WarmProgram
from aggregator.planning.street.rows import GridRows, RowKind
from twin.feeder.network.phases import PHASES

Mask = NDArray[np.bool_]

_WHOLE = 1e-7
"""How far a share of a current may be from 0 or 1: what numbers leave of it. Anything else is no sum of loads."""
_WIDER = 1.0 + 1e-6
"""Ampacities and ratings by this much, for what `_WHOLE` leaves."""


@dataclass(frozen=True, eq=False)
class ImpliedRows:
    """charge @ kW + discharge @ kW <= most, in each step in which `counts`, for every schedule that the feeder holds.

    charge, discharge: (row, evse). most: (row, step). counts: (row, step).
    """

    charge: Floats
    discharge: Floats
    most: Floats
    counts: Mask


def proven_bound(program: Program, implied: ImpliedRows, evse: Ints, time_limit_s: float) -> float:
    """Least cost of `program` under the implied rows; evse: which EVSE each of its EVs is at.

    In a schedule one of both flows of a car is 0 at any time, so they may stand apart in the rows.
    """
    row, step = np.nonzero(implied.counts)
    blocks, reach = [], np.zeros(len(row))
    for columns, slope in ((program.charge, implied.charge), (program.discharge, implied.discharge)):
        column, value = columns[:, step].T, slope[row][:, evse]
        at, ev = np.nonzero((column != NONE) & (value != 0.0))
        blocks.append((at, column[at, ev], value[at, ev]))
        np.add.at(reach, at, np.maximum(0.0, value[at, ev]) * program.upper[column[at, ev]])
    most = implied.most[row, step]
    kept = np.flatnonzero(reach > most)  # the others hold whatever the cars do
    place = np.full(len(row), NONE, dtype=np.intp)
    place[kept] = np.arange(len(kept))
    at, column, value = (np.concatenate(part) for part in zip(*blocks, strict=True))
    used = place[at] != NONE
    matrix = csr_array((value[used], (place[at[used]], column[used])), shape=(len(kept), len(program.cost)))
    warm = WarmProgram(program)
    warm.replace_rows(matrix, np.full(len(kept), -np.inf), most[kept], np.full(len(kept), NONE, dtype=np.intp))
    answer = warm.run(time_limit_s)
    return -np.inf if answer is None else answer.bound


def implied_rows(grid: GridRows, unfixable: Mapping[RowKind, Mask]) -> ImpliedRows:
    """The rows of a scene; none where its feeder is built in a way that the argument above does not cover.

    unfixable: by kind, (row, step) that break without any EV.
    """
    blocks = [*_Currents(grid, unfixable).rows(), *_transformers(grid, unfixable)]
    evses, steps = len(grid.scene.evse_ids), grid.scene.grid.steps
    empty = ImpliedRows(np.zeros((0, evses)), np.zeros((0, evses)), np.zeros((0, steps)), np.zeros((0, steps), bool))
    return ImpliedRows(*(
        np.concatenate([getattr(block, name) for block in (empty, *blocks)])
        for name in ("charge", "discharge", "most", "counts")
    ))


class _Currents:
    """Rows of every phase of every run whose current is a sum of loads."""

    def __init__(self, grid: GridRows, unfixable: Mapping[RowKind, Mask]) -> None:
        self.grid, scene = grid, grid.scene
        flow, network = grid.flow, grid.flow.network
        constant, share = network.run_series[:, 0], network.run_series[:, 1:]
        size = np.abs(share)
        is_sum = (np.abs(constant) < _WHOLE) & (
            (size < _WHOLE) | ((np.abs(size - 1.0) < _WHOLE) & (np.abs(share.imag) < _WHOLE))).all(axis=1)
        is_sum &= np.abs(size.sum(axis=1) - np.abs(share.sum(axis=1))) < _WHOLE  # all in one direction
        behind = size > 0.5  # noqa: PLR2004 - 0 or 1
        self.share = share[:, network.point_of]
        self.behind: Mask = behind[:, network.point_of]  # (run and phase, terminal)
        kinds = {kind.id: kind for kind in flow.feeder.load_types}
        simple = np.array([kinds[name].is_constant_power for name in network.point_types], dtype=bool)[network.point_of]
        simple &= np.array([terminal.other is None for terminal in flow.terminals], dtype=bool)
        self.chosen = is_sum & ~(self.behind & ~simple).any(axis=1) & self.behind.any(axis=1)
        self._voltages(unfixable)
        self._ampacities(unfixable)
        self.spread: Floats = scene.spread().toarray()

    def _voltages(self, unfixable: Mapping[RowKind, Mask]) -> None:
        """Lowest and highest volts of every terminal, and the steps in which they hold."""
        flow = self.grid.flow
        bus = {point.id: point.bus for point in flow.feeder.connection_points}
        place = {node: row for row, node in enumerate(self.grid.places())}
        nodes = [(bus[terminal.connection_point], terminal.phase) for terminal in flow.terminals]
        rated = flow.network.node_volts[[flow.node_row[node] for node in nodes]]
        low, high = self.grid.limits.voltage_pu
        self.low, self.high = low * rated, high * rated
        at = [place[node] for node in nodes]
        self.judged: Mask = ~(unfixable["low_voltage"][at] | unfixable["high_voltage"][at])

    def _ampacities(self, unfixable: Mapping[RowKind, Mask]) -> None:
        """Of every run and phase, and the volts that may be lost along it; endless where a step breaks without EVs."""
        flow, network = self.grid.flow, self.grid.flow.network
        ampacity = np.where(np.isfinite(flow.ampacity), self.grid.limits.line_loading * flow.ampacity, np.inf)
        weakest = np.full(len(network.run_series), np.inf)
        np.minimum.at(weakest, network.run_of, ampacity)
        lines = self.grid.monitors.get("line")
        if lines is not None:
            broken = unfixable["line"].any(axis=1)
            rows = [flow.segment_row[line, PHASES[phase]] for line, phase in zip(
                np.array(lines.elements)[broken], lines.phase[broken], strict=True)]
            weakest[network.run_of[rows]] = np.inf
        ohms = {line.id: np.abs(np.asarray(line.r_ohm) + 1j * np.asarray(line.x_ohm)) for line in flow.feeder.lines}
        fall = np.zeros(len(weakest))
        for segment, row in zip(flow.segments, network.run_of, strict=True):
            own = ohms[segment.line][PHASES.index(segment.phase)]
            fall[row] += sum(
                own[number] * weakest[network.run_of[flow.segment_row[segment.line, phase]]]
                for number, phase in enumerate(PHASES)
                if own[number] > 0.0 and (segment.line, phase) in flow.segment_row)
        self.most_amperes, self.fall = weakest, fall

    def rows(self) -> list[ImpliedRows]:
        """Both directions of each; of runs with the same loads behind them the weakest."""
        weakest: dict[bytes, int] = {}
        for row in np.flatnonzero(self.chosen & np.isfinite(self.most_amperes)).tolist():
            key = self.behind[row].tobytes()
            if key not in weakest or self.most_amperes[row] < self.most_amperes[weakest[key]]:
                weakest[key] = row
        found = []
        for row in weakest.values():
            own = np.flatnonzero(self.behind[row])
            if self.spread[own].any() and (sine := self._sine(row, own)) is not None:
                found += [self._row(row, own, sine, sign) for sign in (1.0, -1.0)]
        return found

    def _sine(self, row: int, own: Ints) -> Floats | None:
        """Of the largest angle between each load's voltage and that at the end of the run; None: not below 90 degrees.

        |v_k - v| is at least |v_k| times that sine, and at most what is lost along the runs that lie between: those
        with some of these loads behind them, but not all.
        """
        size = int(self.behind[row].sum())
        between = self.chosen & (self.behind.sum(axis=1) < size) & self.behind[:, own].any(axis=1)
        others = self.share[~self.chosen][:, own]
        if (np.abs(others - others[:, :1]) > _WHOLE).any():
            return None  # a ring, or what is no sum of loads, lies between some of them
        lost = self.behind[between][:, own].T.astype(float) @ np.where(
            np.isfinite(self.fall[between]), self.fall[between], 1e9)
        sine: Floats = lost / self.low[own]
        return sine if (sine < 1.0).all() else None

    def _row(self, row: int, own: Ints, sine: Floats, sign: float) -> ImpliedRows:
        scene, cosine = self.grid.scene, np.sqrt(1.0 - sine**2)
        per_watt = scene.var_per_watt
        low, high = self.low[own], self.high[own]
        along = cosine - per_watt * sine  # least of cos + var_per_watt sin, as far as the angle goes
        against = np.full(len(own), -np.hypot(1.0, per_watt))
        amperes = [1000.0 * np.where(each >= 0.0, each / high, each / low) @ self.spread[own]
                   for each in (along, against)]
        charge, discharge = amperes if sign > 0 else amperes[::-1]
        p, q = sign * scene.base_w[own], sign * scene.base_var[own]
        ends = np.minimum(*(p * cosine[:, None] + turn * q * sine[:, None] for turn in (1.0, -1.0)))
        least = np.where(p >= 0.0, ends, -np.hypot(p, q))
        base = np.where(least >= 0.0, least / high[:, None], least / low[:, None]).sum(axis=0)
        return ImpliedRows(
            charge[None], discharge[None], (self.most_amperes[row] * _WIDER - base)[None],
            np.asarray(self.judged[own].all(axis=0))[None])


def _transformers(grid: GridRows, unfixable: Mapping[RowKind, Mask]) -> list[ImpliedRows]:
    """What all loads behind a transformer draw, where behind it are only lines that lose and loads of fixed power."""
    feeder, scene, flow = grid.flow.feeder, grid.scene, grid.flow
    kinds = {kind.id: kind for kind in feeder.load_types}
    bus = {point.id: point.bus for point in feeder.connection_points}
    fixed = {point.bus for point in feeder.connection_points if not kinds[point.load_type].is_constant_power}
    foreign = fixed | {feeder.source.bus} | {at for primitive in feeder.primitives for at, _ in primitive.nodes}
    found = []
    for number, transformer in enumerate(feeder.transformers):
        buses, loses = _behind(grid, transformer.to_bus)
        ends = [end for other in feeder.transformers for end in (other.from_bus, other.to_bus)]
        if not loses or buses & foreign or sum(end in buses for end in ends) > 1:
            continue
        own = np.array([row for row, terminal in enumerate(flow.terminals) if bus[terminal.connection_point] in buses])
        if not len(own):
            continue
        kw = scene.spread().toarray()[own].sum(axis=0)
        most = grid.limits.transformer_loading * transformer.rated_va / 1000.0 * _WIDER
        found.append(ImpliedRows(
            kw[None], -kw[None], (most - scene.base_w[own].sum(axis=0) / 1000.0)[None],
            ~unfixable["transformer"][2 * number + 1][None]))
    return found


def _behind(grid: GridRows, start: str) -> tuple[set[str], bool]:
    """Buses that lines join to `start`, and whether all of these lines only lose power."""
    neighbours: dict[str, list[tuple[str, bool]]] = {}
    for line in grid.flow.feeder.lines:
        loses = bool(np.linalg.eigvalsh(np.asarray(line.r_ohm, dtype=float)).min() >= -1e-12)  # noqa: PLR2004 - noise
        neighbours.setdefault(line.from_bus, []).append((line.to_bus, loses))
        neighbours.setdefault(line.to_bus, []).append((line.from_bus, loses))
    seen, waiting, all_lose = {start}, [start], True
    while waiting:
        for other, loses in neighbours.get(waiting.pop(), ()):
            all_lose &= loses
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen, all_lose
