"""Departure targets and sessions: for drivers their own, for fleet managers and operators all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from aggregator.api.access import allow, services_of
from aggregator.api.ports import TargetRefused
from aggregator.api.problems import Problem, invalid, problems
from aggregator.fleet.model import DepartureTarget, LiveSession, SocSource, WishSource
from aggregator.operations.access import Principal, Role

Declarer = Annotated[Principal, Depends(allow(roles={Role.DRIVER, Role.FLEET_MANAGER}))]
Reader = Annotated[Principal, Depends(allow(roles={Role.DRIVER, Role.FLEET_MANAGER, Role.OPERATOR, Role.PLANNER}))]

router = APIRouter(prefix="/v1", tags=["fleet"])


class TargetIn(BaseModel):
    """What a driver's app or a fleet system declares for a car.

    requested_kwh: battery-side energy on top of what was there on arrival. floor_soc: no discharge below it.
    evse_id: where the car stands, if that is known.
    """

    model_config = ConfigDict(extra="forbid")
    id_token: Annotated[str, Field(min_length=1, max_length=255)]
    departure: AwareDatetime
    requested_kwh: Annotated[float, Field(ge=0, le=2000, allow_inf_nan=False)]
    vehicle_model: Annotated[str, Field(min_length=1, max_length=128)]
    v2g_consent: bool = False
    floor_soc: Annotated[float, Field(ge=0, le=1)] = 0.2
    evse_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class TargetOut(BaseModel):
    departure: datetime
    requested_kwh: float
    vehicle_model: str
    v2g_consent: bool
    floor_soc: float
    declared_at: datetime
    declared_by: str


class SessionOut(BaseModel):
    """A charging session now. Energies are battery side; id_token only for those who look after the driver.

    departure_by, target_by: whose word departure and requested energy are: a person's, the car's or the site's.
    """

    transaction_id: str
    evse_id: str
    id_token: str | None
    started_at: datetime
    departure: datetime
    is_declared: bool
    departure_by: WishSource
    target_by: WishSource
    requested_kwh: float
    delivered_kwh: float
    power_kw: float
    soc: float
    soc_source: SocSource
    soc_at: datetime
    vehicle_model: str
    v2g_consent: bool
    is_full: bool


@router.post("/departure-targets", responses=problems())
@router.put("/departure-targets", responses=problems(), operation_id="put_target")
async def declare_target(request: Request, principal: Declarer, body: TargetIn) -> TargetOut:
    """Declare or change when a car leaves and what it needs by then; a driver for the own account only."""
    services = services_of(request)
    if principal.role == Role.DRIVER and (not principal.party or body.id_token != principal.party):
        raise Problem(403, "id_token: not the account of this driver")
    now = services.clock.now()
    try:
        departure = body.departure.astimezone(UTC)
    except OverflowError:
        raise invalid("departure", body.departure.isoformat(), "a time in the years 1 to 9999") from None
    if departure <= now:
        raise invalid("departure", departure.isoformat(), f"a time after now ({now.isoformat()})")
    target = DepartureTarget(
        body.id_token, departure, body.requested_kwh, body.vehicle_model, body.v2g_consent, body.floor_soc, now,
        "driver" if principal.role == Role.DRIVER else "fleet",
    )
    try:
        await services.fleet.declare(target, body.evse_id)
    except TargetRefused as refusal:
        raise invalid(refusal.field, refusal.value, refusal.expected) from refusal
    return TargetOut(
        departure=departure, requested_kwh=target.requested_kwh, vehicle_model=target.vehicle_model,
        v2g_consent=target.v2g_consent, floor_soc=target.floor_soc, declared_at=now, declared_by=target.declared_by,
    )


@router.get("/sessions", responses=problems())
async def list_sessions(request: Request, principal: Reader) -> list[SessionOut]:
    """Running sessions; a driver sees the own ones."""
    sessions = services_of(request).fleet.sessions()
    if principal.role == Role.DRIVER:
        sessions = [session for session in sessions if principal.party and session.id_token == principal.party]
    shows_token = principal.role in (Role.DRIVER, Role.FLEET_MANAGER)
    return [_out(session, shows_token=shows_token) for session in sessions]


def _out(session: LiveSession, *, shows_token: bool) -> SessionOut:
    return SessionOut(
        transaction_id=session.transaction_id, evse_id=session.evse_id,
        id_token=session.id_token if shows_token else None, started_at=session.started_at,
        departure=session.departure, is_declared=session.is_declared, requested_kwh=session.requested_kwh,
        departure_by=session.departure_by, target_by=session.target_by,
        delivered_kwh=session.delivered_kwh, power_kw=session.power_kw, soc=session.soc,
        soc_source=session.soc_source, soc_at=session.soc_at, vehicle_model=session.vehicle_model,
        v2g_consent=session.v2g_consent, is_full=session.is_full,
    )
