"""The demo's day waits for whoever cannot keep up, but not for ever and not for who is gone."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.clock import ScaledClock, Segment, segments_through
from aggregator.config import load_clock
from aggregator.demo.configuration import write_clock
from aggregator.demo.pacing import BEAT_S, CURTAIN_S, LATE_S, LEASE_S, PATIENCE_S, Pacer
from aggregator.demo.resume import resumed_clock
from twin.lease import LeaseKeeper

DAWN = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
SPEED = 480.0


class Rehearsal:
    """A pacer told what the wall says, and a meter that is read as soon as time has passed unless it is late."""

    def __init__(self, folder: Path, segments: list[Segment]) -> None:
        self.wall = segments[0].wall_start
        self.keeper = LeaseKeeper.create(folder / "clock.lease", self.wall)
        self.clock = ScaledClock(segments, self.keeper)
        self.pacer = Pacer(self.keeper, self.clock, lambda: self.seen_to)
        self.seen_to: datetime | None = None
        self.is_metering = True

    def now(self) -> datetime:
        return self.clock.at_wall(self.wall)

    def passed_s(self) -> float:
        return (self.now() - DAWN).total_seconds()

    def go_on(self, wall_s: float) -> None:
        """Beat by beat, as `run` does."""
        until = self.wall + wall_s
        while self.wall < until:
            self.wall += BEAT_S
            if self.is_metering:
                self.seen_to = self.now()
            self.pacer.beat(self.wall)


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    shown = Rehearsal(tmp_path, [Segment(time.time(), DAWN, SPEED)])
    shown.pacer.open()
    return shown


def test_while_everybody_keeps_up_time_runs_as_without_a_lease(rehearsal: Rehearsal) -> None:
    rehearsal.go_on(20.0)
    assert rehearsal.passed_s() == pytest.approx((20.0 - BEAT_S) * SPEED, abs=SPEED * BEAT_S * 1.01)
    assert rehearsal.pacer.held() == (0, 0.0)


def test_a_demo_that_stalls_itself_loses_no_more_than_its_lease(rehearsal: Rehearsal) -> None:
    rehearsal.go_on(1.0)
    before = rehearsal.now()
    rehearsal.wall += 5.0
    assert rehearsal.now() - before == timedelta(seconds=LEASE_S * SPEED)
    rehearsal.go_on(1.0)
    times, seconds = rehearsal.pacer.held()
    assert times == 1
    assert seconds == pytest.approx(5.0 + BEAT_S - LEASE_S, abs=1e-3)


def test_readings_that_come_back_late_hold_the_day_until_they_do(rehearsal: Rehearsal) -> None:
    rehearsal.go_on(1.0)
    before, rehearsal.is_metering = rehearsal.now(), False
    rehearsal.go_on(PATIENCE_S - 1.0)
    late = rehearsal.now() - before
    assert late <= timedelta(seconds=(LATE_S + LEASE_S + 2 * BEAT_S) * SPEED)
    rehearsal.go_on(0.5)
    assert rehearsal.now() - before == late
    rehearsal.is_metering = True
    rehearsal.go_on(1.0)
    assert rehearsal.now() - before > late + timedelta(seconds=0.9 * SPEED)


def test_nobody_is_waited_for_longer_than_patience_lasts(rehearsal: Rehearsal) -> None:
    rehearsal.go_on(1.0)
    rehearsal.is_metering = False
    rehearsal.go_on(PATIENCE_S + 10.0)
    _, seconds = rehearsal.pacer.held()
    assert PATIENCE_S - LEASE_S - 2 * BEAT_S <= seconds <= PATIENCE_S + 2 * BEAT_S
    before = rehearsal.now()
    rehearsal.go_on(5.0)
    assert (rehearsal.now() - before).total_seconds() == pytest.approx(5.0 * SPEED, abs=SPEED * BEAT_S * 1.01)


def test_a_service_that_is_away_is_missed_and_not_waited_for(rehearsal: Rehearsal) -> None:
    rehearsal.go_on(1.0)
    rehearsal.is_metering, rehearsal.seen_to = False, None
    before = rehearsal.now()
    rehearsal.go_on(5.0)
    assert (rehearsal.now() - before).total_seconds() == pytest.approx(5.0 * SPEED, abs=SPEED * BEAT_S * 1.01)


def test_where_seconds_are_seconds_nothing_holds_them(tmp_path: Path) -> None:
    wall = time.time()
    slow = DAWN + timedelta(seconds=SPEED)
    shown = Rehearsal(tmp_path, segments_through(wall, DAWN, SPEED, [(slow, 20.0)]))
    shown.pacer.open()
    shown.go_on(1.5)
    begun, at = shown.now(), shown.wall
    assert slow < begun
    shown.is_metering = False
    shown.wall += 15.0  # neither a demo that stalls
    assert (shown.now() - begun).total_seconds() == pytest.approx(shown.wall - at)
    shown.go_on(2.0)  # nor a meter that is late
    assert (shown.now() - begun).total_seconds() == pytest.approx(shown.wall - at, abs=1e-3)


def test_time_does_not_begin_before_everybody_is_there_unless_somebody_never_comes(tmp_path: Path) -> None:
    shown = Rehearsal(tmp_path, [Segment(time.time(), DAWN, SPEED)])
    shown.go_on(CURTAIN_S - 1.0)
    assert shown.now() == DAWN
    shown.pacer.open()
    shown.go_on(1.0)
    assert shown.now() > DAWN
    alone = Rehearsal(tmp_path, [Segment(time.time(), DAWN, SPEED)])
    alone.go_on(CURTAIN_S + 1.0)
    assert alone.now() > DAWN


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=30))
def test_whatever_stalls_time_never_goes_back_nor_faster_than_its_speed(
    tmp_path_factory: pytest.TempPathFactory, stalls: list[tuple[float, bool]]
) -> None:
    shown = Rehearsal(tmp_path_factory.getbasetemp(), [Segment(1.5e9, DAWN, SPEED)])
    shown.pacer._opening = 1.5e9
    shown.pacer.open()
    for stall_s, is_metering in stalls:
        before, at = shown.now(), shown.wall
        shown.wall += stall_s
        shown.is_metering = is_metering
        shown.go_on(0.2)
        assert -1e-5 <= (shown.now() - before).total_seconds() <= (shown.wall - at) * SPEED + 1e-3


def test_a_resumed_day_repeats_what_was_lived_but_not_stored() -> None:
    """Its clock goes back to the last reading, also if a slow phase had begun after that."""
    old = ScaledClock(segments_through(1000.0, DAWN, SPEED, [(DAWN + timedelta(minutes=60), 20.0)]))
    stored = DAWN + timedelta(minutes=59)
    segments = resumed_clock(old, [Segment(1012.0, stored, SPEED)])
    assert [segment.domain_start for segment in segments] == [DAWN, stored]
    assert ScaledClock(segments).at_wall(1012.0) == stored


# --- processes ---------------------------------------------------------------------------------------------------


_KEEPER = """
import asyncio, sys
from pathlib import Path
from aggregator.config import load_clock
from aggregator.demo.pacing import Pacer
from twin.lease import LeaseKeeper
folder = Path(sys.argv[1])
pacer = Pacer(LeaseKeeper.take_over(folder / "clock.lease"), load_clock(folder / "clock.json"))
pacer.open()
asyncio.run(pacer.run())
"""

_STATION = """
import sys
from pathlib import Path
from twin.station.clock import DomainClock
clock = DomainClock.load(Path(sys.argv[1]) / "clock.json")
for _ in sys.stdin:
    print(clock.now(), flush=True)
