"""What a kilowatt at each EVSE does to a limit of the feeder: exact at an operating point, so a plan can keep to it.

A limit is never linear: its tangent holds near the point where it was taken and is told with that point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.powerflow.flow import Solution
from twin.feeder.scene import Scene
from twin.feeder.watched import Kind, Row, Watched
from twin.validation.breaches import BreachKind

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

KINDS: Final = {
    Kind.VOLTAGE_LOW: BreachKind.VOLTAGE_LOW, Kind.VOLTAGE_HIGH: BreachKind.VOLTAGE_HIGH,
    Kind.LINE: BreachKind.LINE_OVERLOAD, Kind.TRANSFORMER: BreachKind.TRANSFORMER_OVERLOAD,
    Kind.UNBALANCE: BreachKind.UNBALANCE,
}

_HALVINGS: Final = 12
_REFINED: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Tangent:
    """A limit of the feeder in one step, linear around `at_kw`.

    value: there, larger is worse; a voltage that must not be low counts negative. allowed: the limit, or what is there
        without the cars if that is more. All in p.u., as fractions of a rating, or as a ratio.
    at_kw: power of each EVSE of the scene. per_kw: what one kW more at each of them adds to the value.
    """

    kind: BreachKind
    asset_id: str
    step: int
    value: float
    allowed: float
    at_kw: Floats
    per_kw: Floats


def name_of(watched: Watched, row: Row) -> str:
    """`point.phase` of a connection point, `line.phase`, the transformer or the bus."""
    where = row.where
    if row.kind in (Kind.VOLTAGE_LOW, Kind.VOLTAGE_HIGH):
        where = next(
            point.id for point in watched.flow.feeder.connection_points
            if point.bus == row.where and row.phase in point.phases
        )
    return f"{where}.{row.phase}" if row.phase else where


def allowed_beside(watched: Watched, without: Solution) -> Floats:
    """The limits, or what is there without the cars if that is more; (row, step). Without a solution: the limits."""
    values = watched.values(without)
    return np.where(np.isfinite(values), np.maximum(values, watched.limit[:, None]), watched.limit[:, None])


def columns_of(solution: Solution, columns: Ints) -> Solution:
    """Some operating points of a solution."""
    return Solution(
        solution.flow, (len(columns),), solution.state[:, columns], solution.demand[:, columns],
        solution.has_solution.reshape(-1)[columns],
    )


def slopes_of(scene: Scene, watched: Watched, solution: Solution) -> Floats:
    """What a kW more at each EVSE adds to every limit's value, (column, row, evse), at solved columns."""
    gradients = solution.gradients()
    spread = scene.spread().toarray()
    points = np.zeros((gradients.di_dp.shape[2], spread.shape[1]))
    np.add.at(points, watched.flow.network.point_of, spread)
    per_watt = gradients.di_dp @ points + scene.var_per_watt * (gradients.di_dq @ points)
    return 1000.0 * watched.slopes(solution, per_watt)[1]


def tangents_at(
    scene: Scene, watched: Watched, solution: Solution, evse_kw: Floats, allowed: Floats, step: Ints,
    wanted: Iterable[tuple[int, int]],
) -> tuple[Tangent, ...]:
    """Tangents of (row, column) pairs at solved operating points.

    Args:
        scene: the feeder.
        watched: its limits.
        solution: flows at `evse_kw`, (evse of the scene, column).
        evse_kw: power of the EVSEs at each column.
        allowed: of every row in every step, (row, step).
        step: of each column.
        wanted: pairs of row and column.
    """
    pairs = list(wanted)
    if not pairs:
        return ()
    columns = np.unique([column for _, column in pairs])
    part = columns_of(solution, columns)
    values, slopes = watched.values(part), slopes_of(scene, watched, part)
    found = []
    for row, column in pairs:
        at = int(np.searchsorted(columns, column))
        found.append(Tangent(
            KINDS[watched.rows[row].kind], name_of(watched, watched.rows[row]), int(step[column]),
            float(values[row, at]), float(allowed[row, step[column]]), evse_kw[:, column].copy(),
            slopes[at, row].copy(),
        ))
    return tuple(found)


