"""How much of a year's simulation the feeder takes: 40 EVs of the street in quarter hours, with and without EVs.

    python benchmarks/street_speed.py                 a year under `uncontrolled` and `laxity`, best of three
    python benchmarks/street_speed.py --days 30

One thread, processor time. `twin` is the engine's run, `feeder` both judgements of the feeder (voltages, currents,
transformer, unbalance, EN 50160, the second engine) and `report` what makes bands, hot spots and pictures of them; the
share is (feeder + report) / (twin + feeder + report). Goal: at most 20 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402 - after the number of threads is set

from aggregator.studies.control import RuleRunner  # noqa: E402
from aggregator.studies.on_feeder import on_feeder_result  # noqa: E402
from twin.drivers import draw  # noqa: E402
from twin.scenario import load_scenario  # noqa: E402

STREET = Path(__file__).parents[1] / "examples" / "street_v2g.toml"
START = "2025-01-01T00:00:00+01:00"


def scenario(days: int, control: str, folder: Path) -> Path:
    end = datetime.fromisoformat(START) + timedelta(days=days)
    file = folder / f"{control}.toml"
    file.write_text(
        f'extends = "{STREET}"\nstart = {START}\nend = {end.isoformat()}\nevents = []\nrun.replicas = 1\n'
        f'control.name = "{control}"\ncontrol.between_steps = true\n'
        f'control.discharges = {"true" if control != "uncontrolled" else "false"}\n'
        "ageing.enabled = false\n", encoding="utf-8",
    )
    return file


def measure(days: int, control: str, folder: Path) -> None:
    experiment = load_scenario(scenario(days, control, folder)).experiment()
    feeder = experiment.feeder
    assert feeder is not None
    capacity = np.array([car.battery.capacity_kwh * car.battery.soc_max for car in experiment.ensemble.vehicles])
    drawn = draw(experiment.visits, experiment.drivers, replicas=1, seed=1, capacity_kwh=capacity)
    runner = RuleRunner(experiment.control, drawn, None)
    best = [float("inf")] * 3
    for _ in range(3):
        marks = [time.process_time()]
        outcome = runner(experiment.ensemble, (), record_evses=True, tell=lambda _: None)
        marks.append(time.process_time())
        impact = feeder.judge(outcome, drawn.visits)
        marks.append(time.process_time())
        on_feeder_result(feeder, impact, outcome)
        marks.append(time.process_time())
        best = [min(*pair) for pair in zip(best, np.diff(marks), strict=True)]
    twin, judged, report = best
    active = int((np.abs(np.asarray(outcome.evse_kwh)).max(axis=1) > 0.0).sum())
    print(
        f"{control:>12}: twin {twin:.2f} s, feeder {judged:.2f} s, report {report:.2f} s, share "
        f"{(judged + report) / (twin + judged + report):.1%}; {active:,} of {experiment.ensemble.grid.steps:,} steps "
        f"with EVs; {impact.checked.steps} steps in both engines, agree: {impact.checked.agrees}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    days = parser.parse_args().days
    with tempfile.TemporaryDirectory() as folder:
        for control in ("uncontrolled", "laxity"):
            measure(days, control, Path(folder))


if __name__ == "__main__":
    main()
