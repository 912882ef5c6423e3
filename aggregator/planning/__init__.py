"""Turn demand, prices, limits and events into one plan per site, and let nothing leave that the twin has not replayed.

`problem` is the contract, `model` the definition in Pyomo, `arrays` the same as arrays and the usual way to the solver,
`repair` what makes the optimum followable, `safe` the plan without a solver, `checker` the judge without one. `gate`
alone knows the twin's replay; `street/` makes plans that the grid beyond the connection point bears; `process` keeps
all of that out of the service's event loop. The gate and the process are imported from their modules, so that the
problem and its plan stay light to import.
"""

from aggregator.planning.checker import Evaluation, check, evaluate
from aggregator.planning.problem import Commitment, Cut, CutKind, EvDemand, Plan, Problem
from aggregator.planning.safe import safe_plan
from aggregator.planning.windows import ProblemError, require_possible

__all__ = [
    "Commitment", "Cut", "CutKind", "EvDemand", "Evaluation", "Plan", "Problem", "ProblemError", "check", "evaluate",
    "require_possible", "safe_plan",
]
