"""The message frames of OCPP-J: what is a call, a result, an error, and what is none of them.

Payloads stay the camelCase objects of the wire; nothing here knows an action or a version.
Frame types: OCPP-J 1.6 section 4.2, OCPP 2.1 Part 4 section 4.2 (5 and 6 exist in 2.1 only).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

CALL, CALL_RESULT, CALL_ERROR, CALL_RESULT_ERROR, SEND = 2, 3, 4, 5, 6
_REQUEST_ELEMENTS, _RESULT_ELEMENTS = 4, 3

UNREADABLE_ID = "-1"
"""Message id of an answer to a frame whose id cannot be read (OCPP 2.0.1 Part 4 section 4.2.3)."""


@dataclass(frozen=True, slots=True)
class Call:
    unique_id: str
    action: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallResult:
    unique_id: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallError:
    unique_id: str
    code: str
    description: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallResultError:
    """Says that a CALLRESULT could not be understood (OCPP 2.1)."""

    unique_id: str
    code: str
    description: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Send:
    """An unconfirmed message (OCPP 2.1): nobody answers it."""

    unique_id: str
    action: str
    payload: dict[str, Any]


Frame = Call | CallResult | CallError | CallResultError | Send


class MalformedFrame(ValueError):
    """What arrived is not a frame.

    unique_id: None if it cannot be read; message_type: None if that cannot be read.
    code: an OCPP 2.x error code, RpcFrameworkError, MessageTypeNotSupported or FormatViolation.
    """

    def __init__(self, unique_id: str | None, code: str, description: str, message_type: int | None = None) -> None:
        super().__init__(description)
        self.unique_id = unique_id
        self.code = code
        self.description = description
        self.message_type = message_type


def decode(raw: str | bytes) -> Frame:
    """Read one frame.

    Raises:
        MalformedFrame: `raw` is no JSON, no array, of an unknown type, or its elements are wrong.
    """
    try:
        parts = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise MalformedFrame(None, "RpcFrameworkError", f"not valid JSON: {fault}") from None
    if not isinstance(parts, list) or not parts:
        raise MalformedFrame(None, "RpcFrameworkError", "expected a JSON array with a message type")
    kind = parts[0] if type(parts[0]) is int else None
    unique_id = parts[1] if len(parts) > 1 and isinstance(parts[1], str) and parts[1] else None
    if kind is None or not CALL <= kind <= SEND:
        raise MalformedFrame(unique_id, "MessageTypeNotSupported", f"message type {parts[0]!r:.40}, expected 2 to 6")
    if unique_id is None:
        raise MalformedFrame(None, "RpcFrameworkError", "message id: expected a non-empty string", kind)
    if kind in (CALL, SEND):
        return _decode_request(kind, unique_id, parts)
    if kind == CALL_RESULT:
        if len(parts) != _RESULT_ELEMENTS or not isinstance(parts[2], dict):
            raise MalformedFrame(unique_id, "FormatViolation", "expected [3, id, payload object]", kind)
        return CallResult(unique_id, parts[2])
    return _decode_error(kind, unique_id, parts)


def _decode_request(kind: int, unique_id: str, parts: list[Any]) -> Call | Send:
    if len(parts) != _REQUEST_ELEMENTS or not isinstance(parts[2], str):
        raise MalformedFrame(unique_id, "RpcFrameworkError", f"expected [{kind}, id, action, payload object]", kind)
    if not isinstance(parts[3], dict):
        raise MalformedFrame(unique_id, "FormatViolation", "payload: expected an object", kind)
    if kind == CALL:
        return Call(unique_id, parts[2], parts[3])
    return Send(unique_id, parts[2], parts[3])


def _decode_error(kind: int, unique_id: str, parts: list[Any]) -> CallError | CallResultError:
    # Description and details are mandatory on the wire, but many stations leave them out; the code is what counts.
    tail = [*parts[2:5], *("", "", {})[len(parts[2:5]):]]
    code, description, details = tail
    if len(parts) < _RESULT_ELEMENTS or not isinstance(code, str) or not isinstance(description, str):
        raise MalformedFrame(unique_id, "FormatViolation", f"expected [{kind}, id, code, description, details]", kind)
    shape = CallError if kind == CALL_ERROR else CallResultError
    return shape(unique_id, code, description, details if isinstance(details, dict) else {})


def encode(frame: Frame) -> str:
    """Write one frame as JSON text."""
    parts: list[Any]
    match frame:
        case Call(unique_id, action, payload):
            parts = [CALL, unique_id, action, payload]
        case CallResult(unique_id, payload):
            parts = [CALL_RESULT, unique_id, payload]
        case CallError(unique_id, code, description, details):
            parts = [CALL_ERROR, unique_id, code, description[:255], details]
        case CallResultError(unique_id, code, description, details):
            parts = [CALL_RESULT_ERROR, unique_id, code, description[:255], details]
        case Send(unique_id, action, payload):
            parts = [SEND, unique_id, action, payload]
    return orjson.dumps(parts).decode()
