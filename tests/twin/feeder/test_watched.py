"""The rows that limits are read from, against full flows and finite differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import Bus, ConnectionPoint, Feeder, Flow, Line, LoadType, Rating, Source
from twin.feeder.scene import Limits
from twin.feeder.watched import Kind, Watched

SEEDS = st.integers(0, 2**32 - 1)
COUNT = settings(max_examples=15, deadline=None)


@given(seed=SEEDS)
@COUNT
def test_the_worst_of_every_kind_is_that_of_the_full_flow(build: Any, seed: int) -> None:
    flow = Flow(build.feeder(seed))
    watched = Watched(flow, Limits())
    solution = flow.solve(*build.power(flow, seed))
    values = watched.values(solution)
    rows = sorted({flow.node_row[point.bus, phase] for point in flow.feeder.connection_points
                   for phase in point.phases})
    volts = solution.voltages_pu()[rows]
    expected = {
        Kind.VOLTAGE_LOW: -volts.min(axis=0), Kind.VOLTAGE_HIGH: volts.max(axis=0),
        Kind.LINE: solution.line_loading().max(axis=0), Kind.TRANSFORMER: solution.transformer_loading().max(axis=0),
    }
    buses = tuple(dict.fromkeys(point.bus for point in flow.feeder.connection_points
                                if (point.bus, "a") in flow.node_row and (point.bus, "b") in flow.node_row
                                and (point.bus, "c") in flow.node_row))
    if buses:
        expected[Kind.UNBALANCE] = solution.unbalance(buses).max(axis=0)
    for kind, worst in expected.items():
        assert values[watched.kinds == kind].max(axis=0) == pytest.approx(worst, rel=1e-7, abs=1e-9), kind


@given(seed=SEEDS)
@COUNT
def test_slopes_are_what_a_few_watts_do(build: Any, seed: int) -> None:
    flow = Flow(build.feeder(seed, load_types=(LoadType("power"),)))
    watched = Watched(flow, Limits())
    power, reactive = build.power(flow, seed, steps=1)
    solution = flow.solve(power, reactive)
    point_of = np.zeros((len(flow.network.base_volts), len(flow.terminals)))
    point_of[flow.network.point_of, np.arange(len(flow.terminals))] = 1.0
    values, slopes = watched.slopes(solution, solution.gradients().di_dp @ point_of)
    assert values == pytest.approx(watched.values(solution))
    terminal = seed % len(flow.terminals)
    ends = []
    for watts in (-5.0, 5.0):
        moved = power.copy()
        moved[terminal] += watts
        ends.append(watched.values(flow.solve(moved, reactive))[:, 0])
    # A current that all but vanishes turns its direction within five watts; there is no slope to compare.
    smooth = np.abs(values[:, 0]) > 1e-3
    assert slopes[0, :, terminal][smooth] == pytest.approx(((ends[1] - ends[0]) / 10.0)[smooth], rel=1e-3, abs=1e-8)


def test_a_step_without_a_flow_is_beyond_every_limit(build: Any) -> None:
    flow = Flow(build.two_buses())
    watched = Watched(flow, Limits())
    power = np.zeros((3, 2))
    power[:, 1] = 1e6
    values = watched.values(flow.solve(power))
    assert np.isfinite(values[:, 0]).all()
    assert np.isinf(values[:, 1]).all()


@pytest.mark.parametrize("limits", [Limits(), Limits(unbalance=None)])
@pytest.mark.parametrize("columns", [0, 1, 4])
def test_a_feeder_of_one_phase_has_neither_unbalance_nor_transformers(limits: Limits, columns: int) -> None:
    only_a = tuple(tuple(0.3 * (row == column == 0) for column in range(3)) for row in range(3))
    nothing = ((0.0,) * 3,) * 3
    line = Line("line", "near", "far", only_a, nothing, nothing, "a", Rating.even(100.0, "a test"), 100.0)
    feeder = Feeder(
        "one phase", (Bus("near", 400.0), Bus("far", 400.0, "a")), (line,), Source("near", 1.0, 0.0, 1e15, 0.0, 1.0),
        (), (ConnectionPoint("home", "far", "a"),),
    )
    flow = Flow(feeder)
    watched = Watched(flow, limits)
    assert set(watched.kinds) == {Kind.VOLTAGE_LOW, Kind.VOLTAGE_HIGH, Kind.LINE}
    solution = flow.solve(np.full((1, columns), 2_000.0))
    values, slopes = watched.slopes(solution, solution.gradients().di_dp)
    assert values == pytest.approx(watched.values(solution))
    # V (E - V) / 0.3 ohm = 2 kW, and along that curve dV/dP = -0.3 ohm / (2 V - E).
    rated = 400.0 / np.sqrt(3.0)
    volts = 0.5 * (rated + np.sqrt(rated**2 - 4.0 * 0.3 * 2_000.0))
    high = list(watched.kinds).index(Kind.VOLTAGE_HIGH)
    assert values[high] == pytest.approx(np.full(columns, volts / rated), abs=1e-6)
    assert slopes[:, high, 0] == pytest.approx(np.full(columns, -0.3 / (2.0 * volts - rated) / rated), rel=1e-4)


def test_rows_have_names_that_people_understand(build: Any) -> None:
    names = {str(row) for row in Watched(Flow(build.two_buses()), Limits()).rows}
    assert {"voltage too low at bus far phase a", "loading of line line phase c", "unbalance at bus far"} <= names


def test_a_line_without_a_rating_is_counted_and_not_judged(build: Any) -> None:
    feeder = build.two_buses()
    watched = Watched(Flow(replace(feeder, lines=(replace(feeder.lines[0], ampacity=None),))), Limits())
    assert watched.unrated == 3
    assert Kind.LINE not in watched.kinds
