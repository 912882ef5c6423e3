"""A car comes to a phase of the feeder that a plan has filled: what its charger is told before the next plan."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aggregator.dispatch import power_at
from aggregator.dispatch.desired import decode
from aggregator.fleet import DepartureTarget
from aggregator.ocpp.events import MeterSample, ProfileCommand, Purpose, TransactionStarted
from aggregator.planning.gate import plan_through_gate
from aggregator.planning.site.request import build_request
from aggregator.service import Service
from twin.feeder.second_engine.check import Checker

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)


@pytest.fixture
async def service(service: Service) -> AsyncIterator[Service]:
    """The demo's site at noon with its outbox running; no charger answers."""
    running = asyncio.create_task(service.outbox.run())
    await asyncio.sleep(0)
    try:
        yield service
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def on_phase_c(service: Service) -> list[str]:
    street = service.loop.model.street
    assert street is not None
    return [evse_id for evse_id, place in street.places.items() if place == ("board-ac", "c")]


async def comes(service: Service, evse_id: str) -> None:
    """A car that needs all it can get."""
    await service.fleet.declare(
        DepartureTarget(f"card-{evse_id}", NOON + timedelta(hours=3), 30.0, "compact-60"), "app")
    await service.fleet.handle(TransactionStarted(evse_id, f"tx-{evse_id}", f"card-{evse_id}", NOON, 0.0))
    await service.fleet.handle(MeterSample(evse_id, f"tx-{evse_id}", NOON, 0.0, 0.0, 0.0))


async def told(service: Service, evse_id: str) -> ProfileCommand | None:
    """What this charger is to be told of its car now."""
    async with service.store.read() as tx:
        rows = [row for row in await tx.desired.all() if row.evse_id == evse_id and row.purpose is Purpose.PLAN]
    return decode(evse_id, Purpose.PLAN, rows[-1].version, rows[-1].payload) if rows else None


def amperes_of_c(service: Service, power_kw: dict[str, float]) -> float:
    """Current of the cable to the board on phase c, by the second engine."""
    model = service.loop.model
    assert model.street is not None
    request = build_request(model, service.loop.observe())
    scene = model.street.scene(request.world.grid, request.world.base_load_kw)
    kw = np.repeat(np.array([[power_kw.get(name, 0.0)] for name in scene.evse_ids]), scene.grid.steps, axis=1)
    from_a = Checker(scene.feeder).solve(scene.flow().solve(*scene.demand_w(kw))).from_a
    return float(from_a.reshape(scene.grid.steps, len(scene.feeder.lines), -1)[0, 1, 2])


async def test_a_car_that_comes_to_a_full_phase_is_told_to_wait_at_once(service: Service) -> None:
    *early, late = on_phase_c(service)
    for evse_id in early:
        await comes(service, evse_id)
    loop = service.loop
    situation = loop.observe()
    request = build_request(loop.model, situation)
    outcome = plan_through_gate(request)
    assert outcome.passed
    await loop.adopt(situation, request, outcome, ("arrival",))
    now = service.clock.now()
    ordered = {evse_id: loop.fast.ordered_kw(evse_id, now) for evse_id in early}
    fallback_kw = service.assets.fallback_kw()[late]
    assert amperes_of_c(service, ordered) > 115.0, "the plan uses what the feeder bears"
    assert amperes_of_c(service, {**ordered, late: fallback_kw}) > 135.0, "its fallback share would overload the cable"

    await comes(service, late)
    assert loop.fast.ordered_kw(late, service.clock.now()) == fallback_kw
    async with asyncio.timeout(60.0):
        while (command := await told(service, late)) is None:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.02)
    assert command.transaction_id == f"tx-{late}"
    share_kw = power_at(command, service.clock.now())
    assert share_kw is not None
    assert amperes_of_c(service, {**ordered, late: share_kw}) < 125.0 * 1.003
    assert [trim.reason for trim in loop.fast.trims] == ["feeder"]

    situation = loop.observe()
    request = build_request(loop.model, situation)
    outcome = plan_through_gate(request)
    await loop.adopt(situation, request, outcome, ("arrival",))
    assert loop.fast.trims == (), "the plan that knows the car takes over"
