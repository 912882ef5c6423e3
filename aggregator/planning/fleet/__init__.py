"""One planning core from a depot to a city: many sites, their feeders, events and reserve in one linear problem.

`problem` is the contract and `model` its definition in Pyomo; `arrays` builds the same program for fleets of any size,
and `checker` judges a plan without either. The service's loop plans its one site with `aggregator.planning`, in more
detail; this room plans fleets.
"""

from aggregator.planning.fleet.checker import Evaluation, Schedule, evaluate, violations
from aggregator.planning.fleet.faults import Fault, ProblemFaults
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Event, Evs, Feeders, Problem, Reserve, Sites
from aggregator.planning.fleet.problem_file import Unreadable, read_problem, write_problem
from aggregator.planning.fleet.solve import solve
from aggregator.planning.fleet.solver import NoPlan

__all__ = [
    "Evaluation", "Event", "Evs", "Fault", "Feeders", "NoPlan", "Plan", "Problem", "ProblemFaults", "Reserve",
    "Schedule", "Sites", "Unreadable", "evaluate", "read_problem", "solve", "violations", "write_problem",
]
