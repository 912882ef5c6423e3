"""Segments that carry the same current are one row, and nothing that the lines carry is lost by it."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.feeder.powerflow.flow import Flow
from twin.feeder.powerflow.line_rows import line_ends, weakest_of_same

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, rich=st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_ends_of_lines_carry_what_the_flow_says(build: Any, seed: int, rich: bool) -> None:
    flow = Flow(build.rich_feeder(seed) if rich else build.feeder(seed))
    solution = flow.solve(*build.power(flow, seed))
    ends = line_ends(flow)
    expected = [solution.line_currents("from"), solution.line_currents("to")]
    for end, amperes in zip(ends, expected, strict=False):
        np.testing.assert_allclose(end @ solution.state, amperes, rtol=1e-9, atol=1e-9)
    if len(ends) == 1:
        np.testing.assert_allclose(expected[0], expected[1], rtol=1e-12)


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_every_segment_is_in_the_row_of_the_weakest_that_carries_its_current(seed: int) -> None:
    """Against comparing each segment with each, forwards and backwards; of equal ampacities the first."""
    draw = np.random.default_rng(seed)
    few = draw.integers(-1, 2, (3, 4)) + 1j * draw.integers(-1, 2, (3, 4))
    currents = few[draw.integers(0, 3, 12)] * draw.choice([-1.0, 1.0], (12, 1)) + draw.uniform(-1e-11, 1e-11, (12, 4))
    ampacity = draw.choice([np.nan, 50.0, 80.0, 120.0], 12)
    weakest, row_of = weakest_of_same(currents, ampacity=ampacity)
    for segment in range(12):
        alike = [other for other in range(12) if not np.isnan(ampacity[other]) and any(
            np.abs(currents[segment] - sign * currents[other]).max() < 1e-6 for sign in (-1.0, 1.0))]
        if np.isnan(ampacity[segment]) or np.abs(currents[segment]).max() < 1e-6:
            assert row_of[segment] == -1
        else:
            assert weakest[row_of[segment]] == min(alike, key=lambda other: (ampacity[other], other))
    assert sorted(set(row_of.tolist()) - {-1}) == list(range(len(weakest)))


def test_segments_that_differ_at_one_end_are_two_rows() -> None:
    near, far = np.array([[1.0 + 0j, 0.0], [1.0, 0.0]]), np.array([[1.0 + 0j, 0.0], [1.0, 0.5]])
    ampacity = np.array([10.0, 20.0])
    assert weakest_of_same(near, ampacity=ampacity)[0].tolist() == [0]
    assert weakest_of_same(near, far, ampacity=ampacity)[1].tolist() == [0, 1]
