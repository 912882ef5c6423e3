"""Prices at every instant, on the days that have 23 and 25 hours too."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.rate import Period, RateError, RateSchedule, Season, load_rate, shipped_rate

PACIFIC = ZoneInfo("America/Los_Angeles")
RATE = shipped_rate("sce_tou_ev_4")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PACIFIC).astimezone(UTC)


@pytest.mark.parametrize(("when", "price"), [
    ("2019-07-15T07:45", 0.05623), ("2019-07-15T08:00", 0.0925), ("2019-07-15T12:00", 0.26668),
    ("2019-07-15T17:45", 0.26668), ("2019-07-15T18:00", 0.0925), ("2019-07-15T23:00", 0.05623),
    ("2019-07-14T14:00", 0.05623), ("2019-12-02T08:15", 0.07492), ("2019-12-02T14:00", 0.0869),
    ("2019-12-02T23:30", 0.06087), ("2019-12-01T14:00", 0.06087),
    ("2019-09-30T14:00", 0.26668), ("2019-10-01T14:00", 0.0869), ("2019-05-31T14:00", 0.0869),
])
def test_the_shipped_rate_has_the_published_prices(when: str, price: float) -> None:
    assert RATE.prices(local(when), 900, 1).import_per_kwh == pytest.approx([price])
    assert Decimal("15.51") == RATE.demand_per_kw_month


@pytest.mark.parametrize(("day", "quarters", "cheap"), [
    ("2019-07-15", 96, 36), ("2020-03-09", 96, 36), ("2021-11-08", 96, 36),
])
def test_an_ordinary_weekday_has_96_quarters(day: str, quarters: int, cheap: int) -> None:
    prices = RATE.prices(local(f"{day}T00:00"), 900, quarters).import_per_kwh
    assert np.isclose(prices, prices[0]).sum() == cheap


def nightly(zone: str) -> RateSchedule:
    """Night is 00:00 to 08:00 every day."""
    periods = (Period("00:00", "08:00", Decimal("0.1"), name="night"), Period("08:00", "24:00", Decimal("0.3")))
    return RateSchedule("n", "test", date(2020, 1, 1), "EUR", zone, Decimal(0),
                        (Season("year", "01-01", "12-31", periods, periods),))


@pytest.mark.parametrize(("zone", "day", "night_hours"), [
    ("America/Los_Angeles", "2024-03-10", 7), ("America/Los_Angeles", "2024-11-03", 9),
    ("Europe/Berlin", "2024-03-31", 7), ("Europe/Berlin", "2024-10-27", 9),
    ("Australia/Lord_Howe", "2024-10-06", 7.5), ("Australia/Lord_Howe", "2024-04-07", 8.5),
])
def test_the_night_is_shorter_or_longer_when_the_clock_changes(zone: str, day: str, night_hours: float) -> None:
    midnight = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    prices = nightly(zone).prices(midnight, 900, 60).import_per_kwh
    assert np.isclose(prices, 0.1).sum() / 4 == night_hours


@settings(max_examples=60, deadline=None)
@given(minute=st.integers(0, 6 * 365 * 1440), step_s=st.sampled_from([60, 300, 900, 1800, 3600]),
       steps=st.integers(1, 30))
def test_a_step_across_periods_has_the_mean_price_of_its_minutes(minute: int, step_s: int, steps: int) -> None:
    """The oracle asks for each minute alone."""
    begin = datetime(2019, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    fine = np.array([float(RATE.period_at(begin + timedelta(seconds=60 * k))[1].import_per_kwh)
                     for k in range(step_s // 60 * steps)])
    coarse = RATE.prices(begin, step_s, steps).import_per_kwh
    assert coarse == pytest.approx(fine.reshape(steps, -1).mean(axis=1))


@pytest.mark.parametrize(("change", "named"), [
    (('timezone = "America/Los_Angeles"', 'timezone = "Mars/Base"'), "timezone"),
    (('last = "09-30"', 'last = "10-15"'), "10-01"),
    (('end = "12:00"', 'end = "11:00"'), "92 quarter-hours"),
    (('"0.26668"', '"dear"'), "import_per_kwh"),
    (('currency = "USD"', 'currency = "dollars"'), "currency"),
    (('name = "summer"', 'nickname = "summer"'), "nickname"),
    (('end = "12:00"', 'end = "12:07"'), "end"),
])
def test_a_rate_that_cannot_price_every_instant_is_refused_by_name(tmp_path: Path, change: tuple[str, str], named: str
                                                                   ) -> None:
    text = (files("markets") / "data" / "sce_tou_ev_4.toml").read_text(encoding="utf-8")
    assert change[0] in text
    path = tmp_path / "rate.toml"
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(RateError, match=named) as caught:
        load_rate(path)
    assert str(path) in str(caught.value)
