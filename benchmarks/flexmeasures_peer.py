"""FlexMeasures' device scheduler on a problem of `flexmeasures_speed.py`; run by that in a venv that has it.

    python flexmeasures_peer.py PROBLEM.npz         then a line "highspy" or "appsi_highs" on stdin per run

Answers each line with one: JSON of objective, seconds of the wall and of this process. What is timed is the call of
`device_scheduler` alone: its tables are made before, and thrown away after each run because it writes into them.

Every EV that may discharge is two devices with one stock, one for each direction: as one device it would have a binary
in every step, and the problem would not be the linear one. Stock is counted in kW times steps, as it counts it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flask import Flask
from flexmeasures.data.models.planning import FlowCommitment
from flexmeasures.data.models.planning.linear_optimization import device_scheduler

COLUMNS = ("equals", "max", "min", "derivative equals", "derivative max", "derivative min",
           "derivative down efficiency", "derivative up efficiency")


def device(index: pd.DatetimeIndex, **given: Any) -> pd.DataFrame:
    return pd.DataFrame({name: given.get(name.replace(" ", "_"), np.nan) for name in COLUMNS}, index=index)


def arguments(problem: dict[str, Any]) -> dict[str, Any]:
    """The problem as the scheduler wants it."""
    steps, hours = len(problem["import_price"]), float(problem["step_h"])
    index = pd.date_range("2026-01-05", periods=steps, freq=pd.Timedelta(hours=hours), tz="UTC")
    ticks = np.arange(steps)
    site = {name: problem[f"sites.{name}"][0] for name in ("base_kw", "pv_kw", "import_cap_kw", "export_cap_kw")}
    devices, stocks, groups = [], [], {}
    for ev in range(len(problem["evs.ids"])):
        own = {key.removeprefix("evs."): value[ev] for key, value in problem.items() if key.startswith("evs.")}
        plugged = (own["arrive"] <= ticks) & (ticks < own["depart"])
        least = np.full(steps, own["floor_kwh"] - own["energy_kwh"])
        least[own["depart"] - 1] = own["target_kwh"] - own["energy_kwh"]
        bounds = {"min": least / hours, "max": np.full(steps, (own["capacity_kwh"] - own["energy_kwh"]) / hours)}
        efficiency = {"derivative_up_efficiency": own["charge_efficiency"],
                      "derivative_down_efficiency": own["discharge_efficiency"]}
        devices.append(device(index, derivative_min=0.0, derivative_max=np.where(plugged, own["max_charge_kw"], 0.0),
                              **bounds, **efficiency))
        stocks.append(own["energy_kwh"] / hours)
        if own["max_discharge_kw"] > 0:
            groups[ev] = [len(devices) - 1, len(devices)]
            devices.append(device(index, derivative_max=0.0, **efficiency,
                                  derivative_min=np.where(plugged, -own["max_discharge_kw"], 0.0)))
            stocks.append(own["energy_kwh"] / hours)
    devices.append(device(index, derivative_equals=site["base_kw"] - site["pv_kw"]))
    stocks.append(0.0)
    limits = pd.DataFrame(
        {"derivative max": site["import_cap_kw"], "derivative min": -site["export_cap_kw"]}, index=index)
    buying, selling = (pd.Series(hours * problem[f"{way}_price"], index) for way in ("import", "export"))
    energy = FlowCommitment(name="energy", index=index, quantity=0.0, upwards_deviation_price=buying,
                            downwards_deviation_price=selling)
    peak = FlowCommitment(
        name="peak", index=index, _type="any", quantity=float(problem["sites.peak_so_far_kw"][0]),
        upwards_deviation_price=float(problem["sites.demand_price"][0]), downwards_deviation_price=0.0)
    return {"device_constraints": devices, "ems_constraints": limits, "commitments": [energy, peak],
            "initial_stock": stocks, "stock_groups": groups}


def main() -> None:
    warnings.simplefilter("ignore")
    with np.load(Path(sys.argv[1])) as found:
        problem = dict(found)
    app = Flask("benchmark")
    app.config |= {"LOGGING_LEVEL": "INFO", "FLEXMEASURES_LP_SOLVER_OPTIONS": {}}
    print("ready", flush=True)
    for line in sys.stdin:
        app.config["FLEXMEASURES_LP_SOLVER"] = line.strip()
        given = arguments(problem)
        with app.app_context():
            wall, cpu = time.perf_counter(), time.process_time()
            _, cost, results, _ = device_scheduler(**given)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print("RESULT " + json.dumps({"cost": float(cost), "wall_s": wall, "cpu_s": cpu,
                                      "status": str(results.solver.termination_condition)}), flush=True)


if __name__ == "__main__":
    main()
