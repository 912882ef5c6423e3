"""Check OCPP payloads against the official JSON schemas that the installed `ocpp` package carries.

The schema files are under CC BY-ND 4.0 (Open Charge Alliance): they are read from that package and never copied.
Each validator is compiled when it is first needed, in about 0.2 ms.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import jsonschema_rs
import orjson

Direction = Literal["Request", "Response"]

_FOLDERS = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}
VERSIONS = tuple(_FOLDERS)
"""The WebSocket subprotocol names this package speaks."""

_CODES = {
    "AdditionalProperties": "FormatViolation",
    "UnevaluatedProperties": "FormatViolation",
    "FalseSchema": "FormatViolation",
    "Type": "TypeConstraintViolation",
    "Required": "OccurrenceConstraintViolation",
    "MinItems": "OccurrenceConstraintViolation",
    "MaxItems": "OccurrenceConstraintViolation",
    "AdditionalItems": "OccurrenceConstraintViolation",
}


class SchemaFault(ValueError):
    """A payload breaks its schema, or no schema has this action.

    code: the OCPP error code to answer with, in the spelling of the version.
    path: where in the payload, as in `$.meterValue[0].timestamp`; steps: the same as keys and indices.
    keyword: what the schema demands there, as in "Required"; missing: the absent property, if that is the fault.
    """

    def __init__(
        self, code: str, path: str, message: str, *,
        steps: tuple[str | int, ...] = (), keyword: str = "", missing: str | None = None,
    ) -> None:
        super().__init__(f"{path}: {message}")
        self.code = code
        self.path = path
        self.message = message
        self.steps = steps
        self.keyword = keyword
        self.missing = missing


def check(version: str, action: str, direction: Direction, payload: dict[str, Any], *, exact: bool = False) -> None:
    """Raise a `SchemaFault` if `payload` is not what `action` of this OCPP version carries.

    Args:
        version: the subprotocol name, "ocpp1.6", "ocpp2.0.1" or "ocpp2.1".
        action: as the specification names it, without "Request" or "Response".
        direction: which of the two it is; a SEND of OCPP 2.1 is a request.
        payload: the object, in camelCase.
        exact: for what we send: 1.0 is no integer (JSON schema draft 4) and a time is RFC 3339 with an offset.
            What we receive is read with more patience: 1.0 is an integer and a time may lack its offset.
    """
    validator = _validator(version, action, direction, exact)
    if validator is None:
        raise SchemaFault("NotImplemented", "$", f"action {action!r:.60} is not known to {version}")
    try:
        validator.validate(payload)
    except jsonschema_rs.ValidationError as fault:
        raise _fault(version, fault) from None
    except ValueError as fault:  # nested deeper than the validator goes
        raise SchemaFault(error_code(version, "FormatViolation"), "$", str(fault)) from None


def knows(version: str, action: str) -> bool:
    """True if `action` is one of the version's requests."""
    return _validator(version, action, "Request", exact=False) is not None


def error_code(version: str, code: str) -> str:
    """The OCPP 2.1 error code `code` as `version` spells it.

    OCPP 1.6 kept FormationViolation and OccurenceConstraintViolation (OCPP-J 1.6 errata sections 5.1 and 5.2),
    and has no codes for the framework around the call.
    """
    if version != "ocpp1.6":
        return code
    return {
        "FormatViolation": "FormationViolation",
        "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
        "RpcFrameworkError": "FormationViolation",
        "MessageTypeNotSupported": "NotSupported",
    }.get(code, code)


def _fault(version: str, fault: jsonschema_rs.ValidationError) -> SchemaFault:
    steps = tuple(fault.instance_path)
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    keyword = fault.kind.name[:1].upper() + fault.kind.name[1:]
    code = error_code(version, _CODES.get(keyword, "PropertyConstraintViolation"))
    # The validator's own message quotes the value, which may be a driver's token; the demand alone says enough.
    demand = fault.kind.as_dict()
    words = ", ".join(f"{name} {value}" for name, value in demand.items())[:200]
    missing = demand.get("property") if keyword == "Required" else None
    message = f"violates {fault.kind.name}: {words}"
    return SchemaFault(code, path, message, steps=steps, keyword=keyword, missing=missing)


def _is_timestamp(text: str) -> bool:
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


@cache
def _names(version: str) -> frozenset[str]:
    return frozenset(entry.name for entry in (files("ocpp") / _FOLDERS[version] / "schemas").iterdir())


def _validator(version: str, action: str, direction: Direction, exact: bool) -> jsonschema_rs.Validator | None:
    if version not in _FOLDERS:
        raise ValueError(f"version: {version!r}, expected one of {', '.join(VERSIONS)}")
    if action.endswith(("Request", "Response")):
        return None  # the name of a file, not of an action
    suffix = "" if version == "ocpp1.6" and direction == "Request" else direction
    name = f"{action}{suffix}.json"
    if name not in _names(version):
        name = f"{action}.json"  # a SEND message of OCPP 2.1 has no direction in its name
        if direction == "Response" or name not in _names(version):
            return None
    return _compiled(version, name, exact)


@cache
def _compiled(version: str, name: str, exact: bool) -> jsonschema_rs.Validator:
    schema = orjson.loads((files("ocpp") / _FOLDERS[version] / "schemas" / name).read_text("utf-8-sig"))
    for key in ("$id", "id", "$schema"):
        schema.pop(key, None)
    if exact:
        # The keywords of the draft-06 files mean the same in draft 4; only "integer" is stricter there.
        return jsonschema_rs.Draft4Validator(schema, validate_formats=True)
    return jsonschema_rs.Draft6Validator(schema, formats={"date-time": _is_timestamp}, validate_formats=True)
