"""OAuth2 client credentials: a client's secret for a short-lived signed token, and back to a `Principal`.

ES256 with one key per data directory; the algorithm is ours to choose and never the token's. Wall time throughout.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from aggregator.operations.access import Principal, Role, UnauthenticatedError, is_secret, new_secret, secret_sha256
from aggregator.store.records import ClientRecord

ISSUER = "v2g-aggregator"
AUDIENCE = "v2g-aggregator/api"
MAX_TTL_S = 600
"""A token cannot be called back, so it is short-lived."""

_ALGORITHMS = ["ES256"]
_KEY_FILE = "token-key.json"

FindClient = Callable[[str], Awaitable[ClientRecord | None]]


class SigningKeyError(Exception):
    """The key file cannot be used; the message names it and says what was expected."""


class InvalidClientError(UnauthenticatedError):
    """Unknown client, disabled client or wrong secret: OAuth2 `invalid_client` (RFC 6749, 5.2), never saying which."""


class InvalidScopeError(UnauthenticatedError):
    """A scope was asked for that the client was not given: OAuth2 `invalid_scope` (RFC 6749, 5.2)."""


class InvalidTokenError(UnauthenticatedError):
    """The token is not ours, was changed, or is over: OAuth2 `invalid_token` (RFC 6750, 3.1)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token with what its receiver needs to know. expires_in: wall seconds."""

    access_token: str
    expires_in: int
    scopes: frozenset[str]


def load_or_create_key(data_dir: Path) -> ECKey:
    """The signing key of this data directory, made on first use and readable by its owner alone.

    Raises:
        SigningKeyError: the file is not a P-256 private key, cannot be read or made, or others may read it.
    """
    path = data_dir / _KEY_FILE
    try:
        return _existing_or_new_key(path)
    except OSError as error:
        raise SigningKeyError(f"{path}: {error.strerror}, expected a file that this user can read and write") from error


def _existing_or_new_key(path: Path) -> ECKey:
    data_dir = path.parent
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        key = ECKey.generate_key("P-256", private=True, auto_kid=True)
        # Written aside and linked into place: whoever comes second finds a whole key and uses it.
        handle, draft = tempfile.mkstemp(dir=data_dir, prefix=".token-key-")  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(key.as_dict(private=True)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
    return _read_key(path)


def _read_key(path: Path) -> ECKey:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SigningKeyError(f"{path}: mode {mode:o}, expected 600 (others could mint tokens)")
    try:
        key = ECKey.import_key(orjson.loads(path.read_bytes()))
    except (ValueError, JoseError, TypeError) as error:
        raise SigningKeyError(f"{path}: not a key, expected a P-256 private key as JWK") from error
    if not key.is_private or key.curve_name != "P-256":
        raise SigningKeyError(f"{path}: another kind of key, expected a P-256 private key as JWK")
    key.ensure_kid()
    return key


class TokenService:
    """Mints and verifies access tokens.

    find_client: looks a client up, e.g. in the store. ttl_s: at most `MAX_TTL_S`. now: Unix seconds of the wall.
    """

    def __init__(
        self, key: ECKey, find_client: FindClient, *, ttl_s: int = MAX_TTL_S, now: Callable[[], float] = time.time
    ) -> None:
        if not 0 < ttl_s <= MAX_TTL_S:
            raise ValueError(f"token_ttl_s: {ttl_s}, expected more than 0 and at most {MAX_TTL_S}")
        self._key, self._find, self._ttl_s, self._now = key, find_client, ttl_s, now
        self._nobody = secret_sha256(new_secret())

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "use": "sig", "alg": _ALGORITHMS[0]}]}

    async def grant(self, client_id: str, client_secret: str, scopes: Iterable[str] | None = None) -> Grant:
        """Exchange client credentials for a token with `scopes`, or with all the client has.

        Raises:
            InvalidClientError: wrong credentials. InvalidScopeError: a scope that the client does not have.
        """
        client = await self._find(client_id)
        # An unknown client costs the same comparison as a wrong secret.
        fits = is_secret(client_secret, self._nobody if client is None else client.secret_sha256)
        if client is None or not fits or not client.is_enabled:
            raise InvalidClientError("client: unknown or wrong secret, expected valid client credentials")
        asked = frozenset(client.scopes if scopes is None else scopes)
        excess = asked - set(client.scopes)
        if excess:
            raise InvalidScopeError(f"scope: {' '.join(sorted(excess))}, expected scopes that the client was given")
        return self.mint(Principal(client.client_id, Role(client.role), asked, client.party))

    def mint(self, principal: Principal) -> Grant:
        """Sign a token for `principal`."""
        issued = int(self._now())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": principal.client_id, "iat": issued, "exp": issued + self._ttl_s,
            "jti": new_secret(), "scope": " ".join(sorted(principal.scopes)), "role": principal.role.value,
            "party": principal.party,
        }
        header = {"alg": _ALGORITHMS[0], "kid": self._key.kid, "typ": "at+jwt"}
        return Grant(jwt.encode(header, claims, self._key, algorithms=_ALGORITHMS), self._ttl_s, principal.scopes)

    def verify(self, token: str) -> Principal:
        """The principal a token stands for.

        Raises:
            InvalidTokenError: not signed by this key with ES256, not for us, or expired.
        """
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self._now()),
            iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True}, iat={"essential": True}, sub={"essential": True},
        )
        try:
            decoded = jwt.decode(token, self._key, algorithms=_ALGORITHMS)
            if decoded.header.get("kid") != self._key.kid or decoded.header.get("typ") != "at+jwt":
                raise InvalidTokenError("token: another key or kind, expected an access token of this service")
            registry.validate(decoded.claims)
            claims = decoded.claims
            return Principal(
                str(claims["sub"]), Role(claims["role"]), frozenset(str(claims["scope"]).split()), str(claims["party"])
            )
        except (JoseError, ValueError, KeyError) as error:
            raise InvalidTokenError("token: invalid or expired, expected a current access token") from error
