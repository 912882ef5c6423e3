"""What BLAST-Lite makes of given duty cycles; runs in an environment of its own, reads and writes JSON.

    python benchmarks/blast_reference.py DUTIES.json > REFERENCE.json

BLAST-Lite's day-by-day method (`update_battery_state`) is the reference. Its `simulate_battery_life` cuts the year at
turning points instead, and leaves out the sample interval between two cuts; it is timed here, as it is what its users
call. Only its download helpers need the packages that are replaced by empty modules below.
"""

import json
import math
import sys
import time
import types
from pathlib import Path

import numpy as np

for missing in ("h5pyd", "geopy", "geopy.geocoders", "rex"):
    sys.modules[missing] = types.ModuleType(missing)
sys.modules["geopy.geocoders"].Nominatim = object
if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid  # noqa: NPY201 - what BLAST-Lite calls, gone from numpy 2.4 on

from importlib.metadata import version  # noqa: E402 - the replacements above come first

import blast.models  # noqa: E402 - the replacements above come first

MODELS = {
    "nmc": "Nmc111_Gr_Kokam75Ah_Battery",
    "lfp": "Lfp_Gr_SonyMurata3Ah_Battery",
    "lfp-prismatic": "Lfp_Gr_250AhPrismatic",
}
SAMPLES = 25
DAY_S = 86400.0


def day_of(duty: dict) -> np.ndarray:
    hours, soc = zip(*duty["soc_over_hours"], strict=True)
    return np.interp(np.linspace(0.0, 24.0, SAMPLES), hours, soc)


def temperature(duty: dict, day: int) -> float:
    return duty["mean_c"] + duty["season_c"] * math.cos(2.0 * math.pi * day / 365.0)


def by_day(duty: dict) -> list[dict]:
    battery = getattr(blast.models, MODELS[duty["cell"]])()
    seconds, soc = np.linspace(0.0, DAY_S, SAMPLES), day_of(duty)
    figures = []
    for day in range(365 * max(duty["years"])):
        battery.update_battery_state(seconds, soc, np.full(SAMPLES, temperature(duty, day)))
        if day + 1 in {365 * year for year in duty["years"]}:
            calendar = battery.states.get("qLoss_LLI_t", battery.states.get("qLoss_t"))[-1]
            figures.append({
                "year": (day + 1) // 365, "capacity": float(battery.outputs["q"][-1]), "calendar_loss": float(calendar),
                "resistance": float(battery.outputs["r"][-1]) if "r" in battery.outputs else None,
                "cycles": float(battery.stressors["efc"][-1]),
            })
    return figures


def seconds_per_battery_year(duty: dict) -> float:
    """CPU time of the method that users call, on a year at hourly samples."""
    hours = np.arange(8761)
    day = day_of(duty)
    trace = {
        "Time_s": hours * 3600.0,
        "SOC": np.interp(hours % 24, np.arange(SAMPLES), day),
        "Temperature_C": np.array([temperature(duty, hour // 24) for hour in hours]),
    }
    best = math.inf
    for _ in range(3):
        begin = time.process_time()
        battery = getattr(blast.models, MODELS[duty["cell"]])()
        battery.simulate_battery_life(trace, is_conserve_energy_throughput=False)
        best = min(best, time.process_time() - begin)
    return best


def main() -> None:
    duties = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["duties"]
    reference = {
        "source": f"BLAST-Lite {version('blast-lite')} (NREL, BSD-3-Clause), update_battery_state day by day, "
                  f"{SAMPLES} samples a day, numpy {np.__version__}, benchmarks/blast_reference.py",
        "duties": [{**duty, "figures": by_day(duty)} for duty in duties],
        "seconds_per_battery_year": {
            cell: seconds_per_battery_year(next(d for d in duties if d["cell"] == cell and d["cycling"]))
            for cell in MODELS
        } if "--time" in sys.argv else {},
    }
    json.dump(reference, sys.stdout, indent=1)


main()
