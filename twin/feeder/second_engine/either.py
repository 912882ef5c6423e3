"""Whichever engine can say a feeder: power-grid-model, or OpenDSS where that one has no words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from twin.feeder.network.model import Feeder
from twin.feeder.powerflow.flow import Solution
from twin.feeder.second_engine.check import Checker, Difference, NotCheckable
from twin.feeder.second_engine.opendss import OpenDssChecker

MOST_STEPS: Final = 4096
"""That OpenDSS is asked: it solves one after the other."""


class Engine(Protocol):
    """Whoever solves the same steps again."""

    def check(self, solution: Solution) -> Difference: ...


@dataclass(frozen=True, eq=False)
class SecondEngine:
    """name: of the program. most_steps: that it is asked, evenly spread over those of a solution; None: all."""

    name: str
    engine: Engine
    most_steps: int | None = None

    def check(self, solution: Solution) -> Difference:
        """Solve the steps of `solution` again, or as many as it is asked, and compare."""
        columns = solution.state.shape[1]
        if self.most_steps is None or columns <= self.most_steps:
            return self.engine.check(solution)
        some = np.unique(np.linspace(0, columns - 1, self.most_steps).astype(np.intp))
        return self.engine.check(Solution(
            solution.flow, (len(some),), solution.state[:, some], solution.demand[:, some],
            solution.has_solution.reshape(-1)[some],
        ))


def second_engine(feeder: Feeder) -> SecondEngine:
    """An engine made ready for `feeder`.

    Raises:
        NotCheckable: neither can say it; why, of both.
    """
    try:
        return SecondEngine("power-grid-model", Checker(feeder))
    except NotCheckable as first:
        try:
            return SecondEngine("OpenDSS", OpenDssChecker(feeder), MOST_STEPS)
        except NotCheckable as second:
            raise NotCheckable(f"{first}; {second}") from None
