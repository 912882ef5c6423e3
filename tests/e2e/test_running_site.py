"""What befalls a running site: repeated events, broken frames, lost lines, a dead solver, a killed service."""

import asyncio
import base64
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from aggregator.dispatch.desired import decode
from aggregator.store import verify_database
from tests.e2e.conftest import EVENTS, Car, event_body, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

HOURS = timedelta(hours=1)
ACKNOWLEDGED = "SELECT evse_id, ts_us, import_wh, export_wh FROM meter_values WHERE import_wh IS NOT NULL"


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Six stations of every OCPP version at 60 domain seconds per second, all cars plugged in."""
    cars = [
        Car("ocpp1.6", 0.2, 20.0), Car("ocpp2.0.1", 0.2, 20.0), Car("ocpp2.1", 0.7, 0.0, declared_h=8.5, stays_h=8.8),
        Car("ocpp1.6", 0.3, 12.0), Car("ocpp2.0.1", 0.3, 12.0), Car("ocpp2.1", 0.7, 0.0, declared_h=8.5, stays_h=8.8),
    ]
    async with running(tmp_path_factory.mktemp("site"), cars, speed=60.0, incentive_per_kwh=20.0) as site:
        await site.all_charging_sessions(len(cars))
        yield site


async def exchange(line: ClientConnection, frame: str) -> list[Any]:
    """Send a frame and return the answer to it; calls of the service in between are left alone."""
    await line.send(frame)
    while True:
        answer: list[Any] = json.loads(await asyncio.wait_for(line.recv(), 30))
        if answer[0] != 2:
            return answer


def relief(site: Any, name: str, *, from_h: float = 2.0, max_net_kw: float = 20.0) -> dict[str, Any]:
    """An event some hours from now, on a boundary of planning steps."""
    step = site.clock.now().replace(minute=0, second=0, microsecond=0) + from_h * HOURS
    return event_body(site.programme("Peak relief"), name, step, 1.0, max_net_kw)


async def test_an_event_posted_twice_is_one_signal_and_a_changed_one_its_next_revision(site: Any) -> None:
    body = relief(site, "twice")
    first = await site.client("utility").request("POST", EVENTS, body)
    again = await site.client("utility").request("POST", EVENTS, body)
    assert again.json()["id"] == first.json()["id"]
    event_id = first.json()["id"]
    decision = (await site.decided(event_id))["decision"]
    assert len(await site.signals("utility", event_id)) == 1

    changed = json.loads(json.dumps(body))
    changed["intervals"][0]["payloads"][0]["values"] = [25.0]
    await site.client("utility").request("PUT", f"{EVENTS}/{event_id}", changed)
    second = await site.decided(event_id, revision=2)
    signals = await site.signals("utility", event_id)
    assert [(s["revision"], s["state"] == "superseded") for s in signals] == [(1, True), (2, False)]
    assert second["intervals"][0]["max_net_kw"] == 25.0
    assert second["decision"]["plan_id"] != decision["plan_id"]
    async with site.store() as store, store.read() as tx:
        assert [signal.revision for signal in await tx.signals.active(site.clock.now())].count(1) == 0
    await site.client("utility").request("DELETE", f"{EVENTS}/{event_id}")


async def test_malformed_frames_get_the_right_error_and_the_line_stays(site: Any) -> None:
    station = "S00"
    site.tell_stations(type="drop", station_id=station, hold_s=4.0)
    await site.until(lambda: any(
        line["type"] == "station_offline" and line["station_id"] == station for line in site.lines
    ), "the station's own line to be down")
    token = base64.b64encode(f"{station}:{site.credentials.stations[station]}".encode()).decode()
    async with connect(
        f"ws://127.0.0.1:{site.ports[1]}/{station}", subprotocols=[Subprotocol("ocpp1.6")], compression=None,
        additional_headers={"Authorization": f"Basic {token}"}, proxy=None,
    ) as line:
        boot = {"chargePointVendor": "V", "chargePointModel": "M"}
        assert (await exchange(line, json.dumps([2, "1", "BootNotification", boot])))[2]["status"] == "Accepted"
        wrong = [
            ('[2, "2", "Heartbeat", {}', "FormationViolation", "-1"),
            ('[2, "3", "Heartbeat"]', "FormationViolation", "3"),
            ('[2, "4", "BrewCoffee", {}]', "NotImplemented", "4"),
            ('[2, "5", "StatusNotification", {"connectorId": "one"}]', None, "5"),
        ]
        for frame, code, unique_id in wrong:
            answer = await exchange(line, frame)
            assert answer[0] == 4, frame
            assert answer[1] == unique_id, answer
            if code is None:  # the order in which a checker finds a missing and a mistyped field is its own
                assert answer[2] in ("TypeConstraintViolation", "OccurenceConstraintViolation"), answer
            else:
                assert answer[2] == code, answer
        assert "currentTime" in (await exchange(line, '[2, "6", "Heartbeat", {}]'))[2]
    await site.until(lambda: [
        line["type"] for line in site.lines if line.get("station_id") == station
    ][-1] == "station_online", "the station to be back")


async def test_a_lost_line_comes_back_with_its_profile_and_its_energy_is_counted_once(site: Any) -> None:
    station = "S01"
    before = (await site.sessions())[station]
    seen = len(site.lines)
    site.tell_stations(type="drop", station_id=station, hold_s=2.0)

    def went_and_came() -> bool:
        words = [line["type"] for line in site.lines[seen:] if line.get("station_id") == station]
        return words[:2] == ["station_offline", "station_online"]

    await site.until(went_and_came, "the line to come back")
    online = [line for line in site.lines[seen:] if line["type"] == "station_online"]
    await accepted_since(site, [station], datetime.fromisoformat(online[-1]["at"]))
    after: dict[str, Any] = {}

    async def has_caught_up() -> bool:
        after.update((await site.sessions())[station])
        held_kwh = site.truth(station)[-1]["energy_kwh"] - site.scene.scenario.truth().visits[1].energy_kwh
        return abs(after["delivered_kwh"] - held_kwh) < 0.4

    await site.until(has_caught_up, "the stored energy to agree with the battery")
    assert after["transaction_id"] == before["transaction_id"]
    assert after["delivered_kwh"] >= before["delivered_kwh"]
    async with site.store() as store, store.read() as tx:
        assert len([s for s in await tx.sessions.all() if s.evse_id == station]) == 1


async def accepted_since(site: Any, stations: list[str], at: Any) -> None:
    """Both profiles of each station were accepted (again) after domain time `at`."""
    async def all_accepted() -> bool:
        async with site.store() as store, store.read() as tx:
            rows = [row for row in await tx.desired.all() if row.evse_id in stations]
        return len(rows) == 2 * len(stations) and all(
            row.state in ("accepted", "verified") and row.updated_at >= at for row in rows
        )

    await site.until(all_accepted, f"the desired state of {stations}")


async def killed_with_a_request(site: Any, after_s: float) -> tuple[int, list[Any]]:
    """Kill the planner `after_s` after a plan was asked for; its process, and the plans since, up to a good one."""
    async with site.store() as store, store.read() as tx:
        before = {plan.id for plan in await tx.plans.list(limit=10_000)}
    # Stopped first, so that it dies with a request in its hands and not between two.
    (planner,) = site.planner_pids()
    os.kill(planner, signal.SIGSTOP)
    earlier = timedelta(minutes=5 + after_s)
    for visit_id in ("visit-3", "visit-4"):
        departure = site.scene.declared()[visit_id].departure
        await site.declare(visit_id, departure=(departure - earlier).isoformat())
        if visit_id == "visit-3":
            await asyncio.sleep(after_s)
            os.kill(planner, signal.SIGKILL)
            killed_at = site.clock.now()
    fresh: list[Any] = []

    async def has_recovered() -> bool:
        async with site.store() as store, store.read() as tx:
            fresh[:] = [plan for plan in reversed(await tx.plans.list(limit=10_000)) if plan.id not in before]
        return any(plan.status == "optimal" and plan.created_at > killed_at for plan in fresh)

    await site.until(has_recovered, "a plan of the new planner", 120.0)
    return planner, fresh


async def test_a_dead_solver_is_replaced_and_a_safe_plan_bridges_the_gap(site: Any) -> None:
    for after_s in (0.5, 1.5, 4.5):  # a busy service may need longer to hand the request over
        planner, fresh = await killed_with_a_request(site, after_s)
        if any(plan.status == "safe" for plan in fresh):
            break
    statuses = [plan.status for plan in fresh]
    assert "optimal" in statuses[statuses.index("safe"):]
    safe = next(plan for plan in fresh if plan.status == "safe")
    assert min(min(row) for row in safe.power_kw) >= 0.0
    assert "planner process died" in safe.note
    async with site.store() as store, store.read() as tx:
        assert any(alert.kind == "plan" for alert in await tx.alerts.all())
    assert site.planner_pids() != [planner]
    assert (await site.http.get("/readyz")).is_success


async def assert_safe_alone(site: Any, stations: Iterable[str], since: datetime) -> None:
    """What stations did by themselves: no discharge beyond its hour, never more than their rating or the site's cap."""
    for station in stations:
        alone = [line for line in site.truth(station) if line["at"] > (since + timedelta(minutes=1)).isoformat()]
        assert all(line["power_kw"] >= 0.0 or line["at"] <= (since + HOURS).isoformat() for line in alone)
        assert all(line["power_kw"] <= 11.01 for line in alone)
    assert max(reading["import_kw"] for reading in site.readings()[-30:]) <= 100.0


