"""How fast the flows of a feeder are: the shipped European LV feeder, 906 low-voltage buses, one thread.

    python benchmarks/feeder_speed.py [--year 35040] [--check 480] [--opendss 960]

Full flows give the complex voltage of every node and the complex current of every line and phase; load-point flows
give those of the connection points. power-grid-model and OpenDSS (dss-python) solve some of the same steps in the same
run and have to agree. OpenDSS is asked for voltages alone, and is timed at its own tolerance of 1e-4, which is its
fastest, and at 1e-9, with and without the time it takes to tell it the loads. Ratios are of CPU time, which other work
on the machine disturbs least. Targets: 20,000 full and 60,000 load-point flows per s, a year of quarter hours in 2 s,
15 times power-grid-model and 5 times OpenDSS, differences of at most 1e-7 p.u.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 - one thread, set above, counts only before
from power_grid_model import ComponentType  # noqa: E402 - as numpy

from twin.feeder import Feeder, Flow, Solution  # noqa: E402 - as numpy
from twin.feeder.on_disk.example import european_lv, european_lv_home_day  # noqa: E402 - as numpy
from twin.feeder.second_engine.check import Checker  # noqa: E402 - as numpy
from twin.feeder.second_engine.opendss import OpenDssChecker  # noqa: E402 - as numpy

OPENDSS_TOLERANCES = {"": 1e-4, "_exact": 1e-9}
"""What it stops at by default, and what makes it agree to 1e-7 p.u."""


def year(feeder: Feeder, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Watts and vars of every terminal: the homes' assumed day, never twice the same, and EVs both ways."""
    draw = np.random.default_rng(11)
    day = european_lv_home_day()
    homes, evs = len(day.p_w), len(feeder.connection_points) - len(day.p_w)
    at = np.arange(steps) % day.p_w.shape[1]
    scale = draw.uniform(0.5, 1.5, (homes, steps))
    power = np.concatenate((day.p_w[:, at] * scale, draw.choice((-3700.0, 0.0, 0.0, 3700.0), (evs, steps))))
    return power, np.concatenate((day.q_var[:, at] * scale, np.zeros((evs, steps))))


def seconds(work: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """(wall, CPU) of the fastest of `repeats`."""
    best = (np.inf, np.inf)
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best = min(best[0], time.perf_counter() - wall), min(best[1], time.process_time() - cpu)
    return best


def full(flow: Flow, power: np.ndarray, reactive: np.ndarray) -> float:
    """Every voltage and every current of every step; the largest of both is kept, so that nothing can be left out."""
    most = 0.0
    for block in flow.solve(power, reactive).blocks():
        most = max(most, float(block.voltages().real.max()), float(block.line_currents().real.max()))
    return most


def rates(name: str, work: Callable[[], object], steps: int, repeats: int = 3) -> dict:
    wall, cpu = seconds(work, repeats)
    return {f"{name}_s": round(wall, 3), f"{name}_cpu_s": round(cpu, 3), f"{name}_flows_per_s": round(steps / wall),
            f"{name}_flows_per_cpu_s": round(steps / cpu)}


def bare(checker: Checker, solution: Solution) -> object:
    """power-grid-model alone, asked for no more than is compared."""
    return checker.model.calculate_power_flow(
        symmetric=False, error_tolerance=1e-8, max_iterations=50, calculation_method="iterative_current",
        update_data={ComponentType.asym_load: checker.updates(solution)}, threading=-1,
        output_component_types=checker.output,
    )


def opendss(feeder: Feeder, solution: Solution) -> dict:
    """Rates of OpenDSS on these steps, and how far it is from `solution`."""
    checker = OpenDssChecker(feeder)
    kw, kvar = checker.demand(solution)
    circuit = checker.engine.ActiveCircuit
    steps = kw.shape[1]

    def told() -> None:
        for step in range(steps):
            checker.set_loads(kw[:, step], kvar[:, step])

    def solved() -> None:
        for step in range(steps):
            checker.set_loads(kw[:, step], kvar[:, step])
            circuit.Solution.SolveNoControl()
            if not circuit.Solution.Converged or not len(circuit.AllBusVolts):
                sys.exit(f"OpenDSS found no solution at step {step}")

    telling = seconds(told, 2)[1]
    found: dict = {}
    for name, tolerance in OPENDSS_TOLERANCES.items():
        checker.engine.Text.Command = f"set tolerance={tolerance}"
        spent = seconds(solved, 2)[1]
        found |= {f"opendss{name}_flows_per_cpu_s": round(steps / spent),
                  f"opendss{name}_without_telling_flows_per_cpu_s": round(steps / (spent - telling))}
    difference = checker.check(solution)
    return found | {"difference_opendss_pu": float(f"{difference.voltage_pu:.2e}"), "opendss_agrees": difference.agrees}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--year", type=int, default=35_040)
    parser.add_argument("--check", type=int, default=480)
    parser.add_argument("--opendss", type=int, default=960, help="steps; 0: not asked")
    asked = parser.parse_args()
    feeder = european_lv()
    result: dict = {"case": "feeder", "buses": len(feeder.buses), "loads": len(feeder.connection_points)}
    result["build_s"] = round(seconds(lambda: Flow(feeder))[0], 3)
    flow, checker = Flow(feeder), Checker(feeder)
    power, reactive = year(feeder, asked.year)
    some = power[:, :asked.check], reactive[:, :asked.check]
    result |= rates("load_points", lambda: flow.solve(power, reactive).terminal_voltages(), asked.year)
    result |= rates("year", lambda: full(flow, power, reactive), asked.year)
    solution = flow.solve(*some)
    result |= rates("power_grid_model", lambda: bare(checker, solution), asked.check)
    result |= rates("check", lambda: checker.check(solution), asked.check)
    ours = result["year_flows_per_cpu_s"]
    result["check_over_power_grid_model"] = round(result["check_cpu_s"] / result["power_grid_model_cpu_s"], 2)
    result["times_power_grid_model"] = round(ours / result["power_grid_model_flows_per_cpu_s"], 1)
    day = flow.solve(power[:, :96], reactive[:, :96])
    result["gradients_96_steps_s"] = round(seconds(day.gradients)[0], 4)
    difference = checker.check(solution)
    result |= {"steps_without_solution": int((~flow.solve(power, reactive).has_solution).sum()),
               "difference_pu": float(f"{difference.voltage_pu:.2e}"),
               "difference_a": float(f"{difference.current_a:.2e}"), "agrees": difference.agrees}
    if asked.opendss:
        part = slice(asked.opendss)
        result |= opendss(feeder, flow.solve(power[:, part], reactive[:, part]))
        for name in OPENDSS_TOLERANCES:
            for what in ("", "_without_telling"):
                theirs = result[f"opendss{name}{what}_flows_per_cpu_s"]
                result[f"times_opendss{name}{what}"] = round(ours / theirs, 1)
    print("RESULT", json.dumps(result), flush=True)
    for engine, agrees in (("power-grid-model", difference.agrees), ("OpenDSS", result.get("opendss_agrees", True))):
        if not agrees:
            sys.exit(f"{engine} does not agree")


if __name__ == "__main__":
    main()
