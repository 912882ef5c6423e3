"""The array program where repair and words expect a compiled Pyomo model: columns and rows by the model's names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from aggregator.planning.site.arrays import NONE, Program
from aggregator.planning.site.warm import WarmProgram

NAMES: Final = SimpleNamespace(**{name: name for name in (
    "charge", "discharge", "peak", "import_cap", "export_cap", "peak_holds", "commitment", "departure", "feeder",
)})
"""Stands in for the Pyomo model: every component is its own name."""


class ArrayRelaxation(WarmProgram):
    """A `Program` without binaries that is asked as a compiled model is."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._program = program

    def columns(self, variable: str) -> dict[Any, int]:
        """Column number by index of charge and discharge, or of None for the peak."""
        if variable == "peak":
            return {None: self._program.peak}
        grid = self._program.charge if variable == "charge" else self._program.discharge
        ev, step = np.nonzero(grid != NONE)
        return dict(zip(zip(ev.tolist(), step.tolist(), strict=True), grid[ev, step].tolist(), strict=True))

    def rows(self, constraint: str) -> dict[Any, int]:
        """Row number by index; none of a kind that the problem does not have."""
        keys, rows = self._program.keys.get(constraint, ()), self._program.rows.get(constraint, ())
        return dict(zip(keys, (int(row) for row in rows), strict=True))
