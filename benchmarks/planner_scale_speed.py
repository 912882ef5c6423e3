"""How fast a large fleet is planned to a proven gap, and how that compares with one program on one core.

    python benchmarks/planner_scale_speed.py --case feeders-10k     one case, one line RESULT {json}
    python benchmarks/planner_scale_speed.py                        the table of docs/benchmarks.md

    feeders-10k     10,000 EVs on feeders, two processes, to 0.1 %, and the same as one program on one core
    sites-100k      100,000 EVs at 2,500 sites with an event of the whole fleet, two processes, to 0.1 %
    feeders-100k    the same on feeders, whose rows are added as they are broken, to 1 %

Instances: see `planner_instances.py`, with an event that asks for a third of what the cars that are there could give
back, so that it binds. What is timed goes from the problem to the judged plan, the start of the processes included.
Memory is that of the parent and of its largest child, times the workers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, replace
from time import perf_counter, process_time

import numpy as np
from planner_instances import instance

from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.checker import violations
from aggregator.planning.fleet.problem import Event, Problem
from aggregator.planning.fleet.program.arrays import assemble
from aggregator.planning.fleet.program.solver import Solver

WORKERS = 2


@dataclass(frozen=True)
class Case:
    evs: int
    feeders: bool
    gap: float
    whole: bool = False
    limit_s: float = 300.0


CASES = {
    "feeders-10k": Case(10_000, True, 1e-3, whole=True),
    "sites-100k": Case(100_000, False, 1e-3),
    "feeders-100k": Case(100_000, True, 1e-2),
}


def binding(problem: Problem, share: float = 0.3) -> Problem:
    """The problem with an evening event that asks for a share of what the cars that are there could give back."""
    event, evs = problem.events[0], problem.evs
    there = ((evs.arrive[:, None] <= event.steps) & (event.steps < evs.depart[:, None])).astype(float)
    own = (problem.sites.base_kw - problem.sites.pv_kw)[:, event.steps].sum(axis=0)
    back = np.where(evs.may_discharge, evs.max_discharge_kw, 0.0) @ there
    return replace(problem, events=(Event(event.id, event.steps, own - share * back, event.shortfall_per_kwh),))


def measure(name: str, case: Case) -> dict[str, object]:
    problem = binding(instance(case.evs, feeders=case.feeders))
    began = perf_counter()

    def progress(number: int, bound: float, objective: float) -> None:
        print(f"{perf_counter() - began:7.1f} s  pass {number}  bound {bound:.2f}  cost {objective:.2f}", flush=True)

    found = decompose(problem, case.gap, case.limit_s, WORKERS, progress)
    seconds = perf_counter() - began
    parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    broken = violations(problem, found.plan.schedule)
    assert not broken, broken[:3]
    result: dict[str, object] = {
        "case": name, "evs": case.evs, "seconds": round(seconds, 1), "gap": found.plan.gap,
        "passes": len(found.passes), "first_gap": found.passes[0].gap, "first_s": round(found.passes[0].seconds, 1),
        "cost": found.plan.objective, "bound": found.plan.bound, "cpu_workers_s": round(cpu.ru_utime + cpu.ru_stime, 1),
        "mb": round(parent + WORKERS * child), "load": os.getloadavg()[0],
        "phases": {phase: round(value, 1) for phase, value in found.plan.seconds.items()},
    }
    if case.whole:
        began, cpu_began = perf_counter(), process_time()
        solved = Solver(assemble(problem)).run(case.limit_s)
        result["whole_s"] = round(perf_counter() - began, 1)
        result["whole_cpu_s"] = round(process_time() - cpu_began, 1)
        result["whole_cost"], result["whole_status"] = solved.objective, solved.status
        result["ratio"] = seconds / (perf_counter() - began)
        assert found.plan.bound <= solved.objective * (1 + 1e-9)
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--case", choices=CASES)
    arguments.add_argument("--evs", type=int, help="another number of EVs for a quick look")
    given = arguments.parse_args()
    if given.case:
        case = CASES[given.case]
        print("RESULT", json.dumps(measure(given.case, replace(case, evs=given.evs or case.evs))))
        return
    for name in CASES:  # in a process of its own each: the memory of one must not be that of another
        subprocess.run([sys.executable, __file__, "--case", name], check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
