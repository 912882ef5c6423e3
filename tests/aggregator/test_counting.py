"""Counts of a service that is assembled in full: none is lost or told twice, whatever the database does meanwhile."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.counting import count_plan
from aggregator.planning.gate import plan_through_gate
from aggregator.planning.site.request import build_request
from aggregator.service import Service
from aggregator.store import MessageKey, SiteReading, TelemetryRefusedError

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
METERED = MessageKey("ocpp2.1", "MeterValues", "in")
ORDERED = MessageKey("ocpp1.6", "SetChargingProfile", "out")


def said(service: Service, name: str) -> dict[str, float]:
    """The lines of one metric as `/metrics` has them, by what stands between the braces."""
    lines = service.counting.metrics.exposition().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} ")))
    return {labels.removeprefix(name).strip("{}"): float(value) for labels, _, value in found}


async def test_messages_are_counted_once_however_often_one_looks(service: Service) -> None:
    counters = service.gateway.counters
    counters.messages_in["ocpp2.1", "MeterValues"] += 3
    await service.counting.count()
    await service.counting.count()
    counters.messages_in["ocpp2.1", "MeterValues"] += 2
    counters.messages_out["ocpp1.6", "SetChargingProfile"] += 1
    await service.counting.count()
    assert await service.store.telemetry.message_counts() == {METERED: 5, ORDERED: 1}
    assert said(service, "v2g_ocpp_messages_total") == {
        'action="MeterValues",direction="in",protocol="ocpp2.1"': 5.0,
        'action="SetChargingProfile",direction="out",protocol="ocpp1.6"': 1.0,
    }


async def test_what_the_database_does_not_take_is_counted_when_it_does_again(service: Service, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "v2g.sqlite") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON message_counts "
                      "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END")
    service.gateway.counters.messages_in["ocpp2.1", "MeterValues"] += 4
    for _ in range(2):
        with pytest.raises(TelemetryRefusedError, match="disk is full"):
            await service.counting.count()
    with sqlite3.connect(tmp_path / "v2g.sqlite") as other:
        other.execute("DROP TRIGGER full")
    service.gateway.counters.messages_in["ocpp2.1", "MeterValues"] += 1
    await service.counting.count()
    assert await service.store.telemetry.message_counts() == {METERED: 5}
    assert sum(said(service, "v2g_ocpp_messages_total").values()) == 5.0


async def test_who_is_cancelled_while_the_database_writes_has_counted_all_the_same(service: Service) -> None:
    service.gateway.counters.messages_in["ocpp2.1", "MeterValues"] += 4
    counting = asyncio.create_task(service.counting.count())
    await asyncio.sleep(0)
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    service.gateway.counters.messages_in["ocpp2.1", "MeterValues"] += 1
    await service.counting.count()
    assert await service.store.telemetry.message_counts() == {METERED: 5}


async def test_gauges_say_who_is_connected_what_flows_and_what_is_wrong(service: Service) -> None:
    await service.loop.site_reading(SiteReading(service.loop.model.site.id, NOON, 42.5, 10.0))
    service.counting.gauge()
    versions = ("1.6", "2.0.1", "2.1")
    assert said(service, "v2g_chargers_online") == {f'protocol="ocpp{version}"': 0.0 for version in versions}
    assert said(service, "v2g_site_power_kw") == {'site="caltech-garage"': 42.5}
    assert said(service, "v2g_sessions_open") == {"": 0.0}
    assert said(service, "v2g_alerts_open") == {f'severity="{one}"': 0.0 for one in ("info", "warning", "critical")}


async def test_a_plan_counts_with_its_verdict_its_rounds_and_its_seconds(service: Service) -> None:
    await service.loop.site_reading(SiteReading(service.loop.model.site.id, NOON - timedelta(minutes=1), 40.0, 0.0))
    outcome = plan_through_gate(build_request(service.loop.model, service.loop.observe()))
    count_plan(service.counting.metrics, outcome)
    verdict = f'passed="{str(outcome.passed).lower()}",status="{outcome.plan.status}"'
    assert said(service, "v2g_plans_total") == {verdict: 1.0}
    assert said(service, "v2g_plan_rounds_sum") == {"": len(outcome.rounds)}
    assert said(service, "v2g_plan_seconds_sum")[""] == pytest.approx(sum(outcome.seconds().values()))
