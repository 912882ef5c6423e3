"""Time that is held holds a station's events, without keeping the processor busy, and loses none of them."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from twin.lease import POLL_S, LeaseKeeper
from twin.station.clock import ClockSegment, DomainClock
from twin.station.timeline import Timeline

pytestmark = pytest.mark.anyio

DAY = datetime(2019, 7, 15, 13, tzinfo=UTC)
FACTOR = 480.0


class CountingClock(DomainClock):
    """Counts how often somebody asks for the time."""

    asked = 0

    def now(self) -> float:
        self.asked += 1
        return super().now()


async def test_events_wait_for_a_lease_and_then_happen_at_their_instants(tmp_path: Path) -> None:
    wall = time.time()
    keeper = LeaseKeeper.create(tmp_path / "clock.lease", wall)
    clock = CountingClock([ClockSegment(wall, DAY, FACTOR)], keeper)
    timeline = Timeline(clock)
    assert timeline.now == DAY.timestamp()
    due = [DAY.timestamp() + after_s for after_s in (1e-3, 30.0, 45.0, 600.0)]
    happened: list[float] = []
    for when in due:
        timeline.at(when, happened.append)
    timeline.start()
    clock.asked = 0
    await asyncio.sleep(0.5)
    assert happened == []
    assert clock.asked <= 0.5 / POLL_S + 2, "it looks now and then, it does not spin"
    assert timeline.act(lambda: timeline.now) == DAY.timestamp(), "a message that comes in moves nothing either"

    keeper.grant(time.time(), wall + 0.1)
    async with asyncio.timeout(30):
        while len(happened) < 3:  # noqa: ASYNC110 - the events of a timeline set nothing
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert happened == due[:3]
    assert timeline.catch_up() == pytest.approx(DAY.timestamp() + 0.1 * FACTOR, abs=1e-3)

    keeper.grant(time.time(), float("inf"))
    async with asyncio.timeout(30):
        while len(happened) < 4:  # noqa: ASYNC110 - the events of a timeline set nothing
            await asyncio.sleep(0.01)
    assert happened == due
    timeline.stop()
