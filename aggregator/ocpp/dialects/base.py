"""What every dialect offers, and to whom it tells what a station said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from aggregator.ocpp.directory import EvseAddress
from aggregator.ocpp.events import ConnectorState, ProfileCommand, ProfilePeriod, Purpose
from aggregator.ocpp.profiles import InstalledProfile
from aggregator.ocpp.readings import Reading

UNORDERED = frozenset(("Heartbeat", "Authorize", "DataTransfer"))
"""Requests that are answered at once, whatever the station said before is still being stored or not."""


@dataclass(frozen=True, slots=True)
class BootAnswer:
    status: Literal["Accepted", "Pending", "Rejected"]
    interval_s: int


@dataclass(frozen=True, slots=True)
class CarNeeds:
    """What the car says of itself, as far as it does; the fields are those of `events.EvNeeds`."""

    soc: float | None = None
    capacity_kwh: float | None = None
    departure: datetime | None = None
    max_charge_kw: float | None = None
    max_discharge_kw: float | None = None
    bidirectional: bool = False
    target_soc: float | None = None
    target_energy_kwh: float | None = None
    min_energy_kwh: float | None = None
    min_v2x_energy_kwh: float | None = None


class StationListener(Protocol):
    """The station's session, as a dialect sees it. evse_number counts from 1; None = the station did not say."""

    def now(self) -> datetime: ...

    async def booted(self, vendor: str, model: str, firmware: str | None) -> BootAnswer: ...

    async def authorize(self, id_token: str) -> bool: ...

    async def status(self, evse_number: int | None, state: ConnectorState, at: datetime) -> None: ...

    async def plugged(self, evse_number: int, at: datetime) -> None:
        """The connector is occupied; no news if a transaction already says more."""
        ...

    async def started(
        self, evse_number: int, transaction_id: str | None, id_token: str, at: datetime, register: Reading | None
    ) -> str:
        """A transaction began; returns its id, assigned here if the station brings none (OCPP 1.6)."""
        ...

    async def metered(
        self, evse_number: int | None, transaction_id: str | None, readings: Sequence[Reading]
    ) -> None: ...

    async def ended(
        self, evse_number: int | None, transaction_id: str, at: datetime, register: Reading | None, reason: str
    ) -> None: ...

    async def needs(self, evse_number: int, needs: CarNeeds, at: datetime) -> None: ...

    def evse_number_of(self, transaction_id: str) -> int | None:
        """Where a known transaction runs; None if this process has not seen it begin and cannot tell."""
        ...

    def is_repeat(self, transaction_id: str, sequence: int) -> bool:
        """True if this message of the transaction was already taken in full."""
        ...

    def taken(self, transaction_id: str, sequence: int) -> None: ...

    def profiles_reported(self, request_id: int, profiles: Sequence[InstalledProfile], *, more: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A message to a station: action and payload."""

    action: str
    payload: dict[str, Any]


class Dialect(Protocol):
    """One OCPP version.

    Methods that write raise `InexpressibleProfile` if the version has no safe form for the command.
    """

    carries_discharge: bool

    async def answer(self, listener: StationListener, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Take in a station's request and return the answer. Raises `CallRefused` for what we do not support."""
        ...

    def set_profile(self, command: ProfileCommand, address: EvseAddress) -> Request: ...

    def clear_profile(self, purpose: Purpose, address: EvseAddress) -> Request: ...

    def composite_schedule(self, address: EvseAddress, duration_s: int) -> Request: ...

    def read_composite(self, answer: dict[str, Any], now: datetime) -> tuple[ProfilePeriod, ...] | None: ...

    def trigger(self, message: str, address: EvseAddress | None) -> Request: ...

    def report_profiles(self, address: EvseAddress, request_id: int) -> Request | None:
        """The request for installed profiles, or None if the version has none."""
        ...
