"""How fast a fleet grows old: battery-years of 365 days of 24 hourly samples, one thread.

    python benchmarks/ageing_speed.py [--batteries 10000] [--years 1] [--blast]

Every battery has its own SoC trace and temperature on every day of a week that repeats through the seasons. Target:
10,000 battery-years in 10 s. `--blast` builds an environment for BLAST-Lite under build/, times its
`simulate_battery_life` on one battery-year of hourly samples, and compares capacities after 1, 3 and 10 years with its
day-by-day method over the duty cycles of tests/twin/ageing/blast_lite_reference.json; targets: 50 times as fast, 1e-3.
`--write` (with `--blast`) renews that file.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 - one thread, set above, counts only before

from twin.ageing import FleetAgeing  # noqa: E402 - as numpy
from twin.ageing.cells import CELLS  # noqa: E402 - as numpy

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "tests" / "twin" / "ageing" / "blast_lite_reference.json"
SAMPLES = 25
PACKAGES = ("numpy>=2,<2.4", "pandas>=2.2,<3", "scipy", "matplotlib")
BLAST = "blast-lite==1.1.0"
USED_UP = 0.6
"""Below this capacity nobody drives the battery; there the reference's own step error is the larger one."""


def draw_week(batteries: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Seven days of (SoC, temperature offset): driving down, charging up, sometimes a discharge in the evening."""
    draw = np.random.default_rng(7)
    hours = np.arange(SAMPLES)
    week = []
    for _ in range(7):
        high = draw.uniform(0.7, 0.95, batteries)
        there = high - draw.uniform(0.02, 0.15, batteries)
        back = there - draw.uniform(0.02, 0.15, batteries)
        discharged = back - draw.uniform(0.0, 0.3, batteries)
        steps = np.stack((high, high, there, there, back, discharged, high), axis=1)
        at = np.array([0, 7, 8, 17, 18, 21, 24])
        soc = np.stack([np.interp(hours, at, row) for row in steps])
        week.append((soc, draw.normal(0.0, 2.0, (batteries, 1))))
    return week


def fleet_seconds(cell: str, week: list[tuple[np.ndarray, np.ndarray]], years: int) -> tuple[float, float, float]:
    """(wall s, CPU s, mean capacity at the end)."""
    fleet = FleetAgeing(cell, week[0][0].shape[0])
    wall, cpu = time.perf_counter(), time.process_time()
    for day in range(365 * years):
        soc, offset = week[day % 7]
        fleet.live(soc, 15.0 + 8.0 * math.cos(2.0 * math.pi * day / 365.0) + offset)
    return time.perf_counter() - wall, time.process_time() - cpu, float(fleet.capacity.mean())


def largest_difference(reference: dict) -> dict[str, float]:
    """By cell: largest difference of capacity to the reference, of batteries that are not used up."""
    worst = dict.fromkeys(CELLS, 0.0)
    for duty in reference["duties"]:
        hours, soc = zip(*duty["soc_over_hours"], strict=True)
        trace = np.interp(np.linspace(0.0, 24.0, SAMPLES), hours, soc)[None]
        fleet = FleetAgeing(duty["cell"], 1)
        figures = {365 * figure["year"]: figure["capacity"] for figure in duty["figures"]}
        for day in range(max(figures)):
            fleet.live(trace, duty["mean_c"] + duty["season_c"] * math.cos(2.0 * math.pi * day / 365.0))
            capacity = figures.get(day + 1, 0.0)
            if capacity > USED_UP:
                worst[duty["cell"]] = max(worst[duty["cell"]], abs(float(fleet.capacity[0]) - capacity))
    return worst


def blast_reference() -> dict:
    """What BLAST-Lite says now, from an environment of its own. Its download helpers' packages are not needed."""
    home = ROOT / "build" / "blast"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES], check=True)  # noqa: S603 - fixed arguments
        subprocess.run([*pip, "--no-deps", BLAST], check=True)  # noqa: S603 - fixed arguments
    script = Path(__file__).with_name("blast_reference.py")
    done = subprocess.run([str(python), str(script), str(REFERENCE), "--time"], check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own script
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batteries", type=int, default=10_000)
    parser.add_argument("--years", type=int, default=1)
    parser.add_argument("--blast", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    reference = blast_reference() if asked.blast else None
    week = draw_week(asked.batteries)
    battery_years = asked.batteries * asked.years
    difference = {} if reference is None else largest_difference(reference)
    for cell in CELLS:
        wall, cpu, capacity = fleet_seconds(cell, week, asked.years)
        result = {
            "case": "ageing", "cell": cell, "battery_years": battery_years, "samples_per_day": SAMPLES - 1,
            "run_s": round(wall, 3), "cpu_s": round(cpu, 3), "battery_years_per_s": round(battery_years / wall),
            "mean_capacity": round(capacity, 6),
        }
        if reference is not None:
            theirs = reference["seconds_per_battery_year"][cell]
            result["blast_lite_s_per_battery_year"] = round(theirs, 4)
            result["times_blast_lite"] = round(theirs * battery_years / cpu)
            result["largest_capacity_difference"] = float(f"{difference[cell]:.2e}")
        print("RESULT", json.dumps(result), flush=True)
    if asked.write and reference is not None:
        write(reference)


def write(reference: dict) -> None:
    """One duty cycle per line, figures to nine digits."""
    for duty in reference["duties"]:
        duty["figures"] = [
            {name: value if value is None else round(value, 9) for name, value in figure.items()}
            for figure in duty["figures"]
        ]
    lines = ",\n".join(json.dumps(duty) for duty in reference["duties"])
    source = json.dumps(reference["source"])
    REFERENCE.write_text(f'{{"source": {source},\n"duties": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"wrote {REFERENCE.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
