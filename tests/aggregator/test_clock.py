"""Domain time: piecewise linear, invertible, and slow where seconds must mean something."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.clock import ScaledClock, Segment, WallClock, segments_through

WALL = 1_563_200_000.0
DAWN = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


@st.composite
def clocks(draw: st.DrawFn) -> ScaledClock:
    """A fast day with up to four slow phases that do not touch."""
    speed = draw(st.floats(1.0, 2000.0))
    gaps = draw(st.lists(st.floats(3.0, 200.0), max_size=4))
    begin, slow = DAWN, []
    for gap in gaps:
        begin += minutes(gap)
        slow.append((begin, draw(st.floats(1.0, 120.0))))
    return ScaledClock(segments_through(WALL, DAWN, speed, slow))


@given(clocks(), st.floats(-3600.0, 50_000.0))
def test_wall_and_domain_are_inverse_to_each_other(clock: ScaledClock, domain_s: float) -> None:
    when = DAWN + timedelta(seconds=domain_s)
    # A Unix time in a float is good to a quarter of a microsecond, which the factor stretches.
    allowed_s = 2e-6 + 5e-7 * max(segment.factor for segment in clock.segments)
    assert abs((clock.at_wall(clock.wall_at(when)) - when).total_seconds()) <= allowed_s


@given(clocks(), st.lists(st.floats(-100.0, 1000.0), min_size=2, max_size=20))
def test_domain_time_never_goes_back_and_never_jumps(clock: ScaledClock, offsets: list[float]) -> None:
    walls = sorted(WALL + offset for offset in offsets)
    fastest = max(segment.factor for segment in clock.segments)
    for earlier, later in pairwise(walls):
        passed = (clock.at_wall(later) - clock.at_wall(earlier)).total_seconds()
        assert -2e-6 <= passed <= (later - earlier) * fastest + 1e-3


@given(clocks())
def test_segments_meet_where_they_follow_each_other(clock: ScaledClock) -> None:
    for before, after in pairwise(clock.segments):
        reached = before.domain_start + timedelta(seconds=(after.wall_start - before.wall_start) * before.factor)
        assert abs((reached - after.domain_start).total_seconds()) < 1e-3


def test_a_slow_phase_begins_on_time_and_lasts_its_wall_seconds() -> None:
    emergency = DAWN + minutes(390)
    clock = ScaledClock(segments_through(WALL, DAWN, 480.0, [(emergency, 20.0)]))
    begins = clock.wall_at(emergency)
    assert begins - WALL == pytest.approx(390 * 60 / 480)
    assert clock.at_wall(begins + 7.5) == emergency + timedelta(seconds=7.5)
    assert clock.at_wall(begins + 20.0) == emergency + timedelta(seconds=20)
    assert (clock.at_wall(begins + 21.0) - clock.at_wall(begins + 20.0)).total_seconds() == pytest.approx(480.0)


def test_slow_phases_may_be_named_in_any_order() -> None:
    phases = [(DAWN + minutes(90), 5.0), (DAWN + minutes(30), 5.0)]
    assert segments_through(WALL, DAWN, 60.0, phases) == segments_through(WALL, DAWN, 60.0, phases[::-1])


def test_slow_phases_that_overlap_are_refused() -> None:
    phases = [(DAWN + minutes(30), 120.0), (DAWN + minutes(31), 5.0)]
    with pytest.raises(ValueError, match="increasing wall starts"):
        ScaledClock(segments_through(WALL, DAWN, 60.0, phases))


def test_a_clock_needs_segments_that_run_forward() -> None:
    with pytest.raises(ValueError, match="segments: empty"):
        ScaledClock([])
    with pytest.raises(ValueError, match="increasing wall starts"):
        ScaledClock([Segment(WALL, DAWN, 1.0), Segment(WALL, DAWN, 2.0)])
    with pytest.raises(ValueError, match=r"factor: 0\.0"):
        Segment(WALL, DAWN, 0.0)
    with pytest.raises(ValueError, match="aware UTC"):
        Segment(WALL, DAWN.replace(tzinfo=None), 1.0)


@pytest.mark.anyio
async def test_sleeping_takes_the_wall_time_that_the_factor_says() -> None:
    clock = ScaledClock([Segment(time.time() - 1.0, DAWN, 600.0)])
    assert clock.factor == 600.0
    began, now = time.monotonic(), clock.now()
    await clock.sleep(60.0)
    assert clock.now() - now >= timedelta(seconds=60)
    assert 0.09 <= time.monotonic() - began < 30.0
    assert clock.wall_seconds_until(DAWN) == 0.0
    await clock.sleep_until(DAWN)  # long gone: returns at once


@pytest.mark.anyio
async def test_the_clock_of_a_real_site_is_the_wall() -> None:
    clock = WallClock()
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert 30.0 < clock.wall_seconds_until(clock.now() + minutes(1)) <= 60.0
    assert clock.wall_seconds_until(clock.now() - minutes(1)) == 0.0
    began = time.monotonic()
    await clock.sleep(0.05)
    assert time.monotonic() - began >= 0.045
