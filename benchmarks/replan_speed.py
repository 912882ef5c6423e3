"""Re-plan time of the demo's day: build, solve and replay through the gate, against the limits the loop needs.

    python benchmarks/replan_speed.py        one process, the shipped scenario with its event, no sockets
"""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC
from pathlib import Path

import numpy as np

from aggregator.clock import Segment
from aggregator.demo.configuration import Credentials, write_clock, write_configuration
from aggregator.demo.paired import loop_day
from aggregator.demo.scene import load_scene
from aggregator.signals.model import GridSignal, Obligation, SignalInterval
from twin.scenario import resource_path

MEDIAN_LIMIT_S, P95_LIMIT_S = 0.5, 1.5


def main() -> None:
    scene = load_scene(resource_path("workplace_caltech.toml"))
    event = scene.tables.signals.event
    signal = GridSignal(
        "event", "openadr:utility", "event", 1, "event", event.posted.astimezone(UTC), event.programme,
        Obligation.COMMITTED, scene.scenario.public().site.id,
        (SignalInterval(event.start.astimezone(UTC), event.end.astimezone(UTC), event.max_net_kw),),
    )
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        write_configuration(folder, scene, Credentials.make(scene), host="127.0.0.1", http_port=0, ocpp_port=0)
        write_clock(folder / "clock.json", [Segment(time.time(), scene.scenario.public().start, 480.0)])
        day = loop_day(scene, folder, [signal], speed=480.0)
    assert day.log is not None
    seconds = np.array([sum(outcome.seconds().values()) for _, _, outcome in day.log.plans])
    rounds = np.array([len(outcome.rounds) for _, _, outcome in day.log.plans])
    median, p95 = float(np.median(seconds)), float(np.quantile(seconds, 0.95))
    print(f"{len(seconds)} plans, {int((rounds > 1).sum())} refused at least once, at most {rounds.max()} rounds")
    print(f"median {median:.3f} s ({median / MEDIAN_LIMIT_S:.2f} of the limit), "
          f"p95 {p95:.3f} s ({p95 / P95_LIMIT_S:.2f} of the limit), largest {seconds.max():.3f} s")
    print("RESULT " + json.dumps({"plans": len(seconds), "median_s": round(median, 4), "p95_s": round(p95, 4),
                                  "max_s": round(float(seconds.max()), 4)}))


if __name__ == "__main__":
    main()
