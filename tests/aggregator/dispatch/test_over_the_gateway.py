"""From a queued plan to frames on real sockets, and back."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from aggregator.dispatch import FastLoop, Outbox, queue_commands
from aggregator.ocpp import CommissionedStations, EvseAddress, Gateway
from aggregator.ocpp.events import ChargerEvent, DeliveryState, OcppVersion
from aggregator.signals.model import GridSignal, Obligation, SignalInterval
from aggregator.store import SiteReading
from twin.assets import Current, Evse

pytestmark = pytest.mark.anyio

STATIONS = [f"S{k:02}" for k in range(30)]


class Quiet:
    """Listens and lets everyone in."""

    async def handle(self, event: ChargerEvent) -> None:
        assert event is not None

    async def accept_transaction_start(
        self, evse_id: str, id_token: str, at: Any, import_wh: float, export_wh: float  # noqa: ARG002 - the port's names
    ) -> str:
        return f"tx-{evse_id}"

    async def verify(self, station_id: str, password: str) -> bool:
        return station_id == password


class Station:
    """A charging station of plain OCPP 2.1 frames that accepts what it is sent and notes when."""

    def __init__(self, station_id: str, connection: ClientConnection) -> None:
        self.station_id = station_id
        self.connection = connection
        self.booted = asyncio.Event()
        self.profiles: list[tuple[float, dict[str, Any]]] = []

    async def run(self) -> None:
        boot = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
        await self.connection.send(json.dumps([2, "boot", "BootNotification", boot]))
        try:
            async for raw in self.connection:
                frame = json.loads(raw)
                if frame[0] == 3 and frame[1] == "boot":
                    assert frame[2]["status"] == "Accepted"
                    self.booted.set()
                elif frame[0] == 2:
                    if frame[2] == "SetChargingProfile":
                        self.profiles.append((time.time(), frame[3]))
                    await self.connection.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        except ConnectionClosed:
            return


@asynccontextmanager
async def fleet(bench: Any) -> AsyncIterator[dict[str, Station]]:
    """A gateway with every station connected and booted; the outbox of `bench` sends through it."""
    quiet = Quiet()
    directory = CommissionedStations(EvseAddress(s, s, 1, OcppVersion.V21) for s in STATIONS)
    gateway = Gateway(events=quiet, auth=quiet, clock=bench.clock, directory=directory)
    await gateway.start("127.0.0.1", 0)
    bench.chargers = gateway
    bench.cars = set(STATIONS)
    bench.outbox = bench.new_outbox()
    stations: dict[str, Station] = {}
    tasks = []
    for station_id in STATIONS:
        basic = base64.b64encode(f"{station_id}:{station_id}".encode()).decode()
        connection = await connect(
            f"ws://127.0.0.1:{gateway.port}/{station_id}", subprotocols=[Subprotocol("ocpp2.1")],
            additional_headers={"Authorization": f"Basic {basic}"}, proxy=None,
        )
        stations[station_id] = Station(station_id, connection)
        tasks.append(asyncio.create_task(stations[station_id].run()))
    try:
        async with asyncio.timeout(60):
            for station in stations.values():
                await station.booted.wait()
        yield stations
    finally:
        await gateway.stop()
        await asyncio.gather(*(station.connection.close() for station in stations.values()))
        await asyncio.gather(*tasks)


def limits(profile: dict[str, Any]) -> list[float]:
    """Every set-point or limit of a SetChargingProfile, W, in the station's words."""
    periods = profile["chargingProfile"]["chargingSchedule"][0]["chargingSchedulePeriod"]
    return [period.get("setpoint", period.get("limit")) for period in periods]


async def test_a_plan_and_a_mandatory_limit_reach_thirty_chargers_in_time(kit: Any, tmp_path: Path) -> None:
    """Of twenty runs one must keep the time: a busy machine may hold up the others."""
    times = []
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        times.append(await reach_all(kit, folder))
        first_s, last_s = times[-1]
        if first_s <= 0.15 and last_s <= 1.0:
            return
    pytest.fail(f"first sent and last arrived after {times}, expected 0.15 s and 1 s at most")


async def reach_all(kit: Any, folder: Path) -> tuple[float, float]:
    """A plan, then a limit. Seconds until the first profile left and until the last arrived."""
    async with kit.bench(folder) as bench, fleet(bench) as stations:
        outbox: Outbox = bench.outbox
        async with kit.running(outbox):
            loop = FastLoop(
                import_cap_kw=200.0, export_limit_kw=50.0, limit_at=lambda _: 1e9,
                evses={s: Evse(s, "site", Current.DC, 11.0, max_discharge_kw=11.0) for s in STATIONS},
                fallback_kw=dict.fromkeys(STATIONS, 1.0), sessions=lambda: {s: kit.session(s) for s in STATIONS},
                outbox=outbox, clock=bench.clock,
            )
            plan = [kit.command(s, -4.0 if s == "S00" else 3.0, lasts_h=1) for s in STATIONS]
            async with bench.store.transaction("planner") as tx:
                await queue_commands(tx, loop.admit(plan, bench.clock.now()))
            outbox.wake(STATIONS)
            await kit.eventually(lambda: len(bench.accepted) == 30)
            assert min(limits(stations["S00"].profiles[-1][1])) == -4000
            assert limits(stations["S01"].profiles[-1][1])[0] == 3000

            await loop.reading(SiteReading("site", bench.clock.now(), 133.0, 83.0))
            now = bench.clock.now()
            signal = GridSignal(
                "sig", "native:dso", "1", 1, "h", now, "emergency", Obligation.MANDATORY, "site",
                (SignalInterval(now, now.replace(minute=30), 60.0),),
            )
            for station in stations.values():
                station.profiles.clear()
            began = time.time()
            done = await loop.apply_limit(signal, now)
            arrivals = [station.profiles[-1][0] - began for station in stations.values() if station.profiles]
            assert len(arrivals) == 29, "the one that discharges is left alone"
            # The stations share our event loop, so they read only after all is sent: what counts is what left.
            assert done.first_sent_wall is not None
            assert {delivery.state for delivery in done.deliveries.values()} == {DeliveryState.ACCEPTED}
            ordered_w = sum(limits(s.profiles[-1][1])[0] for s in stations.values() if s.profiles)
            assert 0 <= ordered_w <= 14_000
            assert all(min(limits(s.profiles[-1][1])) >= 0 for s in stations.values() if s.profiles)
            return done.first_sent_wall - began, max(arrivals)
