"""The bill's properties, and one computed by hand."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from markets.bill import bill, peak_kw, rounded
from markets.rate import Period, RateSchedule, Season, shipped_rate

START = datetime(2019, 7, 15, 7, tzinfo=UTC)  # midnight in Los Angeles
RATE = shipped_rate("sce_tou_ev_4")
loads = arrays(np.float64, 96, elements=st.floats(-200, 300))


def two_way() -> RateSchedule:
    periods = (Period("00:00", "12:00", Decimal("0.10"), Decimal("0.04")),
               Period("12:00", "24:00", Decimal("0.30"), Decimal("-0.02")))
    return RateSchedule("two-way", "test", date(2019, 1, 1), "USD", "UTC", Decimal(10),
                        (Season("year", "01-01", "12-31", periods, periods),))


def test_a_day_computed_by_hand() -> None:
    net = np.zeros(96)
    net[0:4], net[40:44], net[48:52], net[60:64] = 20.0, -8.0, 50.0, -4.0
    priced = bill(two_way(), datetime(2019, 7, 15, tzinfo=UTC), 900, net, peak_so_far_kw=45.0)
    # 20 kWh x 0.10 - 8 kWh x 0.04 + 50 kWh x 0.30 + 4 kWh x 0.02 + 5 kW x 10
    assert priced.exact == Decimal("66.76")
    assert priced.amount("kW") == Decimal(50)
    assert priced.amount("kWh out") == Decimal("-0.24")


@settings(max_examples=40, deadline=None)
@given(net=loads, cut=st.integers(1, 95))
def test_energy_adds_over_intervals(net: np.ndarray, cut: int) -> None:
    later = START + timedelta(minutes=15 * cut)
    whole = bill(RATE, START, 900, net, 1e9).exact
    parts = bill(RATE, START, 900, net[:cut], 1e9).exact + bill(RATE, later, 900, net[cut:], 1e9).exact
    assert float(whole) == pytest.approx(float(parts), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(net=loads, scale=st.floats(1, 5))
def test_demand_is_monotone_and_scales(net: np.ndarray, scale: float) -> None:
    one, more = bill(RATE, START, 900, net), bill(RATE, START, 900, net * scale)
    assert more.amount("kW") >= one.amount("kW")
    assert float(more.amount("kW")) == pytest.approx(scale * float(one.amount("kW")), rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(net=loads, extra=st.floats(0, 100))
def test_export_never_raises_the_import_lines(net: np.ndarray, extra: float) -> None:
    assert bill(RATE, START, 900, net - extra).amount("kWh in") <= bill(RATE, START, 900, net).amount("kWh in")


@settings(max_examples=25, deadline=None)
@given(net=arrays(np.float64, 40, elements=st.floats(0, 300)))
def test_minutes_and_their_quarter_hour_means_have_the_same_bill(net: np.ndarray) -> None:
    fine = bill(RATE, START, 60, np.repeat(net, 15))
    assert float(fine.exact) == pytest.approx(float(bill(RATE, START, 900, net).exact), abs=1e-6)


def test_a_peak_is_a_mean_of_the_clocks_quarter_hours_not_of_any_fifteen_minutes() -> None:
    net = np.zeros(30)
    net[8:23] = 60.0  # fifteen minutes, but 7 of one quarter-hour and 8 of the next
    assert peak_kw(START, 60, net) == pytest.approx(60 * 8 / 15)


def test_a_broken_first_step_counts_its_energy_in_part_and_its_power_in_full() -> None:
    net = np.array([100.0, 0.0])
    half = bill(two_way(), datetime(2019, 7, 15, tzinfo=UTC), 900, net, 90.0, first_step_fraction=0.5)
    assert half.amount("kWh in") == Decimal("1.25")
    assert half.amount("kW") == Decimal(100)


def test_no_load_costs_nothing() -> None:
    assert bill(RATE, START, 900, np.zeros(96)).total == 0


@pytest.mark.parametrize(("amount", "currency", "expected"), [
    ("1.005", "USD", "1.00"), ("1.015", "USD", "1.02"), ("-1.005", "USD", "-1.00"), ("2.5", "JPY", "2"),
    ("1.0005", "KWD", "1.000"),
])
def test_rounding_is_half_even_in_the_currencys_minor_unit(amount: str, currency: str, expected: str) -> None:
    assert str(rounded(Decimal(amount), currency)) == expected
