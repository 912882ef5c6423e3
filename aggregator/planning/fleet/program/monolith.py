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

from aggregator.planning.fleet.checker import Schedule, evaluate
from aggregator.planning.fleet.idle import followable_schedule
from aggregator.planning.fleet.plan import Duals, Plan, Repair, make_plan, relative_gap, repair_of, site_prices
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.program.arrays import Program, assemble
from aggregator.planning.fleet.program.solver import Solved, Solver
from aggregator.planning.fleet.repair.followable import Righted, put_right
from aggregator.planning.fleet.repair.one_way import choose_directions
from aggregator.planning.fleet.reserve.headroom import Headroom, best_offer

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
    righted = Righted(relaxed)
    if relaxed.is_feasible:
        righted = put_right(program, solver, relaxed, left, headroom, problem)
    answer = righted.answer
    repaired = perf_counter()
    schedule = schedule_of(problem, program, answer.x)
    is_sound = answer.is_feasible and righted.is_followable
    is_open = relative_gap(evaluate(problem, schedule).objective, bound) > gap
    if not is_sound or problem.evs.has_minimums or is_open:
        # What a solver has not finished is worth keeping close to, too.
        schedule = followable_schedule(problem, () if is_sound else (schedule,), (schedule,) if is_sound else ())
    duals = duals_of(problem, program, relaxed) if relaxed.status == "optimal" else None
    plan = make_plan(
        problem, schedule, bound, wanted_gap=gap, duals=duals,
        repair=_repair(problem, program, relaxed, righted, schedule),
        is_late=relaxed.status == "time_limit" or left() <= 0)
    plan.seconds.update({
        "build": built - began, "transfer": passed - built, "solve": solved - passed, "repair": repaired - solved,
        "extract": perf_counter() - repaired, "total": perf_counter() - began})
    if progress is not None:
        progress(1, plan.bound, plan.objective)
    return plan


def _repair(problem: Problem, program: Program, relaxed: Solved, righted: Righted, schedule: Schedule) -> Repair:
    """What putting right did, and what it cost beside the answer of the linear program."""
    if not relaxed.is_feasible:
        return Repair()
    before = evaluate(problem, schedule_of(problem, program, relaxed.x))
    return repair_of(problem, before, schedule, righted.cells, righted.meters, righted.minimums)


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
    site = site_prices(problem, price, sells, event, peak, feeder)
    energy = np.zeros((len(problem.evs), problem.steps))
    energy[program.cells.ev, program.cells.step] = -answer.row_dual[rows["dynamics"]]
    return Duals(site, energy, np.abs(answer.row_dual[rows["departure"]]), np.abs(answer.row_dual[rows["event"]]))
