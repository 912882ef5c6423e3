"""Line and voltage limits of one feeder as rows over the net import of its sites, so that only those that bind need be.

With flows and voltages written out, row 6 and 7 of the definition are sums over the sites downstream; few of them bind.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from aggregator.planning.fleet.problem import Feeders, Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Program

_TOLERANCE_KW = 1e-6


class FeederRows:
    """Line and voltage limits of one feeder as rows over the net import of its sites, in kW.

    Numbers: site * steps + step for the line into a site, and as many further on for its voltage.
    """

    def __init__(self, feeders: Feeders, steps: int, *, is_hard: bool) -> None:
        count, before = len(feeders.position), feeders.upstream
        self._steps = steps
        # downstream[s, k]: site k is fed through the segment into s; the path to k is the column of k.
        downstream = np.eye(count)
        for site in np.argsort(feeders.position):
            if before[site] >= 0:
                downstream[:, site] += downstream[:, before[site]]
        drop = downstream.T @ (2.0 * feeders.r_per_kw[:, None] * downstream)
        reactive = downstream.T @ (2.0 * feeders.x_per_kw[:, None] * feeders.carried(feeders.reactive_kw))
        # A voltage row is divided by its largest coefficient, so that it is in kW as all others are.
        scale = drop.max(axis=1, initial=0.0)
        scale = np.where(scale > 0, scale, 1.0)
        self._weights = np.vstack([downstream, drop / scale[:, None]])
        rating = np.repeat(feeders.line_kw[:, None], steps, axis=1)
        low, high = feeders.voltage_limits(is_hard=is_hard)
        self._lower = np.vstack([-rating, (1.0 - reactive - high) / scale[:, None]])
        self._upper = np.vstack([rating, (1.0 - reactive - low) / scale[:, None]])

    def broken(self, net_kw: Floats) -> Ints:
        """Numbers of the rows that net imports of shape (site, step) break."""
        value = self._weights @ net_kw
        excess = np.maximum(value - self._upper, self._lower - value)
        return np.flatnonzero(excess > _TOLERANCE_KW)

    def of_net(self, numbers: Ints) -> tuple[Floats, Ints, Floats, Floats]:
        """Weights of shape (row, site), the step of each row, and its limits."""
        place, step = np.divmod(numbers, self._steps)
        return self._weights[place], step, self._lower.ravel()[numbers], self._upper.ravel()[numbers]

    def prices(self, numbers: Ints, dual: Floats) -> Floats:
        """Shape (site, step): what rows with these duals add to what a kW at a site costs."""
        weights, step, _, _ = self.of_net(numbers)
        total = np.zeros((self._weights.shape[1], self._steps))
        np.add.at(total.T, step, -dual[:, None] * weights)
        return total

    def rows(self, numbers: Ints, program: Program) -> tuple[csr_array, Floats, Floats]:
        """Rows over a program's columns, with their limits."""
        weights, step, lower, upper = self.of_net(numbers)
        row, site = np.nonzero(weights)
        value = weights[row, site]
        at = site * self._steps + step[row]
        columns = np.concatenate([program.columns["bought"].start + at, program.columns["sold"].start + at])
        matrix = csr_array((np.concatenate([value, -value]), (np.tile(row, 2), columns)),
                           shape=(len(numbers), len(program.cost)))
        return matrix, lower, upper


def feeder_rows(problem: Problem, sites: Ints) -> FeederRows:
    """The rows of the feeder that has these sites; they are numbered by the site's place among them.

    Raises:
        ValueError: the sites are not those of a feeder.
    """
    feeders = problem.part(sites).feeders
    if feeders is None or len(feeders.ids) != 1:
        raise ValueError("a block of sites is the sites of one feeder")
    return FeederRows(feeders, problem.steps, is_hard=problem.limit_per_kwh is None)
