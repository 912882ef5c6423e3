"""How fast, how clean and how dear a plan under a feeder's limits is.

    python benchmarks/grid_planning.py [--seeds 20] [--first 0] [--tangent]

A street: the shipped IEEE European LV feeder, 55 homes on its assumed day, 40 V2G EVs of 7.4 kW on one phase each, a
day of quarter hours from noon, an event in the evening; 216.2 V to 253 V, assumed ampacities, 2 % unbalance. Seeds
draw prices, stays, batteries and wear.

Goals: nothing that breaks because of EVs in either engine; in the median at most 8 rounds, 3 s and 2,000 rows. The
count of what breaks is not the planner's: `twin.feeder.impact.judging.judge` and power-grid-model each make their own.
One core; seconds include the second engine's verdict. `bound` is proven: what currents and ratings imply of every
schedule that the feeder holds; `no grid` is the cost without a feeder. `tangent` is the least cost under
the tangents at the plan, worked out afterwards on request: what the search left, to first order.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from aggregator.planning.site.arrays import assemble
from aggregator.planning.site.problem import Commitment, EvDemand, Problem
from aggregator.planning.site.warm import WarmProgram
from aggregator.planning.site.windows import windows
from aggregator.planning.street.search import GridPlan, plan_with_feeder
from twin.assets import TimeGrid
from twin.feeder.impact.judging import Impact, judge
from twin.feeder.network.model import Feeder
from twin.feeder.on_disk.example import european_lv, european_lv_home_day
from twin.feeder.scene import Limits, Scene

STEPS, NOON = 96, 48
RATED = 416.0 / 3.0**0.5
LIMITS = Limits(voltage_pu=(216.2 / RATED, 253.0 / RATED))
GRID = TimeGrid(datetime(2024, 1, 15, 12, tzinfo=UTC), 900, STEPS)
HOURS = (np.arange(STEPS) / 4.0 + 12.0) % 24.0
ROUNDS, SECONDS, ROWS = 8, 3.0, 2000


def street(feeder: Feeder) -> Scene:
    day = european_lv_home_day()
    rows = {point.id: row for row, point in enumerate(feeder.connection_points)}
    homes = [rows[home] for home in day.connection_points]
    base = np.zeros((2, len(rows), STEPS))
    base[0, homes], base[1, homes] = np.roll(day.p_w, -NOON, axis=1), np.roll(day.q_var, -NOON, axis=1)
    evs = [point for point in feeder.connection_points if point.id.startswith("ev-")]
    return Scene(feeder, GRID, base[0], base[1], tuple(point.id for point in evs), tuple(point.id for point in evs),
                 tuple(point.phases for point in evs), limits=LIMITS)


def problem(scene: Scene, seed: int) -> Problem:
    draw = np.random.default_rng(seed)

    def hill(hour: float, width: float) -> np.ndarray:
        away = (HOURS - hour + 12.0) % 24.0 - 12.0
        return np.exp(-((away / width) ** 2))

    price = 0.18 + 0.08 * hill(19.0, 2.0) - 0.08 * hill(3.0, 2.5) - 0.05 * hill(13.0, 2.0)
    price = price + draw.normal(0.0, 0.01, STEPS)
    cars = []
    for evse in scene.evse_ids:
        arrive = int(np.clip(draw.normal(24, 6), 0, 60))
        depart = int(np.clip(draw.normal(78, 5), arrive + 8, STEPS))
        capacity = float(draw.choice([40.0, 58.0, 77.0]))
        energy = capacity * float(draw.uniform(0.2, 0.7))
        cars.append(EvDemand(
            f"car at {evse}", evse, arrive, depart, energy, capacity, 0.8 * capacity, 0.2 * capacity, 7.4, 7.4, 0.94,
            0.94, float(draw.uniform(0.01, 0.03))))
    base = scene.base_w.sum(axis=0) / 1000.0
    first = int(draw.integers(26, 32))
    event = Commitment("event", tuple(range(first, first + 6)), tuple(base[first:first + 6] - 150.0), 0.5)
    return Problem(GRID, tuple(cars), base, np.full(STEPS, 800.0), np.full(STEPS, 800.0), price, price - 0.02, 100.0,
                   0.0, commitments=(event,))


def judged(scene: Scene, power_kw: np.ndarray) -> tuple[Impact, float]:
    """And the minutes in which something breaks because of EVs."""
    impact = judge(scene, power_kw)  # cars and EVSEs stand in one order here
    return impact, float(impact.somewhere.attributable[-1].sum())


def blind_kw(posed: Problem) -> np.ndarray:
    program = assemble(posed, windows(posed))
    answer = WarmProgram(program).run(60.0)
    assert answer is not None
    charge, discharge = program.powers(answer.x)
    return charge - discharge


def row(seed: int, plan: GridPlan, minutes: float, wall: float, cpu: float) -> str:
    there = "-" if plan.verdict is None else str(plan.verdict.attributable)
    gap = 100.0 * (plan.plan.objective - plan.tangent_cost) / abs(plan.plan.objective)
    return (f"{seed:4d} {len(plan.rounds):6d} {plan.rounds[-1].rows:5d} {wall:7.2f} {cpu:6.2f} {plan.violations:6d} "
            f"{minutes:6.0f} {there:>6} {plan.plan.objective:9.2f} {plan.plan.bound:7.2f} "
            f"{plan.blind_cost:8.2f} {plan.tangent_cost:8.2f} "
            f"{gap:6.2f} {sum(plan.slack_percent_h.values()):6.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--tangent", action="store_true", help="work out what the search left, too: half as long again")
    arguments = parser.parse_args()
    scene = street(european_lv())
    posed = problem(scene, 0)
    impact, minutes = judged(scene, blind_kw(posed))
    print(f"grid-blind, seed 0: something breaks because of EVs in {minutes:.0f} of 1440 minutes; lines up to "
          f"{100.0 * np.nanmax(impact.lines.peak):.0f} % of their rating, voltages "
          f"{np.nanmin(impact.points.low_pu) * RATED:.0f} to {np.nanmax(impact.points.high_pu) * RATED:.0f} V, "
          f"unbalance up to {100.0 * np.nanmax(impact.course.unbalance):.1f} %")
    print("seed rounds  rows  wall s  cpu s  broken judge'  pgm's      cost   bound  no grid  tangent   % left  slack")
    found = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        posed = problem(scene, seed)
        wall, cpu = time.perf_counter(), time.process_time()
        plan = plan_with_feeder(posed, scene)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if arguments.tangent:
            plan = replace(plan, tangent_cost=plan_with_feeder(posed, scene, verify=False, tangent=True).tangent_cost)
        _, minutes = judged(scene, plan.plan.power_kw)
        found.append((len(plan.rounds), plan.rounds[-1].rows, wall, cpu, plan.violations + minutes, plan.holds,
                      *(plan.seconds[part] for part in ("program", "flow", "rows", "verdict", "bound"))))
        print(row(seed, plan, minutes, wall, cpu), flush=True)
    figures = np.array(found, dtype=float)
    rounds, rows, wall, cpu = np.median(figures[:, :4], axis=0)
    clean = int(((figures[:, 4] == 0.0) & (figures[:, 5] == 1.0)).sum())
    shares = figures[:, 6:].mean(axis=0)
    print(f"{clean} of {len(found)} hold in both engines; median {rounds:.0f} rounds (goal {ROUNDS}), "
          f"{wall:.2f} s wall, {cpu:.2f} s processor (goal {SECONDS:g}), {rows:.0f} rows, at most "
          f"{figures[:, 1].max():.0f} (goal {ROWS})")
    print(f"mean wall seconds: program {shares[0]:.2f}, flow {shares[1]:.2f}, rows {shares[2]:.2f}, second engine "
          f"{shares[3]:.2f}, bound {shares[4]:.2f}")


if __name__ == "__main__":
    main()
