"""How fast operating envelopes are: the shipped European LV feeder, 96 steps of its homes' day.

    python benchmarks/envelope_speed.py [--samples 2000]

Both directions for 55 homes, and for 40 EVs behind them, by every rule and with both guarantees; seconds of wall and
CPU per direction, one thread, making the feeder's matrices not counted. power-grid-model solves both corners of each
and has to agree. Random mixes, among them all phases against each other, are then solved inside every box of which
any mix is promised, and the largest excess over a limit is printed: nothing above rounding is expected. Target for
equal shares, together: 0.05 s per direction.
"""

import argparse
import json
import os
import time
from datetime import UTC, datetime

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402 - one thread, set above, counts only before

from twin.assets import TimeGrid  # noqa: E402 - as numpy
from twin.feeder.envelopes.dynamic import Envelopes, Guarantee, Rule, corners, envelopes  # noqa: E402 - as numpy
from twin.feeder.envelopes.rays import Problem  # noqa: E402 - as numpy
from twin.feeder.on_disk.example import european_lv, european_lv_home_day  # noqa: E402 - as numpy
from twin.feeder.scene import Limits, Scene  # noqa: E402 - as numpy
from twin.feeder.second_engine.check import Checker  # noqa: E402 - as numpy
from twin.feeder.watched import Watched  # noqa: E402 - as numpy

STEPS = 96


def example() -> Scene:
    """The homes' day, EVs idle."""
    feeder, day = european_lv(), european_lv_home_day()
    idle = np.zeros((len(feeder.connection_points) - len(day.p_w), STEPS))
    grid = TimeGrid(datetime(2026, 1, 1, tzinfo=UTC), 900, STEPS)
    scene = Scene(feeder, grid, np.concatenate((day.p_w, idle)), np.concatenate((day.q_var, idle)), (), (), (),
                  limits=Limits())
    scene.flow()
    return scene


def worst_of_samples(scene: Scene, found: Envelopes, samples: int) -> float:
    """Largest excess over a limit, or over what rest already has, in the units of `watched.Row`."""
    draw = np.random.default_rng(7)
    problem = Problem.of(scene, found.points, Watched(scene.flow(), scene.limits))
    phases = {point.id: point.phases for point in scene.feeder.connection_points}
    steps, worst = np.arange(STEPS), -np.inf
    for turn in range(samples):
        place = draw.random(found.import_w.shape)
        if turn % 3 == 1:
            place = np.round(place)
        elif turn % 3 == 2:
            side = dict(zip("abc", draw.integers(0, 2, 3), strict=True))
            place = np.array([[float(side[phases[point][0]])] * STEPS for point in found.points])
        net = -found.export_w + place * (found.import_w + found.export_w)
        worst = max(worst, float((problem.values(net, steps) - problem.bound).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    scene = example()
    checker = Checker(scene.feeder)
    names = [point.id for point in scene.feeder.connection_points]
    for kind in ("home", "ev"):
        points = [name for name in names if name.startswith(kind)]
        for rule in Rule:
            for guarantee in Guarantee:
                best, is_quick = (np.inf, np.inf), guarantee is Guarantee.TOGETHER and rule is not Rule.MAX_TOTAL
                for _ in range(options.repeats if is_quick else 1):
                    wall, cpu = time.perf_counter(), time.process_time()
                    found = envelopes(scene, points, rule=rule, guarantee=guarantee)
                    best = min(best[0], time.perf_counter() - wall), min(best[1], time.process_time() - cpu)
                checked = [checker.check(end) for end in corners(scene, found)]
                row = {
                    "points": len(points), "of": kind, "rule": rule.value, "guarantee": guarantee.value,
                    "wall_s_per_direction": round(best[0] / 2.0, 4), "cpu_s_per_direction": round(best[1] / 2.0, 4),
                    "import_mean_kw": round(float(found.import_w.mean()) / 1000.0, 3),
                    "export_mean_kw": round(float(found.export_w.mean()) / 1000.0, 3),
                    "engines_agree": all(one.agrees for one in checked),
                    "engines_differ_pu": max(one.voltage_pu for one in checked),
                }
                if guarantee is Guarantee.MIX:
                    row["worst_excess_of_samples"] = worst_of_samples(scene, found, options.samples)
                    row["samples"] = options.samples * STEPS
                    row["is_every_corner"] = found.is_every_corner
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
