"""The process as the demonstration starts it: a command, files, lines on stdout, commands on stdin."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from twin.station.__main__ import csms_url_fault, main
from twin.station.fleetfile import encode_fleet

pytestmark = pytest.mark.anyio


CALM_S = 4.0


def write_files(folder: Path, fleet: Any, day: datetime, factor: float) -> list[str]:
    """At factor 1 for some seconds, in which an interpreter starts and thirty stations connect; then at `factor`."""
    (folder / "stations.json").write_bytes(encode_fleet(fleet))
    now, quick = time.time(), day + timedelta(seconds=CALM_S)
    (folder / "clock.json").write_text(json.dumps({"segments": [
        {"wall_start": now, "domain_start": day.isoformat(), "factor": 1.0},
        {"wall_start": now + CALM_S, "domain_start": quick.isoformat(), "factor": factor},
    ]}))
    return [
        sys.executable, "-m", "twin.station", "--fleet", str(folder / "stations.json"),
        "--clock", str(folder / "clock.json"), "--truth", str(folder / "truth.jsonl"),
    ]


async def test_a_fleet_of_thirty_lives_through_a_day_and_accounts_for_it(csms: Any, kit: Any, tmp_path: Path) -> None:
    versions = ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
    stations = [
        kit.station(
            versions[n % 3], kit.visit(f"visit-{n}", at_min=110 + n, for_min=60, v2g=n % 3 == 2), name=f"CA-{n}",
            v2g=n % 3 == 2,
        ) for n in range(30)
    ]
    fleet = kit.fleet(*stations, end=kit.day + timedelta(hours=3))
    command = write_files(tmp_path, fleet, kit.day, 2000.0)
    process = await asyncio.create_subprocess_exec(
        *command, "--ocpp", csms.url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await csms.until(lambda: len({r.station_id for r in csms.requests if r.action == "BootNotification"}) == 30)
    assert process.stdin is not None
    process.stdin.write(b'{"type":"drop","station_id":"CA-3"}\n{"type":"drop","station_id":"nobody"}\n')
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, err.decode()
    assert err == b""
    facts = [json.loads(line) for line in out.splitlines()]
    kinds = {fact["type"] for fact in facts}
    assert kinds == {
        "site_meter", "minute", "plugged", "unplugged", "station_online", "station_offline", "command_refused",
        "summary",
    }
    summary = facts[-1]
    assert summary["type"] == "summary"
    assert summary["ledger_residual_relative"] < 1e-9
    assert len(summary["visits"]) == 30
    assert summary["undelivered_messages"] == summary["dropped_messages"] == 0
    # Every car's transaction began and ended at the CSMS, each once, although one line broke in between.
    assert len(csms.of("StopTransaction")) == 10
    assert len({e["transactionInfo"]["transactionId"] for e in csms.events("Ended")}) == 20
    # What the site meter saw is what went through the connectors and the building, however it is cut.
    minutes = [fact for fact in facts if fact["type"] == "minute"]
    starts = [datetime.fromisoformat(fact["start"]) for fact in minutes]
    assert all(start.second == 0 and start.microsecond == 0 for start in starts)
    assert all(b - a == timedelta(minutes=1) for a, b in pairwise(starts))
    ev_kwh = sum(fact["ev_kw"] for fact in minutes) / 60
    assert ev_kwh == pytest.approx(summary["import_kwh"] - summary["export_kwh"], abs=1e-3)
    for fact, start in zip(minutes, starts, strict=True):
        assert fact["building_kw"] == pytest.approx(40.0 + round((start - kit.day).total_seconds() / 60) % 7)
        assert fact["net_kw"] == pytest.approx(fact["ev_kw"] + fact["building_kw"], abs=1e-5)
    readings = [fact for fact in facts if fact["type"] == "site_meter"]
    hours = [(parse(r["at"]) - parse(r["start"])).total_seconds() / 3600 for r in readings]
    metered = sum(r["ev_kw"] * h for r, h in zip(readings, hours, strict=True))
    assert metered == pytest.approx(ev_kwh, rel=1e-3)
    quick = [h for r, h in zip(readings, hours, strict=True) if parse(r["start"]) >= kit.day + timedelta(minutes=1)]
    assert min(quick) * 3600 / 2000 > 0.059, "never more often than every 60 ms of wall time"
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_bytes().splitlines()]
    assert {"energy", "summary"} <= {fact["type"] for fact in truth}


def parse(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_sigterm_ends_the_process_with_a_summary(csms: Any, kit: Any, tmp_path: Path) -> None:
    command = write_files(tmp_path, kit.fleet(kit.station("ocpp1.6", kit.visit())), kit.day, 600.0)
    process = await asyncio.create_subprocess_exec(
        *command, "--ocpp", csms.url, stdin=subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    await csms.until(lambda: csms.of("MeterValues"))
    process.terminate()
    out, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0
    summary = json.loads(out.splitlines()[-1])
    assert summary["type"] == "summary"
    assert summary["visits"][0]["is_plugged"]


async def test_the_site_is_metered_every_second_at_factor_one(csms: Any, emulate: Any, kit: Any) -> None:
    running = await emulate(kit.fleet(kit.station("ocpp1.6")), factor=1.0)
    await csms.until(lambda: len(running.lines.facts("site_meter")) >= 2)
    first, second = running.lines.facts("site_meter")[:2]
    assert (parse(second["at"]) - parse(first["at"])).total_seconds() == pytest.approx(1.0, abs=0.002)
    assert first["import_kw"] == pytest.approx(40.0)


async def test_a_csms_that_is_not_there_is_no_reason_to_stop(csms: Any, emulate: Any, kit: Any) -> None:
    await csms.stop()
    running = await emulate(kit.fleet(kit.station("ocpp2.0.1", kit.visit())), is_heard=False)
    await csms.until(lambda: any(fact["ev_kw"] > 6 for fact in running.lines.facts("minute")))
    await csms.start()
    started = await csms.until(lambda: csms.events("Started"))
    assert started[0]["offline"]


def test_a_faulty_file_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "stations.json").write_text('{"site_id": ""}')
    done = subprocess.run(
        [sys.executable, "-m", "twin.station", "--fleet", str(tmp_path / "stations.json"), "--ocpp", "ws://127.0.0.1:1"],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "stations.json: " in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("url", [
    "nonsense", "http://127.0.0.1:9000", "ws://", "ws://:9000", "ws://127.0.0.1:99999", "ws://127.0.0.1:port", "ws://[::1",
    "ws://127.0.0.1:9000/ocpp?key=1", "ws://127.0.0.1:9000/#1", "ws://me:secret@127.0.0.1:9000", "ws://a host:1", "",
    "ws://127.0.0.1:0",
])
def test_an_address_that_no_csms_can_have_is_one_line_and_exit_1(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--fleet", "no-such-file.json", "--ocpp", url]) == 1
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("--ocpp: ")
    assert "expected ws://HOST" in said.err
    assert "secret" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9000", "wss://csms.example/ocpp/1/", "ws://[::1]:80", "ws://localhost"])
def test_an_address_that_a_csms_can_have_is_taken(url: str) -> None:
    assert csms_url_fault(url) is None


def test_the_station_pulls_in_nothing_of_the_aggregator() -> None:
    """It also runs in an environment of its own, with an old pydantic or none."""
    probe = "import sys, twin.station.__main__; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"twin", "websockets", "numpy"} <= loaded
    assert not loaded & {"aggregator", "markets", "pydantic", "fastapi", "sqlalchemy", "pyomo", "highspy", "scipy"}
