"""Turn demand, prices, limits and events into plans, and let nothing leave that the twin has not replayed.

    site/    one site in every detail, re-planned all day long by the service's loop
    fleet/   many sites, their feeders, events and reserve in one problem, from a depot to a city
    street/  plans that the grid beyond the connection points bears
    gate     a plan passes the twin's replay, or what broke becomes a constraint; `examination` says what broke
    process  the planner in a process of its own, which can be killed and replaced

`Problem` and `solve` are the fleet's: `solve(Problem(...))` plans anything from one car up. The gate and the process
are imported from their modules, so that problems and plans stay light to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregator.planning.fleet import (
        Event,
        Evs,
        Feeders,
        NoPlan,
        Plan,
        Problem,
        ProblemFaults,
        Reserve,
        Schedule,
        Sites,
        read_problem,
        write_problem,
    )
    from aggregator.planning.fleet.solving import solve

__all__ = [
    "Event", "Evs", "Feeders", "NoPlan", "Plan", "Problem", "ProblemFaults", "Reserve", "Schedule", "Sites",
    "read_problem", "solve", "write_problem",
]


def __getattr__(name: str) -> Any:
    # Only when asked for: the service's own planner needs nothing of the fleet's, and its rooms import this package.
    if name in __all__:
        from aggregator.planning import fleet  # noqa: PLC0415 - see above

        return getattr(fleet, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
