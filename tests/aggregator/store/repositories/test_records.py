"""Stations, plans, OpenADR objects, clients, answers and alerts: what goes in comes out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isnan, nan

import pytest
from sqlalchemy.exc import IntegrityError

from aggregator.store import (
    AlertRecord,
    ClientRecord,
    IdempotencyRecord,
    OpenAdrRecord,
    PlanRecord,
    StationRecord,
    Store,
)
from aggregator.store.audit import entries

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 17, tzinfo=UTC)
PLAN = PlanRecord(
    id="p1", created_at=T0, trigger="interval", status="optimal", passed=True, objective=-1.5, bound=-1.5, gap=0.0,
    costs={"energy": 3.25}, seconds={"solve": 0.1}, binding=["cap at 14:00"],
    rounds=[{"round": 1, "breaches": [{"kind": "site_cap", "worst": 2.5}]}], grid_start=T0, step_s=900,
    evse_ids=["E1", "E2"], power_kw=[[1.0, -2.0], [0.0, 0.1]], net_kw=[40.0, 41.0], base_kw=[39.0, 43.0],
    import_cap_kw=[120.0, 120.0], note="first",
)


async def test_stations_are_replaced_not_repeated(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        await tx.stations.upsert(StationRecord("S1", "ocpp1.6", firmware="1", epoch=1, is_online=True, last_seen_at=T0))
        newer = StationRecord("S1", "ocpp1.6", firmware=None, epoch=2)
        await tx.stations.upsert(newer)
        assert await tx.stations.all() == [newer]
        assert await tx.stations.get("S1") == newer
        assert await tx.stations.get("S2") is None


async def test_plans_come_back_whole_and_newest_first(store: Store) -> None:
    later = replace(PLAN, id="p2", created_at=T0 - timedelta(days=1), passed=False)  # a clock that was set back
    async with store.transaction("planner") as tx:
        assert await tx.plans.latest() is None
        await tx.plans.add(PLAN)
        await tx.plans.add(later)
        assert await tx.plans.latest() == later
        assert await tx.plans.list() == [later, PLAN]
        assert await tx.plans.list(1) == [later]
        assert await tx.plans.get("p1") == PLAN
        assert await tx.plans.get("p3") is None


async def test_a_plan_without_a_bound_keeps_its_nan(store: Store) -> None:
    async with store.transaction("planner") as tx:
        await tx.plans.add(replace(PLAN, bound=nan, gap=nan))
        found = await tx.plans.get("p1")
    assert found is not None
    assert isnan(found.bound)
    assert isnan(found.gap)
    assert found.objective == -1.5


async def test_a_plan_id_is_used_once(store: Store) -> None:
    async with store.transaction("planner") as tx:
        await tx.plans.add(PLAN)
        with pytest.raises(IntegrityError):
            await tx.plans.add(PLAN)


async def test_an_openadr_object_keeps_its_creation_and_owner(store: Store) -> None:
    async with store.transaction("utility") as tx:
        await tx.openadr.put("event", "1", {"v": 1}, T0, T0, "utility")
        await tx.openadr.put("event", "1", {"v": 2}, T0 + timedelta(hours=1), T0 + timedelta(hours=1), "thief")
        await tx.openadr.put("program", "1", {"p": 1}, T0, T0, "utility")
        event = OpenAdrRecord("event", "1", {"v": 2}, T0, T0 + timedelta(hours=1), "utility")
        assert await tx.openadr.get("event", "1") == event
        assert await tx.openadr.list("event") == [event]
        assert await tx.openadr.delete("event", "1")
        assert not await tx.openadr.delete("event", "1")
        assert await tx.openadr.get("event", "1") is None
        assert len(await tx.openadr.list("program")) == 1


async def test_clients_keep_their_scopes_and_the_chain_no_digest(store: Store) -> None:
    client = ClientRecord("utility", "utility", ("read_all", "write_events"), "f" * 64, "sce")
    async with store.transaction("admin") as tx:
        await tx.clients.put(client)
        assert await tx.clients.get("utility") == client
        await tx.clients.put(replace(client, is_enabled=False))
        assert await tx.clients.all() == [replace(client, is_enabled=False)]
        assert await tx.clients.get("nobody") is None
    assert "f" * 64 not in repr(client)
    assert all("f" * 64 not in repr(entry) for entry in [entry async for entry in entries(store)])


async def test_an_answer_is_kept_once_per_principal_and_key(store: Store) -> None:
    async with store.transaction("api") as tx:
        await tx.idempotency.put("utility", "k", "hash", 201, {"id": "s1"})
        await tx.idempotency.put("other", "k", "hash", 200, {})
        assert await tx.idempotency.get("utility", "k") == IdempotencyRecord("utility", "k", "hash", 201, {"id": "s1"})
        assert await tx.idempotency.get("utility", "x") is None
    with pytest.raises(IntegrityError):
        async with store.transaction("api") as tx:
            await tx.idempotency.put("utility", "k", "hash", 201, {})


async def test_one_alert_is_open_per_condition_until_it_is_cleared(store: Store) -> None:
    alert = AlertRecord("a1", "cap_crossed", "caltech", "critical", "121 kW", T0, {"kw": 121.0})
    async with store.transaction("loop") as tx:
        assert await tx.alerts.raise_(alert) == alert
        assert await tx.alerts.raise_(replace(alert, id="a2")) == alert
        other = await tx.alerts.raise_(replace(alert, id="a3", subject="elsewhere"))
        assert await tx.alerts.open() == [alert, other]
        assert await tx.alerts.clear("a1", T0 + timedelta(minutes=1))
        assert not await tx.alerts.clear("a1", T0 + timedelta(minutes=2))
        again = await tx.alerts.raise_(replace(alert, id="a4", raised_at=T0 + timedelta(hours=1)))
        assert await tx.alerts.open() == [other, again]
        cleared = replace(alert, cleared_at=T0 + timedelta(minutes=1))
        assert await tx.alerts.all() == [cleared, other, again]
