"""The whole problem as one linear program, then the few cells put right that a linear program cannot see.

Up to about 2,000 EVs nothing is faster. The optimum of the linear program is the proven bound; where it charges and
discharges one car at once, or buys and sells at one meter, the direction of the net power is kept and the program is
solved again from its last basis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np

from aggregator.planning.fleet.arrays import NONE, Program, assemble
from aggregator.planning.fleet.checker import Schedule
from aggregator.planning.fleet.headroom import Headroom, best_offer
from aggregator.planning.fleet.idle import idle_schedule
from aggregator.planning.fleet.one_way import choose_directions
from aggregator.planning.fleet.plan import Duals, Plan, Repair, SitePrices, make_plan
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.solver import LazyRows, Solved, Solver

_SEEN = 1e-7  # kW in both directions; below is solver noise
_ROUNDS = 5

Progress = Callable[[int, float, float], None]
"""Told after each pass: its number, the proven bound and the cost of the best plan."""


def solve_whole(
    problem: Problem, *, gap: float = 1e-3, time_limit_s: float = 60.0, progress: Progress | None = None
) -> Plan:
    """The plan of a problem from one program.

    Raises:
        NoPlan: hard limits exclude every plan.
    """
    began = perf_counter()
    program = assemble(problem)
    built = perf_counter()
    solver = Solver(program)
    passed = perf_counter()

    def left() -> float:
        return time_limit_s - (perf_counter() - began)

    proven = choose_directions(problem, solver, program, gap=gap, time_limit_s=0.8 * left())
    headroom = Headroom(problem, program)
    relaxed = solver.run(left(), headroom)
    # With directions held, its optimum is that of the choice only; the choice has a bound of its own.
    bound = relaxed.bound if np.isneginf(proven) else min(proven, relaxed.bound)
    solved = perf_counter()
    answer, cells, meters = relaxed, 0, 0
    if relaxed.is_feasible:
        answer, cells, meters = put_right(program, solver, relaxed, left, headroom)
    repaired = perf_counter()
    schedule = schedule_of(problem, program, answer.x) if answer.is_feasible else idle_schedule(problem)
    duals = duals_of(problem, program, relaxed) if relaxed.status == "optimal" else None
    plan = make_plan(
        problem, schedule, bound, wanted_gap=gap, duals=duals,
        repair=Repair(0, cells, meters, max(0.0, answer.objective - relaxed.objective)))
    plan.seconds.update({
        "build": built - began, "transfer": passed - built, "solve": solved - passed, "repair": repaired - solved,
        "extract": perf_counter() - repaired, "total": perf_counter() - began})
    if progress is not None:
        progress(1, plan.bound, plan.objective)
    return plan


def put_right(
    program: Program, solver: Solver, relaxed: Solved, left: Callable[[], float], limits: LazyRows | None = None,
) -> tuple[Solved, int, int]:
    """Solve again until no car and no meter goes both ways; how many of each were held to one."""
    answer = relaxed
    cells = meters = 0
    for _ in range(_ROUNDS):
        cars, sites = both_ways(program, answer.x)
        if not len(cars) and not len(sites):
            return answer, cells, meters
        if left() <= 0:
            break
        cells, meters = cells + len(cars), meters + len(sites)
        _hold(solver, answer.x, program.columns["charge"].start + cars,
              program.columns["discharge"].start + program.cells.discharge[cars])
        _hold(solver, answer.x, program.columns["bought"].start + sites, program.columns["sold"].start + sites)
        again = solver.run(left(), limits)
        if not again.is_feasible:
            break
        answer = again
    return answer, cells, meters


def both_ways(program: Program, x: Floats) -> tuple[Ints, Ints]:
    """Numbers of the cells that charge and discharge at once, and of the meters that buy and sell."""
    discharge = np.zeros(len(program.cells))
    there = program.cells.discharge != NONE
    discharge[there] = x[program.columns["discharge"]]
    cars = np.flatnonzero(np.minimum(x[program.columns["charge"]], discharge) > _SEEN)
    meters = np.flatnonzero(np.minimum(x[program.columns["bought"]], x[program.columns["sold"]]) > _SEEN)
    return cars, meters


def _hold(solver: Solver, x: Floats, taking: Ints, giving: Ints) -> None:
    """Let the smaller of two opposite powers be 0 from now on."""
    off = np.where(x[taking] >= x[giving], giving, taking)
    solver.set_bounds(off, np.zeros(len(off)), np.zeros(len(off)))


def schedule_of(problem: Problem, program: Program, x: Floats) -> Schedule:
    """The schedule in an answer of the program, with the reserve that its cars have."""
    schedule = Schedule(
        program.by_ev(x, "charge"), program.by_ev(x, "discharge"), program.by_site(x, "curtailed"),
        program.by_site(x, "unserved"), program.by_site(x, "spilled"), np.zeros((3, 0)))
    return replace(schedule, reserve_kw=best_offer(problem, schedule))


def duals_of(problem: Problem, program: Program, answer: Solved) -> Duals:
    """The prices in an answer of the program, per kWh."""
    hours, rows = problem.step_h, program.rows
    per_kwh = answer.row_dual / hours
    price = program.by_site_row(per_kwh, "balance")
    feeder = program.by_site_row(per_kwh, "flow")
    peak = -program.by_site_row(per_kwh, "peak")
    event = np.zeros(program.shape)
    for step, worth in zip(problem.event_steps, -per_kwh[rows["event"]], strict=True):
        event[:, step] += worth  # two events may speak of one step
    x = answer.x
    sells = program.by_site(x, "sold") > program.by_site(x, "bought")
    market = np.where(sells, problem.export_price, problem.import_price)
    peak = np.where(sells, 0.0, peak)
    site = SitePrices(market, event, peak, price - market - event - peak - feeder, feeder)
    energy = np.zeros((len(problem.evs), problem.steps))
    energy[program.cells.ev, program.cells.step] = -answer.row_dual[rows["dynamics"]]
    return Duals(site, energy, np.abs(answer.row_dual[rows["departure"]]), np.abs(answer.row_dual[rows["event"]]))
