"""What the demo's outside world waits for: its readings, its plans, and nobody who is away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from aggregator.clock import WallClock
from aggregator.demo.configuration import Credentials
from aggregator.demo.day import SCENARIO
from aggregator.demo.people import ClientFault, OutsideWorld
from aggregator.demo.scene import load_scene
from twin.scenario import resource_path

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, tzinfo=UTC)


class Wire:
    """The service as its clients see it: tokens, readings, declarations and the latest plan, or nobody at all."""

    def __init__(self) -> None:
        self.is_up = True
        self.planned_at: datetime | None = None
        self.refuses: int | None = None
        self.declarations = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not self.is_up:
            raise httpx.ConnectError("refused", request=request)
        path = request.url.path
        if path == "/oauth/token":
            return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
        if self.refuses is not None:
            return httpx.Response(self.refuses, json={"title": "refused"})
        if path == "/v1/plans/latest":
            if self.planned_at is None:
                return httpx.Response(404, json={"title": "no plan"})
            return httpx.Response(200, json={"created_at": self.planned_at.isoformat()})
        self.declarations += path == "/v1/departure-targets"
        return httpx.Response(200, json={})


class NoonClock(WallClock):
    def now(self) -> datetime:
        return NOON


@asynccontextmanager
async def world(wire: Wire) -> AsyncIterator[OutsideWorld]:
    scene = load_scene(resource_path(SCENARIO))
    async with httpx.AsyncClient(transport=httpx.MockTransport(wire), base_url="http://service") as http:
        people = OutsideWorld(scene, Credentials.make(scene), NoonClock(), http)
        tasks = [asyncio.create_task(work) for work in (people.meter(), people.operator())]
        yield people
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - what is waited for sets nothing
            await asyncio.sleep(0.01)


def read(people: OutsideWorld, at: datetime) -> None:
    people.meter_says(at.isoformat().replace("+00:00", "Z"), 40.0, 0.0)


def a_visit(people: OutsideWorld) -> str:
    return next(iter(people._scene.declared()))


async def test_nobody_is_waited_for_before_the_first_reading_and_after_the_last() -> None:
    async with world(Wire()) as people:
        assert people.seen_to() is None
        read(people, NOON)
        await until(lambda: people.seen_to() == NOON)
        people.is_metered = False
        assert people.seen_to() is None


async def test_a_declared_car_is_waited_for_until_a_plan_is_made_for_that_time() -> None:
    wire = Wire()
    async with world(wire) as people:
        await people.driver_plugged_in(a_visit(people))
        assert wire.declarations == 1
        read(people, NOON + timedelta(minutes=5))
        await until(lambda: people.seen_to() is not None)
        assert people.seen_to() == NOON
        wire.planned_at = NOON - timedelta(seconds=1)
        await asyncio.sleep(0.3)
        assert people.seen_to() == NOON, "that plan knew nothing of the car"
        wire.planned_at = NOON
        await until(lambda: people.seen_to() == NOON + timedelta(minutes=5))


async def test_a_plan_that_may_not_be_read_is_no_plan_that_is_still_to_come() -> None:
    wire = Wire()
    async with world(wire) as people:
        wire.refuses = httpx.codes.FORBIDDEN
        with pytest.raises(ClientFault, match="403"):
            await people._latest_plan()


async def test_who_finds_nobody_for_longer_than_a_service_takes_to_start_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aggregator.demo.people._AWAY_S", 0.5)
    wire = Wire()
    async with world(wire) as people:
        wire.is_up = False
        with pytest.raises(ClientFault, match="nobody answered"):
            await people._latest_plan()


async def test_a_service_that_is_away_is_not_waited_for_until_it_answers_again() -> None:
    wire = Wire()
    async with world(wire) as people:
        read(people, NOON)
        await until(lambda: people.seen_to() == NOON)
        wire.is_up = False
        read(people, NOON + timedelta(minutes=1))
        await until(lambda: people.seen_to() is None)
        wire.is_up = True
        await until(lambda: people.seen_to() == NOON + timedelta(minutes=1))
