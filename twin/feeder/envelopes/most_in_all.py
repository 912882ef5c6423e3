"""The most watts in all that a feeder bears, whoever gets them: linear programs along exact gradients.

Per step and direction: the points' powers that add up to most while the limits, taken as straight lines at the last
powers, hold. Then the lines are drawn anew there. What the curvature leaves is taken back at the end, along the way
from equal shares, which are known to be borne: the answer always is one that an exact flow has seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from twin.feeder.envelopes.boxes import slopes_at
from twin.feeder.envelopes.rays import SLACK, Problem, Ray

Floats = NDArray[np.float64]

ROUNDS: Final = 5
ROWS: Final = 40
"""Limits in each step's program: those nearest to being reached."""

TRUST: Final = (1.0, 0.5, 0.25, 0.12, 0.06)
"""How far from the last powers a round may go, of the ceiling."""

KEPT: Final = (1.0, 0.9999, 0.999, 0.998, 0.996, 0.99, 0.98, 0.96, 0.92, 0.84, 0.7, 0.5, 0.25)
"""Of the gain over equal shares: what is tried, and the first that is borne is taken."""


def most_in_all(problem: Problem, equal: Ray, reach: Floats, ceilings: Floats, sign: float) -> Ray:
    """A ray from `equal` at `reach` to the powers that add up to most; ceilings: (point, step); sign -1: of exports."""
    steps = np.flatnonzero(~problem.no_solution)
    every = np.arange(problem.steps)
    fair = equal.net(reach, every)
    least = sign * equal.net(np.zeros_like(reach), every)
    most = np.maximum(least, ceilings)
    best = fair.copy()
    for trust in TRUST[:ROUNDS]:
        values, slopes, solved, _ = slopes_at(problem, best[:, steps], steps)
        for column in np.flatnonzero(solved):
            step = steps[column]
            here = sign * best[:, step]
            best[:, step] = sign * _program(
                here, sign * slopes[column], problem.bound[:, step] - values[:, column],
                np.maximum(least[:, step], here - trust * ceilings[:, step]),
                np.minimum(most[:, step], here + trust * ceilings[:, step]),
            )
    return _taken_back(problem, equal.net(np.zeros_like(reach), every), fair, best)


def _program(here: Floats, slopes: Floats, room: Floats, least: Floats, most: Floats) -> Floats:
    """Powers that add up to most; `here` where the program has no answer."""
    spread = np.where(slopes > 0.0, slopes * (most - here), slopes * (least - here)).sum(axis=1)
    near = np.argsort(room - spread)[:ROWS]
    rows = near[room[near] < spread[near]]
    if not len(rows):
        return most
    scale = np.abs(slopes[rows]).max(axis=1)
    answer = linprog(
        -np.ones(len(here)), A_ub=slopes[rows] / scale[:, None], b_ub=(room[rows] + slopes[rows] @ here) / scale,
        bounds=np.column_stack((least, most)), method="highs-ds",
    )
    return np.asarray(answer.x) if answer.status == 0 else here


def _taken_back(problem: Problem, rest: Floats, fair: Floats, best: Floats) -> Ray:
    """From `rest` straight to the last of some places on the way from `best` back to `fair` that is borne."""
    every = np.arange(problem.steps)
    last, open_ = fair.copy(), ~problem.no_solution
    for kept in KEPT:
        place = fair + kept * (best - fair)
        borne = open_ & (problem.values(place, every) <= problem.bound + SLACK).all(axis=0)
        last[:, borne] = place[:, borne]
        open_ &= ~borne
    return Ray.between(rest, last)
