"""Which meters of a fleet buy where selling pays more than buying costs, from one choice to the next.

All blocks choose at once, at prices for what couples them: that proves a bound. In the passes that follow the choice is
held, the fleet is a linear one, and its mix is a plan. When nothing is left to gain, all choose anew, at the prices of
a mix of whatever plans there were, with whatever directions: no plan, but its prices are those of the highest bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.master import Mix, Pool
from aggregator.planning.fleet.blocks.tasks import BlockAnswer, SitePlan
from aggregator.planning.fleet.problem import Floats

_AT_ONCE_S = 1e-3
_MOST = 30
_STILL = 3


class Choice:
    """The directions that are held.

    pool: for the plans of all blocks, with whatever directions; None where there is nothing to choose.

    Attributes:
        is_open: the next pass chooses. takes: by block, shape (tempted meter,), which of them buy. kept: the cheapest
        mix so far and the plans that it is of, where there was anything to choose: a new choice begins with one plan of
        each site.
    """

    def __init__(self, pool: Pool | None) -> None:
        self.is_open, self._every = pool is not None, pool
        self.takes: dict[int, NDArray[np.bool_]] = {}
        self.kept: tuple[Mix, tuple[SitePlan, ...]] | None = None
        self._times, self._still, self._best = 0, 0, (-np.inf, np.inf)

    def seconds(self, most: float) -> float:
        """For a block in the next pass, to choose in: 0 if it does not, and next to none in the first.

        Directions that linear programs lean to are a plan in a moment, which a good choice may not be.
        """
        return (most if self._times else _AT_ONCE_S) if self.is_open else 0.0

    def take(self, answers: Sequence[BlockAnswer], pool: Pool) -> bool:
        """Hold what the answers have chosen, if they have; plans with other directions are no longer mixed."""
        if self._every is None:
            return False
        for answer in answers:
            self._every.add(answer.plans)
            self._every.cut(answer.block, answer.cuts)
        if not self.is_open:
            return False
        self.is_open, self._times = self._times == 0, self._times + 1
        for answer in answers:
            before = self.takes.get(answer.block)
            if answer.takes is None:
                continue
            sites = pool.blocks[answer.block]
            if before is not None:
                pool.forget(sites[(before != answer.takes).reshape(len(sites), -1).any(axis=1)])
            self.takes[answer.block] = answer.takes
        return True

    def keep(self, mix: Mix, plans: Sequence[SitePlan]) -> None:
        """Remember the cheapest mix."""
        if self.takes and (self.kept is None or mix.cost < self.kept[0].cost):
            self.kept = mix, tuple(plans)

    def reopen(self, bound: float) -> Floats | None:
        """Prices at which all are to choose anew; None if that has moved neither bound nor cost for some time."""
        if self._every is None or self.kept is None:
            return None
        cost, felt = self.kept[0].cost, 1e-4 * abs(self.kept[0].cost)
        has_moved = bound > self._best[0] + felt or cost < self._best[1] - felt
        self._still = 0 if has_moved else self._still + 1
        self._best = max(bound, self._best[0]), min(cost, self._best[1])
        self.is_open = self._times < _MOST and self._still < _STILL
        return self._every.solve().dual if self.is_open else None
