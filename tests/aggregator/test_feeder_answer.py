"""The utility asks for more than the feeder bears: what it is answered, over HTTP, by the demo's own service."""

import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from aggregator.clock import Segment
from aggregator.config import load_settings
from aggregator.config.assets_file import dump_assets
from aggregator.demo.configuration import Credentials, write_clock, write_configuration
from aggregator.demo.scene import load_scene
from aggregator.fleet import DepartureTarget
from aggregator.ocpp.events import MeterSample, TransactionStarted
from aggregator.planning.gate import GateOutcome, plan_through_gate
from aggregator.planning.site.request import build_request
from aggregator.service import Service, assemble
from twin.feeder.second_engine.check import Checker
from twin.scenario import resource_path

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
EVENT = {"start": "2019-07-15T20:00:00Z", "end": "2019-07-15T21:00:00Z", "max_net_kw": 20}
CABLE_SHARE = 0.2
"""28 A in each phase of the cable to the bidirectional chargers: 19.6 kW, of what three cars could give."""


class Garage:
    """The demo's site at noon on a weak cable, three cars plugged in that hold 29 kWh more than they were asked for."""

    def __init__(self, service: Service, secret: str) -> None:
        self.service, self._secret = service, secret

    @asynccontextmanager
    async def utility(self) -> AsyncIterator[httpx.AsyncClient]:
        app: Any = self.service.server.config.app
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await self._sign_in(client)
            yield client

    async def _sign_in(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/openadr3/3.1.0/auth/token", data={
            "grant_type": "client_credentials", "client_id": "utility", "client_secret": self._secret})
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def plan(self) -> GateOutcome:
        """What the planner's process and the loop do after a signal; the chargers can discharge."""
        loop = self.service.loop
        seen = loop.observe()
        situation = replace(seen, permitted_kw={session.evse_id: 11.0 for session in seen.sessions})
        request = build_request(loop.model, situation)
        outcome = plan_through_gate(request)
        await loop.adopt(situation, request, outcome, ("grid signal",))
        return outcome


async def made(folder: Path, share: float) -> AsyncIterator[Garage]:
    scene = load_scene(resource_path("workplace_caltech.toml"))
    credentials = Credentials.make(scene)
    write_configuration(folder, scene, credentials, host="127.0.0.1", http_port=0, ocpp_port=0)
    write_clock(folder / "clock.json", [Segment(time.time(), NOON, 1.0)])
    assets = tomllib.loads((folder / "assets.toml").read_text("utf-8"))
    assets["feeder"]["limits"] = {"line_loading": share}
    del assets["site"]["arrivals_per_hour"]  # nobody else comes, so nothing is kept back for them
    for evse in assets["evses"]:
        evse["fallback_kw"] = 0.0
    (folder / "assets.toml").write_text(dump_assets(assets), "utf-8")
    service = await assemble(load_settings(folder / "v2g.toml"))
    async with service.store.transaction("test") as tx:
        for client in service.assets.clients():
            await tx.clients.put(client)
    bidirectional = [evse["id"] for evse in assets["evses"] if evse["max_discharge_kw"] > 0][:3]
    for number, evse_id in enumerate(bidirectional):
        card, transaction = f"card-{number}", f"tx-{number}"
        await service.fleet.declare(DepartureTarget(
            card, NOON + timedelta(hours=4), 1.0, "bidirectional-62", v2g_consent=True), "app")
        await service.fleet.handle(
            TransactionStarted(evse_id, transaction, card, NOON - timedelta(hours=1), 5000.0))
        await service.fleet.handle(MeterSample(evse_id, transaction, NOON, 0.0, 35000.0, 0.0, soc=0.9))
    try:
        yield Garage(service, credentials.clients["utility"])
    finally:
        service.ticker_close.close()
        await service.store.close()


@pytest.fixture
async def garage(tmp_path: Path) -> AsyncIterator[Garage]:
    async for one in made(tmp_path, CABLE_SHARE):
        yield one


@pytest.fixture
async def strong_garage(tmp_path: Path) -> AsyncIterator[Garage]:
    async for one in made(tmp_path, 1.0):
        yield one


async def answered(garage: Garage) -> tuple[dict[str, Any], GateOutcome]:
    async with garage.utility() as utility:
        posted = await utility.post(
            "/v1/grid-signals", json={"programme": "Peak relief", "intervals": [EVENT]},
            headers={"Idempotency-Key": "k1"})
        assert posted.status_code == 201, posted.text
        outcome = await garage.plan()
        answer = (await utility.get(f"/v1/grid-signals/{posted.json()['signal_ids'][0]}")).json()
    return answer, outcome


async def test_an_event_that_the_feeder_cannot_bear_is_answered_with_less_and_with_the_limit(garage: Garage) -> None:
    answer, outcome = await answered(garage)
    decision = answer["decision"]
    assert outcome.passed
    assert decision["state"] == "partial"
    assert 10.0 < decision["committed_kw"] < 15.0
    assert decision["requested_kw"] > 25.0
    (held,) = [reason for reason in decision["reasons"] if reason["code"] == "feeder_limit"]
    assert held["count"] >= 2
    (limit,) = held["limits"]
    assert limit.startswith("line cable-dc phase ")
    assert limit.endswith(" % of 20 %")
    told = " ".join(step["detail"] for step in answer["transitions"])
    assert f"{decision['committed_kw']:.1f} of {decision['requested_kw']:.1f} kW: line cable-dc phase" in told
    assert "card-" not in str(answer)

    street = garage.service.loop.model.street
    assert street is not None
    grid = outcome.schedule.grid
    scene = street.scene(grid, np.full(grid.steps, 50.0))
    order = [outcome.schedule.evse_ids.index(evse_id) for evse_id in scene.evse_ids]
    solution = scene.flow().solve(*scene.demand_w(outcome.schedule.power_kw[order]))
    amperes = np.abs(Checker(scene.feeder).solve(solution).from_a[:, 0])
    assert CABLE_SHARE * 142.0 * 0.9 < amperes.max() <= CABLE_SHARE * 142.0 * 1.003, "what is left is given"


async def test_what_the_feeder_bears_is_not_said_to_be_its_doing(strong_garage: Garage) -> None:
    answer, _ = await answered(strong_garage)
    codes = {reason["code"] for reason in answer["decision"]["reasons"]}
    assert "feeder_limit" not in codes
    assert answer["decision"]["committed_kw"] > 16.0


async def test_the_limits_that_were_told_are_kept(garage: Garage) -> None:
    answer, _ = await answered(garage)
    async with garage.service.store.read() as tx:
        kept = await tx.signals.decision(answer["id"])
    assert kept is not None
    assert list(kept.feeder_limits) == next(
        reason["limits"] for reason in answer["decision"]["reasons"] if reason["code"] == "feeder_limit")
