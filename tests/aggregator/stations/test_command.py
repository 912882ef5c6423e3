"""`v2g station` as it is typed: from a scenario and from a file against a real CSMS, or refused in one line."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from aggregator.stations import NoStationInterpreter, station_interpreter
from twin.scenario import resource_path
from twin.wire.ocpp import Peer, WebSocketTransport

pytestmark = pytest.mark.anyio

SCENARIO = resource_path("workplace_caltech.toml")


def v2g(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aggregator.cli", "station", *arguments], capture_output=True, text=True, check=False,
        timeout=60, env={**os.environ, **environment},
    )


class Csms:
    """Takes every station and remembers which came, in which version, and what the cars needed."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.needs: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def seen(self, count: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.versions) >= count)

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        name, version = connection.request.path.rsplit("/", 1)[-1], str(connection.subprotocol)

        async def answer(action: str, payload: dict[str, Any]) -> dict[str, Any]:
            match action:
                case "BootNotification":
                    self.versions[name] = version
                    async with self._news:
                        self._news.notify_all()
                    return {"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T00:00:00Z"}
                case "Authorize":
                    return {"idTokenInfo": {"status": "Accepted"}}
                case "NotifyEVChargingNeeds":
                    self.needs.append(payload["chargingNeeds"])
                    return {"status": "Processing"}
                case "Heartbeat":
                    return {"currentTime": "2026-01-01T00:00:00Z"}
            return {}

        await Peer(WebSocketTransport(connection), version, answer).run()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[Csms, str]]:
    csms = Csms()
    async with serve(csms.serve, "127.0.0.1", 0, subprotocols=["ocpp2.1", "ocpp2.0.1", "ocpp1.6"]) as server:
        yield csms, f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_a_scenario_becomes_stations_of_one_version_and_some_cars_speak_iso_15118() -> None:
    try:
        station_interpreter()
    except NoStationInterpreter as missing:
        pytest.skip(str(missing))
    async with listening() as (csms, url):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aggregator.cli", "station", "--scenario", str(SCENARIO), "--stations", "33",
            "--wire", "2", "--protocol", "2.1", "--speed", "1500", "--ocpp", url, "--ends-with-stdin",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        sessions: set[str] = set()
        async with asyncio.timeout(90):
            while not (sessions and csms.needs):
                line = json.loads(await process.stdout.readline())
                if line["type"] == "session_charges":
                    sessions.add(line["language"])
            await csms.seen(33)
        assert set(csms.versions.values()) == {"ocpp2.1"}
        assert sessions == {"ISO 15118-20"}
        assert any("departureTime" in needs for needs in csms.needs)
        process.stdin.close()
        rest, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0
        assert json.loads(rest.splitlines()[-1])["type"] == "summary"


async def test_an_interrupt_ends_it_in_order() -> None:
    try:
        station_interpreter()
    except NoStationInterpreter as missing:
        pytest.skip(str(missing))
    async with listening() as (csms, url):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aggregator.cli", "station", "--scenario", str(SCENARIO), "--stations", "2",
            "--ocpp", url, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )
        async with asyncio.timeout(60):
            await csms.seen(2)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C reaches both
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, err.decode()
        assert b"Traceback" not in err
        assert json.loads(out.splitlines()[-1])["type"] == "summary"


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("--ocpp", "ws://x"), 2, "either --fleet or --scenario"),
    (("--ocpp", "ws://x", "--fleet", "a.json", "--scenario", "b.toml"), 2, "either --fleet or --scenario"),
    (("--ocpp", "ws://x", "--scenario", str(SCENARIO), "--protocol", "3.0"), 2, "expected 1.6, 2.0.1 or 2.1"),
    (("--scenario", str(SCENARIO)), 2, "--ocpp"),
    (("--ocpp", "ws://x", "--scenario", "nowhere.toml"), 1, "nowhere.toml"),
    (("--ocpp", "ws://x", "--scenario", str(SCENARIO), "--wire", "31"), 1, "--wire: 31"),
    (("--ocpp", "ws://x", "--fleet", "nowhere.json"), 1, "nowhere.json"),
])
def test_what_cannot_be_run_is_refused(arguments: tuple[str, ...], code: int, words: str) -> None:
    told = v2g(*arguments)
    assert told.returncode == code, told.stderr
    assert words in told.stderr
    assert "Traceback" not in told.stderr
    assert code == 2 or len(told.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("decode", "80400040", "--protocol", "sap"), 0, "supportedAppProtocolRes"), (("decode", "zz"), 1, "hexadecimal"),
    (("--help",), 0, "v2g exi decode"), ((), 2, "usage"),
])
def test_exi_is_decoded_where_the_schemas_are(arguments: tuple[str, ...], code: int, words: str) -> None:
    try:
        station_interpreter()
    except NoStationInterpreter as missing:
        pytest.skip(str(missing))
    told = subprocess.run(
        [sys.executable, "-m", "aggregator.cli", "exi", *arguments], capture_output=True, text=True, check=False,
        timeout=60,
    )
    assert told.returncode == code, told.stderr
    assert words in told.stdout + told.stderr
    assert "Traceback" not in told.stderr


def test_without_the_stations_python_one_line_says_so(tmp_path: Path) -> None:
    told = v2g("--ocpp", "ws://x", "--scenario", str(SCENARIO), V2G_STATION_PYTHON=str(tmp_path / "python"))
    assert told.returncode == 1
    assert told.stderr.strip().splitlines() == [
        f"V2G_STATION_PYTHON: {str(tmp_path / 'python')!r}, expected a Python interpreter that can be run"]
