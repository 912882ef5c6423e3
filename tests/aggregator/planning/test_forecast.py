"""The building's load, expected from a typical day and the latest reading."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aggregator.planning.forecast import BaseLoadForecast
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