async def assert_energy_is_stored_once(site: Any, summary: dict[str, Any]) -> None:
    """What the store has of the registers is what the stations' own ledger says, and never more."""
    imported_kwh = exported_kwh = unread_kwh = 0.0
    ended = datetime.fromisoformat(summary["at"])
    async with site.store() as store:
        async with store.read() as tx:
            stored = {session.evse_id: session for session in await tx.sessions.all()}
        assert len(stored) == len(summary["visits"])
        for evse_id, session in stored.items():
            series = await store.telemetry.meter_series(evse_id, session.started_at, site.clock.now())
            import_wh = series.import_wh[np.isfinite(series.import_wh)]
            export_wh = series.export_wh[np.isfinite(series.export_wh)]
            assert (np.diff(import_wh) >= 0.0).all()
            imported_kwh += (import_wh[-1] - session.import_wh_start) / 1000.0
            exported_kwh += (export_wh[-1] - session.export_wh_start) / 1000.0
            # What flowed since the last reading that arrived is the only difference.
            unread_kwh += 11.0 * max(0.0, (ended - series.times()[-1]) / HOURS) + 0.001
    assert summary["import_kwh"] - unread_kwh <= imported_kwh <= summary["import_kwh"] + 0.01
    assert summary["export_kwh"] - unread_kwh <= exported_kwh <= summary["export_kwh"] + 0.01


