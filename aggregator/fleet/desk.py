"""Where chargers, drivers' apps and fleet systems report: believed, stored, and told to the planner.

A start, an end or a declaration is durable before the charger or the app gets its answer; so is a meter value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import structlog

from aggregator.clock import Clock
from aggregator.fleet.beliefs import Beliefs
from aggregator.fleet.kept_needs import read_needs, written_needs
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.fleet.plausible import Plausibility
from aggregator.ocpp.events import (
    ChargerEvent,
    ConnectorState,
    ConnectorStatus,
    EvNeeds,
    MeterSample,
    StationBooted,
    StationOffline,
    StationOnline,
    TransactionEnded,
    TransactionStarted,
)

if TYPE_CHECKING:
    from aggregator.store import Store
    from aggregator.store.records import SessionRecord, StationRecord

log = structlog.get_logger(__name__)

_SOC_NEWS = 0.02
"""A reported SoC this far from the belief is worth a new plan."""
_EARLY = timedelta(minutes=10)
"""Needs that came before their transaction are about it for this long."""


class FleetDesk:
    """Implements `ChargerEvents` and takes declarations.

    on_change: called with a reason when the planner should look again.
    on_boot: called with a station id when it presents itself and its profiles must be put right.
    on_meter: called with every stored meter value; on_ended and on_started: with the EVSE whose
        transaction is over, or has begun; on_needs: with the EVSE whose car has said what it needs.
    plausible: what chargers can have said; the rest is left out before it is stored.
    """

    def __init__(
        self, store: Store, clock: Clock, beliefs: Beliefs, *, on_change: Callable[[str], None],
        on_boot: Callable[[str], None], on_meter: Callable[[MeterSample], Awaitable[None]],
        on_ended: Callable[[str], None], on_started: Callable[[str], None] = lambda _evse_id: None,
        on_needs: Callable[[str], None] = lambda _evse_id: None,
        plausible: Plausibility | None = None,
    ) -> None:
        self._plausible = plausible or Plausibility(clock)
        self._store, self._clock, self.beliefs = store, clock, beliefs
        self._on_change, self._on_boot, self._on_meter, self._on_ended = on_change, on_boot, on_meter, on_ended
        self._on_started, self._on_needs = on_started, on_needs
        self._early_needs: dict[str, EvNeeds] = {}
        self.states: dict[str, ConnectorState] = {}
        self._stations: dict[str, StationRecord] = {}
        self._starting = asyncio.Lock()
        self._ids = count(1)

    @property
    def stations(self) -> dict[str, StationRecord]:
        """Every station that ever connected, by id."""
        return self._stations

    def model_of(self, station_id: str) -> str:
        """Vendor and model of a station as it presented itself; empty before its first boot."""
        station = self._stations.get(station_id)
        return f"{station.vendor} {station.model}" if station is not None else ""

    async def recover(self) -> None:
        """Believe again what was stored: targets, open transactions and their meter values."""
        async with self._store.transaction("fleet") as tx:
            targets = await tx.targets.all_latest()
            sessions = await tx.sessions.open()
            stations = await tx.stations.all()
            numbers = [int(s.transaction_id) for s in await tx.sessions.all() if s.transaction_id.isdigit()]
        self._ids = count(max(numbers, default=0) + 1)
        self._stations = {station.id: replace(station, is_online=False) for station in stations}
        for target in targets.values():
            self.beliefs.declare(DepartureTarget(
                target.id_token, target.departure, target.requested_kwh, target.vehicle_model,
                target.v2g_consent, target.floor_soc, target.declared_at, target.declared_by,
            ))
        for session in sessions:
            self.beliefs.started(
                session.transaction_id, session.evse_id, session.id_token, session.started_at,
                session.import_wh_start, session.export_wh_start,
            )
            await self._recover_meter(session)
            if session.car_needs is not None and (car := read_needs(session.evse_id, session.car_needs)) is not None:
                self.beliefs.needs_told(car.said, car.moved_kwh)

    async def _recover_meter(self, session: SessionRecord) -> None:
        series = await self._store.telemetry.meter_series(session.evse_id, session.started_at, self._clock.now())
        for at, *values in zip(
            series.times(), series.power_kw, series.import_wh, series.export_wh, series.soc, strict=True
        ):
            power_kw, import_wh, export_wh, soc = (None if np.isnan(value) else float(value) for value in values)
            self.beliefs.metered(MeterSample(
                session.evse_id, session.transaction_id, at, power_kw, import_wh, export_wh, soc
            ))

    async def declare(self, target: DepartureTarget, actor: str) -> LiveSession | None:
        """Store a declaration and believe it; the session it concerns, if the car is plugged in.

        Raises:
            UnknownVehicleModel: the model is not in the catalogue; nothing is stored.
        """
        from aggregator.store.records import TargetRecord  # noqa: PLC0415 - the store knows this room's words

        self.beliefs.vehicle(target.vehicle_model)
        declared = replace(target, declared_at=target.declared_at or self._clock.now(), declared_by=actor)
        async with self._store.transaction(actor) as tx:
            await tx.targets.add(TargetRecord(
                declared.id_token, declared.departure, declared.requested_kwh, declared.vehicle_model,
                declared.v2g_consent, declared.floor_soc, declared.declared_at, declared.declared_by,
            ))
        self.beliefs.declare(declared)
        self._on_change("departure target")
        now = self._clock.now()
        return next((s for s in self.beliefs.sessions(now) if s.id_token == declared.id_token), None)

    async def accept_transaction_start(
        self, evse_id: str, id_token: str, at: datetime, import_wh: float, export_wh: float
    ) -> str:
        moment, import_wh = self._plausible.moment(at), self._plausible.start_wh(import_wh)
        async with self._starting:
            async with self._store.transaction("gateway") as tx:
                known = await tx.sessions.find_start(evse_id, id_token, moment)
                if known is None and moment != at:  # its clock says nothing: the same register is the same start
                    known = next((
                        session for session in await tx.sessions.open()
                        if (session.evse_id, session.id_token, session.import_wh_start)
                        == (evse_id, id_token, import_wh)
                    ), None)
            transaction_id = known.transaction_id if known else str(next(self._ids))
            await self._started(TransactionStarted(evse_id, transaction_id, id_token, moment, import_wh, export_wh))
        return transaction_id

    async def handle(self, event: ChargerEvent) -> None:
        match event:
            case MeterSample():
                await self._metered(self._plausible.sample(event))
            case TransactionStarted():
                async with self._starting:
                    await self._started(event)
            case TransactionEnded():
                await self._ended(replace(event, at=self._plausible.moment(event.at)))
            case ConnectorStatus():
                self._status(event)
            case EvNeeds():
                await self._needs(self._plausible.needs(event))
            case StationOnline() | StationBooted() | StationOffline():
                await self._station(event)

    async def _started(self, event: TransactionStarted) -> None:
        from aggregator.store.records import SessionRecord  # noqa: PLC0415 - the store knows this room's words

        sane = self._plausible
        event = replace(
            event, at=sane.moment(event.at), import_wh=sane.start_wh(event.import_wh),
            export_wh=sane.start_wh(event.export_wh),
        )
        target = self.beliefs.target_of(event.id_token)
        before = self.beliefs.session(event.evse_id, event.at)
        async with self._store.transaction("gateway") as tx:
            known = await tx.sessions.by_transaction(event.evse_id, event.transaction_id)
            if known is None:
                if before is not None and before.transaction_id != event.transaction_id:
                    # One car at one EVSE: a start without the end of the one before means that the end was lost.
                    await tx.sessions.end(
                        event.evse_id, before.transaction_id, at=event.at, reason="superseded by another transaction",
                        import_wh=event.import_wh, export_wh=event.export_wh,
                    )
                await tx.sessions.start(SessionRecord(
                    event.transaction_id, event.evse_id, event.id_token, event.at, event.import_wh, event.export_wh,
                    vehicle_model=target.vehicle_model if target else None,
                ))
        if known is not None and known.ended_at is not None:
            return  # an old start delivered again after its end
        if self.beliefs.started(
            event.transaction_id, event.evse_id, event.id_token, event.at, event.import_wh, event.export_wh
        ):
            self._on_started(event.evse_id)
            await self._take_early_needs(event.evse_id, event.at)
            self._on_change("arrival")

    async def _ended(self, event: TransactionEnded) -> None:
        if event.import_wh is not None:
            await self._metered(self._plausible.sample(MeterSample(
                event.evse_id, event.transaction_id, event.at, 0.0, event.import_wh, event.export_wh
            )))
        session = self.beliefs.session(event.evse_id, event.at)
        async with self._store.transaction("gateway") as tx:
            stored = await tx.sessions.by_transaction(event.evse_id, event.transaction_id)
            if stored is None or stored.ended_at is not None:
                return
            event = replace(event, at=max(event.at, stored.started_at))
            if session is not None and session.transaction_id == event.transaction_id:
                await tx.sessions.update(replace(
                    stored, battery_kwh_delta=session.delivered_kwh, vehicle_model=session.vehicle_model,
                    last_at=event.at, import_wh=event.import_wh, export_wh=event.export_wh, soc=session.soc,
                    soc_at=session.soc_at,
                ))
            await tx.sessions.end(
                event.evse_id, event.transaction_id, at=event.at, reason=event.reason,
                import_wh=event.import_wh, export_wh=event.export_wh,
            )
        if self.beliefs.ended(event.evse_id, event.transaction_id):
            self._on_ended(event.evse_id)
            self._on_change("departure")

    async def _metered(self, sample: MeterSample) -> None:
        await self._store.telemetry.write_meter([sample])
        before = self.beliefs.session(sample.evse_id, sample.at) if sample.soc is not None else None
        self.beliefs.metered(sample)
        await self._on_meter(sample)
        if before is not None and sample.soc is not None and abs(before.soc - sample.soc) > _SOC_NEWS:
            self._on_change("state of charge")

    async def _needs(self, event: EvNeeds) -> None:
        """What the car says of itself is kept with its session; before that begins, until it does."""
        car = self.beliefs.needs_told(event)
        session = self.beliefs.session(event.evse_id, event.at)
        if car is None or session is None:
            self._early_needs[event.evse_id] = event
            return
        async with self._store.transaction("gateway") as tx:
            stored = await tx.sessions.by_transaction(event.evse_id, session.transaction_id)
            if stored is not None:
                await tx.sessions.update(replace(stored, car_needs=written_needs(car)))
        if event.soc is not None:
            await self._store.telemetry.write_meter([
                MeterSample(event.evse_id, session.transaction_id, event.at, soc=event.soc)
            ])
        self._on_needs(event.evse_id)
        self._on_change("charging needs")

    async def _take_early_needs(self, evse_id: str, now: datetime) -> None:
        needs = self._early_needs.pop(evse_id, None)
        if needs is not None and now - needs.at <= _EARLY:
            await self._needs(needs)

    def _status(self, event: ConnectorStatus) -> None:
        before = self.states.get(event.evse_id)
        self.states[event.evse_id] = event.state
        if event.state is ConnectorState.SUSPENDED_EV and before is not ConnectorState.SUSPENDED_EV:
            self.beliefs.stopped_drawing(event.evse_id)
            self._on_change(f"{event.evse_id} stopped drawing")
        if event.evse_id in self.beliefs.evse_ids():
            if event.state is ConnectorState.FAULTED and before is not ConnectorState.FAULTED:
                self._on_change(f"{event.evse_id} faulted")
            elif before is ConnectorState.FAULTED and event.state is not ConnectorState.FAULTED:
                self._on_change(f"{event.evse_id} works again")

    async def _station(self, event: StationOnline | StationBooted | StationOffline) -> None:
        from aggregator.store.records import StationRecord  # noqa: PLC0415 - the store knows this room's words

        now = event.at
        known = self._stations.get(event.station_id) or StationRecord(event.station_id, version="")
        match event:
            case StationOnline():
                known = replace(known, version=event.version, is_online=True, epoch=event.epoch, last_seen_at=now)
            case StationBooted():
                known = replace(
                    known, version=event.version, vendor=event.vendor, model=event.model, firmware=event.firmware,
                    booted_at=now, last_seen_at=now,
                )
            case StationOffline():
                if known.epoch != event.epoch:
                    return  # an older connection closed after it was replaced
                known = replace(known, is_online=False, last_seen_at=now)
        self._stations[event.station_id] = known
        async with self._store.transaction("gateway") as tx:
            await tx.stations.upsert(known)
        if not isinstance(event, StationOffline):
            self._on_boot(event.station_id)
        log.info("station", station=event.station_id, news=type(event).__name__)
