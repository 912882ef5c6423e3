"""The shared physics of a station process: it moves along the timeline and never stands still in one instant."""

from __future__ import annotations

import math
import time

import pytest

from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.station.clock import DomainClock
from twin.station.plant import Plant
from twin.station.timeline import Timeline

CAR = Vehicle("car", Battery(40.0, PowerCurve((0.0, 0.8, 1.0), (6.0, 6.0, 1.0)), loss=LossCurve(0.1, 0.05, 0.004)), 6.6)


@pytest.mark.parametrize("soc", [0.5 + k * 0.00973 for k in range(30)])
def test_a_car_that_is_about_to_taper_never_stops_the_timeline(soc: float) -> None:
    timeline = Timeline(DomainClock.wall())
    plant = Plant(1, timeline)
    timeline.after_events = plant.watch
    plant.plug(0, CAR, soc * 40.0)
    plant.set_power(0, 6.6)
    seen: list[float] = []
    step = math.pi * 1000
    for index in range(1, 8):
        timeline.at(timeline.now + step * index, seen.append)
    begun = time.monotonic()
    timeline.run_until(timeline.now + 8 * step)
    assert len(seen) == 7
    assert time.monotonic() - begun < 5.0
    assert plant.fleet.soc[0] > 0.8
