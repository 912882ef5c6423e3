"""What the readable model and the array route cost beside raw highspy arrays, on one instance in one run.

    python benchmarks/planner_speed.py [--evs 1000] [--repeats 3] [--seed 0] [--no-feeders]

raw: the arrays in a fresh HiGHS (dual simplex, presolve, one thread), solved, the solution read; nothing is judged.
arrays: `solve_whole`: build, transfer, solve, repair, prices, judgement by the checker, a plan.
pyomo: build the model, compile it, transfer, solve, read the schedule. re-solve: prices and net load changed by 2 %,
the structure as it was, beside raw arrays that change the same. Seconds are of this process's CPU, medians; imports
are not counted. Routes take turns, so that what else runs on the machine disturbs all of them alike.

Goals: arrays at most 1.2 times raw, pyomo at most 1.5 times, its re-solve at most 1.1 times the raw one.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from collections.abc import Callable
from statistics import median
from time import process_time

import highspy
import numpy as np
import scipy.stats  # noqa: F401 - Pyomo's compiler imports it at its first use
from planner_instances import instance

from aggregator.planning.fleet.checker import evaluate
from aggregator.planning.fleet.problem import Problem
from aggregator.planning.fleet.program.arrays import Program, assemble
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.program.reference import Reference


def load(program: Program) -> highspy.Highs:
    highs = highspy.Highs()
    for option, value in (("output_flag", False), ("solver", "simplex"), ("threads", 1), ("parallel", "off")):
        assert highs.setOptionValue(option, value) == highspy.HighsStatus.kOk
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = program.matrix.shape
    lp.col_cost_, lp.offset_, lp.col_lower_, lp.col_upper_ = program.cost, program.offset, program.lower, program.upper
    lp.row_lower_, lp.row_upper_ = program.row_lower, program.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
    lp.a_matrix_.value_ = program.matrix.data
    assert highs.passModel(lp) == highspy.HighsStatus.kOk
    return highs


def solved(highs: highspy.Highs) -> float:
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    np.array(highs.getSolution().col_value)
    return float(highs.getInfo().objective_function_value)


def changed(problem: Problem, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    factor = draw.uniform(0.98, 1.02, problem.steps)
    own = problem.sites.base_kw - problem.sites.pv_kw
    return problem.import_price * factor, problem.export_price * factor, own * draw.uniform(0.98, 1.02, own.shape)


def timed(what: Callable[[], float]) -> tuple[float, float]:
    began = process_time()
    return what(), process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-feeders", action="store_true")
    given = parser.parse_args()
    problem = instance(given.evs, given.seed, feeders=not given.no_feeders)
    seconds: dict[str, list[float]] = {name: [] for name in ("raw", "arrays", "pyomo", "raw again", "pyomo again")}
    for turn in range(given.repeats):
        costs = _cold(problem, seconds)
        _warm(problem, seconds, turn)
    assert max(costs) - min(costs) <= 1e-6 * abs(costs[0]), costs
    middle = {name: median(found) for name, found in seconds.items()}
    rows, columns = assemble(problem).matrix.shape
    print(f"{given.evs} EVs, {len(problem.sites)} sites, {problem.steps} steps: {columns} columns, {rows} rows; "
          f"cost {costs[0]:.4f} by every route; load {os.getloadavg()[0]:.1f}")
    for name, base in (("raw", "raw"), ("arrays", "raw"), ("pyomo", "raw"), ("pyomo again", "raw again")):
        print(f"{name:12} {middle[name]:7.3f} s   {middle[name] / middle[base]:5.2f} times {base}   "
              f"(from {min(seconds[name]):.3f} to {max(seconds[name]):.3f} s)")


def _cold(problem: Problem, seconds: dict[str, list[float]]) -> tuple[float, float, float]:
    def by_pyomo() -> float:
        reference = Reference(problem)
        return evaluate(problem, reference.schedule(reference.run(600.0))).objective

    found = []
    for name, route in (("raw", lambda: solved(load(assemble(problem)))),
                        ("arrays", lambda: solve_whole(problem, time_limit_s=600.0).objective), ("pyomo", by_pyomo)):
        cost, took = timed(route)
        found.append(cost)
        seconds[name].append(took)
    return found[0], found[1], found[2]


def _warm(problem: Problem, seconds: dict[str, list[float]], turn: int) -> None:
    imports, exports, own = changed(problem, turn)
    program = assemble(problem)
    highs, reference = load(program), Reference(problem)
    solved(highs)
    reference.run(600.0)

    def raw() -> float:
        for name, price in (("bought", imports), ("sold", -exports)):
            block = program.columns[name]
            columns = np.arange(block.start, block.stop, dtype=np.int32)
            highs.changeColsCost(len(columns), columns, np.tile(problem.step_h * price, len(problem.sites)))
        block = program.rows["balance"]
        rows = np.arange(block.start, block.stop, dtype=np.int32)
        highs.changeRowsBounds(len(rows), rows, own.ravel(), own.ravel())
        return solved(highs)

    def pyomo() -> float:
        reference.reprice(imports, exports)
        reference.reload(own)
        return reference.run(600.0).objective

    costs = []
    for name, route in (("raw again", raw), ("pyomo again", pyomo)):
        cost, took = timed(route)
        costs.append(cost)
        seconds[name].append(took)
    assert abs(costs[0] - costs[1]) <= 1e-6 * abs(costs[0]), costs


if __name__ == "__main__":
    main()
