"""The running account of a connection point."""

from datetime import UTC, datetime, timedelta

import pytest

from aggregator.fleet import SitePower

T0 = datetime(2019, 7, 15, 14, 0, tzinfo=UTC)


def test_the_peak_is_the_highest_quarter_hour_mean_not_the_highest_reading() -> None:
    power = SitePower(peak_so_far_kw=20.0)
    for second in range(0, 2701, 60):
        burst = 300.0 if 900 < second <= 960 else 30.0
        power.reading(T0 + timedelta(seconds=second), burst, 10.0)
    assert power.peak_kw == pytest.approx(30.0 + 270.0 / 15)


def test_building_load_is_import_without_the_cars() -> None:
    power = SitePower(0.0)
    power.reading(T0, 55.0, 12.5)
    assert power.base_kw == pytest.approx(42.5)


def test_an_old_reading_is_refused() -> None:
    power = SitePower(0.0)
    assert power.reading(T0, 50.0, 0.0)
    assert not power.reading(T0, 99.0, 0.0)
    assert power.import_kw == 50.0


def test_a_gap_is_not_taken_for_a_constant() -> None:
    power = SitePower(10.0)
    power.reading(T0, 400.0, 0.0)
    power.reading(T0 + timedelta(hours=2), 400.0, 0.0)
    power.reading(T0 + timedelta(hours=3), 400.0, 0.0)
    assert power.peak_kw == 10.0
