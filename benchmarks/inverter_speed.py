"""How fast inverters and the flow of a street agree: the shipped European LV feeder, 55 homes, 40 EVs, one thread.

    python benchmarks/inverter_speed.py [--steps 35040] [--instants 600]

Many steps at once, beside the plain flow of the same steps; and instant by instant as in a running twin, with curves
that lag and without. 40 % of the EVSEs are at work at any time, between full discharge and full charge.
"""

import argparse
import json
import os
import time
from dataclasses import replace

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 - one thread, set above, counts only before

from twin.assets import TimeGrid, utc  # noqa: E402 - as numpy
from twin.feeder.inverters.behaviour import Inverter  # noqa: E402 - as numpy
from twin.feeder.inverters.fixed_point import solve_with_inverters  # noqa: E402 - as numpy
from twin.feeder.inverters.grid_codes import GridCode, grid_code, grid_code_names  # noqa: E402 - as numpy
from twin.feeder.inverters.in_time import GridResponse  # noqa: E402 - as numpy
from twin.feeder.on_disk.example import european_lv, european_lv_home_day  # noqa: E402 - as numpy
from twin.feeder.powerflow.flow import Flow  # noqa: E402 - as numpy
from twin.feeder.scene import Scene  # noqa: E402 - as numpy

RATED_VA = 7400.0


def street() -> Scene:
    """The shipped feeder with its homes' day."""
    feeder, day = european_lv(), european_lv_home_day()
    rows = Flow(feeder).terminal_row
    base_w, base_var = np.zeros((2, len(rows), day.p_w.shape[1]))
    for home, watts, var in zip(day.connection_points, day.p_w, day.q_var, strict=True):
        own = [row for (point, _), row in rows.items() if point == home]
        base_w[own], base_var[own] = watts / len(own), var / len(own)
    evs = [point for point in feeder.connection_points if point.id not in day.connection_points]
    names = tuple(point.id for point in evs)
    grid = TimeGrid(utc("2025-01-06T00:00:00Z"), 900, day.p_w.shape[1])
    return Scene(feeder, grid, base_w, base_var, names, names, tuple(point.phases for point in evs))


def many_steps(scene: Scene, steps: int) -> None:
    draw = np.random.default_rng(0)
    at = np.arange(steps) % scene.grid.steps
    base_w, base_var = scene.base_w[:, at], scene.base_var[:, at]
    evses = len(scene.evse_ids)
    orders = draw.uniform(-RATED_VA, RATED_VA, (evses, steps)) * (draw.random((evses, steps)) < 0.4)
    flow, spread = scene.flow(), scene.spread()
    begin = time.process_time()
    flow.solve(base_w + spread @ orders, base_var).terminal_voltages()
    plain = time.process_time() - begin
    print("RESULT", json.dumps({
        "case": "inverters", "code": None, "steps": steps, "cpu_s": round(plain, 3), "steps_per_s": round(steps / plain)
    }), flush=True)
    for name in grid_code_names():
        inverters = [Inverter(grid_code(name), RATED_VA)] * evses
        begin = time.process_time()
        found = solve_with_inverters(flow, base_w, base_var, orders, spread, inverters)
        cpu = time.process_time() - begin
        print("RESULT", json.dumps({
            "case": "inverters", "code": name, "steps": steps, "cpu_s": round(cpu, 3),
            "steps_per_s": round(steps / cpu), "times_plain_flow": round(cpu / plain, 1),
            "settled": float(found.settled.mean()), "largest_mismatch_pu": float(f"{found.mismatch_pu.max():.2e}"),
            "most_rounds": found.rounds,
            "delivered": round(float(np.abs(found.delivered_w).sum() / np.abs(orders).sum()), 4),
        }), flush=True)


def at_once(code: GridCode) -> GridCode:
    """The same without lag."""
    return replace(code, **{
        name: replace(curve, response_s=0.0)
        for name in ("volt_var", "volt_watt", "charge_volt_watt") if (curve := getattr(code, name)) is not None
    })


def instants(scene: Scene, code: GridCode | None, events: int) -> dict[str, float]:
    """A day in which one EVSE after the other is told something else, at random instants."""
    draw = np.random.default_rng(1)
    response = GridResponse(scene, [None if code is None else Inverter(code, RATED_VA)] * len(scene.evse_ids))
    end_s = float(scene.grid.step_s * scene.grid.steps)
    moments = [*np.sort(draw.uniform(0.0, end_s, events)).tolist(), end_s]
    orders, now, asked = np.zeros(len(scene.evse_ids)), 0.0, 0
    begin = time.process_time()
    while now < end_s:
        while moments[0] <= now:
            moments.pop(0)
            orders[draw.integers(len(orders))] = draw.choice([0.0, 0.0, -7.4, 7.4, 3.7])
        now = min(response.answer(now, orders).next_event_s, moments[0])
        asked += 1
    cpu = time.process_time() - begin
    return {"events": events, "answers": asked, "cpu_s": round(cpu, 3), "ms_per_answer": round(1000.0 * cpu / asked, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=35_040)
    parser.add_argument("--instants", type=int, default=600)
    asked = parser.parse_args()
    scene = street()
    many_steps(scene, asked.steps)
    codes = {"none": None, "ieee-1547-2018-b": grid_code("ieee-1547-2018-b")}
    codes["ieee-1547-2018-b without lag"] = at_once(grid_code("ieee-1547-2018-b"))
    for name, code in codes.items():
        print("RESULT", json.dumps({"case": "grid response", "code": name, **instants(scene, code, asked.instants)}),
              flush=True)


if __name__ == "__main__":
    main()
