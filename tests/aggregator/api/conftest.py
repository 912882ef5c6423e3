"""A whole application on a real store, its other rooms written by hand at the ports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter

from aggregator.api import ChargerView, Services, TargetRefused, create_app
from aggregator.dispatch import DischargeStop, Outbox, no_permit
from aggregator.fleet.model import DepartureTarget, LiveSession, SocSource
from aggregator.operations.access import Principal, Role, secret_sha256
from aggregator.operations.tokens import TokenService, load_or_create_key
from aggregator.service_ports import DischargeStopPort
from aggregator.signals import GridSignal, Obligation, Programme, SignalDesk
from aggregator.store import ClientRecord, SiteReading, Store

T0 = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)
ALL_SCOPES = frozenset({"read_all", "write_programs", "write_events"})


@dataclass
class StandingClock:
    """Domain time that stands until it is moved."""

    time: datetime = T0

    def now(self) -> datetime:
        return self.time

    def wall_seconds_until(self, when: datetime) -> float:
        return 0.0 if when <= self.time else 3600.0

    async def sleep_until(self, when: datetime) -> None:
        await asyncio.sleep(self.wall_seconds_until(when))

    async def sleep(self, domain_seconds: float) -> None:
        await self.sleep_until(self.time + timedelta(seconds=domain_seconds))


def a_session(evse_id: str, id_token: str) -> LiveSession:
    return LiveSession(
        f"tx-{evse_id}", evse_id, id_token, T0, T0 + timedelta(hours=5), 40.0, 20.0, 10.0, 60.0, 30.0, 10.0, 11.0, 0.0,
        6.6, "sedan", True, SocSource.ESTIMATED, T0, True,
    )


@dataclass
class Rooms:
    """The rooms behind the ports, as simple as can be."""

    applied: list = field(default_factory=list)
    told: list = field(default_factory=list)
    targets: list = field(default_factory=list)
    readings: list = field(default_factory=list)
    replans: list = field(default_factory=list)
    faults: dict = field(default_factory=lambda: {"store": None})
    running: list = field(default_factory=lambda: [a_session("CA-1", "token-ann"), a_session("CA-2", "token-bob")])

    async def on_mandatory(self, signal: GridSignal) -> None:
        self.applied.append(signal)

    async def on_signal(self, signal: GridSignal) -> None:
        self.told.append(signal)

    async def declare(self, target: DepartureTarget, evse_id: str | None) -> None:
        if target.vehicle_model != "sedan":
            raise TargetRefused("vehicle_model", target.vehicle_model, "a vehicle model of the assets")
        self.targets.append((target, evse_id))

    def sessions(self) -> list[LiveSession]:
        return self.running

    def knows(self, site_id: str) -> bool:
        return site_id in ("site", "elsewhere")

    async def record(self, readings: Sequence[SiteReading]) -> None:
        self.readings.extend(readings)

    def chargers(self) -> list[ChargerView]:
        return [ChargerView("CA-1", "CA-1", "ocpp1.6", True, "charging", 6.6, T0)]

    async def ready(self) -> dict[str, str | None]:
        return self.faults

    def is_online(self, evse_id: str) -> bool:
        return evse_id == ""

    def exposition(self) -> bytes:
        return b"# HELP v2g_plans_total plans\nv2g_plans_total 1\n"


@dataclass
class Served:
    """The application with its clients; `as_` gives one that speaks for somebody."""

    app: object
    http: httpx.AsyncClient
    services: Services
    rooms: Rooms
    clock: StandingClock

    def token(self, role: str, *, party: str = "", scopes: Iterable[str] = (), client_id: str | None = None) -> str:
        principal = Principal(client_id or f"{role}-client", Role(role), frozenset(scopes), party)
        return self.services.tokens.mint(principal).access_token

    def as_(
        self, role: str, *, party: str = "", scopes: Iterable[str] = (), client_id: str | None = None
    ) -> httpx.AsyncClient:
        token = self.token(role, party=party, scopes=scopes, client_id=client_id)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {token}"}
        )

    def utility(self, party: str = "utility", scopes: Iterable[str] = ALL_SCOPES) -> httpx.AsyncClient:
        return self.as_("utility", party=party, scopes=scopes, client_id=f"{party}-client")


@asynccontextmanager
async def serving(folder: Path, web_router: APIRouter | None = None) -> AsyncIterator[Served]:
    clock, rooms = StandingClock(), Rooms()
    async with await Store.open(f"sqlite+aiosqlite:///{folder}/v2g.db", clock=clock) as store:
        async def find(client_id: str) -> ClientRecord | None:
            async with store.read() as tx:
                return await tx.clients.get(client_id)

        async with store.transaction("test") as tx:
            digest = secret_sha256("s3cret/+ %")
            await tx.clients.put(ClientRecord("grid-co", "utility", ("read_all", "write_events"), digest, "utility"))
        programmes = [
            Programme("peak", "utility", Obligation.COMMITTED, 0.5, 2.0),
            Programme("emergency", "utility", Obligation.MANDATORY),
            Programme("peak", "rival", Obligation.VOLUNTARY),
        ]
        desk = SignalDesk(store, clock, programmes, ["site"], rooms.on_mandatory, rooms.on_signal)
        tokens = TokenService(load_or_create_key(folder / "keys"), find)
        outbox = Outbox(store, rooms, clock, permit_of=no_permit, transaction_of=lambda _evse_id: None)
        stops = DischargeStopPort(DischargeStop(
            store, outbox, clock, {"CA-1": "site"}, {"CA-1": "garage"}), rooms.replans.append)
        services = Services(store, clock, desk, rooms, rooms, rooms, stops, tokens, rooms, rooms, web_router)
        app = create_app(services)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        delivering = asyncio.create_task(outbox.run())
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            yield Served(app, http, services, rooms, clock)
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[Served]]:
    """`serving` itself, for tests that need another application."""
    return serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as found:
        yield found
