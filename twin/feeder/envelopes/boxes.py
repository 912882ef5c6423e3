"""A box of powers between export and import limits, and what the feeder's limits do inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.envelopes.rays import Indices, Problem, Ray

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

DIRECTIONS: Final = 8
"""In which complex figures are followed: the farthest corner is then seen at no less than cos(22.5 deg) of its size."""


@dataclass(frozen=True, eq=False)
class Box:
    """The powers between both rays, at a share of their reach."""

    problem: Problem
    rays: tuple[Ray, Ray]
    reach: tuple[Floats, Floats]

    def ends(self, share: Floats, steps: Indices) -> tuple[Floats, Floats]:
        """Lowest and highest net power, (point, column)."""
        (up, down), (most, least) = self.rays, self.reach
        return down.net(share * least[steps], steps), up.net(share * most[steps], steps)

    def values(self, mixes: list[Floats], share: Floats, steps: Indices | None = None) -> list[Floats]:
        """Of every watched row (row, column), for each mix: places between both ends, 0 to 1, (point, step).

        steps: of which `share` is; None: all.
        """
        steps = np.arange(len(share)) if steps is None else steps
        low, high = self.ends(share, steps)
        return [self.problem.values(low + mix[:, steps] * (high - low), steps) for mix in mixes]


def slopes_at(
    problem: Problem, net: Floats, steps: Indices, *, swings: bool = False
) -> tuple[Floats, Floats, Claims, list[tuple[Floats, Floats]] | None]:
    """Values (row, column), their derivatives by every point's power (column, row, point), and which have a flow.

    swings: also the parts of complex figures along each of DIRECTIONS, and their derivatives, in the same shapes.
    """
    solution = problem.solve(net, steps)
    flow = solution.flow
    gradients = solution.gradients()
    of_point = np.zeros((len(flow.network.base_volts), net.shape[0]))
    np.add.at(of_point, flow.network.point_of, problem.share)
    per_watt = gradients.di_dp @ of_point
    if problem.var_per_watt:
        per_watt = per_watt + problem.var_per_watt * (gradients.di_dq @ of_point)
    values, slopes = problem.watched.slopes(solution, per_watt)
    found = None
    if swings:
        figures, moved = problem.watched.swings(solution, per_watt)
        turns = np.exp(-2j * np.pi * np.arange(DIRECTIONS) / DIRECTIONS)
        found = [((turn * figures).real, (turn * moved).real) for turn in turns]
    return values, slopes, solution.has_solution, found
