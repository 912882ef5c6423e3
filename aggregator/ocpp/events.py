"""What chargers tell and what they are told, free of any OCPP version.

The gateway translates each dialect to and from these at its edge; the rest of the service knows only them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class OcppVersion(StrEnum):
    """Values are the WebSocket subprotocol names."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"
    V21 = "ocpp2.1"


class ConnectorState(StrEnum):
    AVAILABLE = "available"
    PREPARING = "preparing"
    CHARGING = "charging"
    SUSPENDED_EV = "suspended_ev"
    SUSPENDED_EVSE = "suspended_evse"
    DISCHARGING = "discharging"
    FINISHING = "finishing"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"


@dataclass(frozen=True, slots=True)
class StationBooted:
    station_id: str
    version: OcppVersion
    vendor: str
    model: str
    firmware: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class StationOnline:
    """A WebSocket is up (before any boot). epoch rises with every connection of the station."""

    station_id: str
    version: OcppVersion
    epoch: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StationOffline:
    station_id: str
    epoch: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    evse_id: str
    state: ConnectorState
    at: datetime


@dataclass(frozen=True, slots=True)
class MeterSample:
    """power_kw is signed (discharge negative); registers are Wh since manufacture and never fall.

    soc is 0 to 1, only when the station reports it.
    """

    evse_id: str
    transaction_id: str | None
    at: datetime
    power_kw: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    soc: float | None = None


@dataclass(frozen=True, slots=True)
class TransactionStarted:
    """transaction_id is unique within the station's life; for OCPP 1.6 the gateway assigns it."""

    evse_id: str
    transaction_id: str
    id_token: str
    at: datetime
    import_wh: float
    export_wh: float = 0.0


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    evse_id: str
    transaction_id: str
    at: datetime
    import_wh: float | None
    export_wh: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class EvNeeds:
    """OCPP 2.x NotifyEVChargingNeeds: what the car itself says. Absent values are None.

    soc, target_soc: 0 to 1. target_energy_kwh, min_energy_kwh: what is missing in the battery until the target and
    until the least the car asks for, from `at` on. min_v2x_energy_kwh: the same until the lower end of the range in
    which it may be cycled, below 0 for what may go out of it. Powers are 0 or more, at the connector.
    """

    evse_id: str
    at: datetime
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


ChargerEvent = (
    StationOnline | StationBooted | StationOffline | ConnectorStatus | MeterSample
    | TransactionStarted | TransactionEnded | EvNeeds
)


class ChargerEvents(Protocol):
    """Who listens to chargers. Durable acceptance: the gateway answers the charger after this returns.

    accept_transaction_start returns the transaction id to use (OCPP 1.6 needs one from us); a repeat of the same
    start (same EVSE, token and time) returns the same id.
    """

    async def handle(self, event: ChargerEvent) -> None: ...

    async def accept_transaction_start(
        self, evse_id: str, id_token: str, at: datetime, import_wh: float, export_wh: float
    ) -> str: ...


class Purpose(StrEnum):
    FALLBACK = "fallback"
    """Stack level 0 default profile: charging only, no expiry, site-safe share."""
    PLAN = "plan"
    """The plan for the running transaction; always expires."""
    STATION_MAX = "station_max"


@dataclass(frozen=True, slots=True)
class ProfilePeriod:
    start: datetime
    power_kw: float


@dataclass(frozen=True, slots=True)
class ProfileCommand:
    """One charging profile for one EVSE, in our words; the gateway writes it in the charger's dialect.

    periods: increasing starts, the first at or before now; the last holds until valid_to.
    A negative power may only go to a bidirectional OCPP 2.1 station; the gateway refuses it elsewhere.
    valid_to: None only for Purpose.FALLBACK.
    """

    evse_id: str
    purpose: Purpose
    version: int
    periods: tuple[ProfilePeriod, ...]
    valid_from: datetime
    valid_to: datetime | None
    transaction_id: str | None = None


class DeliveryState(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SUPPORTED = "not_supported"
    TIMEOUT = "timeout"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a command. sent_wall, answered_wall: Unix seconds, None if it never left or came back."""

    state: DeliveryState
    detail: str = ""
    sent_wall: float | None = None
    answered_wall: float | None = None


class ChargerCommands(Protocol):
    """What dispatch asks of the gateway. No call raises for a charger's misbehaviour: it is in the Delivery."""

    def is_online(self, evse_id: str) -> bool: ...

    def can_discharge(self, evse_id: str) -> bool:
        """True if the charger's dialect can carry a discharge set-point (OCPP 2.1)."""
        ...

    async def set_profile(self, command: ProfileCommand) -> Delivery: ...

    async def clear_profile(self, evse_id: str, purpose: Purpose) -> Delivery: ...

    async def composite_schedule(self, evse_id: str, duration_s: int) -> tuple[ProfilePeriod, ...] | None:
        """What the charger says it will do from now on, in kW; None if it cannot tell."""
        ...
