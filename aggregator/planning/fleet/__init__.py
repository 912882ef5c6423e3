"""One planning core from a depot to a city: many sites, their feeders, events and reserve in one linear problem.

    problem, faults     what is to be planned, and every fault of it at once
    files/              the same as JSON and NPZ, and plans as files
    program/            the definition in Pyomo, the same as arrays, and HiGHS: fleets up to some 2,000 EVs
    blocks/             larger ones, block by block on several processes, with a proven gap
    reserve/  repair/   what a fleet can promise; what a linear program cannot see
    plan, checker       the answer, judged without a solver; why, words, alarms: and explained

The service's loop plans its one site with `aggregator.planning.site`, in more detail; this room plans fleets.
"""

from aggregator.planning.fleet.checker import Evaluation, Schedule, evaluate, violations
from aggregator.planning.fleet.faults import Fault, ProblemFaults
from aggregator.planning.fleet.files.problem_file import Unreadable, read_problem, write_problem
from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import Event, Evs, Feeders, Problem, Reserve, Sites
from aggregator.planning.fleet.program.solver import NoPlan
from aggregator.planning.fleet.solving import solve

__all__ = [
    "Evaluation", "Event", "Evs", "Fault", "Feeders", "NoPlan", "Plan", "Problem", "ProblemFaults", "Reserve",
    "Schedule", "Sites", "Unreadable", "evaluate", "read_problem", "solve", "violations", "write_problem",
]
