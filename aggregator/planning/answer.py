"""What a solver answers, whoever asked it and in whatever form.

Apart from the solvers, so that the array program needs nothing of Pyomo, whose import alone takes a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.linear_program import Floats


class SolverFault(RuntimeError):
    """HiGHS refused an option, a model or a run; the message says which."""


@dataclass(frozen=True)
class Answer:
    """What one run returned.

    x: one value per column, within the column's bounds to solver tolerance; row_dual: d objective / d right side.
    bound: proven lower bound of the objective, also at a time limit.
    """

    x: Floats
    row_dual: Floats
    objective: float
    bound: float
    status: Literal["optimal", "time_limit"]


class Solvable(Protocol):
    """A program in a warm solver, whose columns and rows are found by what names them in its model."""

    def columns(self, variable: Any) -> dict[Any, int]: ...
    def rows(self, constraint: Any) -> dict[Any, int]: ...
    def set_bounds(self, columns: NDArray[np.int32], lower: Floats, upper: Floats) -> None: ...
    def run(self, time_limit_s: float) -> Answer | None: ...
