"""An alarm rings when it is due, and excuses once what the process itself was late."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from twin.station.iso15118.alarm import STANDSTILL_S, Alarm

pytestmark = pytest.mark.anyio


async def turns() -> None:
    """Let the event loop do what is due."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_rings_once_and_can_be_set_again(bench: Any) -> None:
    rings: list[float] = []
    loop = asyncio.get_running_loop()
    alarm = Alarm(lambda: rings.append(loop.time()))
    for count in (1, 2):
        at = loop.time() + 0.02
        alarm.set(at)
        assert alarm.is_set
        await bench.until(lambda count=count: len(rings) == count)
        assert rings[-1] >= at
        assert not alarm.is_set


async def test_a_cancelled_alarm_is_silent_and_a_later_setting_counts(bench: Any) -> None:
    rings: list[str] = []
    loop = asyncio.get_running_loop()
    cancelled, moved = Alarm(lambda: rings.append("cancelled")), Alarm(lambda: rings.append("moved"))
    cancelled.set(loop.time())
    cancelled.cancel()
    moved.set(loop.time())
    at = loop.time() + 0.05
    moved.set(at)
    await bench.until(lambda: bool(rings))
    assert rings == ["moved"]
    assert loop.time() >= at


async def test_what_the_process_stood_still_is_given_to_the_car(bench: Any) -> None:
    rings: list[float] = []
    loop = asyncio.get_running_loop()
    alarm = Alarm(lambda: rings.append(loop.time()))
    at = loop.time() + 0.01
    alarm.set(at)
    time.sleep(0.01 + 2.0 * STANDSTILL_S)  # noqa: ASYNC251 - the process stands still, that is the point
    await turns()
    assert not rings
    assert alarm.is_set
    assert alarm.at == at  # whoever judges by it goes on as if it were not yet
    await bench.until(lambda: bool(rings))
    assert rings[0] >= at + 4.0 * STANDSTILL_S


async def test_it_excuses_once() -> None:
    rings: list[float] = []
    loop = asyncio.get_running_loop()
    alarm = Alarm(lambda: rings.append(loop.time()))
    alarm.set(loop.time())
    time.sleep(1.5 * STANDSTILL_S)  # noqa: ASYNC251
    await turns()
    time.sleep(4.0 * STANDSTILL_S)  # noqa: ASYNC251
    await turns()
    assert rings
