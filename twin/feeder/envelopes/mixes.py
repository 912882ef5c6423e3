"""How much of a box of powers is kept so that no mix inside that is found crosses a limit.

Every connection point is free between its export and its import limit. For each limit the worst mix is looked for:
the derivative of its value by every point's power says which end is worse for it, that corner of the box is solved
exactly, the derivatives are taken again there, and so on until the corner does not change. A current or an unbalance
is the size of a complex figure, which may grow in any direction: there the farthest corner in each of several
directions is a start of its own. Then every single point is turned round and solved. What is worst in all limits'
mixes decides how much of the box is kept.

What is kept is examined at last (`twin.feeder.envelopes.audits`), and is made smaller until the examination finds
nothing. Where that solves every corner, none is left; otherwise this is a search and a sample, and not a proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.envelopes.audits import Audit, breaking
from twin.feeder.envelopes.boxes import Box, slopes_at
from twin.feeder.envelopes.rays import SLACK, Problem, Ray, farthest_of
from twin.feeder.watched import Kind

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

CORNERS: Final = 3
"""Rows of each kind whose worst corner is solved, per step and round: those nearest to their limit."""

ROUNDS: Final = 40

NEAR: Final = 0.02
"""Of a limit: kinds whose worst mix is farther away than this are not looked at again."""


@dataclass(frozen=True, eq=False)
class Held:
    """What of a box holds in any mix that was found.

    share: of both reaches, by step. bound_by: what ends it, "" at 1. is_restless: steps at which base loads that come
    and go cross a limit by themselves. worst_w: net power of every point in the mix that comes nearest to a limit,
    (point, step).
    """

    share: Floats
    bound_by: tuple[str, ...]
    is_restless: Claims
    worst_w: Floats


def hold_any_mix(problem: Problem, rays: tuple[Ray, Ray], reach: tuple[Floats, Floats], audit: Audit) -> Held:
    """The share of both reaches, by step, up to which no mix found crosses a limit.

    Mixes found at one share are kept for all that follow: the answer only ever falls.
    """
    share, names = np.where(problem.no_solution, 0.0, 1.0), [""] * problem.steps
    box = Box(problem, rays, reach)
    bound = problem.bound.copy()
    mixes: list[Floats] = []
    if not problem.no_solution.all():
        new = _corners(box, share, bound, None)
        for _ in range(ROUNDS):
            new = _unlike(new, mixes) or _turned(box, mixes, share, bound) or breaking(box, audit, mixes, share, bound)
            if not new:
                break
            bound = _with_rest(box, new, bound)
            mixes += new
            _shrink(box, mixes, share, names, bound)
            new = [
                corner for start in _worst_by_kind(problem, mixes, box.values(mixes, share), bound)
                for corner in _corners(box, share, bound, start)
            ]
        else:
            # Never seen; but what was not found to hold is not handed out.
            for mix in breaking(box, audit, mixes, share, bound):
                share[(box.values([mix], share)[0] > bound + SLACK).any(axis=0)] = 0.0
    return Held(share, tuple(names), (bound > problem.bound + SLACK).any(axis=0) & ~problem.no_solution,
                _worst(box, mixes, share, bound))


def _unlike(new: list[Floats], mixes: list[Floats]) -> list[Floats]:
    unlike: list[Floats] = []
    for mix in new:
        if not any((mix == other).all() for other in (*mixes, *unlike)):
            unlike.append(mix)
    return unlike


def _with_rest(box: Box, new: list[Floats], bound: Floats) -> Floats:
    """At share 0 a mix is one of base loads that come and go, which no envelope commands: its values are allowed."""
    at_rest = np.max(box.values(new, np.zeros(bound.shape[1])), axis=0)
    return np.maximum(bound, np.where(np.isfinite(at_rest), at_rest, bound))


def _shrink(box: Box, mixes: list[Floats], share: Floats, names: list[str], bound: Floats) -> None:
    """Take `share` back to where all `mixes` hold, and name what makes it so."""
    problem = box.problem
    found = np.max(box.values(mixes, share), axis=0)
    open_ = (found > bound + SLACK).any(axis=0) & ~problem.no_solution
    if open_.any():
        reached = farthest_of(
            problem, lambda part, steps: np.max(box.values(mixes, part, steps), axis=0), np.where(open_, share, 0.0),
            bound,
        )
        for step in np.flatnonzero(open_):
            share[step], names[step] = reached.reach[step], reached.bound_by[step] or names[step]


def _turned(box: Box, mixes: list[Floats], share: Floats, bound: Floats) -> list[Floats]:
    """Mixes that cross a limit with one point turned round, or halfway, in one that comes nearest: solved, not derived.

    A derivative close to zero can have the wrong sign for the whole way across a wide box; and where a voltage's angle
    moves but its size hardly does, the lowest size lies between both ends.
    """
    problem = box.problem
    found: list[Floats] = []
    known = np.where(problem.no_solution, 0.0, bound)
    for start in _worst_by_kind(problem, mixes, box.values(mixes, share), bound):
        worst, turned = np.full(len(share), SLACK), start.copy()
        for point in range(len(start)):
            for place in (1.0 - start[point], np.full(len(share), 0.5)):
                trial = start.copy()
                trial[point] = place
                over = np.where(problem.no_solution, -np.inf, box.values([trial], share)[0] - known).max(axis=0)
                more = over > worst
                worst[more], turned[:, more] = over[more], trial[:, more]
        if (worst > SLACK).any():
            found.append(turned)
    return found


def _room(problem: Problem, value: Floats, bound: Floats) -> Floats:
    """How far from its limit every row is, of the limit, (row, step)."""
    known = np.where(problem.no_solution, 0.0, bound)
    room: Floats = np.where(problem.no_solution, np.inf, (known - value) / np.maximum(np.abs(known), SLACK))
    return room


def _worst_by_kind(problem: Problem, mixes: list[Floats], values: list[Floats], bound: Floats) -> list[Floats]:
    """Of each kind of limit that comes near to being crossed, the mix that comes nearest, by step."""
    found: list[Floats] = []
    stacked, every = np.stack(mixes), np.arange(bound.shape[1])
    rooms = np.stack([_room(problem, value, bound) for value in values])
    for kind in Kind:
        rows = problem.watched.kinds == kind
        if rows.any():
            room = rooms[:, rows].min(axis=1)
            if (room < NEAR).any():
                found.append(stacked[np.argmin(room, axis=0), :, every].T)
    return found


def _worst(box: Box, mixes: list[Floats], share: Floats, bound: Floats) -> Floats:
    """Net powers of the mix that comes nearest to any limit, (point, step); rest where there is none."""
    steps = np.arange(len(share))
    low, high = box.ends(share, steps)
    if not mixes:
        return low
    rooms = np.stack([_room(box.problem, value, bound).min(axis=0) for value in box.values(mixes, share)])
    place = np.stack(mixes)[np.argmin(rooms, axis=0), :, steps].T
    worst: Floats = low + place * (high - low)
    return worst


def _corners(box: Box, share: Floats, bound: Floats, start: Floats | None) -> list[Floats]:
    """Corners that are worst for the rows of each kind nearest to their limits, by the derivatives in the mix `start`,
    None: in the middle, where those of complex figures are followed in every direction too.
    """
    problem = box.problem
    steps = np.flatnonzero(~problem.no_solution)
    low, high = box.ends(share[steps], steps)
    here = 0.5 * (low + high) if start is None else low + start[:, steps] * (high - low)
    values, slopes, solved, swings = slopes_at(problem, here, steps, swings=start is None)
    up, down = (high - here).T[:, None, :], (low - here).T[:, None, :]
    ways = [(values, slopes)] if swings is None else [(values, slopes), *swings]
    found: list[Floats] = []
    for at, slope in ways:
        worst = at + np.maximum(slope * up, slope * down).sum(axis=2).T
        room = bound[:, steps] - worst
        room[:, ~solved] = np.inf
        for kind in Kind:
            rows = np.flatnonzero(problem.watched.kinds == kind)
            if slope is not slopes and kind not in problem.watched.SIZES:
                continue
            order = np.argsort(room[rows], axis=0)[:CORNERS if slope is slopes else 1]
            for nearest in rows[order]:
                corner = np.zeros(problem.base_net.shape)
                corner[:, steps] = slope[np.arange(len(steps)), nearest].T > 0.0
                found.append(corner)
    return found
