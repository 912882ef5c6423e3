"""One charging station as the gateway knows it: what its messages mean, in the order it sent them.

A station outlives its connections. Each connection has an epoch; only the newest may speak (fencing), and one
lock per station keeps the order in which its words reach the rest of the service.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from aggregator.clock import Clock
from aggregator.ocpp.access import TokenAuth
from aggregator.ocpp.counters import GatewayCounters
from aggregator.ocpp.dialects.base import UNORDERED, BootAnswer, CarNeeds, Dialect
from aggregator.ocpp.directory import EvseAddress, StationDirectory
from aggregator.ocpp.events import (
    ChargerEvent,
    ChargerEvents,
    ConnectorState,
    ConnectorStatus,
    EvNeeds,
    MeterSample,
    OcppVersion,
    StationBooted,
    TransactionEnded,
    TransactionStarted,
)
from aggregator.ocpp.profiles import InstalledProfile
from aggregator.ocpp.readings import Reading, UnreadableTime
from twin.wire.ocpp import CallRefused, Peer

log = logging.getLogger(__name__)

REMEMBERED_TRANSACTIONS = 32
"""Per station: enough for every EVSE's running one and the last few that a station may still repeat."""

PENDING_INTERVAL_S = 60
INTERVAL_SPREAD = 0.2
"""Heartbeat intervals differ by up to this share, so that stations booted together do not beat together."""

ReportedPart = tuple[Sequence[InstalledProfile], bool]


@dataclass(slots=True)
class Link:
    """The connection that speaks for a station now.

    settled: set once the station may be commanded: it has its boot answer, or did not boot for a while.
    """

    peer: Peer
    version: OcppVersion
    dialect: Dialect
    epoch: int
    settled: asyncio.Event


@dataclass(slots=True)
class StationMemory:
    """What outlives a connection. evse_of, over and taken_of forget the oldest transactions."""

    station_id: str
    epoch: int = 0
    link: Link | None = None
    booted: OcppVersion | None = None
    order: asyncio.Lock = field(default_factory=asyncio.Lock)
    evse_of: OrderedDict[str, int] = field(default_factory=OrderedDict)
    running: dict[int, str] = field(default_factory=dict)
    over: OrderedDict[str, None] = field(default_factory=OrderedDict)
    taken_of: OrderedDict[str, set[int]] = field(default_factory=OrderedDict)
    registers: dict[int, Reading] = field(default_factory=dict)
    states: dict[int, ConnectorState] = field(default_factory=dict)
    reports: dict[int, asyncio.Queue[ReportedPart]] = field(default_factory=dict)


