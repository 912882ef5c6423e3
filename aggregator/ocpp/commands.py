"""Commands to stations: written in the station's dialect, sent, and judged by the answer.

A charger's misbehaviour never raises here; it is in the `Delivery`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aggregator.clock import Clock
from aggregator.ocpp.counters import GatewayCounters
from aggregator.ocpp.dialects.base import Request
from aggregator.ocpp.directory import EvseAddress, StationDirectory
from aggregator.ocpp.events import Delivery, DeliveryState, OcppVersion, ProfileCommand, ProfilePeriod, Purpose
from aggregator.ocpp.profiles import InexpressibleProfile, InstalledProfile
from aggregator.ocpp.session import Link, ReportedPart, StationMemory
from twin.wire.ocpp import CallFailed, CallTimeout, PeerClosed, SchemaFault

REPORT_TIMEOUT_S = 20.0
SETTLE_TIMEOUT_S = 5.0

_UNABLE = frozenset(("NotImplemented", "NotSupported"))


class _Superseded(Exception):
    """A newer command for the same slot came while this one waited."""


class StationCommands:
    """The `ChargerCommands` of the gateway; it finds the station's newest connection and speaks its dialect."""

    def __init__(
        self,
        stations: dict[str, StationMemory],
        directory: StationDirectory,
        clock: Clock,
        counters: GatewayCounters,
    ) -> None:
        self._stations = stations
        self._directory = directory
        self._clock = clock
        self.counters = counters
        self._newest: dict[tuple[str, Purpose], object] = {}
        self._report_ids = itertools.count(1)

    def is_online(self, evse_id: str) -> bool:
        return self._find(evse_id)[1] is not None

    def can_discharge(self, evse_id: str) -> bool:
        """As it is connected now; while it is away, as it was commissioned."""
        address, link = self._find(evse_id)
        if link is not None:
            return link.dialect.carries_discharge
        return address is not None and address.version is OcppVersion.V21

    async def set_profile(self, command: ProfileCommand) -> Delivery:
        """Install a profile. A command that waits for its turn gives way to a newer one for the same slot."""
        return await self._change(
            command.evse_id, command.purpose, lambda link, address: link.dialect.set_profile(command, address)
        )

    async def clear_profile(self, evse_id: str, purpose: Purpose) -> Delivery:
        """Remove our profile of this purpose; that there was none is no failure."""
        return await self._change(
            evse_id, purpose, lambda link, address: link.dialect.clear_profile(purpose, address)
        )

    async def composite_schedule(self, evse_id: str, duration_s: int) -> tuple[ProfilePeriod, ...] | None:
        address, link = self._find(evse_id)
        if address is None or link is None:
            return None
        answer, _ = await self.exchange(link, link.dialect.composite_schedule(address, duration_s))
        if answer is None:
            return None
        try:
            return link.dialect.read_composite(answer, self._clock.now())
        except (ValueError, OverflowError):  # a time that is none
            self.counters.faults["composite_unreadable"] += 1
            return None

    async def trigger(self, evse_id: str, message: str) -> Delivery:
        """Ask the station to send `message` (TriggerMessage), as in "MeterValues" or "StatusNotification"."""
        address, link = self._find(evse_id)
        if link is None:
            return Delivery(DeliveryState.OFFLINE, "the station is not connected")
        return (await self.exchange(link, link.dialect.trigger(message, address)))[1]

    async def installed_profiles(self, evse_id: str) -> tuple[InstalledProfile, ...] | None:
        """Every profile the station holds for this EVSE; None if it cannot tell (OCPP 1.6 never can)."""
        address, link = self._find(evse_id)
        if address is None or link is None:
            return None
        request_id = next(self._report_ids)
        request = link.dialect.report_profiles(address, request_id)
        if request is None:
            return None
        memory = self._stations[address.station_id]
        parts: asyncio.Queue[ReportedPart] = asyncio.Queue()
        memory.reports[request_id] = parts
        try:
            answer, _ = await self.exchange(link, request)
            if answer is None or answer["status"] not in ("Accepted", "NoProfiles"):
                return None
            return () if answer["status"] == "NoProfiles" else await _collect(parts)
        finally:
            del memory.reports[request_id]

    async def exchange(
        self, link: Link, request: Request, may_go: Callable[[], None] | None = None
    ) -> tuple[dict[str, Any] | None, Delivery]:
        """Send a request and wait; the answer (None without one) and what became of it.

        A station that is about to boot is commanded after its boot answer (OCPP 2.0.1 B02.FR.02), but not kept
        waiting for ever by it.

        may_go: called when it is the request's turn; it may raise to stop it.
        """
        sent_wall: float | None = None

        def leaving() -> None:
            nonlocal sent_wall
            if may_go is not None:
                may_go()
            self.counters.messages_out[link.version.value, request.action] += 1
            sent_wall = time.time()

        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await link.settled.wait()
        answer: dict[str, Any] | None = None
        try:
            answer = await link.peer.call(request.action, request.payload, on_sent=leaving)
        except _Superseded:
            delivery = Delivery(DeliveryState.REJECTED, "superseded by a newer command before it left")
        except SchemaFault as fault:
            delivery = Delivery(DeliveryState.REJECTED, f"cannot be written for this station: {fault}")
        except CallTimeout:
            delivery = Delivery(DeliveryState.TIMEOUT, "no answer in time", sent_wall)
        except PeerClosed:
            delivery = Delivery(DeliveryState.OFFLINE, "the connection closed before an answer", sent_wall)
        except CallFailed as failure:
            state = DeliveryState.NOT_SUPPORTED if failure.code in _UNABLE else DeliveryState.REJECTED
            delivery = Delivery(state, str(failure)[:200], sent_wall, time.time())
        else:
            delivery = _judge(answer, sent_wall)
        self.counters.deliveries[delivery.state.value] += 1
        return answer, delivery

    async def _change(
        self, evse_id: str, purpose: Purpose, write: Callable[[Link, EvseAddress], Request]
    ) -> Delivery:
        address, link = self._find(evse_id)
        if address is None:
            return Delivery(DeliveryState.REJECTED, f"EVSE {evse_id} is not commissioned")
        if link is None:
            return Delivery(DeliveryState.OFFLINE, "the station is not connected")
        try:
            request = write(link, address)
        except InexpressibleProfile as fault:
            self.counters.deliveries[DeliveryState.REJECTED.value] += 1
            return Delivery(DeliveryState.REJECTED, str(fault))
        mine = object()
        self._newest[evse_id, purpose] = mine

        def unless_superseded() -> None:
            if self._newest.get((evse_id, purpose)) is not mine:
                raise _Superseded

        return (await self.exchange(link, request, unless_superseded))[1]

    def _find(self, evse_id: str) -> tuple[EvseAddress | None, Link | None]:
        address = self._directory.evse(evse_id)
        memory = None if address is None else self._stations.get(address.station_id)
        return address, None if memory is None else memory.link


def _judge(answer: dict[str, Any], sent_wall: float | None) -> Delivery:
    status = answer.get("status", "Accepted")
    info = answer.get("statusInfo", {})
    detail = " ".join(filter(None, (status, info.get("reasonCode"), info.get("additionalInfo"))))[:200]
    state = DeliveryState.REJECTED
    if status in ("Accepted", "Unknown"):  # Unknown: ClearChargingProfile found nothing to clear
        state = DeliveryState.ACCEPTED
    elif status in _UNABLE:
        state = DeliveryState.NOT_SUPPORTED
    return Delivery(state, "" if status == "Accepted" else detail, sent_wall, time.time())


async def _collect(parts: asyncio.Queue[ReportedPart]) -> tuple[InstalledProfile, ...] | None:
    found: list[InstalledProfile] = []
    more = True
    try:
        async with asyncio.timeout(REPORT_TIMEOUT_S):
            while more:
                profiles, more = await parts.get()
                found.extend(profiles)
    except TimeoutError:
        return None
    return tuple(found)
