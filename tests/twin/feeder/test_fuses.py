"""What flows through fuses, and what they let through, by closed forms and against full flows."""

from dataclasses import replace
from datetime import UTC, datetime
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid
from twin.feeder import Flow, LoadType, Zip
from twin.feeder.fuses import Fuses
from twin.feeder.scene import Limits, Scene

RATED = 400.0 / sqrt(3.0)
GRID = TimeGrid(datetime(2026, 1, 1, tzinfo=UTC), 900, 1)


def scene_of(build: Any, watts: float, variable: float, *, kind: LoadType | None = None, power_factor: float = 1.0,
             fuse_a: float | None = 25.0) -> Scene:
    feeder = build.two_buses(kind=kind)
    feeder = replace(feeder, connection_points=(replace(feeder.connection_points[0], fuse_a=fuse_a),))
    return Scene(feeder, GRID, np.full((3, 1), watts), np.full((3, 1), variable), (), (), (),
                 power_factor=power_factor, limits=Limits((0.9, 1.1)))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_fuse_that_stands_alone_carries_the_current_of_its_load_point(build: Any, seed: int) -> None:
    flow = Flow(build.feeder(seed))
    solution = flow.solve(*build.power(flow, seed))
    fuses = Fuses(flow)
    assert len(fuses.rows) == len(flow.terminals), "all of them have one"
    amperes = np.abs(solution.state[1:])
    shares = np.bincount(flow.network.point_of)
    loading = fuses.loading(solution) * 63.0
    for row, point in enumerate(flow.network.point_of):
        if shares[point] == 1:
            assert loading[row] == pytest.approx(amperes[point], rel=1e-6)


def test_loads_at_the_same_place_each_have_their_own_current(build: Any) -> None:
    feeder = build.two_buses()
    feeder = replace(feeder, connection_points=(
        replace(feeder.connection_points[0], fuse_a=10.0), replace(feeder.connection_points[0], id="other"),
        replace(feeder.connection_points[0], id="third", fuse_a=20.0),
    ))
    flow = Flow(feeder)
    power = np.array([1000.0] * 3 + [500.0] * 3 + [-2000.0] * 3)[:, None]
    reactive = np.array([300.0] * 3 + [0.0] * 3 + [100.0] * 3)[:, None]
    solution = flow.solve(power, reactive)
    volts = np.abs(solution.terminal_voltages()[0, 0])
    assert Fuses(flow).loading(solution)[:, 0] == pytest.approx(
        [np.hypot(1000.0, 300.0) / volts / 10.0] * 3 + [np.hypot(2000.0, 100.0) / volts / 20.0] * 3, rel=1e-9)


def test_what_a_fuse_lets_through_is_its_amperes_at_the_lowest_voltage(build: Any) -> None:
    scene = scene_of(build, 0.0, 0.0)
    for sign in (1.0, -1.0):
        assert Fuses(scene.flow()).most_w(scene, ["load"], sign) == pytest.approx(3.0 * 25.0 * 0.9 * RATED)


def test_vars_and_base_loads_take_their_part_of_the_fuse(build: Any) -> None:
    scene = scene_of(build, 2000.0, 3000.0)
    free = sqrt((25.0 * 0.9 * RATED) ** 2 - 3000.0**2)
    for sign in (1.0, -1.0):
        assert Fuses(scene.flow()).most_w(scene, ["load"], sign) == pytest.approx(3.0 * free)
    beyond = scene_of(build, 2000.0, 6000.0)
    assert Fuses(beyond.flow()).most_w(beyond, ["load"], 1.0) == pytest.approx(0.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_vars_that_come_with_watts_are_counted(build: Any, sign: float) -> None:
    scene = scene_of(build, 1000.0, 400.0, power_factor=0.9)
    watts = float(Fuses(scene.flow()).most_w(scene, ["load"], sign)[0, 0]) / 3.0 * sign
    vars_ = 400.0 + (watts - 1000.0) * sqrt(1.0 / 0.9**2 - 1.0)
    assert np.hypot(watts, vars_) == pytest.approx(25.0 * 0.9 * RATED)


def test_an_impedance_draws_most_at_the_highest_voltage(build: Any) -> None:
    scene = scene_of(build, 0.0, 0.0, kind=LoadType("impedance", Zip(1.0, 0.0, 0.0), Zip(1.0, 0.0, 0.0)))
    assert Fuses(scene.flow()).most_w(scene, ["load"], 1.0) == pytest.approx(3.0 * 25.0 * RATED / 1.1)


def test_a_point_without_a_fuse_is_not_judged(build: Any) -> None:
    scene = scene_of(build, 0.0, 0.0, fuse_a=None)
    fuses = Fuses(scene.flow())
    assert np.isinf(fuses.most_w(scene, ["load"], 1.0)).all()
    assert fuses.loading(scene.flow().solve(scene.base_w)).shape == (0, 1)


def test_a_step_without_a_flow_has_no_figure(build: Any) -> None:
    scene = scene_of(build, 0.0, 0.0)
    power = np.array([[0.0, 1e6]] * 3)
    assert np.isnan(Fuses(scene.flow()).loading(scene.flow().solve(power))).all(axis=0).tolist() == [False, True]
