"""How far a feeder bears it when many connection points move their power together, every step at once.

A ray is a path of all points' net power, from rest (what they do anyway) outward. Every limit of the feeder is a
function along it; the first that is reached ends the way. Instead of halving an interval blindly, the next place to
look at is where the nearest limit would be reached if all ran straight on: five exact flows for a figure that
bisection needs fourteen for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.powerflow.flow import Solution
from twin.feeder.scene import Scene
from twin.feeder.watched import Watched

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]
Indices = NDArray[np.intp]

SLACK: Final = 1e-9
"""By which a value may be above its limit, in the units of `watched.Row`: rounding."""

CLOSE: Final = 2e-6
"""A limit that is this near is reached: 0.5 mV of 230 V, two millionths of a rating."""

FIRST_LOOK: Final = 0.005
"""Of the whole way, at which the limits' slopes are measured: near, since far out there may be no flow at all."""

GROWTH: Final = 6.0
"""At most so many times as far as before goes the next look, while nothing in the way has been seen."""

BEYOND: Final = 1.02
"""By how much a guess from a slope overshoots, so that the next look brackets the place."""

ROUNDS: Final = 40


@dataclass(frozen=True, eq=False)
class Problem:
    """Some steps of a scene and the connection points whose power is free in them.

    base_w, base_var: of all terminals, (terminal, step). base_net: of the free points, (point, step), W.
    share: watts at each terminal per watt of each point, (terminal, point).
    bound: of every watched row at every step: its limit, or what it is at rest where that is beyond.
    unfixable: steps at which rest is beyond a limit. no_solution: steps at which it has no flow.
    """

    watched: Watched
    base_w: Floats
    base_var: Floats
    var_per_watt: float
    base_net: Floats
    share: Floats
    bound: Floats
    unfixable: Claims
    no_solution: Claims

    @classmethod
    def of(cls, scene: Scene, points: tuple[str, ...], watched: Watched, part: slice = slice(None)) -> Problem:
        """The steps of `part`. Rest is the base load, and the base load without what is drawn, or is fed in."""
        flow = scene.flow()
        column = {point: number for number, point in enumerate(points)}
        share = np.zeros((len(flow.terminals), len(points)))
        for row, terminal in enumerate(flow.terminals):
            if terminal.connection_point in column:
                share[row, column[terminal.connection_point]] = 1.0
        base_net = share.T @ scene.base_w[:, part]
        share /= share.sum(axis=0)
        count = len(range(scene.grid.steps)[part])
        nothing, claims = np.zeros((len(watched.rows), count)), np.zeros(count, dtype=np.bool_)
        base = scene.base_w[:, part], scene.base_var[:, part], scene.var_per_watt
        bare = cls(watched, *base, base_net, share, nothing, claims, claims)
        steps = np.arange(count)
        rest = np.max([
            bare.values(net, steps) for net in (base_net, np.maximum(base_net, 0.0), np.minimum(base_net, 0.0))
        ], axis=0)
        limit = watched.limit[:, None]
        unfixable: Claims = (rest > limit + SLACK).any(axis=0)
        return cls(watched, *base, base_net, share, np.maximum(limit, rest), unfixable, np.isinf(rest).any(axis=0))

    @property
    def steps(self) -> int:
        return int(self.base_w.shape[1])

    def solve(self, net: Floats, steps: Indices) -> Solution:
        """Flows with the points at `net`, (point, column), and all others at their base load at `steps`, (column,)."""
        added = self.share @ (net - self.base_net[:, steps])
        return self.watched.flow.solve(
            self.base_w[:, steps] + added, self.base_var[:, steps] + self.var_per_watt * added
        )

    def values(self, net: Floats, steps: Indices) -> Floats:
        """Of every watched row, (row, column)."""
        return self.watched.values(self.solve(net, steps))


@dataclass(frozen=True, eq=False)
class Ray:
    """Net power of every point as a function of a reach. net: (reach, step, both by column) to (point, column), W.

    end: reach by step at which nothing moves any more. is_free_at_end: no limit of the feeder makes it the end.
    """

    net: Callable[[Floats, Indices], Floats]
    end: Floats
    is_free_at_end: bool = True

    @classmethod
    def by_share(cls, base_net: Floats, shares: Floats, ceilings: Floats, sign: float) -> Ray:
        """Up to reach x share, no farther than its ceiling and no less than its base load.

        shares: (point,). ceilings: (point, step). sign: -1 exports.
        """

        def net(reach: Floats, steps: Indices) -> Floats:
            wanted = np.minimum(reach * shares[:, None], ceilings[:, steps])
            limits: Floats = sign * np.maximum(np.maximum(sign * base_net[:, steps], 0.0), wanted)
            return limits

        return cls(net, (ceilings / shares[:, None]).max(axis=0))

    @classmethod
    def between(cls, start: Floats, end: Floats) -> Ray:
        """Straight from `start` at reach 0 to `end` at reach 1, both (point, step)."""

        def net(reach: Floats, steps: Indices) -> Floats:
            moved: Floats = start[:, steps] + reach * (end - start)[:, steps]
            return moved

        return cls(net, np.ones(start.shape[1]), is_free_at_end=False)


