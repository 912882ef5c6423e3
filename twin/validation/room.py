"""What is left on a feeder for powers that may give way, beside others that may not.

Chargers that lost contact, and cars that no plan knows yet, draw what they were commissioned with: what the feeder
bears of that is found here, limit by limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.feeder.powerflow.flow import Solution
from twin.feeder.scene import Scene
from twin.feeder.watched import Kind, Watched
from twin.validation.breaches import BreachKind, Tolerances
from twin.validation.grid import FeederReplay, tolerance_of, watched_of
from twin.validation.tangents import KINDS, Tangent, allowed_beside, name_of, tangents_at

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

_ROUNDS = 60
_ACTS = 0.1
"""Of the largest effect on a limit: who acts less on it is left alone."""
_LITTLE_KW = 0.05
_PART = 0.5
"""Of each power that is kept where the flow has no solution and so no tangent says what to lower."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A limit that is crossed in one step. value, allowed: as in `twin.validation.tangents.Tangent`."""

    kind: BreachKind
    asset_id: str
    step: int
    value: float
    allowed: float


def crossings(scene: Scene, evse_kw: Floats, beside_kw: Floats | None = None) -> tuple[Crossing, ...]:
    """Limits that constant powers cross, each in its worst step; those come first that are crossed by most.

    Args:
        scene: the feeder and its base loads.
        evse_kw: power of each EVSE of the scene in all steps, (evse,).
        beside_kw: powers that are there anyway: what they cross counts only as far as `evse_kw` makes it worse.
            None: nothing is.
    """
    watched = watched_of(scene)
    allowed, solution = _allowed(scene, watched, beside_kw), _solved(scene, watched, evse_kw)
    unsolved = np.flatnonzero(~solution.has_solution)
    found = [Crossing(BreachKind.NO_SOLUTION, scene.feeder.name, int(step), np.inf, 0.0) for step in unsolved[:1]]
    over = np.where(solution.has_solution, watched.values(solution) - allowed, -np.inf)
    forgiven = tolerance_of(watched, Tolerances())
    step = over.argmax(axis=1)
    worst = over[np.arange(len(over)), step]
    share = worst / np.abs(allowed[np.arange(len(over)), step])
    for row in np.argsort(-share).tolist():
        if worst[row] > forgiven[row]:
            at = int(step[row])
            found.append(Crossing(
                KINDS[watched.rows[row].kind], name_of(watched, watched.rows[row]), at,
                float(allowed[row, at] + worst[row]), float(allowed[row, at]),
            ))
    return tuple(found)


_NEAR = {Kind.VOLTAGE_LOW: 0.003, Kind.VOLTAGE_HIGH: 0.003, Kind.LINE: 0.05, Kind.TRANSFORMER: 0.05,
         Kind.UNBALANCE: 0.002}
"""As near to a limit as a plan stays that was refused for it five times; see the margins of its rows."""


def near_limits(replay: FeederReplay, steps: int) -> tuple[Tangent, ...]:
    """Tangents of what a replay brought near its limit in the first `steps`, each where it is nearest in its step."""
    scene, watched = replay.scene, watched_of(replay.scene)
    columns = np.flatnonzero(replay.step < steps)
    if not len(columns):
        return ()
    step, evse_kw = replay.step[columns], replay.evse_kw[:, columns]
    solution = watched.flow.solve(*scene.demand_of(evse_kw, step))
    allowed = allowed_beside(watched, watched.flow.solve(scene.base_w, scene.base_var))
    near = np.array([_NEAR[row.kind] for row in watched.rows])
    left = np.where(solution.has_solution, allowed[:, step] - watched.values(solution), np.inf)
    pairs = []
    for row in np.flatnonzero((left < near[:, None]).any(axis=1)).tolist():
        for one in np.unique(step[left[row] < near[row]]).tolist():
            here = np.flatnonzero(step == one)
            pairs.append((row, int(here[left[row, here].argmin()])))
    return tangents_at(scene, watched, solution, evse_kw, allowed, step, pairs)


def fitted(scene: Scene, evse_kw: Floats, gives_way: Claims, least_kw: Floats) -> Floats:
    """`evse_kw`, lowered where `gives_way` until the feeder bears it in every step of the scene, (evse,).

    Who acts on a limit that is crossed gives way in proportion to its power; who does not keeps what it has. What would
    fall below `least_kw` becomes 0. What the others cross by themselves is not mended: it is only not made worse.

    Args:
        scene: the feeder and its base loads.
        evse_kw: power of each EVSE of the scene in all steps, (evse,); 0 or more where `gives_way`.
        gives_way: which of them may be lowered.
        least_kw: the least that each can be told other than 0.
    """
    watched, power = watched_of(scene), np.array(evse_kw, dtype=np.float64)
    allowed = _allowed(scene, watched, np.where(gives_way, 0.0, power))
    forgiven = tolerance_of(watched, Tolerances())[:, None]
    for _ in range(_ROUNDS):
        solution = _solved(scene, watched, power)
        if not solution.has_solution.all():
            power = _cut(power, np.where(gives_way, _PART, 1.0), least_kw, gives_way)
            continue
        over = watched.values(solution) - allowed
        if (over <= forgiven).all():
            return power
        row, step = np.unravel_index(int(np.where(over > forgiven, over / np.abs(allowed), 0.0).argmax()), over.shape)
        adds = _adds(scene, watched, power, gives_way, int(row), int(step))
        acts = adds > _ACTS * adds.max(initial=0.0)
        if not acts.any():
            break
        less = float(over[row, step] / (adds[acts] * power[acts]).sum())
        power = _cut(power, np.where(acts, max(0.0, 1.0 - less), 1.0), least_kw, gives_way)
    return np.where(gives_way, 0.0, power)


def _adds(scene: Scene, watched: Watched, power: Floats, gives_way: Claims, row: int, step: int) -> Floats:
    """What each that may give way adds to a limit per kW, (evse,): a difference, by one flow for each.

    On a street of a thousand segments that takes a tenth of the time of exact tangents.
    """
    givers = np.flatnonzero(gives_way & (power > 0.0))
    little = np.minimum(power[givers], _LITTLE_KW)
    lowered = np.repeat(power[:, None], len(givers) + 1, axis=1)
    lowered[givers, np.arange(len(givers))] -= little
    solution = watched.flow.solve(*scene.demand_of(lowered, np.full(len(givers) + 1, step, dtype=np.intp)))
    values = watched.values(solution)[row]
    found = np.zeros(len(power))
    found[givers] = (values[-1] - values[:-1]) / little
    return np.where(np.isfinite(found), found, 0.0)


def _cut(power: Floats, kept: Floats, least_kw: Floats, gives_way: Claims) -> Floats:
    lowered = power * kept
    return np.where(gives_way & (lowered < power) & (lowered < least_kw), 0.0, lowered)


def _solved(scene: Scene, watched: Watched, evse_kw: Floats) -> Solution:
    kw = np.repeat(np.asarray(evse_kw, dtype=np.float64)[:, None], scene.grid.steps, axis=1)
    return watched.flow.solve(*scene.demand_w(kw))


def _allowed(scene: Scene, watched: Watched, beside_kw: Floats | None) -> Floats:
    there = np.zeros(len(scene.evse_ids)) if beside_kw is None else beside_kw
    return allowed_beside(watched, _solved(scene, watched, there))
