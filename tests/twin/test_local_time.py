"""Local times on the two days a year that clocks change, against the transitions themselves."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.local_time import LocalTimeError, instant, scheduled

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
