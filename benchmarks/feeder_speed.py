"""How fast the flows of a feeder are: the shipped European LV feeder, 906 low-voltage buses, one thread.

    python benchmarks/feeder_speed.py [--year 35040] [--check 480] [--opendss]

Full flows give the complex voltage of every node and the complex current of every line and phase; load-point flows
give those of the connection points. power-grid-model solves some of the same steps in the same run and has to agree;
`--opendss` builds an environment for dss-python under build/ and asks OpenDSS too. Ratios are of CPU time, which other
work on the machine disturbs least. Targets: 20,000 full and 60,000 load-point flows per s, a year of quarter hours in
2 s, 15 times power-grid-model and 5 times OpenDSS, differences of at most 1e-7 p.u.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 - one thread, set above, counts only before
from power_grid_model import ComponentType  # noqa: E402 - as numpy

from twin.feeder import Feeder, Flow, Solution  # noqa: E402 - as numpy
from twin.feeder.check import Checker  # noqa: E402 - as numpy
from twin.feeder.example import european_lv, european_lv_home_day  # noqa: E402 - as numpy

ROOT = Path(__file__).resolve().parents[1]
DSS = "dss-python==0.15.7"
DSS_SCRIPT = Path(__file__).with_name("opendss_reference.py")
OPENDSS_STEPS = 200


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


def ask_opendss(feeder: Feeder, power: np.ndarray, reactive: np.ndarray) -> tuple[float, np.ndarray]:
    """(CPU s per step, volts (node, step) in the order of the feeder) as OpenDSS sees them."""
    home = ROOT / "build" / "opendss"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", DSS, "numpy"], check=True)  # noqa: S603 - fixed arguments
    asked = home / "asked.npz"
    np.savez(asked, commands=np.array(dss_commands(feeder)), power=power, reactive=reactive,
             nodes=np.array([f"{bus.id}.{phase}" for bus in feeder.buses for phase in (1, 2, 3)]))
    subprocess.run([str(python), str(DSS_SCRIPT), str(asked)], check=True)  # noqa: S603 - our own script
    answer = np.load(asked.with_name("answered.npz"))
    return float(answer["cpu_s"]), answer["volts"]


def dss_commands(feeder: Feeder) -> list[str]:
    """The shipped feeder in OpenDSS's language; its loads stay constant power at every voltage."""
    source, trafo = feeder.source, feeder.transformers[0]
    upper = next(bus.volts for bus in feeder.buses if bus.id == source.bus)
    resistance = trafo.pk_w / trafo.rated_va
    circuit = (
        f"new circuit.feeder bus1={source.bus} basekv={upper / 1e3} pu={source.u_pu} phases=3 "
        f"mvasc3={source.short_circuit_va / 1e6!r} mvasc1={source.short_circuit_va / 1e6!r} "
        f"x1r1={1 / source.rx_ratio} x0r0={1 / source.rx_ratio}"
    )
    transformer = (
        f"new transformer.{trafo.id} phases=3 windings=2 buses=({trafo.from_bus} {trafo.to_bus}) conns=(delta wye) "
        f"kvs=({trafo.from_volts / 1e3} {trafo.to_volts / 1e3}) kvas=({trafo.rated_va / 1e3} {trafo.rated_va / 1e3}) "
        f"%rs=({50 * resistance} {50 * resistance}) xhl={100 * (trafo.uk**2 - resistance**2) ** 0.5!r}"
    )
    found = ["clear", f"set DefaultBaseFrequency={feeder.frequency_hz}", circuit, transformer]
    for line in feeder.lines:
        r, x = (" | ".join(" ".join(repr(matrix[i][j]) for j in range(i + 1)) for i in range(3))
                for matrix in (line.r_ohm, line.x_ohm))
        found.append(f"new line.{line.id} bus1={line.from_bus}.1.2.3 bus2={line.to_bus}.1.2.3 phases=3 length=1 "
                     f"rmatrix=({r}) xmatrix=({x}) cmatrix=(0 | 0 0 | 0 0 0)")
    found.extend(
        f"new load.{point.id} bus1={point.bus}.{'abc'.index(point.phases) + 1} phases=1 kv=0.23 kw=0 kvar=0 model=1 "
        "vminpu=0.1 vmaxpu=10" for point in feeder.connection_points
    )
    return [*found, f"set voltagebases=({upper / 1e3} {trafo.to_volts / 1e3})", "calcvoltagebases", "set mode=snap",
            "set controlmode=off", "set tolerance=1e-9", "set maxiterations=100"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--year", type=int, default=35_040)
    parser.add_argument("--check", type=int, default=480)
    parser.add_argument("--opendss", action="store_true")
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
    result["times_power_grid_model"] = round(ours / result["power_grid_model_flows_per_cpu_s"], 1)
    day = flow.solve(power[:, :96], reactive[:, :96])
    result["gradients_96_steps_s"] = round(seconds(day.gradients)[0], 4)
    difference = checker.check(solution)
    result |= {"steps_without_solution": int((~flow.solve(power, reactive).has_solution).sum()),
               "difference_pu": float(f"{difference.voltage_pu:.2e}"),
               "difference_a": float(f"{difference.current_a:.2e}"), "agrees": difference.agrees}
    if asked.opendss:
        cpu, volts = ask_opendss(feeder, power[:, :OPENDSS_STEPS], reactive[:, :OPENDSS_STEPS])
        mine = flow.solve(power[:, :OPENDSS_STEPS], reactive[:, :OPENDSS_STEPS]).voltages()
        apart = np.abs(mine - volts) / flow.network.node_volts[:, None]
        result |= {"opendss_flows_per_cpu_s": round(1.0 / cpu), "times_opendss": round(ours * cpu, 1),
                   "difference_opendss_pu": float(f"{apart.max():.2e}")}
    print("RESULT", json.dumps(result), flush=True)
    if not difference.agrees:
        sys.exit("power-grid-model does not agree")


if __name__ == "__main__":
    main()
