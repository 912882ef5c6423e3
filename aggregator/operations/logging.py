"""Structured logs: one JSON object per line with wall and domain time, and never a secret or a driver's token.

Redaction is by the name of a field and by the look of a value, so that a careless call cannot leak.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol, TextIO

import orjson
import structlog

REDACTED = "***"

_SECRET_NAMES = frozenset({
    "password", "secret", "client_secret", "access_token", "token", "authorization", "id_token", "idtag", "id_tag",
    "idtoken", "secret_sha256", "password_sha256", "api_key", "cookie", "private_key", "database_url",
})
# A JWT, a bearer or basic header, credentials inside a URL.
_SECRET_LOOKS = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=Bearer )\S+|(?<=Basic )\S+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)", re.IGNORECASE
)


class DomainClock(Protocol):
    """The part of `aggregator.clock.Clock` that logs need."""

    def now(self) -> Any: ...


def configure_logging(
    level: str = "info", *, clock: DomainClock | None = None, json: bool = True, stream: TextIO | None = None
) -> None:
    """Send the logs of this program and of its libraries to `stream` (stderr), one line each.

    level: debug, info, warning or error. clock: adds domain time. json: False prints for people.
    """
    out = stream or sys.stderr
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="wall"),
        _DomainTime(clock),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        redact,
    ]
    final: structlog.types.Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if json else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
    ))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Libraries that narrate every frame, request or statement say so only when something is wrong.
    for noisy in ("websockets", "httpx", "httpcore", "aiosqlite", "alembic", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


class _DomainTime:
    """Adds `at`, the domain time of the event."""

    def __init__(self, clock: DomainClock | None) -> None:
        self._clock = clock

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if self._clock is not None:
            event["at"] = self._clock.now().isoformat(timespec="seconds")
        return event


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: secrets and drivers' tokens become "***", however deep they lie."""
    for name in list(event):
        # structlog's own bookkeeping must stay as it is until the formatter has used it.
        if not name.startswith("_"):
            event[name] = _clean(name, event[name])
    return event


def _clean(name: str, value: Any) -> Any:
    if name.lower().replace("-", "_") in _SECRET_NAMES and value not in (None, ""):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_LOOKS.sub(REDACTED, value)
    if isinstance(value, Mapping):
        return {key: _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(name, inner) for inner in value]
    return value


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
