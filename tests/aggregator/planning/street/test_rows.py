"""What the feeder's rows say is what the flow says, and their slopes are what the flow does next."""

from collections.abc import Callable

import numpy as np
import pytest

from aggregator.planning.street.rows import GridRows
from twin.feeder.scene import Limits, Scene

MakeStreet = Callable[..., Scene]
WIDE = Limits(voltage_pu=(0.5, 1.5))


def powers(scene: Scene, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-6.0, 7.0, (len(scene.evse_ids), scene.grid.steps))


@pytest.mark.parametrize("c1", [0.0, 2e-6])
def test_levels_are_those_of_the_flow(make_street: MakeStreet, c1: float) -> None:
    scene = make_street(4, evs="abca", c1=c1, limits=WIDE)
    rows = GridRows(scene)
    solution = rows.solve(powers(scene, 1))
    level = {kind: over + rows.monitors[kind].limit[:, None] for kind, over in rows.excess(solution).items()}
    flow = scene.flow()
    bus = {point.id: point.bus for point in scene.feeder.connection_points}
    volts = solution.voltages_pu()
    monitor = rows.monitors["high_voltage"]
    at = [flow.node_row[bus[name], "abc"[phase]] for name, phase in zip(monitor.elements, monitor.phase, strict=True)]
    np.testing.assert_allclose(level["high_voltage"], 100.0 * volts[at], rtol=1e-9)
    np.testing.assert_allclose(level["low_voltage"], -100.0 * volts[at], rtol=1e-9)
    np.testing.assert_allclose(level["line"].max(axis=0), 100.0 * np.nanmax(solution.line_loading(), axis=0), rtol=1e-9)
    np.testing.assert_allclose(level["transformer"].max(axis=0), 100.0 * solution.transformer_loading()[0], rtol=1e-9)
    np.testing.assert_allclose(
        level["unbalance"], 100.0 * solution.unbalance(rows.monitors["unbalance"].elements), rtol=1e-9)


@pytest.mark.parametrize("power_factor", [1.0, 0.9])
@pytest.mark.parametrize("c1", [0.0, 2e-6])
def test_slopes_are_finite_differences_of_the_flow(make_street: MakeStreet, power_factor: float, c1: float) -> None:
    scene = make_street(3, evs="abca", power_factor=power_factor, c1=c1, limits=WIDE)
    rows, kw, step_kw = GridRows(scene), powers(scene, 2), 1e-4
    solution = rows.solve(kw)
    response = rows.response(solution, np.arange(3))
    for kind, monitor in rows.monitors.items():
        row, step = (part.ravel() for part in np.meshgrid(np.arange(len(monitor.elements)), np.arange(3)))
        slope = rows.slopes(solution, response, kind, row, step)
        for evse in range(len(scene.evse_ids)):
            nudge = np.zeros_like(kw)
            nudge[evse] = step_kw
            up, down = rows.excess(rows.solve(kw + nudge))[kind], rows.excess(rows.solve(kw - nudge))[kind]
            expected = ((up - down) / (2.0 * step_kw))[row, step]
            np.testing.assert_allclose(slope[:, evse], expected, rtol=1e-5, atol=1e-6, err_msg=kind)


def test_what_nobody_limits_has_no_row(make_street: MakeStreet) -> None:
    assert "unbalance" not in GridRows(make_street(limits=Limits(unbalance=None))).monitors


def test_a_step_without_solution_has_no_level(make_street: MakeStreet) -> None:
    scene = make_street(2, metres=2000.0)
    kw = np.zeros((3, 2))
    kw[:, 1] = 60.0
    excess = GridRows(scene).excess(GridRows(scene).solve(kw))
    assert all(np.isfinite(over[:, 0]).all() and np.isnan(over[:, 1]).all() for over in excess.values())