"""


@contextmanager
def process(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def ask(station: subprocess.Popen[str]) -> float:
    assert station.stdin is not None
    assert station.stdout is not None
    station.stdin.write("\n")
    station.stdin.flush()
    return float(station.stdout.readline())


@pytest.mark.anyio
async def test_when_the_demo_is_stopped_service_and_stations_stand_at_the_same_instant(tmp_path: Path) -> None:
    LeaseKeeper.create(tmp_path / "clock.lease", wall := time.time())
    write_clock(tmp_path / "clock.json", [Segment(wall, DAWN, SPEED)], "clock.lease")
    service = load_clock(tmp_path / "clock.json")
    with process(_STATION, tmp_path) as station, process(_KEEPER, tmp_path) as demo:
        ask(station)
        async with asyncio.timeout(60):
            await service.sleep_until(DAWN + timedelta(seconds=1))
        os.kill(demo.pid, signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, demo.pid, os.WSTOPPED)
        await asyncio.sleep(LEASE_S + 0.05)
        stood = service.now()
        assert ask(station) == pytest.approx(stood.timestamp(), abs=1e-3)
        await asyncio.sleep(0.5)
        assert service.now() == stood
        assert ask(station) == pytest.approx(stood.timestamp(), abs=1e-3)
        waiting = asyncio.create_task(service.sleep_until(stood + timedelta(seconds=60)))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        os.kill(demo.pid, signal.SIGCONT)
        async with asyncio.timeout(60):
            await waiting
        assert service.now() >= stood + timedelta(seconds=60)
        assert ask(station) >= stood.timestamp() + 60.0
