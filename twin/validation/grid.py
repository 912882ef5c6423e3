"""What a schedule's replay does to the street's grid, and which of it is the cars' doing.

Judged on means between every two minute and step boundaries: what the site's caps are judged on too, shorter than the
10 minutes of EN 50160, and no peak inside a step can hide. Seconds in which one charger answers before another are no
matter for a voltage mean or a cable. The grid without the cars is solved beside it: a limit that is crossed there is
told and not blamed on the schedule, unless the cars make it worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.assets import World
from twin.feeder.network.model import Feeder
from twin.feeder.powerflow.flow import Flow, Solution
from twin.feeder.scene import Limits, Scene
from twin.feeder.second_engine.check import Checker, Difference
from twin.feeder.watched import Kind, Watched
from twin.replay import Run
from twin.validation.breaches import Breach, BreachKind, Tolerances
from twin.validation.tangents import (
    KINDS,
    Tangent,
    allowed_beside,
    columns_of,
    name_of,
    tangents_at,
    tangents_toward,
    where_it_ends,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Claims = NDArray[np.bool_]

CHECKED_BUSES: Final = 20_000
"""Buses times operating points that the second engine solves at most (some 20 ms); beyond, the worst of each step."""

_WATT_KW: Final = 0.001
_KEPT: Final = 2


@dataclass(frozen=True, eq=False)
class FeederReplay:
    """What the replay did to the feeder.

    evse_kw: every distinct operating point, (evse of the scene, column). step: of each column.
    tangents: of every limit that the cars are to blame for, in each step where it is worst; where there is no solution,
        of the limit that is met first on the way there.
    breaches: the same as unbroken times, with what the engines disagree about. existing: what is there without the
        cars.
    difference: of the engines; None where a breach was found before the second one was asked.
    """

    scene: Scene
    evse_kw: Floats
    step: Ints
    tangents: tuple[Tangent, ...]
    breaches: tuple[Breach, ...]
    existing: tuple[Breach, ...]
    difference: Difference | None


@dataclass(frozen=True, eq=False)
class _Ready:
    """A feeder made ready, kept because the next schedule is examined on the same one."""

    flow: Flow
    limits: Limits
    watched: Watched

    @cached_property
    def checker(self) -> Checker:
        return Checker(self.flow.feeder)


_ready: list[_Ready] = []


def _make_ready(feeder: Feeder, limits: Limits, flow: Flow) -> _Ready:
    for ready in _ready:
        known = ready.flow.feeder
        if ready.limits == limits and (known is feeder or known == feeder):
            return ready
    made = _Ready(flow, limits, Watched(flow, limits))
    _ready[:] = [made, *_ready][:_KEPT]
    return made


def watched_of(scene: Scene) -> Watched:
    """What the scene's limits hold, made once for each of the feeders examined last."""
    return _make_ready(scene.feeder, scene.limits, scene.flow()).watched


def tangents_of(scene: Scene, names: Iterable[tuple[BreachKind, str]], evse_kw: Floats) -> tuple[Tangent, ...]:
    """Tangents of named limits wherever `evse_kw` would cross them; see `tangents_toward`."""
    return tangents_toward(scene, _make_ready(scene.feeder, scene.limits, scene.flow()).watched, names, evse_kw)


