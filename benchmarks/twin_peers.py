"""One day of the same sessions in ACN-Sim or EV2Gym; run by `twin_speed.py` in a venv that has them.

    python twin_peers.py acnsim|ev2gym EVSES SESSIONS.csv       prints RESULT {json} with the seconds of the loop alone

Set-up (building networks, reading files, importing) is not counted, in the peers' favour; the better of two loops
counts. Both keep the power of every EVSE in every step. energy_kwh: into the batteries, as far as each books it.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
import warnings
from datetime import datetime
from pathlib import Path

STEPS, STEP_MIN, CAPACITY_KWH, POWER_KW, VOLTS, EFFICIENCY = 96, 15, 60.0, 11.04, 230.0, 0.95

Timed = tuple[float, float, float]
"""Seconds by the wall and of the processor, and energy."""


def sessions(path: Path) -> list[tuple[int, int, int, float]]:
    with path.open(newline="") as file:
        return [
            (int(row["evse"]), int(row["arrival_step"]), int(row["departure_step"]), float(row["soc_arrival"]))
            for row in csv.DictReader(file)
        ]


def acnsim(evses: int, rows: list[tuple[int, int, int, float]]) -> Timed:
    """Uncontrolled charging; ACN-Sim's battery has no efficiency, so connectors get the power behind the losses."""
    from acnportal import acnsim as sim  # noqa: PLC0415 - only one peer is imported
    from acnportal.algorithms import UncontrolledCharging  # noqa: PLC0415 - same

    battery_kw = POWER_KW * EFFICIENCY
    network = sim.ChargingNetwork()
    for evse in range(evses):
        network.register_evse(sim.EVSE(f"E{evse}", max_rate=battery_kw * 1000.0 / VOLTS), VOLTS, 0)
    # Its algorithms expect a constraint; this one never binds.
    network.add_constraint(sim.Current([f"E{evse}" for evse in range(evses)]), 1e9)
    events = sim.EventQueue([
        sim.PluginEvent(arrival, sim.EV(
            arrival, departure, CAPACITY_KWH * (1.0 - soc), f"E{evse}", f"s{number}",
            sim.Linear2StageBattery(CAPACITY_KWH, CAPACITY_KWH * soc, battery_kw, transition_soc=0.8),
        ))
        for number, (evse, arrival, departure, soc) in enumerate(rows)
    ])
    simulator = sim.Simulator(
        network, UncontrolledCharging(), events, datetime(2026, 1, 5), period=STEP_MIN, verbose=False,  # noqa: DTZ001 - its habit
    )
    began, cpu = time.perf_counter(), time.process_time()
    simulator.run()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return seconds, cpu_s, float(sim.analysis.total_energy_delivered(simulator))


def ev2gym(evses: int, rows: list[tuple[int, int, int, float]]) -> Timed:
    """As fast as possible, without a grid: its own configuration, with our sessions instead of drawn ones."""
    import ev2gym as package  # noqa: PLC0415 - only one peer is imported
    import yaml  # noqa: PLC0415 - same
    from ev2gym.models.ev import EV  # noqa: PLC0415 - same
    from ev2gym.models.ev2gym_env import EV2Gym  # noqa: PLC0415 - same

    example = Path(package.__file__).parent / "example_config_files" / "V2GProfitMax.yaml"
    config = yaml.safe_load(example.read_text())
    config |= {
        "timescale": STEP_MIN, "simulation_length": STEPS, "number_of_charging_stations": evses,
        "number_of_ports_per_cs": 1, "number_of_transformers": max(evses // 100, 1),
        "random_hour": False, "random_day": False,
        "hour": 0, "minute": 0, "spawn_multiplier": 1,
        "ev_specs_file": str(Path(package.__file__).parent / "data" / "ev_specs_v2g_enabled2024.json"),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(config, file)
    env = EV2Gym(config_file=file.name, save_replay=False, save_plots=False, verbose=False)
    env.reset()
    cars = [
        EV(id=0, location=evse, battery_capacity_at_arrival=CAPACITY_KWH * soc, time_of_arrival=arrival,
           time_of_departure=departure, desired_capacity=CAPACITY_KWH, battery_capacity=CAPACITY_KWH,
           max_ac_charge_power=POWER_KW, transition_soc=0.8, charge_efficiency=EFFICIENCY, timescale=STEP_MIN)
        for evse, arrival, departure, soc in rows
    ]
    # EVs that its own configuration spawns are replaced before the first step.
    env.EVs_profiles = cars
    actions = [1.0] * env.number_of_ports
    began, cpu = time.perf_counter(), time.process_time()
    is_done = False
    while not is_done:
        _, _, is_done, is_cut, _ = env.step(actions)
        is_done = is_done or is_cut
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    energy = float(sum(station.total_energy_charged for station in env.charging_stations))
    return seconds, cpu_s, energy


def main() -> None:
    warnings.simplefilter("ignore")
    peer, evses, rows = sys.argv[1], int(sys.argv[2]), sessions(Path(sys.argv[3]))
    run = {"acnsim": acnsim, "ev2gym": ev2gym}[peer]
    seconds, cpu_s, energy = min(run(evses, rows) for _ in range(2))
    print("RESULT " + json.dumps({"peer": peer, "run_s": seconds, "cpu_s": cpu_s, "energy_kwh": energy}))


if __name__ == "__main__":
    main()
