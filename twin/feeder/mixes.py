"""Whether any mix inside a box of powers crosses a limit: a search for the worst one of each limit.

Every connection point is free between its export and its import limit. For each limit the worst mix is looked for:
the derivative of its value by every point's power says which end is worse for it, that corner of the box is solved
exactly, the derivatives are taken again there, and so on until the corner does not change. What is worst in all
limits' corners then decides how much of the box is kept. Values are all but linear inside a box that a feeder bears,
so the corner found is the worst one in every case that was sampled; it is a search, not a proof.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.rays import SLACK, Indices, Problem, Ray, farthest_of
from twin.feeder.watched import Kind

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

CORNERS: Final = 3
"""Rows of each kind whose worst corner is solved, per step and round: those nearest to their limit."""

ROUNDS: Final = 6


def hold_any_mix(
    problem: Problem, rays: tuple[Ray, Ray], reach: tuple[Floats, Floats]
) -> tuple[Floats, tuple[str, ...]]:
    """The share of both reaches, by step, up to which no mix found crosses a limit, and what ends it, "" at 1.

    Corners found at one share are kept for all that follow: the answer only ever falls.
    """
    every = np.arange(problem.scene.grid.steps)
    share, names = np.where(problem.no_solution, 0.0, 1.0), [""] * len(every)
    corners: list[Claims] = []
    bound = problem.bound.copy()
    for _ in range(ROUNDS):
        new = _worst_corners(problem, rays, reach, share, bound, corners)
        if not len(new):
            break
        # At share 0 a corner is a mix of base loads that come and go, which no envelope commands.
        at_rest = _values(problem, rays, reach, new, np.zeros_like(share), every)
        bound = np.maximum(bound, np.where(np.isfinite(at_rest), at_rest, bound))
        corners.extend(new)
        found = _values(problem, rays, reach, new, share, every)
        open_ = (found > bound + SLACK).any(axis=0) & ~problem.no_solution
        if not open_.any():
            continue
        worst = np.where(open_, share, 0.0)

        def along(part: Floats, steps: Indices, kept: tuple[Claims, ...] = tuple(corners)) -> Floats:
            return _values(problem, rays, reach, kept, part, steps)

        reached = farthest_of(problem, along, worst, bound)
        for step in np.flatnonzero(open_):
            share[step] = reached.reach[step]
            names[step] = reached.bound_by[step] or names[step]
    return share, tuple(names)


def _box(
    rays: tuple[Ray, Ray], reach: tuple[Floats, Floats], share: Floats, steps: Indices
) -> tuple[Floats, Floats]:
    """Lowest and highest net power, (point, column)."""
    return rays[1].net(share * reach[1][steps], steps), rays[0].net(share * reach[0][steps], steps)


def _values(
    problem: Problem, rays: tuple[Ray, Ray], reach: tuple[Floats, Floats], corners: tuple[Claims, ...] | list[Claims],
    share: Floats, steps: Indices,
) -> Floats:
    """Worst value of every row over all corners, (row, column)."""
    low, high = _box(rays, reach, share, steps)
    worst = np.full((len(problem.watched.rows), len(steps)), -np.inf)
    for corner in corners:
        np.maximum(worst, problem.values(np.where(corner[:, steps], high, low), steps), out=worst)
    return worst


def _worst_corners(
    problem: Problem, rays: tuple[Ray, Ray], reach: tuple[Floats, Floats], share: Floats, bound: Floats,
    known: list[Claims],
) -> list[Claims]:
    """Corners (point, step) of the box at `share` that are worst for the rows nearest to their limits."""
    steps = np.flatnonzero(~problem.no_solution)
    if not len(steps):
        return []
    low, high = _box(rays, reach, share[steps], steps)
    found: list[Claims] = []
    starts = [0.5 * (low + high)] if not known else [np.where(corner[:, steps], high, low) for corner in known[-8:]]
    for start in starts:
        values, slopes, solved = slopes_at(problem, start, steps)
        worst = values + np.where(
            slopes > 0.0, slopes * (high - start).T[:, None, :], slopes * (low - start).T[:, None, :]
        ).sum(axis=2).T
        room = bound[:, steps] - worst
        room[:, ~solved] = np.inf
        for kind in Kind:
            rows = np.flatnonzero(problem.watched.kinds == kind)
            for place in range(min(CORNERS if not known else 1, len(rows))):
                nearest = rows[np.argpartition(room[rows], place, axis=0)[place]]
                corner = np.zeros(problem.base_net.shape, dtype=np.bool_)
                corner[:, steps] = slopes[np.arange(len(steps)), nearest].T > 0.0
                if not any((corner == other).all() for other in (*known, *found)):
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
    if problem.scene.var_per_watt:
        per_watt = per_watt + problem.scene.var_per_watt * (gradients.di_dq @ of_point)
    values, slopes = problem.watched.slopes(solution, per_watt)
    return values, slopes, solution.has_solution
