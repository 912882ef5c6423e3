"""Who may call a route: declared on the route, checked before its handler, and proven for all routes at start.

A handler takes `principal: Annotated[Principal, Depends(allow(roles={Role.OPERATOR}))]`; a router for anyone has
`dependencies=[Depends(public())]`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import OAuth2, OAuthFlowClientCredentials, OAuthFlows
from fastapi.params import Depends
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase

from aggregator.api.ports import Services
from aggregator.api.problems import Problem
from aggregator.operations.access import AccessPolicy, ForbiddenError, Principal, Role, UnauthenticatedError, policy

TOKEN_PATH = "/oauth/token"  # noqa: S105  a path, no secret

SCOPES = {
    "read_all": "read programs and events of one's own party",
    "read_targets": "read programs and events without targets of one's own party",
    "write_programs": "write programs",
    "write_events": "write events and native grid signals",
}

_CHALLENGE = 'Bearer realm="v2g"'

STAFF = frozenset({Role.OPERATOR, Role.PLANNER, Role.ADMIN})
"""Roles of the aggregator itself; they see the signals of every party."""


class UndeclaredAccess(RuntimeError):
    """A route does not say who may call it; the service does not start with it."""


class Public:
    """Declares that anyone may call a route."""

    policy = policy(public=True)

    async def __call__(self) -> None:
        return None


class Allow(SecurityBase):
    """Declares and checks the policy of a route for certain clients."""

    def __init__(self, asked: AccessPolicy) -> None:
        self.policy = asked
        self.model = OAuth2(
            flows=OAuthFlows(clientCredentials=OAuthFlowClientCredentials(tokenUrl=TOKEN_PATH, scopes=SCOPES))
        )
        self.scheme_name = "oAuth2ClientCredentials"

    async def __call__(self, request: Request) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "a bearer token is needed", headers={"WWW-Authenticate": _CHALLENGE})
        try:
            principal = services_of(request).tokens.verify(token.strip())
            self.policy.check(principal)
        except UnauthenticatedError as refusal:
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise Problem(401, str(refusal), headers={"WWW-Authenticate": challenge}) from refusal
        except ForbiddenError as refusal:
            wanted = " ".join(sorted(self.policy.scopes))
            challenge = f'{_CHALLENGE}, error="insufficient_scope"' + (f', scope="{wanted}"' if wanted else "")
            raise Problem(403, str(refusal), headers={"WWW-Authenticate": challenge}) from refusal
        return principal


def allow(*, roles: Collection[Role] = (), scopes: Collection[str] = ()) -> Allow:
    """Only clients with one of `roles` and one of `scopes`, where named; a `ValueError` if neither is."""
    return Allow(policy(scopes=scopes, roles=roles))


def public() -> Public:
    """Anyone, without a token."""
    return Public()


def public_access() -> Depends:
    """`public()` as a dependency, for routers made elsewhere."""
    return Depends(public())


def services_of(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101  set by create_app, never by a caller
    return services


def party_seen_by(principal: Principal) -> str | None:
    """Whose objects a client sees: its own party's; None, all of them, for the aggregator's own roles."""
    return None if principal.role in STAFF else principal.party


def owns(principal: Principal, party: str) -> bool:
    """True if objects of `party` are this client's to see."""
    seen = party_seen_by(principal)
    return seen is None or (seen == party and party != "")


def undeclared(app: FastAPI) -> list[str]:
    """Routes of `app` that do not declare who may call them; anything that is no API route counts as one."""
    return sorted(name for name, policies in policies_of(app.routes) if not policies)


def policies_of(
    routes: Sequence[Any], inherited: Sequence[Allow | Public] = ()
) -> Iterator[tuple[str, list[Allow | Public]]]:
    """(methods and path, declared policies) of every route, also inside included routers and mounts."""
    for route in routes:
        if isinstance(route, APIRoute):
            name = f"{','.join(sorted(route.methods or ()))} {route.path}"
            yield name, [*inherited, *_declared(route.dependant)]
        elif (inner := getattr(route, "original_router", None)) is not None:
            yield from policies_of(inner.routes, inherited)
        else:
            yield f"{type(route).__name__} {getattr(route, 'path', route)}", list(inherited)


def _declared(dependant: Dependant) -> Iterator[Allow | Public]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Allow | Public):
            yield dependency.call
        yield from _declared(dependency)
