"""A service that is assembled in full; only its processes and sockets stand still."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregator.clock import Segment
from aggregator.config import load_settings
from aggregator.demo.configuration import Credentials, write_clock, write_configuration
from aggregator.demo.scene import load_scene
from aggregator.service import Service, assemble
from twin.scenario import resource_path

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
"""Of the demo's day, at its site."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """The demo's site at noon, in real time, before anything runs."""
    scene = load_scene(resource_path("workplace_caltech.toml"))
    write_configuration(tmp_path, scene, Credentials.make(scene), host="127.0.0.1", http_port=0, ocpp_port=0)
    write_clock(tmp_path / "clock.json", [Segment(time.time(), NOON, 1.0)])
    made = await assemble(load_settings(tmp_path / "v2g.toml"))
    try:
        yield made
    finally:
        made.ticker_close.close()
        await made.store.close()
