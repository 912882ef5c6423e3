"""Grid signals in our own words: what OpenADR lacks, namely a decision, a partial yes, its reasons and its history.

The utility sees kW, counts and reason codes, never a driver or a departure time.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from aggregator.api.access import allow, party_seen_by, services_of
from aggregator.api.problems import Problem, missing, problems
from aggregator.operations.access import Principal, Role
from aggregator.signals import (
    NO_LIMIT_KW,
    GridSignal,
    Obligation,
    ReasonCode,
    SignalDraft,
    SignalFault,
    SignalInterval,
    SignalState,
    SignalView,
    UnknownSignal,
)
from aggregator.signals.model import named_by_sender
from aggregator.signals.openadr import MAX_POWER_KW
from aggregator.store import Transaction

_SENDERS = {Role.UTILITY}
_READERS = {Role.UTILITY, Role.OPERATOR, Role.PLANNER}
Sender = Annotated[Principal, Depends(allow(roles=_SENDERS, scopes={"write_events"}))]
Reader = Annotated[Principal, Depends(allow(roles=_READERS))]

router = APIRouter(prefix="/v1/grid-signals", tags=["grid signals"])


class IntervalIn(BaseModel):
    """Half-open [start, end). max_net_kw: net power to stay at or below, import positive; below 0 asks for export."""

    model_config = ConfigDict(extra="forbid")
    start: AwareDatetime
    end: AwareDatetime
    max_net_kw: Annotated[float, Field(ge=-MAX_POWER_KW, le=MAX_POWER_KW, allow_inf_nan=False)]


class SignalIn(BaseModel):
    """A signal as a utility sends it.

    external_id: the sender's name for it; the same name with other content is a new revision. Without one the
    Idempotency-Key is the name. targets: sites; empty means all that are enrolled.
    """

    model_config = ConfigDict(extra="forbid")
    programme: Annotated[str, Field(min_length=1, max_length=128)]
    intervals: Annotated[list[IntervalIn], Field(min_length=1, max_length=2000)]
    targets: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=1000)] = []
    external_id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.:-]+$", max_length=128)] | None = None
    priority: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class IntervalOut(BaseModel):
    """Bounds of net power; null where there is none."""

    start: datetime
    end: datetime
    max_net_kw: float | None
    min_net_kw: float | None


class ReasonOut(BaseModel):
    """Why less than asked, and how many vehicles or EVSEs it concerns.

    limits: of `feeder_limit`, which limits of the feeder are reached, nearest first.
    """

    code: ReasonCode
    count: int
    limits: list[str] = []


class DecisionOut(BaseModel):
    """The answer. Powers are mean reductions below baseline_kw; committed_net_kw has one value per interval."""

    state: SignalState
    requested_kw: float
    committed_kw: float
    baseline_kw: float
    committed_net_kw: list[float]
    reasons: list[ReasonOut]
    decided_at: datetime
    plan_id: str | None


class TransitionOut(BaseModel):
    state: SignalState
    at: datetime
    detail: str


class SignalOut(BaseModel):
    """A signal, how far it has come and what was answered; decision is null while there is none."""

    id: str
    external_id: str
    source: str
    programme: str
    obligation: Obligation
    site_id: str
    revision: int
    priority: int
    received_at: datetime
    state: SignalState
    intervals: list[IntervalOut]
    decision: DecisionOut | None
    transitions: list[TransitionOut]


class ReceiptOut(BaseModel):
    """Ids of the signals, one per site; read each at /v1/grid-signals/{id}."""

    external_id: str
    signal_ids: list[str]


@router.post("", status_code=201, responses=problems(422))
async def post_signal(
    request: Request, response: Response, principal: Sender, body: SignalIn,
    idempotency_key: Annotated[str, Header(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")],
) -> ReceiptOut:
    """Send a signal. The same key with the same body is answered as the first time; with another body it is 422."""
    services = services_of(request)
    body_hash = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    async with services.store.read() as tx:
        if answered := await _answered(tx, principal, idempotency_key, body_hash):
            return answered
    external_id = body.external_id or "key:" + hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]
    draft = _draft(body, services.clock.now())

    async def remember(tx: Transaction, signals: Any) -> None:
        answer = ReceiptOut(external_id=external_id, signal_ids=[signal.id for signal in signals])
        if await _answered(tx, principal, idempotency_key, body_hash) is None:
            await tx.idempotency.put(principal.client_id, idempotency_key, body_hash, 201, answer.model_dump())

    receipt = await services.desk.receive(
        draft, protocol="native", party=principal.party, external_id=external_id, actor=principal.client_id,
        alongside=remember,
    )
    if len(receipt.signals) == 1:
        response.headers["Location"] = f"/v1/grid-signals/{receipt.signals[0].id}"
    return ReceiptOut(external_id=external_id, signal_ids=[signal.id for signal in receipt.signals])


@router.get("", responses=problems())
async def list_signals(
    request: Request, principal: Reader,
    external_id: Annotated[str | None, Query(max_length=128)] = None,
    skip: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0, limit: Annotated[int, Query(ge=0, le=200)] = 50,
) -> list[SignalOut]:
    """Signals of this party, all revisions, in order of receipt. external_id: e.g. the OpenADR event's id."""
    views = await services_of(request).desk.views(party_seen_by(principal), external_id)
    return [_out(view) for view in views[skip : skip + limit]]


