import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from aggregator.operations.logging import REDACTED, configure_logging, redact

T0 = datetime(2019, 7, 15, 19, 30, tzinfo=UTC)


class _Noon:
    def now(self) -> datetime:
        return T0


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", clock=_Noon(), stream=stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_line_is_one_object_with_wall_and_domain_time(out: io.StringIO) -> None:
    structlog.get_logger("planner").info("plan made", plan_id="p1", seconds=0.25)
    (line,) = _lines(out)
    assert (line["event"], line["level"], line["logger"], line["plan_id"]) == ("plan made", "info", "planner", "p1")
    assert line["at"] == "2019-07-15T19:30:00+00:00"
    assert abs(datetime.fromisoformat(line["wall"]).timestamp() - datetime.now(UTC).timestamp()) < 5


def test_libraries_log_in_the_same_form_and_are_redacted_too(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning("refused %s", "Bearer abc.def-123")
    logging.getLogger("websockets.server").info("narration")
    (line,) = _lines(out)
    assert line["event"] == f"refused Bearer {REDACTED}"
    assert line["level"] == "warning"


def test_below_the_level_nothing_is_written(out: io.StringIO) -> None:
    structlog.get_logger("x").debug("detail")
    assert out.getvalue() == ""


def test_an_exception_is_in_the_line_without_the_secret_in_its_message(out: io.StringIO) -> None:
    try:
        int("postgresql://someone:hush@db/v2g")
    except ValueError:
        structlog.get_logger("x").exception("failed")
    (line,) = _lines(out)
    assert "ValueError" in line["exception"]
    assert "hush" not in out.getvalue()


secret = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=24).map(lambda text: f"S3cr{text}")
names = st.sampled_from(["password", "id_token", "idTag", "Authorization", "client_secret", "access_token"])


@given(names, secret, st.integers(0, 3))
def test_a_secret_never_survives_however_deep_it_lies(name: str, value: str, depth: int) -> None:
    inner: Any = {name: value, "evse_id": "E1"}
    for level in range(depth):
        inner = [inner] if level % 2 else {"inside": inner}
    cleaned = redact(None, "info", {"event": "x", "payload": inner})
    assert value not in json.dumps(cleaned)
    assert "E1" in json.dumps(cleaned)


@given(secret, secret)
def test_tokens_are_known_by_their_looks_too(head: str, body: str) -> None:
    text = f"got eyJ{head}.eyJ{body}.{head} from wss://me:{body}@host/S1"
    cleaned = redact(None, "info", {"event": text})
    assert head not in cleaned["event"]
    assert body not in cleaned["event"]
    assert "@host/S1" in cleaned["event"]
