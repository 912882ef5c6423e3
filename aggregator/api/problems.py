"""Errors as problem documents (RFC 9457): what is wrong, in which field, what it held and what was expected."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.signals import SignalFault
from aggregator.signals.openadr import shown

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 1_000_000
BODY_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that is wrong. value: as it may be shown, never a secret."""

    field: str
    value: str
    expected: str


@dataclass
class Problem(Exception):
    """An answer that is no success; raised anywhere below a route."""

    status: int
    detail: str
    errors: Sequence[FieldFault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "default": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "value", "expected"],
                "properties": {name: {"type": "string"} for name in ("field", "value", "expected")},
            },
        },
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documentation of problem answers, for the `responses` of a route; 400, 401, 403 and 413 may come from any."""
    content = {"application/problem+json": {"schema": PROBLEM_SCHEMA}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({400, 401, 403, 413, *statuses})
    }


def invalid(field_name: str, value: object, expected: str, status: int = 400) -> Problem:
    """A problem with one field."""
    text = shown(value)
    return Problem(status, f"{field_name}: {text}, expected {expected}", (FieldFault(field_name, text, expected),))


def in_utc(field_name: str, when: datetime) -> datetime:
    """An aware time in UTC; a problem for one that leaves the calendar on the way."""
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise invalid(field_name, when.isoformat(), "a time in the years 1 to 9999") from None


def missing(kind: str, identity: str) -> Problem:
    """404 for what is not there, or not for this client's eyes: the two look the same."""
    return Problem(404, f"{kind}: {shown(identity)}, expected one that exists")


def document(problem: Problem) -> Response:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [
            {"field": fault.field, "value": fault.value, "expected": fault.expected} for fault in problem.errors
        ]
    return Response(
        orjson.dumps(body), problem.status, dict(problem.headers), media_type="application/problem+json"
    )


def place(location: Sequence[str | int]) -> str:
    """("body", "intervals", 0, "id") as "intervals[0].id"."""
    text = ""
    for part in location[1:] if len(location) > 1 else location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def add_problem_handlers(app: FastAPI) -> None:
    """Every answer that is no success is a problem document, whoever raised it."""

    async def on_problem(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)  # noqa: S101  what the handler is registered for
        return document(problem)

    async def on_signal_fault(_: Request, fault: Exception) -> Response:
        assert isinstance(fault, SignalFault)  # noqa: S101  as above
        return document(invalid(fault.field, fault.value, fault.expected))

    async def on_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  as above
        # The value is shown only by its type: a body may carry a driver's token.
        faults = [
            FieldFault(place(each["loc"]), _kind_of(each.get("input")), each["msg"])
            for each in error.errors()[:20]
        ]
        first = faults[0]
        return document(Problem(400, f"{first.field}: {first.expected}", faults))

    async def on_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  as above
        return document(Problem(error.status_code, str(error.detail), headers=error.headers or {}))

    async def on_fault(request: Request, error: Exception) -> Response:
        log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
        return document(Problem(500, "the service failed on this request; it is logged"))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(SignalFault, on_signal_fault)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_fault)


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `limit` bytes, announced or not; 408 for one that does not come.

    wait_s: wall seconds for the whole body.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES, wait_s: float = BODY_WAIT_S) -> None:
        self._app = app
        self._limit = limit
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._limit:
            await document(self._too_large())(scope, receive, send)
            return
        seen, is_whole = 0, False
        deadline = asyncio.get_running_loop().time() + self._wait_s

        async def counted() -> Message:
            nonlocal seen, is_whole
            if is_whole:  # from here on a receiver waits for the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408, f"body: expected all of it within {self._wait_s:g} s", {"Connection": "close"}
                ) from None
            is_whole = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413, self._too_large().detail)
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> Problem:
        return Problem(413, f"body: expected at most {self._limit} bytes")


def _kind_of(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float):
        return shown(value)
    return f"a {type(value).__name__}"
