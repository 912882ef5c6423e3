"""What the API asks of the rest of the service; the service hands its parts in through `Services`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fastapi import APIRouter

from aggregator.clock import Clock
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.operations.tokens import TokenService
from aggregator.signals import SignalDesk
from aggregator.store import SiteReading, Store


class TargetRefused(ValueError):
    """A departure target cannot be taken, e.g. for a vehicle model nobody knows."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: {value!r}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


@dataclass(frozen=True, slots=True)
class ChargerView:
    """One EVSE for operators: what it is and does. state: the connector state's value. power_kw: last metered."""

    evse_id: str
    station_id: str
    version: str
    is_online: bool
    state: str
    power_kw: float | None = None
    last_seen_at: datetime | None = None


class Fleet(Protocol):
    """Departure targets and the sessions they belong to."""

    async def declare(self, target: DepartureTarget, evse_id: str | None) -> None:
        """Keep a target; durable when it returns.

        Raises:
            TargetRefused: it cannot be taken.
        """
        ...

    def sessions(self) -> Sequence[LiveSession]: ...


class SiteMeters(Protocol):
    """Connection-point meters."""

    def knows(self, site_id: str) -> bool: ...

    async def record(self, readings: Sequence[SiteReading]) -> None:
        """Keep readings of one site; durable when it returns."""
        ...


class Chargers(Protocol):
    def chargers(self) -> Sequence[ChargerView]: ...


class StopRefused(ValueError):
    """A stop or a re-arming that cannot be done. is_unknown: its scope names nothing that exists."""

    def __init__(self, message: str, *, is_unknown: bool = False) -> None:
        super().__init__(message)
        self.is_unknown = is_unknown


@dataclass(frozen=True, slots=True)
class StopView:
    """What was stopped.

    scope: "fleet", "site:…", "feeder:…" or "evse:…". answers: by EVSE that had discharge in its orders.
    """

    scope: str
    answers: Mapping[str, str]


class DischargeStops(Protocol):
    """The latch that ends discharge at once. A scope is an EVSE, a site, a feeder, or everything (all None)."""

    def latched(self) -> Collection[str]:
        """Scopes under a stop."""
        ...

    async def latch(
        self, evse_id: str | None, site_id: str | None, feeder_id: str | None, *, by: str, reason: str
    ) -> StopView:
        """Stop now; durable when it returns.

        Raises:
            StopRefused: no such EVSE, site or feeder.
        """
        ...

    async def rearm(
        self, evse_id: str | None, site_id: str | None, feeder_id: str | None, *, by: str
    ) -> tuple[str, bool]:
        """The scope, and True once a second person has agreed.

        Raises:
            StopRefused: nothing is stopped there, or the same person asks twice.
        """
        ...


class Health(Protocol):
    async def ready(self) -> Mapping[str, str | None]:
        """Named checks: None if all is well, else what is wrong."""
        ...


class Metrics(Protocol):
    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        ...


@dataclass(frozen=True)
class Services:
    """Everything a request may need. web_router: the pages, each route with its policy declared."""

    store: Store
    clock: Clock
    desk: SignalDesk
    fleet: Fleet
    site_meters: SiteMeters
    chargers: Chargers
    discharge_stops: DischargeStops
    tokens: TokenService
    health: Health
    metrics: Metrics
    web_router: APIRouter | None = None
