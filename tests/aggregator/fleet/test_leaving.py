"""Rates of leaving, counted half hour by half hour."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fleet.leaving import HALF_HOUR_S, LeavingRates

ZONE = "America/Los_Angeles"
BEGIN = datetime(2019, 7, 1, 8, 0, tzinfo=UTC)
HALF_HOUR = timedelta(seconds=HALF_HOUR_S)
BORDERS = [timedelta(hours=hours) for hours in (-4, -2, -1, -0.5, 0, 0.5, 1, 2, 4)]


def some_stays(seed: int, count: int) -> list[tuple[datetime, datetime, datetime]]:
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        arrival = BEGIN + timedelta(minutes=int(draw.integers(0, 20 * 1440)))
        found.append((arrival, arrival + timedelta(minutes=int(draw.integers(1, 800))),
                      arrival + timedelta(minutes=int(draw.integers(1, 1200)))))
    return found


def half_hours(arrival: datetime, departure: datetime) -> list[tuple[datetime, bool]]:
    """Plainly: the beginning of each half hour of the stay, and whether the car left in it."""
    begin = arrival.replace(minute=arrival.minute // 30 * 30)
    found = []
    while begin < departure:
        found.append((begin, departure <= begin + HALF_HOUR))
        begin += HALF_HOUR
    return found


def place(begin: datetime, declared: datetime) -> tuple[int, int]:
    local = begin.astimezone(ZoneInfo(ZONE))
    return local.hour * 2 + local.minute // 30, sum(begin - declared >= border for border in BORDERS)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 30), prior=st.floats(0.0, 1.0))
def test_rates_are_counts_of_half_hours_that_weigh_as_visits(seed: int, count: int, prior: float) -> None:
    """Every level counts ten half hours beside those of the finer one, one by one as in the definition."""
    stays = some_stays(seed, count)
    rates = LeavingRates.counted(stays, timezone=ZONE)
    arrival, declared, departure = some_stays(seed + 1, 1)[0]
    asked = [begin for begin, _ in half_hours(arrival, departure)]
    found = rates.updated(np.full(len(asked), prior), np.array([when.timestamp() for when in asked]),
                          declared.timestamp())
    seen = [(place(begin, said), left) for came, said, gone in stays for begin, left in half_hours(came, gone)]
    for when, rate in zip(asked, found.tolist(), strict=True):
        of_day, near = place(when, declared)
        by_time = [left for cell, left in seen if cell[0] == of_day]
        by_both = [left for cell, left in seen if cell == (of_day, near)]
        expected = (10.0 * prior + sum(by_time)) / (10.0 + len(by_time))
        expected = (10.0 * expected + sum(by_both)) / (10.0 + len(by_both))
        assert rate == pytest.approx(expected)


def test_a_car_that_was_left_behind_counts_for_three_days_and_never_as_one_that_leaves() -> None:
    rates = LeavingRates.counted([(BEGIN, BEGIN + timedelta(hours=8), BEGIN + timedelta(days=9))], timezone=ZONE)
    assert rates.left.sum() == 0.0
    assert rates.there.sum() == pytest.approx(3 * 48, abs=1)
