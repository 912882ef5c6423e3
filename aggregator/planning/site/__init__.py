"""Plans for one site, step by step through the day: what the service's loop asks for again and again.

`problem` is the contract, `model` the definition in Pyomo, `arrays` the same as arrays and the usual way to the solver,
`repair` and `rounding` what makes the optimum followable, `safe` the plan without a solver, `checker` the judge without
one. `situation` is what the service knows, `cars` and `request` make the problem of it, `horizon` does so again and
again; `decision` says what came of it in words.
"""

from aggregator.planning.site.checker import Evaluation, check, evaluate
from aggregator.planning.site.problem import Commitment, Cut, CutKind, EvDemand, Plan, Problem
from aggregator.planning.site.safe import safe_plan
from aggregator.planning.site.windows import ProblemError, require_possible

__all__ = [
    "Commitment", "Cut", "CutKind", "EvDemand", "Evaluation", "Plan", "Problem", "ProblemError", "check", "evaluate",
    "require_possible", "safe_plan",
]
