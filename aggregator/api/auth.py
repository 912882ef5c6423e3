"""Access tokens by OAuth2 client credentials (RFC 6749 section 4.4), in our own place and in OpenADR's."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import unquote_plus

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from aggregator.api.access import TOKEN_PATH, public, services_of
from aggregator.api.problems import PROBLEM_SCHEMA
from aggregator.operations.tokens import InvalidClientError, InvalidScopeError
from aggregator.signals.wire import AuthServerInfo, TokenError, TokenRefusal, TokenResponse

OPENADR_PREFIX = "/openadr3/3.1.0"
_LONGEST = 4096

router = APIRouter(tags=["auth"], dependencies=[Depends(public())])

_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_id", "client_secret"],
                    "properties": {
                        "grant_type": {"type": "string", "enum": ["client_credentials"]},
                        "client_id": {"type": "string", "minLength": 1, "maxLength": _LONGEST},
                        "client_secret": {"type": "string", "minLength": 1, "maxLength": _LONGEST},
                        "scope": {"type": "string", "maxLength": _LONGEST},
                    },
                }
            }
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": TokenRefusal},
    401: {"model": TokenRefusal},
    413: {"description": "Content Too Large", "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}}},
}


@router.post(
    TOKEN_PATH, response_model=TokenResponse, responses=_ANSWERS, openapi_extra=_REQUEST, operation_id="fetchToken"
)
@router.post(
    f"{OPENADR_PREFIX}/auth/token", response_model=TokenResponse, responses=_ANSWERS, openapi_extra=_REQUEST,
    operation_id="fetchOpenAdrToken",
)
async def fetch_token(request: Request) -> JSONResponse:
    """Exchange a client id and secret, in the form or by HTTP Basic, for a bearer token."""
    try:
        client_id, secret, scope = await _credentials(request)
        asked = scope.split() if scope else None
        grant = await services_of(request).tokens.grant(client_id, secret, asked)
    except _NoGrantError as refusal:
        return _refused(refusal.error, str(refusal))
    except InvalidClientError as refusal:
        return _refused("invalid_client", str(refusal))
    except InvalidScopeError as refusal:
        return _refused("invalid_scope", str(refusal))
    answer = TokenResponse(
        access_token=grant.access_token, expires_in=grant.expires_in, scope=" ".join(sorted(grant.scopes))
    )
    return JSONResponse(answer.model_dump(), headers={"Cache-Control": "no-store"})


@router.get(f"{OPENADR_PREFIX}/auth/server", operation_id="getAuthServerInfo")
async def auth_server(request: Request) -> AuthServerInfo:
    """Where to get a token."""
    return AuthServerInfo(token_url=str(request.base_url.replace(path=f"{OPENADR_PREFIX}/auth/token")))


class _NoGrantError(Exception):
    """The request is no valid token request. error: a code of RFC 6749 section 5.2."""

    def __init__(self, error: TokenError, description: str) -> None:
        super().__init__(description)
        self.error = error


async def _credentials(request: Request) -> tuple[str, str, str | None]:
    """Client id, secret and scope of a client-credentials request."""
    fields = await _form(request)
    grant = fields.get("grant_type")
    if grant is None:
        raise _NoGrantError("invalid_request", "the parameter 'grant_type' is missing")
    if grant != "client_credentials":
        raise _NoGrantError("unsupported_grant_type", "expected grant_type=client_credentials")
    basic = _basic(request.headers.get("authorization", ""))
    client_id, secret = basic or (fields.get("client_id", ""), fields.get("client_secret", ""))
    if not 0 < len(client_id) <= _LONGEST or not 0 < len(secret) <= _LONGEST:
        raise _NoGrantError("invalid_request", "the parameters 'client_id' and 'client_secret' are needed")
    return client_id, secret, fields.get("scope")


async def _form(request: Request) -> dict[str, str]:
    try:
        async with request.form(max_files=0, max_fields=20) as form:
            items = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    except HTTPException as error:
        if error.status_code in (408, 413):  # from the body limit
            raise
        raise _NoGrantError("invalid_request", "expected a form body") from error
    except UnicodeDecodeError as error:
        raise _NoGrantError("invalid_request", "expected a form body in UTF-8") from error
    fields = dict(items)
    if len(fields) != len(items):
        raise _NoGrantError("invalid_request", "expected each parameter once")
    return fields


@router.get("/oauth/jwks")
async def public_keys(request: Request) -> dict[str, Any]:
    """The public keys of our tokens, as a JSON Web Key Set (RFC 7517)."""
    return services_of(request).tokens.jwks


def _refused(error: TokenError, description: str) -> JSONResponse:
    is_client = error == "invalid_client"
    headers = {"Cache-Control": "no-store"} | ({"WWW-Authenticate": 'Basic realm="v2g"'} if is_client else {})
    body = TokenRefusal(error=error, error_description=description)
    return JSONResponse(body.model_dump(), 401 if is_client else 400, headers)


def _basic(header: str) -> tuple[str, str] | None:
    """Client id and secret of an HTTP Basic header, form-decoded as RFC 6749 section 2.3.1 has it."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (unquote_plus(client_id), unquote_plus(secret)) if colon else None
