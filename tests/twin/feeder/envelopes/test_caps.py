"""What envelopes leave for EVSEs: never more than the meter's limit, whatever the grids."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from twin.assets import TimeGrid
from twin.feeder import Envelope, Flow
from twin.feeder.envelopes.caps import evse_caps_kw
from twin.feeder.envelopes.dynamic import Guarantee, envelopes
from twin.feeder.scene import Limits, Scene

START = datetime(2026, 1, 1, tzinfo=UTC)


def scene_with_evses(build: Any, base_w: float = 3000.0, *, steps: int = 4) -> Scene:
    """Two EVSEs behind the one meter; the home draws `base_w`, a third on each phase."""
    feeder = build.two_buses()
    feeder = replace(feeder, connection_points=(replace(feeder.connection_points[0], fuse_a=63.0),))
    base = np.full((len(Flow(feeder).terminals), steps), base_w / 3.0)
    return Scene(feeder, TimeGrid(START, 900, steps), base, 0.0 * base, ("one", "two"), ("load", "load"),
                 ("abc", "abc"), limits=Limits())


def at_meter(scene: Scene, import_w: list[float], export_w: list[float], grid: TimeGrid) -> Scene:
    envelope = Envelope(grid, np.array(import_w), np.array(export_w))
    return replace(scene, feeder=replace(scene.feeder, connection_points=(
        replace(scene.feeder.connection_points[0], envelope=envelope),
    )))


def test_what_the_home_draws_is_taken_off_and_the_rest_is_shared(build: Any) -> None:
    scene = at_meter(scene_with_evses(build), [9000.0] * 4, [1000.0] * 4, TimeGrid(START, 900, 4))
    least, most = evse_caps_kw(scene)
    assert most == pytest.approx(3.0)
    assert least == pytest.approx(-2.0), "the home draws 3 kW, so 4 kW fed in leave 1 kW at the meter"


def test_a_limit_below_the_home_forces_nobody_to_discharge(build: Any) -> None:
    scene = at_meter(scene_with_evses(build), [1000.0] * 4, [0.0] * 4, TimeGrid(START, 900, 4))
    least, most = evse_caps_kw(scene)
    assert (most == 0.0).all()
    assert least == pytest.approx(-1.5)


def test_the_tightest_overlapping_step_holds_and_the_lowest_outside(build: Any) -> None:
    grid = TimeGrid(START + timedelta(seconds=450), 900, 3)
    scene = at_meter(scene_with_evses(build, 0.0), [6000.0, 2000.0, 8000.0], [0.0] * 3, grid)
    _, most = evse_caps_kw(scene)
    assert most[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0])
    fine = replace(scene, grid=TimeGrid(START + timedelta(seconds=450), 300, 9), base_w=np.zeros((3, 9)),
                   base_var=np.zeros((3, 9)))
    assert evse_caps_kw(fine)[1][0].tolist() == pytest.approx([3.0] * 3 + [1.0] * 3 + [4.0] * 3)


def test_an_evse_without_an_envelope_is_free(build: Any) -> None:
    least, most = evse_caps_kw(scene_with_evses(build))
    assert np.isinf(most).all()
    assert np.isinf(least).all()


def test_evses_at_their_caps_are_at_their_meters_limit(build: Any) -> None:
    scene = scene_with_evses(build)
    found = envelopes(scene, guarantee=Guarantee.TOGETHER)
    least, most = evse_caps_kw(scene, found)
    for caps, meter in ((most, found.import_w[0]), (least, -found.export_w[0])):
        p_w, _ = scene.demand_w(caps)
        assert p_w.sum(axis=0) == pytest.approx(meter, rel=1e-9)
    on_feeder = replace(scene, feeder=found.on(scene.feeder))
    assert evse_caps_kw(on_feeder)[1] == pytest.approx(most)
