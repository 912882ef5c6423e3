"""What will be drawn: the building from a typical day and the latest reading, and the cars still to come."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from twin.assets import TimeGrid

HOURLY = tuple(30.0 + hour for hour in range(24))
FORECAST = BaseLoadForecast(HOURLY, "America/Los_Angeles")
GRID = TimeGrid(datetime(2019, 7, 15, 17, 0, tzinfo=UTC), 900, 96)  # 10:00 local


def test_the_typical_day_is_read_in_local_time() -> None:
    assert FORECAST.typical_kw(datetime(2019, 7, 15, 17, 30, tzinfo=UTC)) == pytest.approx(40.0)
    assert FORECAST.typical_kw(datetime(2019, 1, 15, 18, 30, tzinfo=UTC)) == pytest.approx(40.0)


def test_the_correction_starts_at_the_measured_value_and_fades() -> None:
    typical = FORECAST.expect(GRID)
    corrected = FORECAST.expect(GRID, (GRID.start, FORECAST.typical_kw(GRID.start) + 8.0))
    lift = corrected - typical
    assert 7.0 < lift[0] < 8.0
    assert lift[4] == pytest.approx(lift[0] / 2, rel=1e-6)
    assert (np.diff(lift) < 0).all()


def test_the_forecast_is_never_negative() -> None:
    assert (FORECAST.expect(GRID, (GRID.start + timedelta(minutes=1), -500.0)) >= 0).all()


def test_a_day_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="23 values, expected 24"):
        BaseLoadForecast(HOURLY[:23], "UTC")


ONE_WAVE = tuple(3.0 if hour == 10 else 0.0 for hour in range(24))


@given(
    lasting_h=st.floats(0.05, 15.0), power_kw=st.floats(1.0, 22.0),
    per_hour=st.lists(st.floats(0.0, 6.0), min_size=6, max_size=6), step_s=st.sampled_from([300, 900, 3600]),
)
def test_the_cars_to_come_draw_all_their_energy_and_no_more(
    lasting_h: float, power_kw: float, per_hour: list[float], step_s: int
) -> None:
    energy_kwh = lasting_h * power_kw
    arrivals = ArrivalForecast((0.0,) * 10 + tuple(per_hour) + (0.0,) * 8, energy_kwh, power_kw, "America/Los_Angeles")
    grid = TimeGrid(GRID.start, step_s, 3 * 86_400 // step_s)
    # Three days: the six hours come three times, and nobody charges so long that the last day is cut.
    drawn_kwh = arrivals.expect(grid, grid.start).sum() * grid.step_hours
    assert drawn_kwh == pytest.approx(3 * sum(per_hour) * energy_kwh, rel=1e-9, abs=1e-9)


def test_cars_are_expected_from_now_on_only() -> None:
    arrivals = ArrivalForecast(ONE_WAVE, 2.0, 8.0, "America/Los_Angeles")
    whole = arrivals.expect(GRID, GRID.start)
    later = arrivals.expect(GRID, GRID.start + timedelta(minutes=10))
    missed_kwh = (whole - later).sum() * GRID.step_hours
    assert missed_kwh == pytest.approx(3.0 * 10 / 60 * 2.0)
    assert (later <= whole + 1e-12).all()


def test_a_steady_stream_draws_its_mean_once_the_first_have_left() -> None:
    arrivals = ArrivalForecast((2.0,) * 24, 10.0, 6.0, "America/Los_Angeles")
    expected = arrivals.expect(GRID, GRID.start)
    assert (np.diff(expected) >= -1e-9).all()
    assert expected[-1] == pytest.approx(2.0 * 10.0)  # cars per hour times kWh each


def test_the_spread_covers_39_of_40_days_of_independent_arrivals() -> None:
    arrivals = ArrivalForecast((4.0,) * 24, 12.0, 6.0, "America/Los_Angeles")
    expected = arrivals.expect(GRID, GRID.start)
    # In the steady state the number charging is Poisson (M/G/infinity queue): mean 4 per hour times 2 hours.
    drawn = np.random.default_rng(7).poisson(8.0, 20_000) * 6.0
    quantile = np.quantile(drawn, 0.975)
    assert expected[-1] + arrivals.spread(expected)[-1] == pytest.approx(quantile, abs=6.0)
    assert arrivals.spread(np.zeros(3)).tolist() == [0.0] * 3


def test_arrivals_of_a_day_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="per_hour: 25 values, expected 24"):
        ArrivalForecast((1.0,) * 25, 10.0, 6.0, "UTC")
