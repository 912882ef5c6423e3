"""A car that said what it needs is answered in time, or somebody hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from aggregator.dispatch.needs import NeedsWatch
from aggregator.ocpp.events import Purpose

pytestmark = pytest.mark.anyio

PATIENCE_S = 60.0

Passes = Callable[[float], Awaitable[None]]


@pytest.fixture
async def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Put the event loop's clock ahead by some of its patience; what is due then happens."""
    loop = asyncio.get_running_loop()
    time, ahead_s = loop.time, 0.0

    async def passes(share: float) -> None:
        nonlocal ahead_s
        ahead_s += share * PATIENCE_S
        await asyncio.sleep(1e-3)

    monkeypatch.setattr(loop, "time", lambda: time() + ahead_s)
    return passes


class Watched:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.late: list[str] = []
        self.watch = NeedsWatch(self.asked.append, lambda evse_id, _words: self.late.append(evse_id), PATIENCE_S)


async def test_an_accepted_plan_is_the_answer(kit: Any, passes: Passes) -> None:
    seen = Watched()
    seen.watch.told("A")
    assert seen.asked == ["A"]
    seen.watch.accepted(kit.command("A", 3.0))
    await passes(2.0)
    assert seen.late == []
    assert len(seen.watch.answered_s) == 1


async def test_a_fallback_or_anothers_plan_is_none(kit: Any, passes: Passes) -> None:
    seen = Watched()
    seen.watch.told("A")
    seen.watch.accepted(kit.command("B", 3.0))
    seen.watch.accepted(replace(kit.command("A", 3.0), purpose=Purpose.FALLBACK))
    await passes(1.01)
    assert seen.late == ["A"]


async def test_a_car_that_speaks_again_has_waited_from_then_on(kit: Any, passes: Passes) -> None:
    seen = Watched()
    for _ in range(4):
        seen.watch.told("A")
        await passes(0.4)
    assert seen.late == []
    seen.watch.accepted(kit.command("A", 3.0))
    seen.watch.accepted(kit.command("A", 3.0))
    assert len(seen.watch.answered_s) == 1


async def test_nobody_waits_for_a_car_that_left(passes: Passes) -> None:
    seen = Watched()
    seen.watch.told("A")
    seen.watch.forget("A")
    await passes(2.0)
    assert seen.late == []
