"""A car that said what it needs is answered in time, or somebody hears of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aggregator.dispatch.needs import NeedsWatch
from aggregator.ocpp.events import Purpose

pytestmark = pytest.mark.anyio

PATIENCE_S = 0.05


class Watched:
    def __init__(self, within_s: float = PATIENCE_S) -> None:
        self.asked: list[str] = []
        self.late: list[str] = []
        self.watch = NeedsWatch(self.asked.append, lambda evse_id, _words: self.late.append(evse_id), within_s)


async def test_an_accepted_plan_is_the_answer(kit: Any) -> None:
    seen = Watched()
    seen.watch.told("A")
    assert seen.asked == ["A"]
    seen.watch.accepted(kit.command("A", 3.0))
    await asyncio.sleep(2 * PATIENCE_S)
    assert seen.late == []
    assert len(seen.watch.answered_s) == 1


async def test_a_fallback_or_anothers_plan_is_none(kit: Any) -> None:
    seen = Watched()
    seen.watch.told("A")
    seen.watch.accepted(kit.command("B", 3.0))
    seen.watch.accepted(replace(kit.command("A", 3.0), purpose=Purpose.FALLBACK))
    await asyncio.sleep(2 * PATIENCE_S)
    assert seen.late == ["A"]


async def test_a_car_that_speaks_again_has_waited_from_then_on(kit: Any) -> None:
    seen = Watched()
    for _ in range(4):
        seen.watch.told("A")
        await asyncio.sleep(0.6 * PATIENCE_S)
    assert seen.late == []
    seen.watch.accepted(kit.command("A", 3.0))
    seen.watch.accepted(kit.command("A", 3.0))
    assert len(seen.watch.answered_s) == 1


async def test_nobody_waits_for_a_car_that_left() -> None:
    seen = Watched()
    seen.watch.told("A")
    seen.watch.forget("A")
    await asyncio.sleep(2 * PATIENCE_S)
    assert seen.late == []
