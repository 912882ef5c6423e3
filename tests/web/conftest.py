"""A real server on a free port, a synthetic site behind it and a real browser before it."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sin

import pytest
import uvicorn
from fastapi import FastAPI

from aggregator.fleet.model import SocSource
from aggregator.ocpp.events import ConnectorState, OcppVersion
from aggregator.reports.words import Refusal
from aggregator.signals.model import Obligation, ReasonCode, SignalState
from aggregator.web import (
    AlertRow,
    ChargerRow,
    EventProgress,
    LiveSnapshot,
    PlanSummary,
    Risk,
    SitePoint,
    TrimRow,
    live_ticker,
    web_router,
)

START = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
CAP_KW = 120.0


def site_point(minute: int, now_minute: int) -> SitePoint:
    """A plausible minute: building hump, cars in the morning, a limit at 12:30, an event from 14:00 to 16:00."""
    at = START + timedelta(minutes=minute)
    in_limit, in_event = 390 <= minute < 420, 480 <= minute < 600
    building = 40 + 12 * sin(minute / 270) + 2 * sin(minute * 1.7)
    ev = min(60.0, max(0.0, minute - 60) * 0.5) * max(0.1, 1 - max(0, minute - 300) / 400)
    ev = 12.0 if in_limit else -32.0 + 2 * sin(minute) if in_event else ev
    planned = round((building + ev) / 2) * 2.0
    is_past = minute <= now_minute
    return SitePoint(
        at, building if is_past else None, ev if is_past else None, building + ev if is_past else None, planned,
        CAP_KW, 70.0 if in_limit else None, 20.0 if in_event else None,
    )


def charger(index: int, now: datetime) -> ChargerRow:
    version = (OcppVersion.V16, OcppVersion.V201, OcppVersion.V21)[index % 3]
    evse_id = f"CA-{303 + index}"
    if index % 7 == 5:
        return ChargerRow(evse_id, version, True, ConnectorState.AVAILABLE, power_kw=0.0)
    if index == 11:
        return ChargerRow(evse_id, version, False, ConnectorState.CHARGING)
    is_out = version is OcppVersion.V21
    return ChargerRow(
        evse_id, version, True, ConnectorState.CHARGING,
        power_kw=-8.4 if is_out else 6.6 if index % 4 else 0.0, ordered_kw=-8.4 if is_out else 6.656,
        soc=0.35 + 0.02 * index, soc_source=SocSource.REPORTED if is_out else SocSource.ESTIMATED,
        soc_at=now - timedelta(seconds=40 + 30 * index), target_soc=0.8, floor_soc=0.2,
        delivered_kwh=4.2 + index / 3, requested_kwh=16.0, departure=now + timedelta(minutes=90 + 7 * index),
        is_declared=index % 5 != 0, is_bidirectional=is_out,
        risk=Risk(3.1, "asks for more than the charger can give until 16:10") if index in (4, 16) else None,
    )


class SyntheticFeed:
    """A site whose domain time a test moves by hand."""

    def __init__(self) -> None:
        self.minute = 522
        self.hostile_text = "<script>alert(1)</script>"
        self.overrides: dict[str, object] = {}

    def snapshot(self) -> LiveSnapshot:
        now = START + timedelta(minutes=self.minute)
        point = site_point(self.minute, self.minute)
        whole = LiveSnapshot(
            "caltech-workplace", "America/Los_Angeles", now, 480.0, CAP_KW, point.net_kw, point.building_kw,
            point.ev_kw, point.planned_kw, now - timedelta(seconds=24), None, point.target_kw,
            tuple(site_point(minute, self.minute) for minute in range(840)),
            tuple(charger(index, now) for index in range(30)),
            (
                EventProgress(
                    "sig-1", "afternoon-relief", Obligation.COMMITTED, SignalState.ACTIVE, START + timedelta(hours=8),
                    START + timedelta(hours=10), 20.0, 64.0, 58.0, 24.0, 82.0, 57.2, 40.1,
                    ((ReasonCode.ENERGY, 2), (ReasonCode.DEPARTURE, 1)),
                ),
                EventProgress(
                    "sig-2", "emergency", Obligation.MANDATORY, SignalState.REPORTED,
                    START + timedelta(minutes=390), START + timedelta(minutes=420), 70.0,
                ),
            ),
            PlanSummary(
                "plan-41", now - timedelta(minutes=4), "departure target of CA-309 moved to 15:10", "optimal", True, 2,
                (
                    Refusal(1, "departure", "CA-309", START + timedelta(hours=9), START + timedelta(hours=9), 0.84),
                    Refusal(1, "event", "sig-1", START + timedelta(hours=8), START + timedelta(hours=8.25), 1.7),
                ),
                ("event 14:00 holds 24.0 kW at 7.10 per kWh", "departure of CA-309 at 15:10", "demand peak 118.2 kW"),
                0.31, 0.09, 38, 3,
            ),
            (AlertRow(now - timedelta(minutes=12), "station_offline", f"CA-314 offline {self.hostile_text}", True),),
            (TrimRow("CA-306", now - timedelta(minutes=1), 6.656, 4.2, "building load rose by 6.3 kW"),),
        )
        return replace(whole, **self.overrides)  # type: ignore[arg-type]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run uvicorn on a free port in a thread; yields its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


@pytest.fixture
def feed() -> SyntheticFeed:
    return SyntheticFeed()


@pytest.fixture
def site_url(feed: SyntheticFeed) -> Iterator[str]:
    """The live page of the synthetic site."""
    ticker = live_ticker(feed, interval_s=0.1)
    app = FastAPI()
    app.include_router(web_router(feed, ticker=ticker))
    with serving(app) as url:
        yield url
        ticker.close()


def chromium_path() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
