"""OpenADR 3.1.0 programs and events: the VTN side on which a utility, as business logic client, writes.

An event is stored together with the grid signal it means, in one transaction, or not at all.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from aggregator.api.access import allow, owns, services_of
from aggregator.api.auth import OPENADR_PREFIX
from aggregator.api.ports import Services
from aggregator.api.problems import Problem, invalid, missing, problems
from aggregator.operations.access import Principal
from aggregator.signals import GridSignal, SignalFault
from aggregator.signals.openadr import event_end, is_cancellation, to_signal
from aggregator.signals.wire import Event, EventRequest, Program, ProgramRequest
from aggregator.store import OpenAdrRecord, Transaction

Reader = Annotated[Principal, Depends(allow(scopes={"read_all", "read_targets"}))]
ProgramWriter = Annotated[Principal, Depends(allow(scopes={"write_programs"}))]
EventWriter = Annotated[Principal, Depends(allow(scopes={"write_events"}))]

ObjectPath = Annotated[str, Path(pattern=r"^[a-zA-Z0-9_-]+$", max_length=128)]
Skip = Annotated[int, Query(ge=0, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=0, le=50)]
Targets = Annotated[list[str], Query()]
IfMatch = Annotated[str | None, Header()]

router = APIRouter(prefix=OPENADR_PREFIX, tags=["openadr"])


@router.get(
    "/programs", operation_id="searchAllPrograms", responses=problems(), response_model=list[Program],
    response_model_exclude_none=True,
)
async def search_programs(
    request: Request, principal: Reader, targets: Targets = [], skip: Skip = 0, limit: Limit = 50  # noqa: B006  FastAPI copies it
) -> list[Program]:
    """Programs this client may read, oldest first."""
    async with services_of(request).store.read() as tx:
        records = _readable(principal, await tx.openadr.list("program"), targets)
    return [_program(record) for record in records[skip : skip + limit]]


@router.post(
    "/programs", status_code=201, operation_id="createProgram", responses=problems(409), response_model=Program,
    response_model_exclude_none=True,
)
async def create_program(
    request: Request, response: Response, principal: ProgramWriter, body: ProgramRequest
) -> Program:
    """Create a program. Its name is unique within the party."""
    services = services_of(request)
    _require_party(principal)
    now = services.clock.now()
    async with services.store.transaction(principal.client_id) as tx:
        await _require_free_name(tx, principal, body.program_name, None)
        record = OpenAdrRecord("program", uuid.uuid4().hex, _body(body), now, now, principal.party)
        await _put(tx, record)
    _tag(response, record)
    return _program(record)


@router.get(
    "/programs/{programID}", operation_id="searchProgramByProgramId", responses=problems(404),
    response_model=Program, response_model_exclude_none=True,
)
async def read_program(
    request: Request, response: Response, principal: Reader,
    program_id: Annotated[ObjectPath, Path(alias="programID")],
) -> Program:
    async with services_of(request).store.read() as tx:
        record = _one(principal, await tx.openadr.get("program", program_id), "programID", program_id, for_reading=True)
    _tag(response, record)
    return _program(record)


@router.put(
    "/programs/{programID}", operation_id="updateProgram", responses=problems(404, 409, 412),
    response_model=Program, response_model_exclude_none=True,
)
async def update_program(
    request: Request, response: Response, principal: ProgramWriter,
    program_id: Annotated[ObjectPath, Path(alias="programID")], body: ProgramRequest, if_match: IfMatch = None,
) -> Program:
    """Replace a program. What its events mean may not change under them: its name and descriptors stay."""
    services = services_of(request)
    async with services.store.transaction(principal.client_id) as tx:
        old = _one(principal, await tx.openadr.get("program", program_id), "programID", program_id)
        _require_match(old, if_match)
        await _require_free_name(tx, principal, body.program_name, program_id)
        before = _program(old)
        meaning_changes = (before.program_name, before.payload_descriptors) != (
            body.program_name, body.payload_descriptors
        )
        if meaning_changes and await _events_of(tx, program_id):
            raise Problem(409, "programName, payloadDescriptors: cannot change while the program has events")
        record = _revised(old, _body(body), services.clock.now())
        await _put(tx, record)
    _tag(response, record)
    return _program(record)


@router.delete(
    "/programs/{programID}", operation_id="deleteProgram", responses=problems(404, 409, 412),
    response_model=Program, response_model_exclude_none=True,
)
async def delete_program(
    request: Request, principal: ProgramWriter, program_id: Annotated[ObjectPath, Path(alias="programID")],
    if_match: IfMatch = None,
) -> Program:
    """Delete a program that has no events."""
    async with services_of(request).store.transaction(principal.client_id) as tx:
        record = _one(principal, await tx.openadr.get("program", program_id), "programID", program_id)
        _require_match(record, if_match)
        if await _events_of(tx, program_id):
            raise Problem(409, "the program has events; delete them first")
        await tx.openadr.delete("program", program_id)
    return _program(record)


@router.get(
    "/events", operation_id="searchAllEvents", responses=problems(), response_model=list[Event],
    response_model_exclude_none=True,
)
async def search_events(
    request: Request, principal: Reader,
    program_id: Annotated[str | None, Query(alias="programID", max_length=128)] = None,
    targets: Targets = [],  # noqa: B006  FastAPI copies it
    active: bool | None = None, skip: Skip = 0, limit: Limit = 50,
) -> list[Event]:
    """Events this client may read, oldest first. active: true leaves out what is over."""
    services = services_of(request)
    now = services.clock.now()
    async with services.store.read() as tx:
        records = _readable(principal, await tx.openadr.list("event"), targets)
    events = [
        (record, event)
        for record, event in ((record, _event(record)) for record in records)
        if (program_id is None or event.program_id == program_id) and (not active or _is_ahead(record, event, now))
    ]
    return [event for _, event in events[skip : skip + limit]]


@router.post(
    "/events", status_code=201, operation_id="createEvent", responses=problems(), response_model=Event,
    response_model_exclude_none=True,
)
async def create_event(request: Request, response: Response, principal: EventWriter, body: EventRequest) -> Event:
    """Create an event; the same request sent again, while it is not over, is answered with the event it made."""
    services = services_of(request)
    _require_party(principal)
    program = await _program_of(services, principal, body)
    now = services.clock.now()
    draft = to_signal(body, program, now)
    record = OpenAdrRecord("event", uuid.uuid4().hex, _body(body), now, now, principal.party)

    async def store_event(tx: Transaction, _: object) -> None:
        await _put(tx, record)

    with _named("programID", body.program_id):
        receipt = await services.desk.receive(
            draft, protocol="openadr", party=principal.party, external_id=record.id, actor=principal.client_id,
            is_named=False, alongside=store_event,
        )
    if receipt.external_id != record.id:
        async with services.store.read() as tx:
            known = await tx.openadr.get("event", receipt.external_id)
        record = known or record
    _tag(response, record)
    _link(response, receipt.signals)
    return _event(record)


@router.get(
    "/events/{eventID}", operation_id="searchEventsByID", responses=problems(404), response_model=Event,
    response_model_exclude_none=True,
)
async def read_event(
    request: Request, response: Response, principal: Reader, event_id: Annotated[ObjectPath, Path(alias="eventID")]
) -> Event:
    async with services_of(request).store.read() as tx:
        record = _one(principal, await tx.openadr.get("event", event_id), "eventID", event_id, for_reading=True)
    _tag(response, record)
    return _event(record)


@router.put(
    "/events/{eventID}", operation_id="updateEvent", responses=problems(404, 412), response_model=Event,
    response_model_exclude_none=True,
)
async def update_event(
    request: Request, response: Response, principal: EventWriter,
    event_id: Annotated[ObjectPath, Path(alias="eventID")], body: EventRequest, if_match: IfMatch = None,
) -> Event:
    """Replace an event: another revision of its signal, or its end if start is 0001-01-01 and duration PT0S."""
    services = services_of(request)
    async with services.store.read() as tx:
        old = _one(principal, await tx.openadr.get("event", event_id), "eventID", event_id)
    _require_match(old, if_match)
    program = await _program_of(services, principal, body)
    now = services.clock.now()
    record = _revised(old, _body(body), now)

    async def store_event(tx: Transaction, _: object) -> None:
        current = _one(principal, await tx.openadr.get("event", event_id), "eventID", event_id)
        _require_match(current, if_match)
        await _put(tx, record)

    signals: tuple[GridSignal, ...] = ()
    if is_cancellation(body):
        await services.desk.cancel(
            protocol="openadr", party=old.owner, external_id=event_id, actor=principal.client_id,
            alongside=store_event,
        )
    else:
        with _named("programID", body.program_id):
            receipt = await services.desk.receive(
                to_signal(body, program, now), protocol="openadr", party=old.owner, external_id=event_id,
                actor=principal.client_id, alongside=store_event,
            )
        signals = receipt.signals
    _tag(response, record)
    _link(response, signals)
    return _event(record)


@router.delete(
    "/events/{eventID}", operation_id="deleteEvent", responses=problems(404, 412), response_model=Event,
    response_model_exclude_none=True,
)
async def delete_event(
    request: Request, principal: EventWriter, event_id: Annotated[ObjectPath, Path(alias="eventID")],
    if_match: IfMatch = None,
) -> Event:
    """Delete an event and cancel its signal."""
    services = services_of(request)
    async with services.store.read() as tx:
        record = _one(principal, await tx.openadr.get("event", event_id), "eventID", event_id)
    _require_match(record, if_match)

    async def forget(tx: Transaction, _: object) -> None:
        await tx.openadr.delete("event", event_id)

    await services.desk.cancel(
        protocol="openadr", party=record.owner, external_id=event_id, actor=principal.client_id, alongside=forget
    )
    return _event(record)


class _named:  # noqa: N801  reads as a clause: with _named("programID", ...)
    """A programme that is not enrolled is told by the field that named it on this wire."""

    def __init__(self, field: str, value: str) -> None:
        self._field, self._value = field, value

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, fault: BaseException | None, __: object) -> None:
        if isinstance(fault, SignalFault) and fault.field == "programme":
            raise SignalFault(
                self._field, self._value, "a program whose programName this party has enrolled a site in"
            ) from fault


async def _program_of(services: Services, principal: Principal, event: EventRequest) -> Program:
    async with services.store.read() as tx:
        record = await tx.openadr.get("program", event.program_id)
    if record is None or not owns(principal, record.owner):
        raise invalid("programID", event.program_id, "the id of a program of this party")
    return _program(record)


async def _events_of(tx: Transaction, program_id: str) -> list[OpenAdrRecord]:
    return [record for record in await tx.openadr.list("event") if record.body["programID"] == program_id]


async def _put(tx: Transaction, record: OpenAdrRecord) -> None:
    await tx.openadr.put(record.kind, record.id, record.body, record.created, record.modified, record.owner)


async def _require_free_name(tx: Transaction, principal: Principal, name: str, program_id: str | None) -> None:
    for record in await tx.openadr.list("program"):
        is_other = record.id != program_id and record.owner == principal.party
        if is_other and record.body["programName"] == name:
            raise invalid("programName", name, "a name that no other program of this party has", status=409)


def _require_party(principal: Principal) -> None:
    if not principal.party:
        raise Problem(403, "this client belongs to no party and cannot own programs or events")


def _readable(principal: Principal, records: list[OpenAdrRecord], targets: list[str]) -> list[OpenAdrRecord]:
    return [
        record
        for record in records
        if _may_read(principal, record) and (not targets or set(targets) & set(record.body.get("targets") or ()))
    ]


def _may_read(principal: Principal, record: OpenAdrRecord) -> bool:
    """A VEN (read_targets alone) reads what has no targets; it has been granted none (Definition, targeting)."""
    if not owns(principal, record.owner):
        return False
    return "read_all" in principal.scopes or not record.body.get("targets")


def _one(
    principal: Principal, record: OpenAdrRecord | None, field: str, object_id: str, *, for_reading: bool = False
) -> OpenAdrRecord:
    if record is None or not owns(principal, record.owner) or (for_reading and not _may_read(principal, record)):
        raise missing(field, object_id)
    return record


def _revised(old: OpenAdrRecord, body: dict[str, Any], now: datetime) -> OpenAdrRecord:
    return OpenAdrRecord(old.kind, old.id, body, old.created, max(now, old.modified), old.owner)


def _is_ahead(record: OpenAdrRecord, event: Event, now: datetime) -> bool:
    end = event_end(event, record.modified)
    return end is not None and end > now


def _body(model: ProgramRequest | EventRequest) -> dict[str, Any]:
    return model.model_dump(by_alias=True, exclude_none=True)


def _metadata(record: OpenAdrRecord) -> dict[str, Any]:
    return {"id": record.id, "createdDateTime": record.created, "modificationDateTime": record.modified}


def _program(record: OpenAdrRecord) -> Program:
    return Program.model_validate(record.body | _metadata(record))


def _event(record: OpenAdrRecord) -> Event:
    return Event.model_validate(record.body | _metadata(record))


def _etag(record: OpenAdrRecord) -> str:
    content = orjson.dumps([record.modified.isoformat(), record.body], option=orjson.OPT_SORT_KEYS)
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _tag(response: Response, record: OpenAdrRecord) -> None:
    response.headers["ETag"] = _etag(record)


def _require_match(record: OpenAdrRecord, if_match: str | None) -> None:
    if if_match is not None and if_match.strip() != "*":
        tags = {tag.strip() for tag in if_match.split(",")}
        if _etag(record) not in tags:
            raise Problem(412, "If-Match: the object has changed since it was read", headers={"ETag": _etag(record)})


def _link(response: Response, signals: tuple[GridSignal, ...]) -> None:
    """Where the decision on this event can be read; OpenADR itself has no message for it."""
    if signals:
        response.headers["Link"] = ", ".join(
            f'</v1/grid-signals/{signal.id}>; rel="related"' for signal in signals
        )
