"""The rows that limits are read from, against full flows and finite differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder import Bus, ConnectionPoint, Feeder, Flow, Line, LoadType, Rating, Source, Transformer
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
        Kind.LINE: solution.line_loading().max(axis=0),
        Kind.TRANSFORMER: np.maximum(
            solution.transformer_loading().max(axis=0), solution.winding_loading().max(axis=(0, 1, 2))
        ),
    }
    buses = tuple(dict.fromkeys(point.bus for point in flow.feeder.connection_points
                                if (point.bus, "a") in flow.node_row and (point.bus, "b") in flow.node_row
                                and (point.bus, "c") in flow.node_row))
    if buses:
        expected[Kind.UNBALANCE] = solution.unbalance(buses).max(axis=0)
    for kind, worst in expected.items():
        assert values[watched.kinds == kind].max(axis=0) == pytest.approx(worst, rel=1e-7, abs=1e-9), kind


def test_one_phase_of_a_transformer_is_watched_by_itself() -> None:
    """30 kVA behind Dyn11, a third of it on phase a alone: as a whole hardly loaded, that phase by all it can."""
    transformer = Transformer("tr", "upper", "lower", 30e3, 10_000.0, 400.0, 0.04, 500.0, "Dyn11")
    feeder = Feeder(
        "behind a transformer", (Bus("upper", 10_000.0), Bus("lower", 400.0)), (), Source("upper"), (transformer,),
        (ConnectionPoint("one", "lower", "a"),),
    )
    flow = Flow(feeder)
    watched = Watched(flow, Limits())
    solution = flow.solve(np.array([[10_000.0]]))
    values = {row.where + row.phase: watched.values(solution)[number, 0] for number, row in enumerate(watched.rows)
              if row.kind is Kind.TRANSFORMER}
    amperes = abs(solution.terminal_powers()[0, 0] / solution.terminal_voltages()[0, 0])
    rated = 30e3 / 3**0.5 / 400.0
    assert 1.0 < amperes / rated < 1.05
    # Most in all on the upper side, where two lines carry 1 / sqrt(3) each.
    assert values["tr"] == pytest.approx(2.0 / 3.0 / 3**0.5, rel=0.05)
    assert values["tr.toa"] == pytest.approx(amperes / rated, rel=1e-9)
    assert values["tr.tob"] == pytest.approx(0.0, abs=1e-9)
    # The delta winding a-b or a-c behind it carries what two of its lines carry: 1 / sqrt(3) of the rated current each.
    assert sorted(values[f"tr.from{phase}"] for phase in "abc")[1:] == pytest.approx([amperes / rated / 3**0.5] * 2)
    assert solution.line_loading().shape == (0, 1)


def test_an_element_held_as_its_matrix_is_watched_at_every_node_with_its_rating(build: Any) -> None:
    feeder = build.rich_feeder(3)
    first, *others = feeder.primitives
    flow = Flow(replace(feeder, primitives=(replace(first, amperes=(50.0, 40.0)), *others)))
    watched = Watched(flow, Limits(transformer_loading=0.8))
    solution = flow.solve(*build.power(flow, 3))
    rows = [number for number, row in enumerate(watched.rows) if row.where.startswith(f"{first.id}.")]
    assert [str(watched.rows[number]) for number in rows] == [
        "loading of transformer reg_a.lower phase a", "loading of transformer reg_a.reg phase a"]
    assert watched.limit[rows].tolist() == [0.8, 0.8]
    expected = np.abs(solution.primitive_currents()[flow.primitive_rows[first.id]]) / np.array([[50.0], [40.0]])
    assert watched.values(solution)[rows] == pytest.approx(expected, rel=1e-9)
    assert solution.primitive_loading()[0] == pytest.approx(expected.max(axis=0), rel=1e-9)
    assert np.isnan(solution.primitive_loading()[1:]).all()


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
