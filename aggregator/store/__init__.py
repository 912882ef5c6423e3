"""The service's memory: business tables, telemetry, and the audit chain, in one SQLite file.

Every state change is one transaction that holds the change, its outbox row and its audit entry. Rooms above use
`Store`, its transactions and the records; table and column names stay in here.
"""

from aggregator.store.audit import AuditHead, AuditVerdict, verify
from aggregator.store.database import NestedTransactionError, Store, StoreError, verify_database
from aggregator.store.records import (
    AlertRecord,
    AuditEntry,
    ClientRecord,
    DesiredRecord,
    DesiredState,
    IdempotencyRecord,
    JsonObject,
    MessageKey,
    OpenAdrRecord,
    PlanRecord,
    SessionRecord,
    SignalTransition,
    SiteReading,
    StationRecord,
    TargetRecord,
)
from aggregator.store.telemetry import (
    MeterSeries,
    SiteSeries,
    Telemetry,
    TelemetryClosedError,
    TelemetryRefusedError,
)
from aggregator.store.transaction import Transaction

__all__ = [
    "AlertRecord",
    "AuditEntry",
    "AuditHead",
    "AuditVerdict",
    "ClientRecord",
    "DesiredRecord",
    "DesiredState",
    "IdempotencyRecord",
    "JsonObject",
    "MessageKey",
    "MeterSeries",
    "NestedTransactionError",
    "OpenAdrRecord",
    "PlanRecord",
    "SessionRecord",
    "SignalTransition",
    "SiteReading",
    "SiteSeries",
    "StationRecord",
    "Store",
    "StoreError",
    "TargetRecord",
    "Telemetry",
    "TelemetryClosedError",
    "TelemetryRefusedError",
    "Transaction",
    "verify",
    "verify_database",
]
