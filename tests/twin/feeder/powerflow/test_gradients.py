"""Gradients against central differences of solved flows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import Flow, Gradients, Solution

STEP_W = 5.0


def magnitudes(solution: Solution) -> dict[str, np.ndarray]:
    return {
        "nodes": np.abs(solution.voltages()), "terminals": np.abs(solution.terminal_voltages()),
        "segments": np.abs(solution.line_currents()),
        "transformers": np.abs(solution.flow.network.transformers @ solution.state),
        "primitives": np.abs(solution.primitive_currents()),
    }


def exact(flow: Flow, gradients: Gradients) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        "nodes": gradients.node_voltage(np.arange(len(flow.nodes))), "terminals": gradients.terminal_voltage(),
        "segments": gradients.segment_current(np.arange(len(flow.segments))),
        "transformers": gradients.transformer_current(), "primitives": gradients.primitive_current(),
    }


@given(seed=st.integers(0, 2**32 - 1), kind=st.integers(0, 1), rich=st.booleans())
@settings(max_examples=20, deadline=None)
def test_gradients_are_the_slopes_of_the_flow(build: Any, seed: int, kind: int, rich: bool) -> None:
    """At operating points away from the borders of valid ranges, where a slope is defined from both sides."""
    flow = Flow(build.rich_feeder(seed) if rich else build.feeder(seed))
    power, reactive = build.power(flow, seed, steps=2)
    found = exact(flow, flow.solve(power, reactive).gradients())
    base = magnitudes(flow.solve(power, reactive))
    terminal = seed % len(flow.terminals)
    move = np.zeros_like(power)
    move[terminal] = STEP_W
    step = (move, np.zeros_like(move)) if kind == 0 else (np.zeros_like(move), move)
    more = magnitudes(flow.solve(power + step[0], reactive + step[1]))
    less = magnitudes(flow.solve(power - step[0], reactive - step[1]))
    for name, gradient in found.items():
        if not gradient[kind].size:
            continue
        forward, backward = (more[name] - base[name]) / STEP_W, (base[name] - less[name]) / STEP_W
        slope = gradient[kind][:, :, terminal].T
        # Where both one-sided slopes differ the point lies on a border, or the current's size has its corner at 0.
        smooth = np.abs(forward - backward) < 1e-4 * max(np.abs(slope).max(), 1e-12)
        assert smooth.mean() > 0.3
        middle = (forward + backward) / 2.0
        scale = max(float(np.abs(slope).max()), 1e-12)
        assert slope[smooth] == pytest.approx(middle[smooth], rel=2e-4, abs=2e-4 * scale)


def test_more_load_lowers_its_own_voltage_and_raises_its_own_current(build: Any) -> None:
    flow = Flow(build.two_buses())
    gradients = flow.solve(np.full((3, 1), 4000.0)).gradients()
    dv_dp, dv_dq = gradients.terminal_voltage()
    di_dp, _ = gradients.segment_current(np.arange(3))
    assert (np.diagonal(dv_dp[0]) < 0.0).all()
    assert (np.diagonal(dv_dq[0]) < 0.0).all()
    assert (np.diagonal(di_dp[0]) > 0.0).all()


def test_steps_without_a_solution_have_no_gradient_and_do_not_spoil_others(build: Any) -> None:
    flow = Flow(build.two_buses())
    power = np.array([[4000.0, 1e8], [0.0, 0.0], [0.0, 0.0]])
    both = flow.solve(power).gradients().terminal_voltage()[0]
    alone = flow.solve(power[:, :1]).gradients().terminal_voltage()[0]
    assert np.isnan(both[1]).all()
    assert both[0] == pytest.approx(alone[0], rel=1e-12)


def test_only_the_steps_asked_for_are_worked_out(build: Any) -> None:
    flow = Flow(build.two_buses())
    solution = flow.solve(np.outer([1.0, 2.0, 0.5], [1000.0, 2000.0, 3000.0]))
    assert solution.gradients(np.array([2])).terminal_voltage()[0][0] == pytest.approx(
        solution.gradients().terminal_voltage()[0][2], rel=1e-12
    )
