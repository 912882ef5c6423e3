"""What every OCPP version lets a station say, and what it lets a CSMS ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol

from twin.station.fleetfile import StationSpec
from twin.station.link import Message
from twin.station.outlet import Activity
from twin.station.profile_codec import Electrics
from twin.station.profiles import ChargingProfile, Order, ProfileStore, Purpose
from twin.station.session import CarNeeds, EndReason, Sample, Transaction
from twin.wire.ocpp import CallRefused

Payload = dict[str, Any]


class Connector(Enum):
    """The connector as a driver sees it; while a transaction runs its `Activity` says more."""

    AVAILABLE = "available"
    PREPARING = "preparing"
    IN_TRANSACTION = "in transaction"
    FINISHING = "finishing"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"


@dataclass(slots=True)
class Setting:
    """A configuration key or variable. write takes the text; None: read-only. It raises a `ValueError` to refuse."""

    read: Callable[[], str]
    write: Callable[[str], None] | None = None


class StationControl(Protocol):
    """The station, as a CSMS can move it. Every call happens at the present event."""

    spec: StationSpec
    electrics: Electrics

    @property
    def now(self) -> float: ...

    @property
    def profiles(self) -> ProfileStore: ...

    @property
    def transaction(self) -> Transaction | None: ...

    @property
    def is_link_up(self) -> bool: ...

    @property
    def is_following_setpoint(self) -> bool: ...

    @property
    def waiting_messages(self) -> int: ...

    @property
    def settings(self) -> dict[str, Setting]: ...

    def post(self, message: Message) -> None: ...

    def install_profile(self, raw: Payload, evse_id: int, duplicate_level: str) -> None: ...

    def clear_profiles(
        self, *, profile_id: int | None, purpose: Purpose | None, stack_level: int | None
    ) -> list[ChargingProfile]: ...

    def composite(self, duration_s: float) -> tuple[float, list[tuple[float, Order]]]: ...

    def sample(self) -> Sample: ...

    def trigger_boot(self) -> None: ...

    def trigger_status(self) -> None: ...

    def end_transaction(self, reason: EndReason) -> None: ...

    def transaction_named(self, transaction: Transaction) -> None: ...

    def transaction_judged(self, transaction: Transaction, is_accepted: bool) -> None: ...

    def set_operative(self, is_operative: bool) -> bool:
        """False if it must wait for the end of the transaction."""
        ...

    def reset(self, *, when_idle: bool) -> bool:
        """False if it must wait for the end of the transaction."""
        ...


class Dialect(ABC):
    """One station's OCPP version: makes messages, and answers requests by moving the station."""

    version: ClassVar[str]

    def __init__(self, station: StationControl) -> None:
        self.station = station
        self._handlers: dict[str, Callable[[Payload], Payload]] = self.handlers()

    def handle(self, action: str, payload: Payload) -> Payload:
        """Answer a request of the CSMS. Raises `CallRefused` (NotImplemented) for what this station does not do."""
        handler = self._handlers.get(action)
        if handler is None:
            raise CallRefused("NotImplemented", f"{action} is not implemented by this station")
        return handler(payload)

    @abstractmethod
    def handlers(self) -> dict[str, Callable[[Payload], Payload]]: ...

    @abstractmethod
    def boot_request(self, reason: str) -> Payload: ...

    @abstractmethod
    def status_word(self, connector: Connector, activity: Activity) -> str:
        """The status as this version names it."""

    @abstractmethod
    def status(self, word: str, at: float) -> Message: ...

    @abstractmethod
    def authorize(self, id_token: str, done: Callable[[bool], None], failed: Callable[[str], None]) -> Message: ...

    @abstractmethod
    def started(self, transaction: Transaction, sample: Sample) -> list[Message]: ...

    @abstractmethod
    def sampled(self, transaction: Transaction, sample: Sample, context: str) -> Message: ...

    @abstractmethod
    def activity_changed(self, transaction: Transaction, sample: Sample, activity: Activity) -> list[Message]: ...

    @abstractmethod
    def ended(self, transaction: Transaction, sample: Sample, reason: EndReason) -> list[Message]: ...

    def charging_needs(self, take: Callable[[], CarNeeds | None]) -> Message | None:  # noqa: ARG002 - see below
        """What the car says about itself, taken when it is sent; nothing in OCPP 1.6."""
        return None
