"""A mandatory limit by API: applied before anyone plans, only ever toward zero, released along a ramp."""

import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aggregator.store import tables
from tests.e2e.conftest import EVENTS, Car, event_body, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

CARS = [
    *(Car("ocpp1.6", 0.2, 35.0) for _ in range(4)), *(Car("ocpp2.0.1", 0.2, 35.0) for _ in range(4)),
    *(Car("ocpp2.1", 0.3, 35.0, declared_h=8.0) for _ in range(4)),
]
AT_FACTOR_ONE_S = 45.0


async def entries(site: Any, after: int = 0) -> list[Any]:
    async with site.store() as store, store.read() as tx:
        audit = tables.audit
        found = await tx.connection.execute(sa.select(audit).where(audit.c.seq > after).order_by(audit.c.seq))
        return list(found)


def metered_kw(site: Any) -> float:
    """The newest reading of the connection point in the service's store."""
    with closing(sqlite3.connect(site.folder / "v2g.sqlite")) as database:
        row = database.execute("SELECT import_kw FROM site_readings ORDER BY ts_us DESC LIMIT 1").fetchone()
    return float(row[0]) if row else 0.0


async def test_a_limit_is_obeyed_before_it_is_planned_for_and_released_slowly(tmp_path: Path) -> None:
    async with running(
        tmp_path, CARS, faster=(AT_FACTOR_ONE_S, 60.0), building_kw=30.0, import_cap_kw=150.0
    ) as site:
        await site.all_charging_sessions(len(CARS))

        def all_they_have() -> bool:
            # Settled too: a car that still ramps up by an older order is not raised by the limit.
            latest = [reading["ev_kw"] for reading in site.readings()[-3:]]
            return len(latest) == 3 and min(latest) > 95.0 and max(latest) - min(latest) < 0.3

        await site.until(all_they_have, "cars to charge with all they have")
        await site.until(lambda: metered_kw(site) > 125.0, "the service to have metered it too")
        before_kw = site.readings()[-1]["ev_kw"]
        last_seq = (await entries(site))[-1].seq
        begin = site.clock.now()
        limit = event_body(site.programme("Grid emergency"), "limit", begin, 0.25, 60.0)
        posted_wall, posted = time.time(), len(site.lines)
        limit_id = await site.post_event("grid-operator", limit)
        answered_wall = time.time()

        def under(level_kw: float) -> bool:
            fresh = [line for line in site.lines[posted:] if line["type"] == "site_meter"]
            return bool(fresh) and fresh[-1]["import_kw"] <= level_kw

        await site.until(lambda: under(60.0), "the meter to fall under the limit")
        trail = await entries(site, last_seq)
        actions = [entry.action for entry in trail]
        applied = trail[actions.index("limit.applied")]
        assert actions.count("limit.applied") == 1
        assert actions.index("signal.received") < actions.index("dispatch.deliver_now")
        queued_first = [e for e in trail[: actions.index("dispatch.deliver_now")] if e.action == "desired.queued"]
        assert queued_first, "orders are stored with the decision to send them"
        assert posted_wall <= applied.detail["first_sent_wall"] <= applied.detail["last_sent_wall"] <= answered_wall
        received = actions.index("signal.received")
        plans_after = [entry for entry in trail[received:] if entry.action == "plan.made"]
        assert all(plan.recorded_at.timestamp() >= applied.detail["first_sent_wall"] for plan in plans_after)
        powers = [line["ev_kw"] for line in site.lines[posted:] if line["type"] == "site_meter"]
        assert max(powers) <= before_kw + 0.5, "no order raised power"

        limit["intervals"][0]["payloads"][0]["values"] = [0.0]
        await site.client("grid-operator").request("PUT", f"{EVENTS}/{limit_id}", limit)
        zeroed = len(site.lines)
        await site.until(lambda: under(30.5), "charging to stop under a limit of 0")

        ends = begin.replace(microsecond=0) + timedelta(minutes=15)
        over = ends + timedelta(minutes=25)
        await site.until(lambda: site.clock.now() > over, "the limit and its ramp to pass", 400.0)
        readings = [
            (datetime.fromisoformat(line["at"]), line["ev_kw"])
            for line in site.lines[zeroed:] if line["type"] == "site_meter"
        ]
        # What one car gave another under the first limit needs the chargers' own seconds to end.
        settled = readings[0][0] + timedelta(seconds=15)
        assert min(kw for at, kw in readings if at > settled) >= -0.01, "a limit of 0 starts no discharge"
        held = [kw for at, kw in readings if begin + timedelta(minutes=2) < at < ends]
        assert max(held, default=0.0) <= 0.5
        at_once = [kw for at, kw in readings if ends <= at < ends + timedelta(seconds=60)]
        later = [kw for at, kw in readings if at > ends + timedelta(minutes=15)]
        assert max(at_once) <= 0.5 * before_kw, "power does not jump back"
        assert max(later) >= 0.7 * before_kw, "and it does come back"
        await site.stop_stations()
        await site.stop_service()