@router.get("/{signal_id}", responses=problems(404))
async def read_signal(
    request: Request, principal: Reader, signal_id: Annotated[str, Path(max_length=128)]
) -> SignalOut:
    """One signal with its decision and history."""
    try:
        return _out(await services_of(request).desk.view(signal_id, party_seen_by(principal)))
    except UnknownSignal as unknown:
        raise missing("signal", signal_id) from unknown


@router.delete("/{signal_id}", responses=problems(404, 409))
async def cancel_signal(
    request: Request, principal: Sender, signal_id: Annotated[str, Path(max_length=128)]
) -> SignalOut:
    """Withdraw a signal that was sent here; an OpenADR event is withdrawn by deleting the event."""
    desk = services_of(request).desk
    try:
        view = await desk.view(signal_id, principal.party)
    except UnknownSignal as unknown:
        raise missing("signal", signal_id) from unknown
    protocol = view.signal.source.partition(":")[0]
    if protocol != "native":
        raise Problem(409, f"the signal came by {protocol}; withdraw it there")
    await desk.cancel(
        protocol=protocol, party=principal.party, external_id=named_by_sender(view.signal), actor=principal.client_id
    )
    return _out(await desk.view(signal_id, principal.party))


async def _answered(tx: Transaction, principal: Principal, key: str, body_hash: str) -> ReceiptOut | None:
    known = await tx.idempotency.get(principal.client_id, key)
    if known is None:
        return None
    if known.body_hash != body_hash:
        raise Problem(422, "Idempotency-Key: already used with another body, expected a new key")
    return ReceiptOut.model_validate(known.response)


def _draft(body: SignalIn, now: datetime) -> SignalDraft:
    intervals: list[SignalInterval] = []
    for index, interval in enumerate(body.intervals):
        try:
            start, end = interval.start.astimezone(UTC), interval.end.astimezone(UTC)
        except OverflowError as error:
            raise SignalFault(f"intervals[{index}]", "out of range", "times in the years 1 to 9999") from error
        if end <= start:
            raise SignalFault(f"intervals[{index}].end", end.isoformat(), "a time after start")
        if intervals and start < intervals[-1].end:
            raise SignalFault(
                f"intervals[{index}].start", start.isoformat(), "no overlap with the interval before it"
            )
        intervals.append(SignalInterval(start, end, interval.max_net_kw))
    ahead = tuple(interval for interval in intervals if interval.end > now)
    if not ahead:
        raise SignalFault("intervals", intervals[-1].end.isoformat(), f"an end after now ({now.isoformat()})")
    asked = body.model_dump(mode="json", exclude={"external_id"})
    digest = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return SignalDraft(body.programme, tuple(body.targets), ahead, body.priority, digest)


def _out(view: SignalView) -> SignalOut:
    signal = view.signal
    return SignalOut(
        id=signal.id, external_id=named_by_sender(signal), source=signal.source, programme=signal.programme,
        obligation=signal.obligation, site_id=signal.site_id, revision=signal.revision, priority=signal.priority,
        received_at=signal.received_at, state=view.state, intervals=_intervals_out(signal),
        decision=_decision_out(view),
        transitions=[TransitionOut(state=step.state, at=step.at, detail=step.detail) for step in view.transitions],
    )


def _intervals_out(signal: GridSignal) -> list[IntervalOut]:
    return [
        IntervalOut(
            start=interval.start, end=interval.end,
            max_net_kw=interval.max_net_kw if interval.max_net_kw < NO_LIMIT_KW else None,
            min_net_kw=interval.min_net_kw if interval.min_net_kw > -NO_LIMIT_KW else None,
        )
        for interval in signal.intervals
    ]


def _decision_out(view: SignalView) -> DecisionOut | None:
    decision = view.decision
    if decision is None:
        return None
    return DecisionOut(
        state=decision.state, requested_kw=decision.requested_kw, committed_kw=decision.committed_kw,
        baseline_kw=decision.baseline_kw, committed_net_kw=list(decision.committed_net_kw),
        reasons=[
            ReasonOut(
                code=code, count=count, limits=list(decision.feeder_limits) if code is ReasonCode.FEEDER else []
            )
            for code, count in decision.reasons
        ],
        decided_at=decision.decided_at, plan_id=decision.plan_id,
    )
