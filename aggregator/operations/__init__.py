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
    "ForbiddenError",
    "Grant",
    "InvalidClientError",
    "InvalidScopeError",
    "InvalidTokenError",
    "Principal",
    "Role",
    "SigningKeyError",
    "StationPasswords",
    "TokenService",
    "UnauthenticatedError",
    "is_secret",
    "load_or_create_key",
    "new_secret",
    "policy",
    "secret_sha256",
]
