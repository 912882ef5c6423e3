"""The running service: every part made once, wired together, started and stopped in order.

One event loop carries API, pages and OCPP; the planner is a child process, so a solver never blocks a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from aggregator.api.app import create_app
from aggregator.api.patience import PatientProtocol
from aggregator.api.ports import Services
from aggregator.clock import Clock, WallClock
from aggregator.config import AssetsFile, Settings, load_clock
from aggregator.config.meaning import feeder_room, past_use, permit_book, site_defaults, site_model
from aggregator.counting import Counting, count_plan
from aggregator.dispatch.capabilities import CapabilityNotes, Limitation
from aggregator.dispatch.desired import fallback_command
from aggregator.dispatch.fast_loop import FastLoop
from aggregator.dispatch.needs import NeedsWatch
from aggregator.dispatch.outbox import Outbox, queue_commands
from aggregator.dispatch.stop import DischargeStop
from aggregator.dispatch.trims import Trim
from aggregator.dispatch.verify import Verifier
from aggregator.fleet.beliefs import Beliefs
from aggregator.fleet.desk import FleetDesk
from aggregator.fleet.plausible import Plausibility
from aggregator.fleet.site_power import SitePower
from aggregator.learning import learn, next_day
from aggregator.live import LivePicture
from aggregator.loop import Loop
from aggregator.ocpp.directory import CommissionedStations, EvseAddress
from aggregator.ocpp.events import MeterSample, ProfileCommand
from aggregator.ocpp.gateway import Gateway
from aggregator.operations.access import StationPasswords
from aggregator.operations.health import Health, UnhealthyError
from aggregator.operations.logging import configure_logging
from aggregator.operations.metrics import Metrics
from aggregator.operations.tokens import TokenService, load_or_create_key
from aggregator.planning.process import PlannerProcess
from aggregator.planning.site.horizon import RecedingHorizon
from aggregator.planning.site.situation import SiteModel
from aggregator.service_ports import ChargerPort, DischargeStopPort, FleetPort, HealthPort, SiteMeterPort
from aggregator.signals.desk import SignalDesk
from aggregator.signals.limits import SET_ASIDE
from aggregator.store import ClientRecord, Store
from aggregator.store.telemetry import TelemetryRefusedError
from aggregator.web import live_ticker, web_router
from markets.rate import load_rate

log = structlog.get_logger(__name__)

_STOP_WAIT_S = 5.0


@dataclass
class Service:
    """All parts, made by `assemble`."""

    settings: Settings
    clock: Clock
    store: Store
    assets: AssetsFile
    loop: Loop
    fleet: FleetDesk
    gateway: Gateway
    outbox: Outbox
    verifier: Verifier
    desk: SignalDesk
    planner: PlannerProcess
    horizon: RecedingHorizon
    picture: LivePicture
    counting: Counting
    server: uvicorn.Server
    ticker_close: contextlib.ExitStack

    async def run(self, http: socket.socket, *, ends_with_stdin: bool = False) -> None:
        """Serve until SIGTERM or SIGINT, or the end of stdin if that is asked; then stop in the reverse order."""
        await self._prepare()
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("outbox", self.outbox.run()), ("signals", self.desk.run()), ("horizon", self.horizon.run()),
                ("verifier", self.verifier.run()), ("counts", self.counting.run()),
                ("learning", self._learn_forever()),
            )
        ]
        await self.gateway.start(self.settings.host, self.settings.ocpp_port)
        serving = asyncio.create_task(self.server.serve([http]), name="http")
        stopping = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stopping.set)
        if ends_with_stdin:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_to_end, stopping)
        waiting = asyncio.create_task(stopping.wait())
        log.info("service started", http_port=http.getsockname()[1], ocpp_port=self.gateway.port)
        self.horizon.request("start")
        try:
            done, _ = await asyncio.wait({*tasks, serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                if not task.cancelled() and (fault := task.exception()) is not None:
                    raise fault  # a part that dies takes the service down: a supervisor restarts it whole
        finally:
            await self._stop(tasks, serving, waiting)

    async def _prepare(self) -> None:
        """Bring back what was known, commission the fallback profiles, start the planner."""
        async with self.store.transaction("service") as tx:
            for client in self.assets.clients():
                await tx.clients.put(ClientRecord(
                    client.client_id, client.role, client.scopes, client.secret_sha256, client.party
                ))
            self.loop.permits = self.loop.permits.with_use(past_use(await tx.sessions.all()))
        await self.loop.stop.load()
        await self.fleet.recover()
        await self.desk.recover()
        now = self.clock.now()
        async with self.store.transaction("service") as tx:
            await queue_commands(tx, [
                fallback_command(evse_id, kw, now) for evse_id, kw in self.assets.fallback_kw().items()
            ])
        await self.planner.start()

    async def _stop(self, tasks: list[asyncio.Task[None]], *others: asyncio.Task[object]) -> None:
        log.info("service stopping")
        self.ticker_close.close()
        self.server.should_exit = True
        await asyncio.wait({others[0]}, timeout=_STOP_WAIT_S)
        await self.gateway.stop()
        for task in (*tasks, *others):
            task.cancel()
        await asyncio.gather(*tasks, *others, return_exceptions=True)
        with contextlib.suppress(SQLAlchemyError, TelemetryRefusedError):  # a full disk must not keep the rest open
            await self.counting.count()
        await self.planner.aclose()
        await self.store.close()

    async def _learn_forever(self) -> None:
        """Learn from the days before, as each local day begins."""
        while True:
            now = self.clock.now()
            try:
                self.horizon.model = await learn(
                    self.horizon.model, self.store, now, days=self.settings.learn_days,
                    virtual_evs=self.settings.virtual_evs,
                )
            except SQLAlchemyError:  # what was learnt before still holds
                log.exception("past sessions could not be read, trying again tomorrow")
            await self.clock.sleep_until(next_day(self.horizon.model, now))


async def assemble(settings: Settings) -> Service:  # noqa: C901, PLR0915 - one statement for each part, in their order
    """Make every part and wire them together; nothing runs yet.

    Raises:
        ConfigError: the assets or clock file is faulty. RateError: the tariff is. SigningKeyError: the key that tokens
            are signed with is. StoreError: the database is.
    """
    assets, rate = AssetsFile.load(settings.assets), load_rate(settings.tariff)
    clock: Clock = load_clock(settings.clock) if settings.clock is not None else WallClock()
    configure_logging(settings.log_level, clock=clock)
    key = load_or_create_key(settings.data_dir)
    store = await Store.open(settings.store_url, clock=clock)
    model, metrics, health = site_model(assets, rate, settings), Metrics(), Health()
    addresses = [EvseAddress(e.id, e.station_id, e.evse_number, e.version) for e in assets.evse_sections]
    stations = {address.evse_id: address.station_id for address in addresses}

    def evses_of(station_id: str) -> list[str]:
        return [address.evse_id for address in addresses if address.station_id == station_id]

    async def on_meter(sample: MeterSample) -> None:
        loop.fast.meter(sample)
        loop.metered(sample)
        await verifier.meter(sample)

    def on_ended(evse_id: str) -> None:
        loop.fast.forget(evse_id)
        loop.draws.forget(evse_id)
        verifier.forget(evse_id)
        needs.forget(evse_id)

    def on_started(evse_id: str) -> None:
        # Refusals of the last transaction may have been about that transaction: each one gets its own chance.
        capabilities.clear(evse_id, Limitation.REFUSES_PROFILES, Limitation.REFUSES_DISCHARGE)
        loop.car_came()

    def on_boot(station_id: str) -> None:
        for evse_id in evses_of(station_id):
            outbox.resync(evse_id)

    def on_trim(_trims: tuple[Trim, ...]) -> None:
        horizon.request("trim")

    max_power_kw = {e.id: max(e.max_charge_kw, e.max_discharge_kw) for e in model.evses.values()}
    fleet = FleetDesk(
        store, clock, Beliefs(model.vehicles, site_defaults(assets), max_power_kw),
        plausible=Plausibility(clock, max_power_kw), on_change=lambda reason: horizon.request(reason),  # noqa: PLW0108 - made below
        on_boot=on_boot, on_meter=on_meter, on_ended=on_ended, on_started=on_started,
        on_needs=lambda evse_id: needs.told(evse_id),  # noqa: PLW0108 - made below
    )
    gateway = Gateway(
        events=fleet, auth=StationPasswords(assets.station_passwords()), clock=clock,
        directory=CommissionedStations(addresses),
    )
    power = SitePower(assets.site_section.peak_so_far_kw)
    loop = Loop(
        store=store, clock=clock, model=model, fleet=fleet, power=power, permits=permit_book(assets), commands=gateway
    )
    capabilities = CapabilityNotes()

    def on_accepted(command: ProfileCommand) -> None:
        verifier.accepted(command)
        needs.accepted(command)

    outbox = Outbox(
        store, gateway, clock, permit_of=loop.permit_of, transaction_of=loop.transaction_of, capabilities=capabilities,
        on_clip=loop.on_clip, on_accepted=on_accepted,
    )
    needs = NeedsWatch(
        outbox.expect_news, lambda evse_id, words: outbox.raise_alert("needs_unanswered", evse_id, words)
    )
    verifier = Verifier(
        commands=gateway, outbox=outbox, clock=clock, capabilities=capabilities,
        model_of=lambda evse_id: fleet.model_of(stations[evse_id]),
        response_s_of=lambda evse_id: _response_s(model, evse_id),
    )

    async def on_signal(_signal: object) -> None:
        in_force = {held.signal.id for held in desk.book(model.site.id).held if held.state not in SET_ASIDE}
        for signal_id in fast.limiting - in_force:  # withdrawn, or replaced by a revision that may allow more
            fast.release(signal_id)
        horizon.request("grid signal")

    desk = SignalDesk(
        store, clock, assets.programmes(), [model.site.id], loop.on_mandatory, on_signal, measure=loop.measure
    )
    fast = FastLoop(
        import_cap_kw=model.site.import_cap_kw, export_limit_kw=model.site.export_cap_kw,
        limit_at=lambda when: desk.book(model.site.id).import_cap_at(when, model.site.import_cap_kw),
        export_limit_at=lambda when: desk.book(model.site.id).export_cap_at(when, model.site.export_cap_kw),
        evses=model.evses, fallback_kw=assets.fallback_kw(), sessions=loop.sessions, outbox=outbox, clock=clock,
        on_trim=on_trim, feeder_room=feeder_room(assets),
    )
    stop = DischargeStop(
        store, outbox, clock, dict.fromkeys(model.evses, model.site.id),
        {} if assets.street is None else dict.fromkeys(model.evses, assets.street.feeder.name),
    )
    loop.attach(outbox, fast, desk, stop)
    planner = PlannerProcess(settings.planner_timeout_s)

    async def on_left_out(evse_ids: tuple[str, ...]) -> None:
        await loop.stop_discharge(evse_ids, "cannot be planned for")

    horizon = RecedingHorizon(
        model, clock, planner, loop.observe, loop.adopt, settings.plan_interval_s, on_left_out=on_left_out
    )
    picture = LivePicture(loop, clock, {a.evse_id: a.version for a in addresses})
    loop.request_plan = horizon.request
    def on_adopted() -> None:
        picture.planned()
        if loop.adopted is not None:
            count_plan(metrics, loop.adopted.outcome)

    loop.on_reading, loop.on_adopted = picture.site_reading, on_adopted

    async def database_answers() -> None:
        await store.ping()

    async def planner_runs() -> None:
        if planner.pid is None:
            raise UnhealthyError("the planner process is not running")

    async def plans_are_made() -> None:
        if horizon.fault is not None:
            raise UnhealthyError(f"the latest plan could not be made or adopted ({horizon.fault}); the log says more")

    health.add("plans", plans_are_made)
    health.add("database", database_answers)
    health.add("planner", planner_runs)
    ticker = live_ticker(picture)
    closing = contextlib.ExitStack()
    closing.callback(ticker.close)
    app = create_app(Services(
        store=store, clock=clock, desk=desk, fleet=FleetPort(fleet, loop),
        site_meters=SiteMeterPort(store, model.site.id, loop), chargers=ChargerPort(loop, addresses),
        discharge_stops=DischargeStopPort(stop, horizon.request),
        tokens=TokenService(key, client_of(store), ttl_s=settings.token_ttl_s),
        health=HealthPort(health), metrics=metrics,
        web_router=web_router(picture, ticker=ticker),
    ))
    server = uvicorn.Server(uvicorn.Config(
        app, http=PatientProtocol, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2,
        server_header=False,
    ))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    return Service(
        settings, clock, store, assets, loop, fleet, gateway, outbox, verifier, desk, planner, horizon, picture,
        Counting(store, assets, gateway, fleet, loop, picture, metrics), server, closing,
    )


def client_of(store: Store) -> Callable[[str], Awaitable[ClientRecord | None]]:
    """Look clients up in the store."""

    async def find(client_id: str) -> ClientRecord | None:
        async with store.read() as tx:
            return await tx.clients.get(client_id)

    return find


def _response_s(model: SiteModel, evse_id: str) -> float:
    """Wall of silence plus the longest ramp of one EVSE."""
    evse = model.evses[evse_id]
    ramp = evse.response.ramp_kw_per_s
    return evse.response.delay_s + ((evse.max_charge_kw + evse.max_discharge_kw) / ramp if ramp else 0.0)


def _read_to_end(stopping: asyncio.Event) -> None:
    """Something came on stdin, or it closed; only its end means anything."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopping.set()
