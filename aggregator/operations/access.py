"""Who may do what: roles, scopes, the policy each route declares, and the check between them.

Plain logic: HTTP turns a bearer token into a `Principal`, a route declares an `AccessPolicy`, `check` decides.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """Who somebody is. An admin passes every role check, but has only the scopes that were given."""

    UTILITY = "utility"
    PLANNER = "planner"
    FLEET_MANAGER = "fleet_manager"
    OPERATOR = "operator"
    TECHNICIAN = "technician"
    DRIVER = "driver"
    ADMIN = "admin"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has proved who they are.

    party: whose objects they may see: a utility's name, a fleet, a driver's token, a device's site; "" = none.
    """

    client_id: str
    role: Role
    scopes: frozenset[str]
    party: str = field(default="", repr=False)


class AccessDeniedError(Exception):
    """The caller may not do this."""


class UnauthenticatedError(AccessDeniedError):
    """Nobody has proved who they are (HTTP 401)."""


class ForbiddenError(AccessDeniedError):
    """We know who it is, and they may not (HTTP 403)."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What a route asks of its caller: one of `roles` (if any are named) and one of `scopes` (if any are named)."""

    scopes: frozenset[str] = frozenset()
    roles: frozenset[Role] = frozenset()
    is_public: bool = False

    def __post_init__(self) -> None:
        if self.is_public == bool(self.scopes or self.roles):
            raise ValueError("policy: expected either scopes or roles, or public, and not both")

    def check(self, principal: Principal | None) -> None:
        """Return if `principal` may.

        Raises:
            UnauthenticatedError: somebody is needed and nobody came. ForbiddenError: they lack a role or scope.
        """
        if self.is_public:
            return
        if principal is None:
            raise UnauthenticatedError("access: no valid token, expected a bearer token")
        if self.roles and principal.role not in self.roles and principal.role != Role.ADMIN:
            raise ForbiddenError(f"role: {principal.role}, expected {_one_of(self.roles)}")
        if self.scopes and not self.scopes & principal.scopes:
            raise ForbiddenError(f"scope: none that fits, expected {_one_of(self.scopes)}")


def policy(*, scopes: Iterable[str] = (), roles: Iterable[Role] = (), public: bool = False) -> AccessPolicy:
    """Declare what a route asks. Raise a `ValueError` if it asks for nothing without saying `public`."""
    return AccessPolicy(frozenset(scopes), frozenset(roles), public)


def new_secret() -> str:
    """256 random bits, URL-safe: enough that a plain hash of it needs no salt and no slow function."""
    return secrets.token_urlsafe(32)


def secret_sha256(secret: str) -> str:
    """What is stored of a secret: the lower-case hex digest."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, expected_sha256: str) -> bool:
    """True if `secret` has this digest; takes the same time wherever they differ."""
    return hmac.compare_digest(secret_sha256(secret), expected_sha256.lower())


class StationPasswords:
    """OCPP Basic authentication (security profile 1 and 2) against the stations' stored digests.

    password_sha256: by station id. The passwords are generated and long, so SHA-256 is enough and 10,000 stations
    can reconnect at once.
    """

    def __init__(self, password_sha256: Mapping[str, str]) -> None:
        self._digests = dict(password_sha256)
        self._nobody = secret_sha256(new_secret())

    async def verify(self, station_id: str, password: str) -> bool:
        """True if this is the station's password; an unknown station takes as long as a wrong password."""
        return is_secret(password, self._digests.get(station_id, self._nobody)) and station_id in self._digests


def _one_of(names: frozenset[str] | frozenset[Role]) -> str:
    return "one of " + ", ".join(sorted(names)) if len(names) > 1 else next(iter(names))