def newest_meter_us(site: Any) -> float:
    """Of each station's newest stored meter value, the oldest; microseconds of domain time."""
    with closing(sqlite3.connect(site.folder / "v2g.sqlite")) as database:
        return float(min(at for (at,) in database.execute("SELECT max(ts_us) FROM meter_values GROUP BY evse_id")))


async def test_a_killed_service_comes_back_with_all_it_had_accepted(site: Any) -> None:
    body = relief(site, "before the crash", from_h=2.0)
    event_id = await site.post_event("utility", body)
    answered = await site.decided(event_id)
    limit = event_body(site.programme("Grid emergency"), "limit", site.clock.now() - timedelta(minutes=1), 3.0, 60.0)
    limit_id = await site.post_event("grid-operator", limit)
    known = await site.sessions()
    seen = len(site.lines)
    await site.kill_service()
    with closing(sqlite3.connect(site.folder / "v2g.sqlite")) as database:
        acknowledged = set(database.execute(ACKNOWLEDGED))
    killed_at = site.clock.now()
    await site.until(lambda: sum(
        line["type"] == "station_offline" for line in site.lines[seen:]
    ) == len(known), "every station to notice")
    await asyncio.sleep(3.0)
    await assert_safe_alone(site, known, killed_at)

    await site.start_service()
    await site.all_charging_sessions(len(known))
    now = await site.sessions()
    assert {e: s["transaction_id"] for e, s in now.items()} == {e: s["transaction_id"] for e, s in known.items()}
    assert {e: s["departure"] for e, s in now.items()} == {e: s["departure"] for e, s in known.items()}
    (signal_now,) = await site.signals("utility", event_id)
    assert signal_now["id"] == answered["id"]
    assert signal_now["decision"] == answered["decision"]
    again = await site.client("utility").request("POST", EVENTS, body)
    assert again.json()["id"] == event_id
    assert len(await site.signals("utility", event_id)) == 1
    (limit_now,) = await site.signals("grid-operator", limit_id)
    assert limit_now["state"] in ("dispatched", "active")
    await site.until(lambda: sum(
        line["type"] == "station_online" for line in site.lines[seen:]
    ) == len(known), "every station to be back", 120.0)
    await accepted_since(site, list(known), killed_at)

    async with site.store() as store, store.read() as tx:
        plan = await tx.plans.latest()
        rows = await tx.desired.all()
    assert plan is not None
    assert min(plan.import_cap_kw) <= 60.0, "the mandatory limit is still planned for"
    for row in rows:
        command = decode(row.evse_id, str(row.purpose), row.version, row.payload)
        late = [p for p in command.periods if p.power_kw < 0 and p.start > row.updated_at + HOURS]
        assert not late, f"{row.evse_id} discharges later than an hour after its order"

    back_at_us = site.clock.now().timestamp() * 1e6
    await site.until(lambda: newest_meter_us(site) >= back_at_us, "what stations kept to themselves to be delivered")
    summary = await site.stop_stations()
    assert summary["undelivered_messages"] <= len(known), "one each may be under way as they end"
    with closing(sqlite3.connect(site.folder / "v2g.sqlite")) as database:
        assert acknowledged <= set(database.execute(ACKNOWLEDGED))
    await assert_energy_is_stored_once(site, summary)
    await site.stop_service()
    verdict = await verify_database(site.folder / "v2g.sqlite")
    assert verdict.ok, verdict.reason
