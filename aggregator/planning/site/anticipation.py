"""The load of cars that are still to come, as the best plan for all would have it.

Virtual EVs are planned together with the plugged ones; what they draw in that optimum is then load like the building's,
for the plan, for the twin that examines it and for what the grid is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aggregator.planning.highs import WarmArrays
from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.arrivals import at_once
from aggregator.planning.site.problem import EvDemand, Floats, Problem


def expected_load(problem: Problem, expected: Sequence[EvDemand], *, time_limit_s: float) -> Floats:
    """What virtual EVs draw where they are planned together with the problem's own, kW of shape (steps,).

    The relaxed problem with this load added to the building's has the same optimum as the problem with the virtual EVs.
    Where the joint problem is not solved in time, they charge as soon as they come.
    """
    if not expected:
        return np.zeros(problem.grid.steps)
    program = assemble(replace(problem, evs=problem.evs + tuple(expected)))
    # Of so small a program presolve costs as much time as the solve: without it half of both is saved.
    answer = WarmArrays(program, presolve="off").run(time_limit_s)
    if answer is None or answer.status != "optimal":
        return at_once(problem, expected)
    load: Floats = program.powers(answer.x)[0][len(problem.evs):].sum(axis=0)
    return load
