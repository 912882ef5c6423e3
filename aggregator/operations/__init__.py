"""Keeping the service itself in order: who may do what, alerts, logs, metrics and health.

Nothing here knows HTTP; the API turns these answers into statuses, the command line into exit codes.
"""

from aggregator.operations.access import (
    AccessDeniedError,
    AccessPolicy,
    ForbiddenError,
    Principal,
    Role,
    StationPasswords,
    UnauthenticatedError,
    is_secret,
    new_secret,
    policy,
    secret_sha256,
)
from aggregator.operations.alerts import AlertDesk, AlertKind, Severity, new_alert, settle
from aggregator.operations.health import Health, Readiness, UnhealthyError, fresh_within
from aggregator.operations.logging import configure_logging
from aggregator.operations.metrics import Metrics
from aggregator.operations.tokens import (
    Grant,
    InvalidClientError,
    InvalidScopeError,
    InvalidTokenError,
    SigningKeyError,
    TokenService,
    load_or_create_key,
)

__all__ = [
    "AccessDeniedError",
    "AccessPolicy",
    "AlertDesk",
    "AlertKind",
    "ForbiddenError",
    "Grant",
    "Health",
    "InvalidClientError",
    "InvalidScopeError",
    "InvalidTokenError",
    "Metrics",
    "Principal",
    "Readiness",
    "Role",
    "Severity",
    "SigningKeyError",
    "StationPasswords",
    "TokenService",
    "UnauthenticatedError",
    "UnhealthyError",
    "configure_logging",
    "fresh_within",
    "is_secret",
    "load_or_create_key",
    "new_alert",
    "new_secret",
    "policy",
    "secret_sha256",
    "settle",
]
