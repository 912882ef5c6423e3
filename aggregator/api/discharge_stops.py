"""Stop all discharge, and allow it again: one person stops, two different ones re-arm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aggregator.api.access import allow, services_of
from aggregator.api.ports import StopRefused
from aggregator.api.problems import Problem, problems
from aggregator.operations.access import Principal, Role

_ROLES = {Role.OPERATOR, Role.TECHNICIAN}
Keeper = Annotated[Principal, Depends(allow(roles=_ROLES))]
_Id = Annotated[str, Field(min_length=1, max_length=128)]

router = APIRouter(prefix="/v1/discharge-stops", tags=["discharge stops"])


class ScopeIn(BaseModel):
    """What a stop covers: one EVSE, one site, all that hangs on one feeder, or everything if none is named."""

    model_config = ConfigDict(extra="forbid")
    evse_id: _Id | None = None
    site_id: _Id | None = None
    feeder_id: _Id | None = None

    @model_validator(mode="after")
    def _one_scope(self) -> ScopeIn:
        if sum(name is not None for name in (self.evse_id, self.site_id, self.feeder_id)) > 1:
            raise ValueError("expected evse_id, site_id or feeder_id, or none of them")
        return self


class StopIn(ScopeIn):
    """reason: for the audit log and the alert."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class StopOut(BaseModel):
    """What is stopped now.

    scope: "fleet", "site:…", "feeder:…" or "evse:…". answers: by EVSE that had discharge in its orders.
    """

    scope: str
    answers: dict[str, str]


class RearmOut(BaseModel):
    """is_rearmed: False until a second person agrees."""

    scope: str
    is_rearmed: bool


@router.post("", status_code=201, responses=problems(404))
async def stop_discharge(request: Request, principal: Keeper, body: StopIn) -> StopOut:
    """Take every discharge out of the chargers' orders at once; it stays so, also over a restart, until re-armed."""
    stops = services_of(request).discharge_stops
    with _as_problem():
        stop = await stops.latch(
            body.evse_id, body.site_id, body.feeder_id, by=principal.client_id, reason=body.reason
        )
    return StopOut(scope=stop.scope, answers=dict(stop.answers))


@router.get("", responses=problems(), dependencies=[Depends(allow(roles={*_ROLES, Role.PLANNER}))])
async def list_stops(request: Request) -> list[str]:
    """The scopes under a stop."""
    return sorted(services_of(request).discharge_stops.latched())


@router.post("/rearm", responses=problems(404, 409))
async def rearm(request: Request, principal: Keeper, body: ScopeIn) -> RearmOut:
    """Ask for the end of a stop, or agree to what somebody else asked for; nobody can do both."""
    with _as_problem():
        scope, is_rearmed = await services_of(request).discharge_stops.rearm(
            body.evse_id, body.site_id, body.feeder_id, by=principal.client_id
        )
    return RearmOut(scope=scope, is_rearmed=is_rearmed)


@contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except StopRefused as refusal:
        raise Problem(404 if refusal.is_unknown else 409, str(refusal)) from refusal