def where_it_ends(scene: Scene, watched: Watched, evse_kw: Floats, step: Ints) -> tuple[Tangent, ...]:
    """The limit that is met first on the way from no EVSE to powers that have no solution, and its tangent there.

    evse_kw: (evse of the scene, column); step: of each column. Columns without room for anything are left out.
    """
    flow = watched.flow
    without = flow.solve(scene.base_w[:, step], scene.base_var[:, step])
    allowed = allowed_beside(watched, without)
    good = without.has_solution.reshape(-1)
    low, high = np.zeros(len(step)), np.ones(len(step))
    for _ in range(_HALVINGS):
        share = (low + high) / 2.0
        tried = flow.solve(*scene.demand_of(evse_kw * share, step))
        is_held = tried.has_solution.reshape(-1) & (watched.values(tried) <= allowed + 1e-9).all(axis=0)
        low, high = np.where(is_held, share, low), np.where(is_held, high, share)
    at_kw = evse_kw * low
    solution = flow.solve(*scene.demand_of(at_kw, step))
    nearest = (watched.values(solution) - allowed).argmax(axis=0)
    found = tangents_at(
        scene, watched, solution, at_kw, allowed, np.arange(len(step)),
        [(int(nearest[column]), column) for column in np.flatnonzero(good).tolist()],
    )
    return tuple(
        Tangent(one.kind, one.asset_id, int(step[one.step]), one.value, one.allowed, one.at_kw, one.per_kw)
        for one in found
    )


def tangents_toward(
    scene: Scene, watched: Watched, names: Iterable[tuple[BreachKind, str]], evse_kw: Floats
) -> tuple[Tangent, ...]:
    """Tangents of the named limits in every step in which `evse_kw` would cross them, where they are crossed.

    Args:
        scene: the feeder.
        watched: its limits.
        names: kind and name of limits; those that the feeder does not have are passed over.
        evse_kw: the most that may be drawn (or, negative, fed in) at each EVSE, (evse of the scene, step).
    """
    rows = {(KINDS[row.kind], name_of(watched, row)): number for number, row in enumerate(watched.rows)}
    wanted = np.array(sorted(rows[name] for name in set(names) if name in rows), dtype=np.intp)
    if not len(wanted):
        return ()
    flow, steps = watched.flow, np.arange(scene.grid.steps)
    without = flow.solve(scene.base_w, scene.base_var)
    most = flow.solve(*scene.demand_of(evse_kw, steps))
    allowed = allowed_beside(watched, without)
    start, end = watched.values(without)[wanted], watched.values(most)[wanted]
    found: list[Tangent] = []
    for number, row in enumerate(wanted.tolist()):
        crossed = np.flatnonzero((end[number] > allowed[row]) & (start[number] < allowed[row]))
        if not len(crossed):
            continue
        share = np.where(
            np.isfinite(end[number, crossed]),
            (allowed[row, crossed] - start[number, crossed]) / (end[number, crossed] - start[number, crossed]), 0.5,
        )
        for _ in range(_REFINED):  # the chord to the far end, drawn again from where it led
            here = watched.values(flow.solve(*scene.demand_of(evse_kw[:, crossed] * share, crossed)))[row]
            further = (allowed[row, crossed] - here) * (1.0 - share) / (end[number, crossed] - here)
            share = np.clip(share + np.where(np.isfinite(further), further, 0.0), 0.0, 1.0)
        at_kw = evse_kw[:, crossed] * share
        solution = flow.solve(*scene.demand_of(at_kw, crossed))
        solved = np.flatnonzero(solution.has_solution.reshape(-1))
        found += [
            Tangent(one.kind, one.asset_id, int(crossed[one.step]), one.value, float(allowed[row, crossed[one.step]]),
                    one.at_kw, one.per_kw)
            for one in tangents_at(
                scene, watched, solution, at_kw, allowed[:, crossed], np.arange(len(crossed)),
                [(row, int(column)) for column in solved],
            )
        ]
    return tuple(found)