class StationSession:
    """The words of one connection; the `StationListener` of its dialect."""

    def __init__(
        self,
        memory: StationMemory,
        epoch: int,
        version: OcppVersion,
        dialect: Dialect,
        *,
        directory: StationDirectory,
        events: ChargerEvents,
        tokens: TokenAuth,
        clock: Clock,
        counters: GatewayCounters,
        heartbeat_interval_s: int,
        settled: asyncio.Event,
    ) -> None:
        self._memory = memory
        self._epoch = epoch
        self._version = version
        self._dialect = dialect
        self._directory = directory
        self._events = events
        self._tokens = tokens
        self._clock = clock
        self._counters = counters
        self._heartbeat_interval_s = heartbeat_interval_s
        self._settled = settled

    async def handle(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer one request of the station; the `Handler` of its peer."""
        self._counters.messages_in[self._version.value, action] += 1
        self._refuse_if_fenced()
        if action in UNORDERED:
            return await self._dialect.answer(self, action, payload)
        if action != "BootNotification" and not self._directory.evses_of(self._memory.station_id):
            # Before it is accepted a station may only boot (OCPP 2.0.1 B02.FR.09, B03.FR.07).
            raise CallRefused("SecurityError", "the station is not commissioned")
        if action == "BootNotification":
            # Until it has its answer a station takes no command; the peer sends it before any call that waits here.
            self._settled.clear()
        try:
            async with self._memory.order:
                self._refuse_if_fenced()
                return await self._dialect.answer(self, action, payload)
        except UnreadableTime as fault:
            raise CallRefused("PropertyConstraintViolation", str(fault)) from None
        finally:
            if action == "BootNotification":
                self._settled.set()

    async def tell(self, event: ChargerEvent) -> None:
        """Hand an event of the connection itself on, in order with the station's words."""
        async with self._memory.order:
            try:
                await self._events.handle(event)
            except Exception:
                # Nobody repeats this event, and the connection is good: it must not die for a listener's fault.
                self._counters.faults["event_lost"] += 1
                log.exception("telling %s of %s failed", type(event).__name__, self._memory.station_id)

    def _refuse_if_fenced(self) -> None:
        if self._memory.epoch != self._epoch:
            self._counters.faults["fenced"] += 1
            raise CallRefused("GenericError", "a newer connection of this station has replaced this one")

    # What a dialect tells (StationListener)

    def now(self) -> datetime:
        return self._clock.now()

    async def booted(self, vendor: str, model: str, firmware: str | None) -> BootAnswer:
        if not self._directory.evses_of(self._memory.station_id):
            self._counters.faults["boot_unknown"] += 1
            return BootAnswer("Pending", PENDING_INTERVAL_S)
        event = StationBooted(self._memory.station_id, self._version, vendor, model, firmware, self.now())
        await self._events.handle(event)
        self._memory.booted = self._version
        self._memory.states.clear()
        spread = random.uniform(1 - INTERVAL_SPREAD, 1 + INTERVAL_SPREAD)
        return BootAnswer("Accepted", max(1, round(self._heartbeat_interval_s * spread)))

    async def authorize(self, id_token: str) -> bool:
        return await self._tokens.authorize(self._memory.station_id, id_token)

    async def status(self, evse_number: int | None, state: ConnectorState, at: datetime) -> None:
        if evse_number is None:
            if state in (ConnectorState.UNAVAILABLE, ConnectorState.FAULTED):
                for address in self._directory.evses_of(self._memory.station_id):
                    await self._state(address, state, at)
            return
        found = self._find(evse_number)
        if found is not None:
            await self._state(found, state, at)

    async def plugged(self, evse_number: int, at: datetime) -> None:
        before = self._memory.states.get(evse_number)
        if before in (None, ConnectorState.AVAILABLE, ConnectorState.UNAVAILABLE, ConnectorState.FAULTED):
            await self.status(evse_number, ConnectorState.PREPARING, at)

    async def _state(self, address: EvseAddress, state: ConnectorState, at: datetime) -> None:
        if self._memory.states.get(address.evse_number) is state:
            return
        await self._events.handle(ConnectorStatus(address.evse_id, state, at))
        self._memory.states[address.evse_number] = state

    async def started(
        self, evse_number: int, transaction_id: str | None, id_token: str, at: datetime, register: Reading | None
    ) -> str:
        address = self._require(evse_number)
        known = register or self._memory.registers.get(evse_number)
        if known is None:
            self._counters.faults["started_without_register"] += 1
        import_wh = 0.0 if known is None or known.import_wh is None else known.import_wh
        export_wh = 0.0 if known is None or known.export_wh is None else known.export_wh
        if transaction_id is None:
            transaction_id = await self._events.accept_transaction_start(
                address.evse_id, id_token, at, import_wh, export_wh
            )
        await self._events.handle(
            TransactionStarted(address.evse_id, transaction_id, id_token, at, import_wh, export_wh)
        )
        self._place(transaction_id, evse_number)
        return transaction_id

    async def metered(
        self, evse_number: int | None, transaction_id: str | None, readings: Sequence[Reading]
    ) -> None:
        if not readings:
            return
        address = self._locate(evse_number, transaction_id)
        if address is None:
            self._counters.faults["meter_of_unknown_evse"] += 1
            return
        if transaction_id is None:
            # MeterValues of OCPP 2.x name no transaction: it is the one that runs there.
            transaction_id = self._memory.running.get(address.evse_number)
        for reading in readings:
            await self._events.handle(MeterSample(
                address.evse_id, transaction_id, reading.at,
                reading.power_kw, reading.import_wh, reading.export_wh, reading.soc,
            ))
            if reading.import_wh is not None:
                self._memory.registers[address.evse_number] = reading

    async def ended(
        self, evse_number: int | None, transaction_id: str, at: datetime, register: Reading | None, reason: str
    ) -> None:
        address = self._locate(evse_number, transaction_id)
        if address is None:
            raise CallRefused("PropertyConstraintViolation", f"transaction {transaction_id} is not known here")
        await self._events.handle(TransactionEnded(
            address.evse_id, transaction_id, at,
            None if register is None else register.import_wh,
            None if register is None else register.export_wh,
            reason,
        ))
        self._memory.states.pop(address.evse_number, None)
        if self._memory.running.get(address.evse_number) == transaction_id:
            del self._memory.running[address.evse_number]
        self._memory.over[transaction_id] = None
        _forget_oldest(self._memory.over)

    async def needs(self, evse_number: int, needs: CarNeeds, at: datetime) -> None:
        address = self._require(evse_number)
        await self._events.handle(EvNeeds(address.evse_id, at, **asdict(needs)))

    def evse_number_of(self, transaction_id: str) -> int | None:
        address = self._locate(None, transaction_id)
        return None if address is None else address.evse_number

    def is_repeat(self, transaction_id: str, sequence: int) -> bool:
        repeated = sequence in self._memory.taken_of.get(transaction_id, ())
        if repeated:
            self._counters.faults["repeated_event"] += 1
        return repeated

    def taken(self, transaction_id: str, sequence: int) -> None:
        self._memory.taken_of.setdefault(transaction_id, set()).add(sequence)
        self._memory.taken_of.move_to_end(transaction_id)
        _forget_oldest(self._memory.taken_of)

    def profiles_reported(self, request_id: int, profiles: Sequence[InstalledProfile], *, more: bool) -> None:
        queue = self._memory.reports.get(request_id)
        if queue is not None:
            queue.put_nowait((profiles, more))

    # Where it happened

    def _find(self, evse_number: int) -> EvseAddress | None:
        for address in self._directory.evses_of(self._memory.station_id):
            if address.evse_number == evse_number:
                return address
        self._counters.faults["unknown_evse"] += 1
        return None

    def _require(self, evse_number: int) -> EvseAddress:
        address = self._find(evse_number)
        if address is None:
            raise CallRefused("PropertyConstraintViolation", f"EVSE {evse_number} is not commissioned")
        return address

    def _locate(self, evse_number: int | None, transaction_id: str | None) -> EvseAddress | None:
        """By number, else by transaction, else because the station has but one."""
        if evse_number is None and transaction_id is not None:
            evse_number = self._memory.evse_of.get(transaction_id)
        if evse_number is not None:
            address = self._find(evse_number)
            if address is not None and transaction_id is not None:
                self._place(transaction_id, evse_number)  # a transaction from before our restart is adopted
            return address
        addresses = self._directory.evses_of(self._memory.station_id)
        return addresses[0] if len(addresses) == 1 else None

    def _place(self, transaction_id: str, evse_number: int) -> None:
        self._memory.evse_of[transaction_id] = evse_number
        self._memory.evse_of.move_to_end(transaction_id)
        _forget_oldest(self._memory.evse_of)
        if transaction_id not in self._memory.over:  # a late meter value must not revive a session
            self._memory.running[evse_number] = transaction_id


def _forget_oldest(remembered: OrderedDict[str, Any]) -> None:
    while len(remembered) > REMEMBERED_TRANSACTIONS:
        remembered.popitem(last=False)
