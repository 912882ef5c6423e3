"""A lease lets time run a moment at a time: for all who read it alike, never back, and without losing any."""

import asyncio
import mmap
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.clock import ScaledClock, Segment
from aggregator.config import ConfigError, load_clock
from aggregator.demo.configuration import write_clock
from twin.lease import CAPACITY, POLL_S, Lease, LeaseError, LeaseKeeper
from twin.station.clock import ClockFileError, DomainClock

WALL = 1_563_200_000.0
DAWN = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
SEGMENTS = [
    Segment(WALL, DAWN, 480.0),
    Segment(WALL + 5.0, DAWN + timedelta(seconds=2400), 1.0),
    Segment(WALL + 9.0, DAWN + timedelta(seconds=2404), 480.0),
]
TICK_S = 2e-6
"""A Unix time in a float is good to a quarter of a microsecond."""

waits = st.floats(0.0, 3.0)
grants = st.lists(st.tuples(waits, st.floats(0.0, 1.0)), min_size=1, max_size=40)
"""After some wall seconds, a lease of some more from where time stands."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lease")


def keeper_alone() -> LeaseKeeper:
    """On anonymous memory, for what needs no second process."""
    keeper = LeaseKeeper(mmap.mmap(-1, 8 * (3 + 2 * CAPACITY)))
    keeper._numbers[1] = WALL
    return keeper


def keeper_in(folder: Path) -> LeaseKeeper:
    write_clock(folder / "clock.json", SEGMENTS, "clock.lease")
    return LeaseKeeper.create(folder / "clock.lease", WALL)


def run_plainly(story: list[tuple[float, float]], wall: float) -> float:
    """What run time is, told step by step: it goes on with the wall until the lease ends, and stands there."""
    run = until = WALL
    at = WALL
    for wait_s, lease_s in story:
        if at + wait_s > wall:
            break
        at += wait_s
        run = min(run + wait_s, until)
        until = max(until, run + lease_s)
    return min(run + wall - at, until)


@given(grants, st.floats(0.0, 5.0))
def test_run_time_is_wall_time_without_the_holds(story: list[tuple[float, float]], after_s: float) -> None:
    keeper, wall = keeper_alone(), WALL
    for wait_s, lease_s in story:
        wall += wait_s
        keeper.grant(wall, keeper.run_at(wall) + lease_s)
    wall += after_s
    assert keeper.run_at(wall) == pytest.approx(run_plainly(story, wall), abs=TICK_S)
    held_s = sum(seconds for _, seconds in keeper.holds)
    still_held_s = max(0.0, wall - held_s - keeper.run_at(wall))
    assert keeper.run_at(wall) - WALL + held_s + still_held_s == pytest.approx(wall - WALL, abs=TICK_S)


@given(grants, st.lists(st.floats(0.0, 60.0), min_size=2, max_size=20))
def test_what_was_the_time_stays_the_time(story: list[tuple[float, float]], offsets: list[float]) -> None:
    """The past is told after many holds as it was told when it was the present, and it never goes back or jumps."""
    keeper, wall = keeper_alone(), WALL
    told: list[tuple[float, float]] = []
    for wait_s, lease_s in story:
        wall += wait_s
        told.append((wall, keeper.run_at(wall)))
        keeper.grant(wall, keeper.run_at(wall) + lease_s)
        assert keeper.run_at(wall) == pytest.approx(told[-1][1], abs=TICK_S), "a grant moves no clock by itself"
    for wall, run in told:
        assert keeper.run_at(wall) == pytest.approx(run, abs=TICK_S)
    walls = sorted(WALL + offset for offset in offsets)
    for earlier, later in pairwise(walls):
        assert -TICK_S <= keeper.run_at(later) - keeper.run_at(earlier) <= later - earlier + TICK_S


@given(grants, st.floats(0.0, 1.0))
def test_the_wall_time_of_what_was_can_be_asked(story: list[tuple[float, float]], share: float) -> None:
    keeper, wall = keeper_alone(), WALL
    for wait_s, lease_s in story:
        wall += wait_s
        keeper.grant(wall, keeper.run_at(wall) + lease_s)
    run = WALL + share * (keeper.run_at(wall) - WALL)
    assert keeper.run_at(keeper.wall_at(run)) == pytest.approx(run, abs=TICK_S)


@given(grants, st.integers(0, 40))
def test_service_and_stations_read_the_same_time_whenever_they_started(
    folder: Path, story: list[tuple[float, float]], begins: int
) -> None:
    keeper, wall = keeper_in(folder), WALL
    service, stations = load_clock(folder / "clock.json"), None
    for number, (wait_s, lease_s) in enumerate(story):
        if number == min(begins, len(story) - 1):
            stations = DomainClock.load(folder / "clock.json")
        wall += wait_s
        keeper.grant(wall, keeper.run_at(wall) + lease_s)
        if stations is None:
            continue
        for moment in (wall, wall + lease_s / 2, wall + lease_s + 1.0):
            assert stations.at_wall(moment) == pytest.approx(service.at_wall(moment).timestamp(), abs=1e-3)
            when = service.at_wall(moment)
            assert stations.wall_at(when.timestamp()) == pytest.approx(service.wall_at(when), abs=0.01)


def test_a_reader_between_any_two_writes_of_a_grant_sees_no_step_back() -> None:
    """The keeper may lose the processor after every word that it writes."""
    keeper = keeper_alone()
    keeper.grant(WALL, WALL + 0.25)
    keeper.grant(WALL + 7.0, WALL + 0.5)
    whole = list(keeper._numbers[: 3 + 2 * 2])
    half = keeper_alone()
    half._numbers[1] = WALL + 0.25
    seen = [half.run_at(WALL + 7.0)]
    for word in (3, 4, 2, 1):  # the hold, its count, the lease
        half._numbers[word] = whole[word]
        seen.append(half.run_at(WALL + 7.0))
    assert seen == [WALL + 0.25] * 5
    assert half.run_at(WALL + 7.1) == pytest.approx(WALL + 0.35)


def test_who_waits_for_time_that_stands_looks_again_soon_but_does_not_spin(folder: Path) -> None:
    now = time.time()
    keeper = LeaseKeeper.create(folder / "standing.lease", now - 100.0)
    keeper.grant(now - 100.0, now - 99.75)
    for ahead_s in (1e-6, 0.001, 5.0):
        before = time.time()
        again = keeper.wall_at(now - 99.75 + ahead_s)
        assert before <= again - max(ahead_s, POLL_S) + 1e-6 <= time.time() + 2e-6


@pytest.mark.anyio
async def test_a_sleeper_wakes_when_domain_time_is_there_and_not_before(folder: Path) -> None:
    keeper = LeaseKeeper.create(folder / "clock.lease", time.time())
    clock = ScaledClock([Segment(keeper.run_at(time.time()), DAWN, 600.0)], keeper)
    assert clock.factor == 600.0
    began, due = time.monotonic(), DAWN + timedelta(seconds=60)

    async def grant() -> None:
        await asyncio.sleep(0.3)
        assert clock.now() == DAWN
        wall = time.time()
        keeper.grant(wall, keeper.run_at(wall) + 0.2)

    granting = asyncio.create_task(grant())
    await clock.sleep_until(due)
    await granting
    assert clock.now() >= due
    assert time.monotonic() - began >= 0.395


def test_a_lease_whose_keeper_died_goes_on_where_it_ended(folder: Path) -> None:
    first = keeper_in(folder)
    first.grant(WALL, WALL + 0.25)
    second = LeaseKeeper.take_over(folder / "clock.lease")
    assert second.run_at(WALL + 3600.0) == WALL + 0.25
    second.grant(WALL + 3600.0, WALL + 0.5)
    assert second.run_at(WALL + 3600.1) == pytest.approx(WALL + 0.35, abs=TICK_S)
    assert second.holds == ((WALL + 0.25, pytest.approx(3599.75)),)


def test_what_was_granted_stays_granted() -> None:
    keeper = keeper_alone()
    keeper.grant(WALL, WALL + 1.0)
    keeper.grant(WALL + 0.5, WALL + 0.75)
    assert keeper.run_at(WALL + 2.0) == WALL + 1.0
    keeper.grant(WALL + 2.0, float("inf"))
    assert keeper.run_at(WALL + 1e6) == WALL + 1e6 - 1.0


def test_a_lease_that_is_full_says_so() -> None:
    keeper = keeper_alone()
    keeper._numbers[2] = CAPACITY
    with pytest.raises(LeaseError, match=f"more than {CAPACITY} times"):
        keeper.grant(WALL + 1e9, WALL + 1e9)


@pytest.mark.parametrize("content", [None, b"", b"V2GLEAS1", b"x" * 4096])
def test_a_file_that_is_no_lease_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    write_clock(tmp_path / "clock.json", SEGMENTS, "clock.lease")
    if content is not None:
        (tmp_path / "clock.lease").write_bytes(content)
    with pytest.raises(LeaseError, match=r"clock\.lease"):
        Lease.open(tmp_path / "clock.lease")
    with pytest.raises(ClockFileError, match=r"clock\.json: lease: .*clock\.lease"):
        DomainClock.load(tmp_path / "clock.json")
    with pytest.raises(ConfigError, match=r"clock\.json.*lease.*clock\.lease"):
        load_clock(tmp_path / "clock.json")


def test_readers_cannot_write(folder: Path) -> None:
    keeper_in(folder)
    reader = Lease.open(folder / "clock.lease")
    with pytest.raises(TypeError, match="read-only"):
        reader._numbers[1] = 0.0
