"""Whether any mix inside a box of powers crosses a limit: a search for the worst one of each limit.

Every connection point is free between its export and its import limit. For each limit the worst mix is looked for:
the derivative of its value by every point's power says which end is worse for it, that corner of the box is solved
exactly, the derivatives are taken again there, and so on until the corner does not change; at last every single
point is turned round and solved. What is worst in all limits' corners then decides how much of the box is kept.
Values are all but linear inside a box that a feeder bears; still, this is a search and not a proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.envelopes.rays import SLACK, Indices, Problem, Ray, farthest_of
from twin.feeder.watched import Kind

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

CORNERS: Final = 3
"""Rows of each kind whose worst corner is solved, per step and round: those nearest to their limit."""

ROUNDS: Final = 12

NEAR: Final = 0.02
"""Of a limit: kinds whose worst corner is farther away than this are not looked at again."""


def hold_any_mix(
    problem: Problem, rays: tuple[Ray, Ray], reach: tuple[Floats, Floats]
) -> tuple[Floats, tuple[str, ...], Claims]:
    """The share of both reaches, by step, up to which no mix found crosses a limit; what ends it, "" at 1; and whether
    base loads that come and go cross a limit by themselves.

    Corners found at one share are kept for all that follow: the answer only ever falls.
    """
    every = np.arange(problem.steps)
    share, names = np.where(problem.no_solution, 0.0, 1.0), [""] * len(every)
    box = _Box(problem, rays, reach)
    bound = problem.bound.copy()
    corners: list[Claims] = []
    new = box.corners(share, bound, None)
    for _ in range(ROUNDS):
        new = [corner for corner in new if not any((corner == other).all() for other in corners)]
        if not new:
            new = _turned(problem, box, corners, share, bound)
        if not new:
            break
        # At share 0 a corner is a mix of base loads that come and go, which no envelope commands.
        at_rest = np.max(box.values(new, np.zeros_like(share), every), axis=0)
        bound = np.maximum(bound, np.where(np.isfinite(at_rest), at_rest, bound))
        corners += new
        found = np.max(box.values(new, share, every), axis=0)
        open_ = (found > bound + SLACK).any(axis=0) & ~problem.no_solution
        if open_.any():
            kept = list(corners)
            reached = farthest_of(
                problem, lambda part, steps, kept=kept: np.max(box.values(kept, part, steps), axis=0),  # type: ignore[misc]
                np.where(open_, share, 0.0), bound,
            )
            for step in np.flatnonzero(open_):
                share[step], names[step] = reached.reach[step], reached.bound_by[step] or names[step]
        new = [
            corner for start in _worst_by_kind(problem, corners, box.values(corners, share, every), bound)
            for corner in box.corners(share, bound, start)
        ]
    return share, tuple(names), (bound > problem.bound + SLACK).any(axis=0) & ~problem.no_solution


def _turned(problem: Problem, box: _Box, corners: list[Claims], share: Floats, bound: Floats) -> list[Claims]:
    """Corners that cross a limit with one point turned round in a corner that comes nearest: solved, not derived.

    A derivative close to zero can have the wrong sign for the whole way across a wide box.
    """
    every = np.arange(len(share))
    found: list[Claims] = []
    known = np.where(problem.no_solution, 0.0, bound)
    for start in _worst_by_kind(problem, corners, box.values(corners, share, every), bound):
        worst, turned = np.full(len(share), SLACK), start.copy()
        for point in range(len(start)):
            trial = start.copy()
            trial[point] = ~trial[point]
            over = np.where(problem.no_solution, -np.inf, box.values([trial], share, every)[0] - known).max(axis=0)
            more = over > worst
            worst[more], turned[:, more] = over[more], trial[:, more]
        if (worst > SLACK).any():
            found.append(turned)
    return found


def _worst_by_kind(problem: Problem, corners: list[Claims], values: list[Floats], bound: Floats) -> list[Claims]:
    """Of each kind of limit that comes near to being crossed, the corner that comes nearest, by step."""
    found: list[Claims] = []
    every = np.arange(bound.shape[1])
    stacked = np.stack(corners)
    for kind in Kind:
        rows = problem.watched.kinds == kind
        if not rows.any():
            continue
        known = np.where(problem.no_solution, 0.0, bound)[rows]
        room = np.stack([
            np.where(problem.no_solution, np.inf, (known - value[rows]) / np.maximum(np.abs(known), SLACK)).min(axis=0)
            for value in values
        ])
        if (room < NEAR).any():
            found.append(stacked[np.argmin(room, axis=0), :, every].T)
    return found


@dataclass(frozen=True, eq=False)
class _Box:
    """The powers between both rays, at a share of their reach."""

    problem: Problem
    rays: tuple[Ray, Ray]
    reach: tuple[Floats, Floats]

    def ends(self, share: Floats, steps: Indices) -> tuple[Floats, Floats]:
        """Lowest and highest net power, (point, column)."""
        (up, down), (most, least) = self.rays, self.reach
        return down.net(share * least[steps], steps), up.net(share * most[steps], steps)

    def values(self, corners: list[Claims], share: Floats, steps: Indices) -> list[Floats]:
        """Of every watched row (row, column), for each corner."""
        low, high = self.ends(share, steps)
        return [self.problem.values(np.where(corner[:, steps], high, low), steps) for corner in corners]

    def corners(self, share: Floats, bound: Floats, start: Claims | None) -> list[Claims]:
        """Corners that are worst for the rows of each kind nearest to their limits, by the derivatives at the
        corner `start`, None: in the middle.
        """
        problem = self.problem
        steps = np.flatnonzero(~problem.no_solution)
        if not len(steps):
            return []
        low, high = self.ends(share[steps], steps)
        here = 0.5 * (low + high) if start is None else np.where(start[:, steps], high, low)
        values, slopes, solved = slopes_at(problem, here, steps)
        worst = values + np.maximum(
            slopes * (high - here).T[:, None, :], slopes * (low - here).T[:, None, :]
        ).sum(axis=2).T
        room = bound[:, steps] - worst
        room[:, ~solved] = np.inf
        found: list[Claims] = []
        for kind in Kind:
            rows = np.flatnonzero(problem.watched.kinds == kind)
            order = np.argsort(room[rows], axis=0)[:CORNERS]
            for nearest in rows[order]:
                corner = np.zeros(problem.base_net.shape, dtype=np.bool_)
                corner[:, steps] = slopes[np.arange(len(steps)), nearest].T > 0.0
                found.append(corner)
        return found


def slopes_at(problem: Problem, net: Floats, steps: Indices) -> tuple[Floats, Floats, Claims]:
    """Values (row, column), their derivatives by every point's power (column, row, point), and which have a flow."""
    solution = problem.solve(net, steps)
    flow = solution.flow
    gradients = solution.gradients()
    of_point = np.zeros((len(flow.network.base_volts), net.shape[0]))
    np.add.at(of_point, flow.network.point_of, problem.share)
    per_watt = gradients.di_dp @ of_point
    if problem.var_per_watt:
        per_watt = per_watt + problem.var_per_watt * (gradients.di_dq @ of_point)
    values, slopes = problem.watched.slopes(solution, per_watt)
    return values, slopes, solution.has_solution
