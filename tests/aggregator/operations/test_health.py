import asyncio
import time

import pytest

from aggregator.operations import Health, UnhealthyError, fresh_within

pytestmark = pytest.mark.anyio


async def _well() -> None:
    pass


async def _ill() -> None:
    raise UnhealthyError("no solver")


class Hanging:
    """Checks that never answer; counts how many of them wait at once."""

    def __init__(self) -> None:
        self.waiting = self.most = 0

    async def check(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.sleep(600)
        finally:
            self.waiting -= 1


async def test_ready_only_if_every_check_passes() -> None:
    health = Health()
    assert (await health.ready()).ok
    health.add("store", _well)
    assert (await health.ready()).ok
    health.add("planner", _ill)
    readiness = await health.ready()
    assert not readiness.ok
    assert [(check.name, check.ok, check.detail) for check in readiness.checks] == [
        ("planner", False, "UnhealthyError: no solver"), ("store", True, ""),
    ]


async def test_a_check_that_hangs_fails_in_time_and_holds_up_no_other() -> None:
    health = Health(timeout_s=0.05)
    hanging = Hanging()
    for number in range(5):
        health.add(f"hangs-{number}", hanging.check)
    health.add("store", _well)
    readiness = await health.ready()
    assert (hanging.most, hanging.waiting) == (5, 0)
    assert {check.detail for check in readiness.checks if not check.ok} == {"no answer within 0.05 s"}
    assert [check.name for check in readiness.checks if check.ok] == ["store"]


def test_a_name_is_used_once() -> None:
    health = Health()
    health.add("store", _well)
    with pytest.raises(ValueError, match="'store' exists"):
        health.add("store", _ill)


async def test_what_must_happen_now_and_then_is_watched() -> None:
    last: list[float | None] = [None]
    check = fresh_within(60.0, lambda: last[0], "dispatch")
    with pytest.raises(UnhealthyError, match="dispatch: never yet"):
        await check()
    last[0] = time.monotonic()
    await check()
    last[0] -= 100
    with pytest.raises(UnhealthyError, match=r"1\d\d s ago, expected within 60 s"):
        await check()
