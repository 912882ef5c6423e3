"""Where the next prices for what couples a fleet are looked for, from pass to pass.

The best prices so far are the centre of a box; where a step within it has paid the next may be longer, else it is
shorter. Without a box, half of the mix's own prices and half of the best keep them from swinging.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.blocks.master import Box, Mix
from aggregator.planning.fleet.plan import relative_gap
from aggregator.planning.fleet.problem import Floats

_LEAST_RADIUS = 0.01
_STILL = 4


class PriceSearch:
    """The prices of a search that is to end at a gap.

    Attributes:
        dual: to ask for next. box: around the best so far. best: the bound that was reached there.
    """

    def __init__(self, gap: float, box: Box) -> None:
        self.gap, self.box = gap, box
        self.dual: Floats = box.centre
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was reached: the fleet is another one, its prices are as good a guess as any."""
        self.best = -np.inf
        self._bound, self._cost, self._still = -np.inf, np.inf, 0

    def take(self, reached: float) -> None:
        """Take in the bound of a pass over all blocks at `dual`."""
        if reached > self.best:
            radius = self.box.radius if np.isneginf(self.best) else 2.0 * self.box.radius
            self.best, self.box = reached, Box(self.dual, radius)
        else:
            least = _LEAST_RADIUS * np.abs(self.box.centre).max(initial=0.0)
            self.box = Box(self.box.centre, np.maximum(0.5 * self.box.radius, least))

    def move(self, mix: Mix) -> None:
        """Go on to the next prices."""
        self.dual = mix.dual if self.box.is_finite else 0.5 * (mix.dual + self.box.centre)

    def has_ended(self, cost: float, *, is_full: bool) -> bool:
        """Whether the gap is reached, or passes over all blocks (is_full: this is one) have moved nothing for long."""
        if relative_gap(cost, self.best) <= self.gap:
            return True
        if not is_full:
            return False
        felt = max(1e-9, 0.02 * self.gap) * max(1.0, abs(cost))
        if self.best > self._bound + felt or cost < self._cost - felt:
            self._bound, self._cost, self._still = max(self.best, self._bound), min(cost, self._cost), 0
        else:
            self._still += 1
        return self._still >= _STILL
