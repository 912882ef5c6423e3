"""Requests made up from our own description: none of them makes the service fail or leave its description."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks

ADMIN_SCOPES = ("read_all", "write_programs", "write_events")


@pytest.fixture
def listening(tmp_path: Path, serve: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """A served application on a real socket in a loop of its own: its URL, and a token for (nearly) everything."""
    ready, found = threading.Event(), {}
    listener = socket.create_server(("127.0.0.1", 0))

    async def run() -> None:
        async with serve(tmp_path) as served:
            found["token"] = served.token("admin", party="utility", scopes=ADMIN_SCOPES)
            server = uvicorn.Server(uvicorn.Config(served.app, log_level="critical", lifespan="off"))
            found["server"] = server
            ready.set()
            await server.serve(sockets=[listener])

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(60)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", found["token"]
    found["server"].should_exit = True
    thread.join(60)
    listener.close()


def test_no_made_up_request_breaks_the_service_or_its_description(listening: tuple[str, str]) -> None:
    url, token = listening
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 20
    statuses = set()
    for operation in operations:

        @settings(
            max_examples=12, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def sent(case: Any) -> None:
            response = case.call(headers={"Authorization": f"Bearer {token}"})
            statuses.add(response.status_code)
            case.validate_response(response, checks=[
                checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
                checks.response_schema_conformance,
            ])

        sent()
    assert {200, 201, 400, 404} <= statuses
