from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.store.columns import from_us, to_us

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=zones))  # noqa: DTZ001
def test_an_instant_survives_to_the_microsecond_and_comes_back_in_utc(when: datetime) -> None:
    back = from_us(to_us(when))
    assert back == when
    assert back.tzinfo is UTC


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an aware datetime"):
        to_us(datetime(2019, 7, 15))  # noqa: DTZ001
