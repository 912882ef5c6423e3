"""What is read off in few rows is what the whole flow says."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import Feeder
from twin.feeder.impact.readings import Readings
from twin.feeder.powerflow.flow import Flow

SEEDS = st.integers(0, 2**32 - 1)


def some_rated(feeder: Feeder, seed: int) -> Feeder:
    """About half of the elements that are held as their matrix with a rating, another one at each node."""
    draw = np.random.default_rng([seed, 7])
    return replace(feeder, primitives=tuple(
        replace(one, amperes=tuple(draw.uniform(20.0, 60.0, len(one.nodes)))) if draw.random() < 0.5 else one
        for one in feeder.primitives
    ))


def feeder_rated(feeder: Feeder) -> list[str]:
    return [primitive.id for primitive in feeder.primitives if primitive.amperes]


@given(seed=SEEDS, rich=st.booleans())
@settings(max_examples=25, deadline=None)
def test_readings_equal_the_whole_flow(build: Any, seed: int, rich: bool) -> None:
    """Regulators, capacitances of lines, rings, delta: rows that are told apart and those that are read as one."""
    feeder = build.feeder(seed)
    if rich:
        feeder = some_rated(build.rich_feeder(seed), seed)
    flow = Flow(feeder)
    readings = Readings(flow)
    solution = flow.solve(*build.power(flow, seed))
    found = readings.of(solution)
    volts = {bus.id: bus.volts for bus in feeder.buses}
    bus_of = {point.id: point.bus for point in feeder.connection_points}
    across = np.array([
        volts[bus_of[terminal.connection_point]] / (1.0 if terminal.other else np.sqrt(3.0))
        for terminal in flow.terminals
    ])
    expected = np.abs(solution.terminal_voltages()) / across[:, None]
    np.testing.assert_allclose(found.volts_pu[flow.network.point_of], expected, rtol=1e-10)
    whole = solution.line_loading()
    loading = np.where(readings.line_of[:, None] >= 0, found.loading[readings.line_of], 0.0)
    np.testing.assert_allclose(loading * readings.weaker[:, None], whole, atol=1e-7)
    assert (found.loading.max(axis=0) >= whole.max(axis=0) - 1e-9).all()
    assert readings.transformer_ids == (*(one.id for one in feeder.transformers), *feeder_rated(feeder))
    carried, windings = solution.transformer_loading(), solution.winding_loading()
    several = len(feeder.transformers)
    np.testing.assert_allclose(found.transformer[:several], np.maximum(carried, windings.max(axis=(1, 2))), atol=1e-9)
    known = np.isfinite(solution.primitive_loading()[:, 0])
    np.testing.assert_allclose(found.transformer[several:], solution.primitive_loading()[known], atol=1e-9)
    by_name = {(one.element, one.where, one.phase): row for one, row in zip(
        readings.windings, found.winding, strict=True)}
    for transformer, sides in zip(feeder.transformers, windings, strict=True):
        for where, phases in zip(("from", "to"), sides, strict=True):
            for phase, values in zip("abc", phases, strict=True):
                np.testing.assert_allclose(by_name[transformer.id, where, phase], values, atol=1e-9)
    for primitive in feeder.primitives:
        amperes = np.abs(solution.primitive_currents()[flow.primitive_rows[primitive.id]])
        for node, current, rated in zip(primitive.nodes, amperes, primitive.amperes, strict=False):
            np.testing.assert_allclose(by_name[primitive.id, *node], current / rated, atol=1e-9)
    assert len(by_name) == 6 * several + sum(len(primitive.amperes) for primitive in feeder.primitives)
    if readings.buses:
        np.testing.assert_allclose(found.unbalance, solution.unbalance(readings.buses), atol=1e-10)
    np.testing.assert_allclose(found.losses_w, solution.losses_w(), rtol=1e-6, atol=1e-2)
    np.testing.assert_allclose(found.import_w, solution.source_power().real, rtol=1e-9, atol=1e-3)


def test_an_unsolved_step_reads_as_nothing(build: Any) -> None:
    flow = Flow(build.two_buses())
    found = Readings(flow).of(flow.solve(np.array([[1e3, 1e9], [1e3, 0.0], [1e3, 0.0]])))
    assert found.has_solution.tolist() == [True, False]
    for name in ("volts_pu", "loading", "transformer", "winding", "unbalance", "losses_w", "import_w"):
        assert np.isfinite(getattr(found, name)[..., 0]).all()
        assert np.isnan(getattr(found, name)[..., 1]).all()
