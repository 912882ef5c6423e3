"""The site: readings of its connection-point meter, its chargers, its plans and why they are so."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from aggregator.api.access import STAFF, allow, services_of
from aggregator.api.problems import Problem, in_utc, invalid, missing, problems
from aggregator.operations.access import Principal, Role
from aggregator.store import PlanRecord, SiteReading

Device = Annotated[Principal, Depends(allow(roles={Role.DEVICE}))]
_STAFF = Depends(allow(roles={*STAFF, Role.TECHNICIAN}))
_PLANNERS = Depends(allow(roles={*STAFF, Role.FLEET_MANAGER}))
_Kw = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]

_AHEAD = timedelta(minutes=5)
_OLDEST = timedelta(days=366)

router = APIRouter(prefix="/v1", tags=["site"])


class ReadingIn(BaseModel):
    """One reading. import_kw: net power, import positive. ev_kw: of the EVs alone, if they have a sub-meter.

    at: now, if the meter does not say.
    """

    model_config = ConfigDict(extra="forbid")
    import_kw: _Kw
    ev_kw: _Kw | None = None
    at: AwareDatetime | None = None


class ChargerOut(BaseModel):
    evse_id: str
    station_id: str
    version: str
    is_online: bool
    state: str
    power_kw: float | None
    last_seen_at: datetime | None


class PlanOut(BaseModel):
    """A plan with its verdict. rounds: what the replay refused in each round. power_kw: a row per EVSE."""

    id: str
    created_at: datetime
    trigger: str
    status: str
    passed: bool
    objective: float
    bound: float
    gap: float
    costs: dict[str, float]
    seconds: dict[str, float]
    binding: list[str]
    rounds: list[dict[str, object]]
    note: str
    grid_start: datetime
    step_s: int
    evse_ids: list[str]
    power_kw: list[list[float]]
    net_kw: list[float]
    base_kw: list[float]
    import_cap_kw: list[float]


@router.post("/sites/{site_id}/meter-readings", status_code=204, responses=problems(404))
async def post_readings(
    request: Request, principal: Device, site_id: Annotated[str, Path(max_length=128)],
    body: ReadingIn | Annotated[list[ReadingIn], Field(min_length=1, max_length=10_000)],
) -> None:
    """Record one reading or a list; they are durable when this answers. A device posts for its own site only."""
    services = services_of(request)
    if not services.site_meters.knows(site_id):
        raise missing("site_id", site_id)
    if principal.party != site_id:
        raise Problem(403, "this device does not belong to the site")
    now = services.clock.now()
    readings = [
        SiteReading(site_id, _taken_at(reading, now), reading.import_kw, reading.ev_kw)
        for reading in (body if isinstance(body, list) else [body])
    ]
    await services.site_meters.record(readings)


def _taken_at(reading: ReadingIn, now: datetime) -> datetime:
    """A meter whose clock runs ahead is refused: its reading would silence all true ones until that time comes."""
    if reading.at is None:
        return now
    at = in_utc("at", reading.at)
    if not now - _OLDEST <= at <= now + _AHEAD:
        raise invalid("at", at.isoformat(), f"a time within the last year and not after now ({now.isoformat()})")
    return at


@router.get("/chargers", dependencies=[_STAFF], responses=problems())
async def list_chargers(request: Request) -> list[ChargerOut]:
    """Every EVSE with its connection and state."""
    return [
        ChargerOut(
            evse_id=charger.evse_id, station_id=charger.station_id, version=charger.version,
            is_online=charger.is_online, state=charger.state, power_kw=charger.power_kw,
            last_seen_at=charger.last_seen_at,
        )
        for charger in services_of(request).chargers.chargers()
    ]


@router.get("/plans/latest", dependencies=[_PLANNERS], responses=problems(404))
async def latest_plan(request: Request) -> PlanOut:
    """The plan made last."""
    async with services_of(request).store.read() as tx:
        plan = await tx.plans.latest()
    if plan is None:
        raise Problem(404, "there is no plan yet")
    return _out(plan)


@router.get("/plans/{plan_id}", dependencies=[_PLANNERS], responses=problems(404))
async def read_plan(request: Request, plan_id: Annotated[str, Path(max_length=128)]) -> PlanOut:
    async with services_of(request).store.read() as tx:
        plan = await tx.plans.get(plan_id)
    if plan is None:
        raise missing("plan", plan_id)
    return _out(plan)


def _out(plan: PlanRecord) -> PlanOut:
    return PlanOut(**{name: getattr(plan, name) for name in PlanOut.model_fields})
