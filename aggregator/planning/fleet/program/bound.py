"""What no plan can cost less than, where prices, bounds or limits have changed since the program was made."""

from __future__ import annotations

from aggregator.planning import linear_program
from aggregator.planning.fleet.problem import Floats
from aggregator.planning.fleet.program.arrays import LinearProgram


def lower_bound(
    program: LinearProgram, row_dual: Floats, *, cost: Floats | None = None, lower: Floats | None = None,
    upper: Floats | None = None, row_lower: Floats | None = None, row_upper: Floats | None = None,
) -> float:
    """`linear_program.lower_bound`, with other arrays in place of the program's; every column has finite bounds."""
    return linear_program.lower_bound(LinearProgram(
        program.cost if cost is None else cost, program.offset, program.lower if lower is None else lower,
        program.upper if upper is None else upper, program.row_lower if row_lower is None else row_lower,
        program.row_upper if row_upper is None else row_upper, program.matrix), row_dual)
