"""What the store keeps, as frozen records: the nouns between the rooms above and the tables below.

Times are aware UTC; powers positive when charging or importing. `id_token` is personal data and stays out of `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # the rooms that own these words import the store themselves
    from aggregator.ocpp.events import Purpose
    from aggregator.signals.model import SignalState

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StationRecord:
    """A charging station as it last presented itself. epoch counts its connections."""

    id: str
    version: str
    vendor: str = ""
    model: str = ""
    firmware: str | None = None
    is_online: bool = False
    epoch: int = 0
    booted_at: datetime | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One transaction, with the last registers and SoC known of it.

    import_wh_start, import_wh, ...: meter registers at the connector, Wh, never falling.
    soc_start, soc: 0 to 1, None if the station does not report it.
    battery_kwh_delta: estimated change of battery energy since the start.
    car_needs: what the car itself said it needs, as `aggregator.fleet.kept_needs` writes it.
    """

    transaction_id: str
    evse_id: str
    id_token: str = field(repr=False)
    started_at: datetime = field()
    import_wh_start: float = field()
    export_wh_start: float = 0.0
    last_at: datetime | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    soc_start: float | None = None
    soc_start_at: datetime | None = None
    soc: float | None = None
    soc_at: datetime | None = None
    battery_kwh_delta: float = 0.0
    ended_at: datetime | None = None
    end_reason: str | None = None
    vehicle_model: str | None = None
    car_needs: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """One revision of what a driver or fleet declared; `revision` is given by the store and rises from 1."""

    id_token: str = field(repr=False)
    departure: datetime = field()
    requested_kwh: float = field()
    vehicle_model: str = field()
    v2g_consent: bool = False
    floor_soc: float = 0.2
    declared_at: datetime | None = None
    declared_by: str = "driver"
    evse_id: str | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """A plan with its verdict and why: what the gate refused in which round, and what bound the solution.

    rounds: one object per solve-and-replay round. power_kw: one row per EVSE of `evse_ids`, one value per step.
    net_kw, base_kw, import_cap_kw: one value per step from `grid_start`, `step_s` apart.
    passed: the replay showed no breach. status: optimal, time_limit or safe.
    """

    id: str
    created_at: datetime
    trigger: str
    status: str
    passed: bool
    objective: float
    bound: float
    gap: float
    costs: dict[str, float]
    seconds: dict[str, float]
    binding: list[str]
    rounds: list[JsonObject]
    grid_start: datetime
    step_s: int
    evse_ids: list[str]
    power_kw: list[list[float]]
    net_kw: list[float]
    base_kw: list[float]
    import_cap_kw: list[float]
    note: str = ""


class DesiredState(StrEnum):
    """What became of a desired profile. `queued` and `sent` still ask for work after a restart."""

    QUEUED = "queued"
    SENT = "sent"
    ACCEPTED = "accepted"
    VERIFIED = "verified"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    NOT_SUPPORTED = "not_supported"


@dataclass(frozen=True, slots=True)
class DesiredRecord:
    """The outbox row of one EVSE and purpose: what the charger should hold, and how far that has come.

    version: given by the store, rises with every `put`. valid_to: None only for the fallback profile.
    sent_wall, answered_wall: Unix seconds. updated_at: domain time of the last change.
    """

    evse_id: str
    purpose: Purpose
    payload: JsonObject
    content_hash: str
    updated_at: datetime
    valid_to: datetime | None = None
    plan_id: str | None = None
    version: int = 0
    state: DesiredState = DesiredState.QUEUED
    detail: str = ""
    attempts: int = 0
    sent_wall: float | None = None
    answered_wall: float | None = None


@dataclass(frozen=True, slots=True)
class SignalTransition:
    signal_id: str
    state: SignalState
    at: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OpenAdrRecord:
    """An OpenADR object as its owner wrote it. kind: "program" or "event"."""

    kind: str
    id: str
    body: JsonObject
    created: datetime
    modified: datetime
    owner: str


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The answer given to a request, to be given again when the same key comes with the same body."""

    principal: str
    key: str
    body_hash: str
    status: int
    response: JsonObject


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """Who may ask for tokens. secret_sha256: lower-case hex digest of a 256-bit random secret."""

    client_id: str
    role: str
    scopes: tuple[str, ...]
    secret_sha256: str = field(repr=False)
    party: str = ""
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """Something a person should look at. At most one open alert per (kind, subject).

    severity: info, warning or critical. detail: figures, never personal data.
    """

    id: str
    kind: str
    subject: str
    severity: str
    message: str
    raised_at: datetime
    detail: JsonObject = field(default_factory=dict)
    cleared_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SiteReading:
    """The connection-point meter: net power, import positive; ev_kw if the EVs have a sub-meter."""

    site_id: str
    at: datetime
    import_kw: float
    ev_kw: float | None = None


class MessageKey(NamedTuple):
    """What is counted of protocol traffic. direction: "up" (from the device) or "down"."""

    protocol: str
    action: str
    direction: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One link of the audit chain. at: domain time; recorded_at: wall time. hash covers prev_hash and the rest."""

    seq: int
    at: datetime
    recorded_at: datetime
    actor: str
    action: str
    subject: str
    detail: JsonObject
    prev_hash: str
    hash: str
