"""A slow machine makes the demo's day slower instead of wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.demo.day import affordable_speed


@pytest.mark.parametrize("took_s", [0.5, 2.5, 12.0])
def test_where_the_service_starts_in_time_the_day_has_the_speed_asked_for(took_s: float) -> None:
    assert affordable_speed(480.0, took_s) == 480.0


@pytest.mark.parametrize(("took_s", "speed"), [(18.0, 320.0), (24.0, 240.0), (36.0, 160.0), (50.0, 160.0)])
def test_where_it_takes_longer_the_day_does_too_down_to_a_third(took_s: float, speed: float) -> None:
    assert affordable_speed(480.0, took_s) == pytest.approx(speed)


@given(st.floats(0.1, 3600.0), st.floats(0.01, 300.0))
def test_the_day_is_never_faster_than_asked_and_never_slowed_below_real_time(wanted: float, took_s: float) -> None:
    speed = affordable_speed(wanted, took_s)
    assert speed <= wanted
    assert speed >= min(wanted, 1.0)
    assert speed >= wanted / 3.0 - 1e-9