def examine_feeder(world: World, run: Run, forgiven: Tolerances) -> FeederReplay | None:
    """Solve the feeder of `world` at every power that its EVSEs took; None if it has none.

    Raises:
        NotCheckable: a feeder that the second engine cannot express.
    """
    scene, edges_s, piece_kw = world.feeder, run.piece_edges_s, run.evse_piece_kw
    if scene is None or edges_s is None or piece_kw is None:
        return None
    ready = _make_ready(scene.feeder, scene.limits, scene.flow())
    step_of = np.minimum((edges_s[:-1] // world.grid.step_s).astype(np.intp), world.grid.steps - 1)
    rows = {evse.id: row for row, evse in enumerate(world.evses)}
    kw = np.zeros((len(scene.evse_ids), len(step_of)))
    for column, evse_id in enumerate(scene.evse_ids):
        if evse_id in rows:
            kw[column] = piece_kw[rows[evse_id]]
    # Most minutes of a step are alike, to the watt.
    distinct, column_of = np.unique(
        np.vstack([step_of, np.round(kw / _WATT_KW)]), axis=1, return_inverse=True
    )
    column_of = column_of.reshape(-1)
    step, evse_kw = distinct[0].astype(np.intp), distinct[1:] * _WATT_KW
    solution = ready.flow.solve(*scene.demand_of(evse_kw, step))
    without = ready.flow.solve(scene.base_w, scene.base_var)
    judged = _Judged(scene, ready.watched, solution, without, step, evse_kw, forgiven)
    times = [world.grid.start + timedelta(seconds=edge) for edge in edges_s.tolist()]
    breaches = judged.breaches(column_of, times)
    difference = None
    if not breaches:
        difference = ready.checker.check(columns_of(solution, judged.worth_checking()))
        if not difference.agrees:
            breaches = [_disagreement(scene, difference, times)]
    return FeederReplay(
        scene, evse_kw, step, judged.tangents(solution), tuple(breaches), tuple(judged.existing(column_of, times)),
        difference,
    )


def count_over(scene: Scene, evse_kw: Floats, forgiven: Tolerances) -> Iterator[tuple[BreachKind, str, Floats]]:
    """Worst excess in each replica, (replica,), in the unit of the kind, for every limit that is crossed in one.

    evse_kw: means of steps, (evse of the scene, replica, step).
    """
    ready = _make_ready(scene.feeder, scene.limits, scene.flow())
    watched, steps, replicas = ready.watched, scene.grid.steps, evse_kw.shape[1]
    allowed = allowed_beside(watched, ready.flow.solve(scene.base_w, scene.base_var))
    tolerance = tolerance_of(watched, forgiven)
    solution = ready.flow.solve(*scene.demand_w(evse_kw))
    worst = np.zeros((len(watched.rows), replicas))
    unsolved = np.zeros(replicas)
    total_kw = np.abs(evse_kw).sum(axis=0)
    for first, block in zip(range(0, replicas * steps, _BLOCK), solution.blocks(_BLOCK), strict=True):
        columns = np.arange(first, first + len(block.has_solution))
        replica, step = np.divmod(columns, steps)
        excess = np.where(block.has_solution, watched.values(block) - allowed[:, step], 0.0)
        np.maximum.at(worst.T, replica, np.nan_to_num(excess, neginf=0.0).T)
        np.maximum.at(unsolved, replica, np.where(block.has_solution, 0.0, total_kw[replica, step]))
    if unsolved.any():
        yield BreachKind.NO_SOLUTION, scene.feeder.name, unsolved
    for row in np.flatnonzero((worst > tolerance[:, None]).any(axis=1)).tolist():
        kind = KINDS[watched.rows[row].kind]
        over = np.where(worst[row] > tolerance[row], worst[row], 0.0)
        yield kind, name_of(watched, watched.rows[row]), over * _factor(kind)


_BLOCK = 512


def _factor(kind: BreachKind) -> float:
    return 100.0 if kind.unit == "%" else 1.0


def tolerance_of(watched: Watched, forgiven: Tolerances) -> Floats:
    """By how much each row may be beyond its limit, (row,)."""
    of_kind = {
        Kind.VOLTAGE_LOW: forgiven.voltage_pu, Kind.VOLTAGE_HIGH: forgiven.voltage_pu, Kind.LINE: forgiven.loading,
        Kind.TRANSFORMER: forgiven.loading, Kind.UNBALANCE: forgiven.unbalance,
    }
    return np.array([of_kind[row.kind] for row in watched.rows])


def _disagreement(scene: Scene, difference: Difference, times: list[datetime]) -> Breach:
    return Breach(
        BreachKind.ENGINES_DISAGREE, scene.feeder.name, times[0], times[-1], difference.voltage_pu, 0.0
    )


class _Judged:
    """Values of all limits at all operating points beside those without the cars."""

    def __init__(
        self, scene: Scene, watched: Watched, solution: Solution, without: Solution, step: Ints, evse_kw: Floats,
        forgiven: Tolerances,
    ) -> None:
        self.scene, self.watched, self.step, self.evse_kw = scene, watched, step, evse_kw
        self.has_solution: Claims = solution.has_solution.reshape(-1)
        self.tolerance = tolerance_of(watched, forgiven)
        self.values = np.concatenate([watched.values(block) for block in solution.blocks()], axis=1)
        self.allowed = allowed_beside(watched, without)
        self.without = watched.values(without)
        self.is_without_solved: Claims = without.has_solution.reshape(-1)
        self.excess = np.where(self.has_solution, self.values - self.allowed[:, step], 0.0)
        self.over = np.flatnonzero((self.excess > self.tolerance[:, None]).any(axis=1))
        self.total_kw = np.abs(evse_kw).sum(axis=0)
        # A step that has no solution without the cars either is theirs as soon as they draw or feed in anything.
        self.unsolved: Claims = ~self.has_solution & (self.is_without_solved[step] | (self.total_kw > 0.0))

    def worth_checking(self) -> Ints:
        """All operating points if they are few, else the one of each step that is nearest to a limit."""
        count = len(self.step)
        if count * len(self.scene.feeder.buses) <= CHECKED_BUSES:
            return np.arange(count, dtype=np.intp)
        scale = np.array([_SCALE[row.kind] for row in self.watched.rows])
        near = ((self.values - self.watched.limit[:, None]) / scale[:, None]).max(axis=0, initial=-np.inf)
        order = np.lexsort((near, self.step))
        return np.sort(order[np.append(np.flatnonzero(np.diff(self.step[order])), count - 1)])

    def tangents(self, solution: Solution) -> tuple[Tangent, ...]:
        pairs = []
        for row in self.over.tolist():
            crossed = np.flatnonzero(self.excess[row] > self.tolerance[row])
            for step in np.unique(self.step[crossed]).tolist():
                here = crossed[self.step[crossed] == step]
                pairs.append((row, int(here[np.argmax(self.excess[row, here])])))
        found = tangents_at(self.scene, self.watched, solution, self.evse_kw, self.allowed, self.step, pairs)
        if not self.unsolved.any():
            return found
        columns = np.flatnonzero(self.unsolved)
        most = columns[np.lexsort((self.total_kw[columns], self.step[columns]))]
        most = most[np.append(np.diff(self.step[most]) > 0, True)]
        return (*found, *where_it_ends(self.scene, self.watched, self.evse_kw[:, most], self.step[most]))

    def breaches(self, column_of: Ints, times: list[datetime]) -> list[Breach]:
        """Unbroken times, by kind and row; `column_of`: of each piece between two of `times`."""
        found = list(_spells(
            BreachKind.NO_SOLUTION, self.scene.feeder.name, self.unsolved[column_of], self.total_kw[column_of],
            np.zeros(len(column_of)), times,
        ))
        for row in self.over.tolist():
            kind = KINDS[self.watched.rows[row].kind]
            sign = -1.0 if kind is BreachKind.VOLTAGE_LOW else 1.0
            found += _spells(
                kind, name_of(self.watched, self.watched.rows[row]),
                (self.excess[row] > self.tolerance[row])[column_of], self.excess[row, column_of] * _factor(kind),
                sign * self.allowed[row, self.step[column_of]] * _factor(kind), times,
            )
        return sorted(found, key=lambda breach: tuple(BreachKind).index(breach.kind))

    def existing(self, column_of: Ints, times: list[datetime]) -> list[Breach]:
        """What the grid bears without the cars, over the same times."""
        step = self.step[column_of]
        found = list(_spells(
            BreachKind.NO_SOLUTION, self.scene.feeder.name, ~self.is_without_solved[step] & ~self.unsolved[column_of],
            np.zeros(len(step)), np.zeros(len(step)), times,
        ))
        excess = np.where(self.is_without_solved, self.without - self.watched.limit[:, None], 0.0)
        for row in np.flatnonzero((excess > self.tolerance[:, None]).any(axis=1)).tolist():
            kind = KINDS[self.watched.rows[row].kind]
            sign = -1.0 if kind is BreachKind.VOLTAGE_LOW else 1.0
            found += _spells(
                kind, name_of(self.watched, self.watched.rows[row]), (excess[row] > self.tolerance[row])[step],
                excess[row, step] * _factor(kind),
                np.full(len(step), sign * self.watched.limit[row] * _factor(kind)), times,
            )
        return found


_SCALE: Final = {
    Kind.VOLTAGE_LOW: 0.1, Kind.VOLTAGE_HIGH: 0.1, Kind.LINE: 1.0, Kind.TRANSFORMER: 1.0, Kind.UNBALANCE: 0.02,
}


def _spells(
    kind: BreachKind, asset_id: str, is_over: Claims, worst: Floats, limit: Floats, times: list[datetime]
) -> Iterator[Breach]:
    change = np.flatnonzero(np.diff(np.concatenate([[False], is_over, [False]]).astype(np.int8)))
    for first, behind in zip(change[::2].tolist(), change[1::2].tolist(), strict=True):
        at = first + int(worst[first:behind].argmax())
        yield Breach(kind, asset_id, times[first], times[behind], float(worst[at]), float(limit[at]))
