"""How fast transformers grow old: hot spot and loss of life of a year of quarter hours, one thread.

    python benchmarks/transformer_ageing_speed.py [--transformers 50] [--reference] [--write]

Target: 50 transformers x 35,040 steps in 1.5 s, by each standard, every figure for both kinds of paper. `--reference`
builds an environment for transformer-thermal-model under build/, times it on one transformer and compares the
temperatures of a day; `--write` renews tests/twin/feeder/thermal/hot_spot_reference.json from it.
"""

import argparse
import json
import os
import subprocess
import time
import venv
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 - one thread, set above, counts only before

from twin.feeder.network.model import ThermalConstants, Transformer  # noqa: E402 - as numpy
from twin.feeder.thermal.hot_spot import Standard, ThermalState, run  # noqa: E402 - as numpy

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "tests" / "twin" / "feeder" / "hot_spot_reference.json"
PACKAGE = "transformer-thermal-model==0.6.0"
YEAR = 35_040
CONSTANTS = {
    "distribution": ThermalConstants(),
    "power": ThermalConstants(52.0, 26.0, 6.0, 0.8, 1.3, 210.0, 10.0, 0.5, 2.0, 2.0),
}


def unit(name: str, constants: ThermalConstants) -> Transformer:
    return Transformer(name, "upper", "lower", 250e3, 10_000.0, 400.0, 0.04, 3250.0, "Dyn5", thermal=constants)


def a_year(transformers: int) -> tuple[np.ndarray, np.ndarray]:
    """Loadings of homes with EVs in the evening, and the air."""
    draw = np.random.default_rng(1)
    hour = np.arange(YEAR) % 96 / 4.0
    evening = np.exp(-((hour - 19.0) / 2.5) ** 2)
    noise = draw.uniform(0.8, 1.2, (transformers, YEAR))
    air = 10.0 - 10.0 * np.cos(2.0 * np.pi * np.arange(YEAR) / YEAR) + 4.0 * np.sin(2.0 * np.pi * (hour - 9.0) / 24.0)
    return (0.35 + draw.uniform(0.4, 0.9, (transformers, 1)) * evening) * noise, air


def reference(python: Path, day: dict[str, list[float]]) -> dict:
    """What the other program says of a day, and how long it takes for a year of one transformer."""
    script = Path(__file__).with_name("transformer_ageing_reference.py")
    done = subprocess.run(  # noqa: S603 - our own script
        [str(python), str(script)], input=json.dumps(day), check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def environment() -> Path:
    home = ROOT / "build" / "transformer-thermal-model"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PACKAGE], check=True)  # noqa: S603 - fixed
    return python


def a_day() -> dict[str, list[float]]:
    draw = np.random.default_rng(5)
    wave = 0.5 + 0.6 * np.sin(np.linspace(0.0, 7.0, 96)) + draw.normal(0.0, 0.15, 96)
    air = 15.0 + 8.0 * np.sin(np.linspace(-2.0, 4.0, 96))
    return {"loading": np.clip(wave, 0.0, 1.6).round(3).tolist(), "ambient_c": air.round(2).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--transformers", type=int, default=50)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    loading, air = a_year(asked.transformers)
    units = [unit(f"t{number}", CONSTANTS["distribution"]) for number in range(asked.transformers)]
    for standard in Standard:
        wall, cpu = time.perf_counter(), time.process_time()
        course = run(units, loading, air, 900.0, standard=standard)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print("RESULT", json.dumps({
            "case": "transformer ageing", "standard": standard, "transformers": asked.transformers, "steps": YEAR,
            "run_s": round(wall, 3), "cpu_s": round(cpu, 3),
            "peak_hot_spot_c": round(float(course.peak_hot_spot_c.max()), 2),
            "mean_loss_of_life_h": {
                paper: round(float(np.mean([course.loss_of_life_h[row] for row, (_, own) in enumerate(course.papers)
                                            if own is paper])), 2)
                for paper in dict.fromkeys(own for _, own in course.papers)
            },
        }), flush=True)
    if asked.reference or asked.write:
        day = a_day()
        told = reference(environment(), day)
        for name, constants in CONSTANTS.items():
            first = np.array([day["ambient_c"][0]])
            course = run(
                [unit(name, constants)], np.array([day["loading"]]), np.array(day["ambient_c"]), 900.0,
                initial=ThermalState(first, first, 0.0 * first, 0.0 * first),
            )
            print("RESULT", json.dumps({
                "case": "transformer-thermal-model", "transformer": name,
                "its_s_per_year_of_one": round(told["seconds_per_year"], 3),
                "largest_difference_k": float(np.abs(course.hot_spot_c[0] - told[name]["hot_spot_c"]).max()),
            }), flush=True)
        if asked.write:
            told.pop("seconds_per_year")
            source = f"{PACKAGE.replace('==', ' ')} (MPL-2.0)"
            REFERENCE.write_text(json.dumps({"source": source, **day, **told}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
