"""Who may connect as a charging station, and which drivers' tokens may start a transaction.

HTTP Basic authentication is security profile 1 of OCPP (2.0.1 part 2, A00): user name = station id.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import b64decode
from typing import Protocol


class StationAuth(Protocol):
    async def verify(self, station_id: str, password: str) -> bool:
        """True if this is the station's password; False too if the station is unknown."""
        ...


class TokenAuth(Protocol):
    async def authorize(self, station_id: str, id_token: str) -> bool:
        """True if the token may charge at this station."""
        ...


class EveryToken:
    """A `TokenAuth` that lets every driver charge, as an open workplace site does."""

    async def authorize(self, station_id: str, id_token: str) -> bool:  # noqa: ARG002 - the Protocol's names
        return True


class RememberedAuth:
    """Remembers for a while who was verified, so that a reconnect storm does not pay a slow password hash each.

    Only a keyed digest of station and password is kept, with a key that dies with the process.
    keep_s: wall seconds after which a verified pair is asked for again.
    """

    def __init__(self, auth: StationAuth, keep_s: float = 600.0) -> None:
        self._auth = auth
        self._keep_s = keep_s
        self._key = secrets.token_bytes(32)
        self._verified: dict[str, tuple[bytes, float]] = {}

    async def verify(self, station_id: str, password: str) -> bool:
        digest = hmac.digest(self._key, f"{station_id}\0{password}".encode(), hashlib.sha256)
        known = self._verified.get(station_id)
        if known is not None and known[1] > time.monotonic() and hmac.compare_digest(known[0], digest):
            return True
        if not await self._auth.verify(station_id, password):
            return False
        self._verified[station_id] = (digest, time.monotonic() + self._keep_s)
        return True

    def forget(self, station_id: str) -> None:
        """Ask anew next time: the station's password changed or was withdrawn."""
        self._verified.pop(station_id, None)


def basic_credentials(header: str | None) -> tuple[str, str] | None:
    """User name and password of an Authorization header, or None if it carries none (RFC 7617)."""
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None
