"""Cars, chargers and a store for the tests of dispatch."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.clock import ScaledClock, Segment
from aggregator.dispatch import DischargePermit, Outbox
from aggregator.fleet.model import LiveSession, SocSource
from aggregator.ocpp.events import Delivery, DeliveryState, ProfileCommand, ProfilePeriod, Purpose
from aggregator.store import Store

START = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)


class RecordingChargers:
    """Chargers behind a gateway, as dispatch sees them. Answers are given by `answer`, after `latency_s` and `hold`.

    sets: every profile that left, in order. most_in_flight: by EVSE. hold: what else an answer waits for.
    """

    def __init__(self) -> None:
        self.sets: list[ProfileCommand] = []
        self.log: list[tuple[str, str, Purpose]] = []
        self.offline: set[str] = set()
        self.answer: Callable[[ProfileCommand], DeliveryState] = lambda _: DeliveryState.ACCEPTED
        self.clear_answer = DeliveryState.ACCEPTED
        self.latency_s: Callable[[ProfileCommand], float] = lambda _: 0.0
        self.hold: Callable[[ProfileCommand], Awaitable[object]] | None = None
        self.composites: dict[str, tuple[ProfilePeriod, ...] | None] = {}
        self.holds: dict[str, ProfileCommand] = {}
        self.most_in_flight: defaultdict[str, int] = defaultdict(int)
        self._in_flight: defaultdict[str, int] = defaultdict(int)

    def is_online(self, evse_id: str) -> bool:
        return evse_id not in self.offline

    def can_discharge(self, evse_id: str) -> bool:
        return bool(evse_id)

    @contextmanager
    def _flying(self, evse_id: str) -> Iterator[None]:
        self._in_flight[evse_id] += 1
        self.most_in_flight[evse_id] = max(self.most_in_flight[evse_id], self._in_flight[evse_id])
        try:
            yield
        finally:
            self._in_flight[evse_id] -= 1

    async def set_profile(self, command: ProfileCommand) -> Delivery:
        with self._flying(command.evse_id):
            sent = time.time()
            self.sets.append(command)
            self.log.append(("set", command.evse_id, command.purpose))
            state = self.answer(command)
            await asyncio.sleep(self.latency_s(command))
            if self.hold is not None:
                await self.hold(command)
            if state is DeliveryState.ACCEPTED and command.purpose is Purpose.PLAN:
                self.holds[command.evse_id] = command
            return Delivery(state, "", sent, time.time())

    async def clear_profile(self, evse_id: str, purpose: Purpose) -> Delivery:
        with self._flying(evse_id):
            self.log.append(("clear", evse_id, purpose))
            await asyncio.sleep(0)
            return Delivery(self.clear_answer)

    async def composite_schedule(self, evse_id: str, duration_s: int) -> tuple[ProfilePeriod, ...] | None:
        assert duration_s > 0
        return self.composites.get(evse_id)


def make_session(evse_id: str = "A", **changes: Any) -> LiveSession:
    values: dict[str, Any] = {
        "transaction_id": f"tx-{evse_id}", "evse_id": evse_id, "id_token": f"card-{evse_id}", "started_at": START,
        "departure": START + timedelta(hours=6), "target_kwh": 50.0, "requested_kwh": 20.0, "floor_kwh": 12.0,
        "capacity_kwh": 60.0, "energy_kwh": 30.0, "delivered_kwh": 0.0, "imported_kwh": 0.0, "exported_kwh": 0.0,
        "power_kw": 0.0, "vehicle_model": "bidi-60", "v2g_consent": True, "soc_source": SocSource.REPORTED,
        "soc_at": START, "is_declared": True,
    }
    return LiveSession(**(values | changes))


def make_command(
    evse_id: str, *powers_kw: float, minutes: int = 15, lasts_h: float = 3, **changes: Any
) -> ProfileCommand:
    """A plan profile from START: one power for each quarter of an hour."""
    values: dict[str, Any] = {
        "evse_id": evse_id, "purpose": Purpose.PLAN, "version": 0,
        "periods": tuple(
            ProfilePeriod(START + timedelta(minutes=minutes * k), power_kw) for k, power_kw in enumerate(powers_kw)
        ),
        "valid_from": START, "valid_to": START + timedelta(hours=lasts_h), "transaction_id": f"tx-{evse_id}",
    }
    return ProfileCommand(**(values | changes))


class Bench:
    """A running outbox over a real store and recording chargers. `cars`: EVSEs with a transaction."""

    def __init__(self, store: Store, chargers: RecordingChargers, clock: MovableClock) -> None:
        self.store, self.chargers, self.clock = store, chargers, clock
        self.cars = {"A", "B", "C"}
        self.permits: dict[str, DischargePermit] = {}
        self.accepted: list[ProfileCommand] = []
        self.clips: list[Any] = []
        self.outbox = self.new_outbox()

    def new_outbox(self) -> Outbox:
        return Outbox(
            self.store, self.chargers, self.clock,
            permit_of=lambda e: self.permits.get(e, DischargePermit(e, 11.0, ())),
            transaction_of=lambda e: f"tx-{e}" if e in self.cars else None,
            on_clip=self.clips.append, on_accepted=self.accepted.append, retry_s=(0.01, 0.02, 0.05),
        )


class MovableClock(ScaledClock):
    """A scaled clock that a test may put ahead."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead

    def wall_seconds_until(self, when: datetime) -> float:
        return super().wall_seconds_until(when - self.ahead)


def scaled_clock(factor: float = 1.0) -> MovableClock:
    return MovableClock([Segment(time.time(), START, factor)])


@asynccontextmanager
async def open_bench(folder: Path, factor: float = 1.0) -> AsyncIterator[Bench]:
    clock = scaled_clock(factor)
    async with await Store.open(f"sqlite+aiosqlite:///{folder / 'v2g.db'}", clock=clock) as store:
        yield Bench(store, RecordingChargers(), clock)


@asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def eventually(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def kit() -> Any:
    """The builders above, for test modules (which cannot import each other)."""

    class Kit:
        start = START
        session = staticmethod(make_session)
        command = staticmethod(make_command)
        bench = staticmethod(open_bench)
        running = staticmethod(running)
        eventually = staticmethod(eventually)
        clock = staticmethod(scaled_clock)
        chargers = RecordingChargers

    return Kit
