"""Local times on the two days a year that clocks change, against the transitions themselves."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.local_time import LocalTimeError, instant, scheduled, scheduled_s

BERLIN = ZoneInfo("Europe/Berlin")
FROM, UNTIL = datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2030-01-01")


@given(when=st.datetimes(FROM, UNTIL, timezones=st.just(UTC)))
def test_every_instant_is_found_again_from_the_clock_unless_the_clock_shows_it_twice(when: datetime) -> None:
    shown = when.astimezone(BERLIN).replace(tzinfo=None, fold=0)
    hour = timedelta(hours=1)
    is_double = any((when + shift).astimezone(BERLIN).replace(tzinfo=None, fold=0) == shown for shift in (hour, -hour))
    if is_double:
        with pytest.raises(LocalTimeError, match="show twice"):
            instant(shown, BERLIN)
    else:
        assert instant(shown, BERLIN) == when
        assert scheduled(shown, BERLIN) == when


@pytest.mark.parametrize("minute", [0, 30, 59])
def test_the_hour_that_clocks_skip_is_refused_in_a_recording_and_moved_on_in_a_rule(minute: int) -> None:
    local = datetime.fromisoformat(f"2025-03-30T02:{minute:02}")
    with pytest.raises(LocalTimeError, match=r"2025-03-30T02:.* in Europe/Berlin: local time that clocks skip"):
        instant(local, BERLIN)
    assert scheduled(local, BERLIN) == datetime(2025, 3, 30, 1, minute, tzinfo=UTC)


def test_the_hour_that_clocks_show_twice_is_refused_in_a_recording_and_the_first_in_a_rule() -> None:
    local = datetime.fromisoformat("2025-10-26T02:30")
    with pytest.raises(LocalTimeError, match="show twice"):
        instant(local, BERLIN)
    assert scheduled(local, BERLIN) == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)


@given(
    st.sampled_from(("Europe/Berlin", "America/Los_Angeles", "Asia/Beirut", "Australia/Lord_Howe", "UTC")),
    st.dates(FROM.date(), UNTIL.date()), st.lists(st.integers(0, 400 * 1440), min_size=0, max_size=30),
)
def test_many_times_of_a_rule_are_each_what_one_is(zone: str, first: date, minutes: list[int]) -> None:
    place = ZoneInfo(zone)
    start = datetime(2025, 3, 1, 12, tzinfo=UTC)
    found = scheduled_s(start, first, np.array(minutes, dtype=np.int64), place)
    midnight = datetime.combine(first, time())
    assert found.tolist() == [
        (scheduled(midnight + timedelta(minutes=minute), place) - start).total_seconds() for minute in minutes
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Beirut", "America/Havana", "Australia/Lord_Howe"])
def test_every_minute_of_a_year_of_rules_is_right(zone: str) -> None:
    place, start, minutes = ZoneInfo(zone), datetime(2025, 1, 1, tzinfo=UTC), np.arange(0, 366 * 1440, 13)
    found = scheduled_s(start, date(2025, 1, 1), minutes, place)
    midnight = datetime(2025, 1, 1)  # noqa: DTZ001 - a local time
    expected = [(scheduled(midnight + timedelta(minutes=minute), place) - start).total_seconds()
                for minute in minutes.tolist()]
    assert found.tolist() == expected
