"""Step series: exact means of piecewise-constant power."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.reports.day import StepSeries

START = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)

whole_second_series = st.lists(
    st.tuples(st.integers(1, 90), st.floats(-50, 150, allow_nan=False)), min_size=1, max_size=40
)


def series(pieces: list[tuple[int, float]]) -> StepSeries:
    edges = START.timestamp() + np.concatenate(([0], np.cumsum([width for width, _ in pieces]))).astype(float)
    return StepSeries(edges, np.array([kw for _, kw in pieces]))


@settings(max_examples=80)
@given(whole_second_series, st.integers(1, 75), st.integers(0, 30))
def test_window_means_equal_the_mean_of_every_second(pieces: list[tuple[int, float]], step: int, offset: int) -> None:
    by_second = np.concatenate([np.full(width, kw) for width, kw in pieces])
    count = (by_second.size - offset) // step
    if count < 1:
        return
    means = series(pieces).means(START + timedelta(seconds=offset), step, count)
    expected = by_second[offset : offset + count * step].reshape(count, step).mean(axis=1)
    np.testing.assert_allclose(means, expected, rtol=1e-9, atol=1e-6)


@settings(max_examples=50)
@given(whole_second_series)
def test_charging_and_discharging_parts_add_up_to_the_whole(pieces: list[tuple[int, float]]) -> None:
    whole, end = series(pieces), START + timedelta(hours=2)
    parts = whole.clipped(low=0.0).energy_kwh(START, end) + whole.clipped(high=0.0).energy_kwh(START, end)
    assert parts == pytest.approx(whole.energy_kwh(START, end), abs=1e-6)


def test_a_window_measured_by_less_than_half_is_not_measured() -> None:
    gappy = StepSeries.regular(START, 20.0, np.array([10.0, np.nan, np.nan, 30.0, 30.0, np.nan]))
    means = gappy.means(START, 60.0, 3)
    assert np.isnan(means[0])
    assert means[1] == pytest.approx(30.0)
    assert np.isnan(means[2])


def test_a_sample_holds_no_longer_than_the_longest_gap() -> None:
    at = START.timestamp()
    made = StepSeries.from_samples(np.array([at, at + 10, at + 500]), np.array([5.0, 6.0, 7.0]), at + 510, 60.0)
    assert made.energy_kwh(START, START + timedelta(seconds=510)) == pytest.approx((50 + 6 * 60 + 70) / 3600)
    assert np.isnan(made.means(START + timedelta(seconds=120), 60.0, 1)[0])


def test_edges_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="edges_s: shape"):
        StepSeries(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="increasing"):
        StepSeries(np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0]))
