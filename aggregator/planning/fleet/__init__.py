"""One planning core from a depot to a city: many sites, their feeders, events and reserve in one linear problem.

`problem` is the contract and `model` the definition in Pyomo; `arrays` builds the same for large fleets. The service's
loop plans one site with `aggregator.planning`, in more detail; this room plans fleets.
"""

from aggregator.planning.fleet.faults import Fault, ProblemFaults
from aggregator.planning.fleet.problem import Event, Evs, Feeders, Problem, Reserve, Sites

__all__ = ["Event", "Evs", "Fault", "Feeders", "Problem", "ProblemFaults", "Reserve", "Sites"]