@dataclass(frozen=True, slots=True)
class Reached:
    """reach: by step, the farthest found at which no bound is crossed. bound_by: what ends it; "" the ray's end."""

    reach: Floats
    bound_by: tuple[str, ...]


def farthest(problem: Problem, ray: Ray) -> Reached:
    """The end of the way along `ray` at every step; 0 where rest has no flow."""
    return farthest_of(problem, lambda reach, steps: problem.values(ray.net(reach, steps), steps), ray.end,
                       problem.bound, is_free_at_end=ray.is_free_at_end)


def farthest_of(
    problem: Problem, values: Callable[[Floats, Indices], Floats], end: Floats, bound: Floats, *,
    is_free_at_end: bool = True,
) -> Reached:
    """The same for any function of the reach: (reach, step), both by column, to (row, column).

    The reach returned was looked at: there the values were within `bound`. Reach 0 is taken to be.
    """
    low, high = np.zeros_like(end), np.full_like(end, np.inf)
    steps = np.flatnonzero(~problem.no_solution)
    at_low, at_high = values(low[steps], steps), np.full((len(bound), len(steps)), np.inf)
    spread = np.full((len(bound), len(end)), np.nan)
    spread[:, steps] = at_low
    slope = np.zeros_like(at_low)
    trial = FIRST_LOOK * end[steps]
    for turn in range(ROUNDS):
        if not len(steps):
            break
        found = values(trial, steps)
        good = (found <= bound[:, steps] + SLACK).all(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            slope[:, good] = (found - at_low)[:, good] / (trial - low[steps])[good]
        low[steps[good]], at_low[:, good] = trial[good], found[:, good]
        high[steps[~good]], at_high[:, ~good] = trial[~good], found[:, ~good]
        spread[:, steps] = at_low
        room = bound[:, steps] - at_low
        now, top = low[steps], high[steps]
        near = (room <= CLOSE) & (np.where(np.isfinite(top), at_high - at_low, slope) > 0.0)
        done = near.any(axis=0) & (now > 0.0) | (now >= end[steps]) | (top - now <= CLOSE * end[steps])
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            chord = np.where(np.isfinite(at_high), (at_high - at_low) / (top - now), np.inf)
            rate = np.where(np.isfinite(top), chord, slope)
            ahead = np.where(rate > 0.0, room / rate, np.inf).min(axis=0)
        bracketed = np.isfinite(top)
        inside = now + np.maximum(ahead, 0.02 * np.where(bracketed, top - now, 0.0))
        blind = ~np.isfinite(inside) | (inside >= top) | (turn % 4 == 3)  # noqa: PLR2004 - every fourth look halves
        halved = np.where(bracketed, 0.5 * (now + np.where(bracketed, top, 0.0)), np.inf)
        outward = np.clip(now + BEYOND * ahead, 1.25 * now, GROWTH * now)
        # A first look that was too far is taken back a long way at once: flows near collapse are dear.
        halved = np.where(now > 0.0, halved, np.where(bracketed, 0.1 * np.where(bracketed, top, 0.0), np.inf))
        trial = np.minimum(np.where(bracketed, np.where(blind, halved, inside), outward), end[steps])
        rest = ~done
        steps, trial = steps[rest], trial[rest]
        at_low, at_high, slope = at_low[:, rest], at_high[:, rest], slope[:, rest]
    rows = problem.watched.rows
    known = np.where(problem.no_solution, 0.0, bound)
    scaled = (known - np.where(problem.no_solution, 0.0, spread)) / np.maximum(np.abs(known), SLACK)
    nearest = np.argmin(scaled, axis=0)
    bound_by = tuple(
        "no flow" if missing else "" if there >= far and is_free_at_end else str(rows[row])
        for missing, there, far, row in zip(problem.no_solution, low, end, nearest, strict=True)
    )
    return Reached(low, bound_by)
