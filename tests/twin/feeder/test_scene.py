"""A scene turns powers of EVSEs into powers of terminals, and refuses what does not fit its feeder."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid, utc
from twin.feeder.powerflow.flow import Flow
from twin.feeder.scene import Limits, Scene, SceneError

SEEDS = st.integers(0, 2**32 - 1)
COUNT = settings(max_examples=20, deadline=None)
STEPS = 5
GRID = TimeGrid(utc("2025-01-14T12:00:00Z"), 900, STEPS)


def scene(build: Any, seed: int, **changes: Any) -> Scene:
    """EVSEs at random points of a random feeder, each on some of the point's phases."""
    feeder = build.feeder(seed)
    draw = np.random.default_rng([seed, 9])
    rows = len(Flow(feeder).terminals)
    points = [feeder.connection_points[int(k)] for k in draw.integers(len(feeder.connection_points), size=4)]
    phases = ["".join(sorted(draw.choice(list(point.phases), int(draw.integers(1, len(point.phases) + 1)), False)))
              for point in points]
    made: dict[str, Any] = {
        "feeder": feeder, "grid": GRID, "base_w": draw.uniform(-2e3, 4e3, (rows, STEPS)),
        "base_var": draw.uniform(-500.0, 900.0, (rows, STEPS)), "evse_ids": ("one", "two", "three", "four"),
        "evse_points": tuple(point.id for point in points), "evse_phases": tuple(phases),
    }
    return Scene(**{**made, **changes})


@given(seed=SEEDS, factor=st.floats(0.3, 1.0))
@COUNT
def test_terminals_draw_the_base_and_an_even_share_of_each_evse(build: Any, seed: int, factor: float) -> None:
    made = scene(build, seed, power_factor=factor)
    kw = np.random.default_rng(seed).uniform(-11.0, 11.0, (4, STEPS))
    p_w, q_var = made.demand_w(kw)
    expected = made.base_w.copy()
    for number, (point, phases) in enumerate(zip(made.evse_points, made.evse_phases, strict=True)):
        for phase in phases:
            expected[made.flow().terminal_row[point, phase]] += 1000.0 * kw[number] / len(phases)
    np.testing.assert_allclose(p_w, expected, atol=1e-9)
    tangent = np.tan(np.arccos(factor))
    np.testing.assert_allclose(q_var - made.base_var, tangent * (p_w - made.base_w), atol=1e-6 * (1.0 + tangent))


@given(seed=SEEDS)
@COUNT
def test_replicas_share_the_base_and_some_steps_are_those_steps(build: Any, seed: int) -> None:
    made = scene(build, seed)
    kw = np.random.default_rng(seed).uniform(-11.0, 11.0, (4, 3, STEPS))
    p_w, q_var = made.demand_w(kw)
    assert p_w.shape == q_var.shape == (len(made.flow().terminals), 3, STEPS)
    for replica in range(3):
        np.testing.assert_array_equal(p_w[:, replica], made.demand_w(kw[:, replica])[0])
    some = np.array([3, 0])
    np.testing.assert_allclose(made.demand_of(kw[:, 1][:, some], some)[0], p_w[:, 1][:, some])


def test_the_spread_adds_up_to_every_evse(build: Any) -> None:
    made = scene(build, 3)
    np.testing.assert_allclose(made.spread().sum(axis=0), np.ones(4))
    assert made.flow() is made.flow()


def test_what_does_not_fit_is_refused_with_what_was_expected(build: Any) -> None:
    with pytest.raises(SceneError, match="evse one: 'nowhere', expected a connection point of feeder random"):
        scene(build, 1, evse_points=("nowhere",) * 4)
    with pytest.raises(SceneError, match="'ba', expected one to three of the phases"):
        scene(build, 1, evse_phases=("ba",) * 4)
    with pytest.raises(SceneError, match="among the phases"):
        scene(build, 1, evse_phases=("abc",) * 4, evse_points=(single(build, 1),) * 4)
    with pytest.raises(SceneError, match="every id once"):
        scene(build, 1, evse_ids=("one", "one", "two", "three"))
    with pytest.raises(SceneError, match="one for each of 4 EVSEs"):
        scene(build, 1, evse_phases=("a",))
    with pytest.raises(SceneError, match=r"base_w.*terminal, step"):
        scene(build, 1, base_w=np.zeros((1, STEPS)))
    with pytest.raises(SceneError, match="finite powers"):
        scene(build, 1, base_var=np.full_like(scene(build, 1).base_var, np.nan))
    with pytest.raises(SceneError, match=r"power_factor: 0\.0, expected above 0, at most 1"):
        scene(build, 1, power_factor=0.0)
    with pytest.raises(SceneError, match=r"shape \(4, 5\) or"):
        scene(build, 1).demand_w(np.zeros((4, 6)))


def single(build: Any, seed: int) -> str:
    """A point that has not all phases."""
    return next(point.id for point in build.feeder(seed).connection_points if len(point.phases) < 3)


@pytest.mark.parametrize("changes", [
    {"voltage_pu": (1.1, 0.9)}, {"voltage_pu": (0.0, 1.1)}, {"line_loading": 0.0}, {"transformer_loading": np.inf},
    {"unbalance": -0.1},
])
def test_limits_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SceneError, match="limits"):
        Limits(**changes)


def test_unbalance_need_not_be_judged() -> None:
    assert Limits(unbalance=None).unbalance is None
