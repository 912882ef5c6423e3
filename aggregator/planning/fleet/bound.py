"""What no plan can cost less than, proven from any prices of the rows; right or wrong, they only make it loose."""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.arrays import LinearProgram
from aggregator.planning.fleet.problem import Floats


def lower_bound(
    program: LinearProgram, row_dual: Floats, *, cost: Floats | None = None, lower: Floats | None = None,
    upper: Floats | None = None, row_lower: Floats | None = None, row_upper: Floats | None = None,
) -> float:
    """The bound of weak duality: for any y, min c x >= y b + min over the box of (c - A'y) x.

    row_dual: shape (row,), d objective / d right side, from a solver that may have been cut short. The other arrays
    replace the program's where they have changed since. Every column of a program has finite bounds, so every y gives
    a finite bound; a price on a side that a row does not have counts as 0.
    """
    cost = program.cost if cost is None else cost
    lower = program.lower if lower is None else lower
    upper = program.upper if upper is None else upper
    row_lower = program.row_lower if row_lower is None else row_lower
    row_upper = program.row_upper if row_upper is None else row_upper
    sound = np.isfinite(row_dual) & np.where(row_dual > 0, np.isfinite(row_lower), np.isfinite(row_upper))
    dual = np.where(sound, row_dual, 0.0)
    side = np.where(dual > 0, row_lower, row_upper)
    reduced = cost - program.matrix.T @ dual
    edge = np.where(reduced > 0, lower, upper)
    used, priced = dual != 0, reduced != 0
    return float(program.offset + dual[used] @ side[used] + reduced[priced] @ edge[priced])
