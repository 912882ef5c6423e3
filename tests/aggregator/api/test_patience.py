"""Nobody holds a connection by not finishing a request; real sockets, a real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from aggregator.api import patience
from aggregator.api.problems import BodyLimit

pytestmark = pytest.mark.anyio

SLOW_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
SLOW_BODY = (
    b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 900\r\n\r\ngrant_type"
)


@pytest.fixture
def wait_s() -> float:
    """How long the server waits for the rest of a request."""
    return 0.3


@pytest.fixture
async def port(served: Any, wait_s: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(patience, "HEADER_WAIT_S", wait_s)
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(
        BodyLimit(served.app, wait_s=wait_s), http=patience.PatientProtocol, log_config=None, lifespan="off"
    ))
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield listening.getsockname()[1]
    server.should_exit = True
    await serving


async def said(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Everything the server says until it closes, within half a minute."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reader.read(), 30.0)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("parts", [(), (SLOW_HEAD,), (SLOW_HEAD, *[b"X: y\r\n"] * 30)])
async def test_a_head_that_does_not_end_ends_the_connection(port: int, parts: tuple[bytes, ...]) -> None:
    """The server alone would wait for ever, so that it ends at all is the proof."""
    assert await said(port, *parts, pause_s=0.03) == b""


async def test_a_head_without_measure_ends_the_connection(port: int) -> None:
    assert b"200" not in await said(port, SLOW_HEAD, b"X: " + b"y" * 100_000)


async def test_a_body_that_does_not_come_is_refused(port: int) -> None:
    answer = await said(port, SLOW_BODY)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"expected all of it within 0.3 s" in answer


@pytest.mark.parametrize("wait_s", [4.0])
async def test_an_ordinary_client_may_ask_slowly_again_on_its_connection(port: int) -> None:
    whole = SLOW_HEAD + b"\r\n"
    last = SLOW_HEAD + b"Connection: close\r\n\r\n"
    assert (await said(port, whole, whole, last[:10], last[10:], pause_s=1.4)).count(b"HTTP/1.1 200") == 3
