"""A plan is adopted whole or not at all: record, what every charger should hold, and the audit entries together."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from aggregator.dispatch import PermitGap
from aggregator.fleet import DepartureTarget
from aggregator.ocpp.events import (
    ConnectorState,
    ConnectorStatus,
    EvNeeds,
    MeterSample,
    Purpose,
    TransactionEnded,
    TransactionStarted,
)
from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate
from aggregator.planning.site.request import build_request
from aggregator.planning.site.situation import Situation
from aggregator.service import Service
from aggregator.store import verify_database
from aggregator.store.records import DesiredRecord, PlanRecord

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
CARS = {"CA-303": "1", "CA-305": "2"}


@pytest.fixture
async def service(service: Service) -> Service:
    """The demo's site at noon with two cars plugged in; no process or socket runs."""
    models = {"CA-303": "bidirectional-62", "CA-305": "compact-60"}
    for evse_id, transaction in CARS.items():
        await service.fleet.declare(
            DepartureTarget(f"card-{transaction}", NOON + timedelta(hours=3), 8.0, models[evse_id]), "app")
        await service.fleet.handle(
            TransactionStarted(evse_id, transaction, f"card-{transaction}", NOON - timedelta(hours=1), 5000.0))
        await service.fleet.handle(MeterSample(evse_id, transaction, NOON, 3.0, 6000.0, 0.0))
    return service


def planned(service: Service) -> tuple[Situation, PlanRequest, GateOutcome]:
    situation = service.loop.observe()
    request = build_request(service.loop.model, situation)
    return situation, request, plan_through_gate(request)


async def kept(service: Service) -> tuple[list[PlanRecord], list[DesiredRecord]]:
    async with service.store.read() as tx:
        return await tx.plans.list(), [row for row in await tx.desired.all() if row.purpose is Purpose.PLAN]


def audited(folder: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{folder / 'v2g.sqlite'}?mode=ro", uri=True)) as database:
        return [action for (action,) in database.execute("SELECT action FROM audit ORDER BY seq")]


def refuse_desired_rows(folder: Path) -> None:
    """From now on the database refuses every row of the outbox."""
    with closing(sqlite3.connect(folder / "v2g.sqlite")) as database:
        database.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON desired BEGIN SELECT RAISE(ABORT, 'no room'); END")
        database.commit()


async def test_plan_outbox_and_audit_are_written_together(service: Service, tmp_path: Path) -> None:
    before = audited(tmp_path)
    situation, request, outcome = planned(service)
    await service.loop.adopt(situation, request, outcome, ("arrival", "clock"))
    (plan,), rows = await kept(service)
    assert (plan.trigger, plan.passed, plan.created_at) == ("arrival, clock", True, situation.now)
    assert {row.evse_id for row in rows} == set(CARS)
    assert {row.plan_id for row in rows} == {plan.id}
    assert all(row.valid_to is not None for row in rows)  # a plan expires by itself
    assert audited(tmp_path)[len(before):] == ["plan.made", "desired.queued", "desired.queued"]
    adopted = service.loop.adopted
    assert adopted is not None
    assert adopted.record == plan
    assert (await verify_database(tmp_path / "v2g.sqlite")).ok


async def test_a_plan_whose_rows_cannot_be_kept_leaves_no_trace(service: Service, tmp_path: Path) -> None:
    situation, request, outcome = planned(service)
    before = audited(tmp_path)
    refuse_desired_rows(tmp_path)
    with pytest.raises(SQLAlchemyError, match="no room"):
        await service.loop.adopt(situation, request, outcome, ("clock",))
    assert await kept(service) == ([], [])
    assert audited(tmp_path) == before
    assert service.loop.adopted is None


async def test_a_faulted_charger_is_planned_for_again_once_it_works_or_its_meter_shows_that_it_does(
    service: Service,
) -> None:
    asked: list[str] = []
    service.fleet._on_change = asked.append
    now = service.clock.now()

    async def says(state: ConnectorState, power_kw: float) -> frozenset[str]:
        await service.fleet.handle(ConnectorStatus("CA-303", state, now))
        await service.fleet.handle(MeterSample("CA-303", "1", service.clock.now(), power_kw, 6000.0, 0.0))
        return service.loop.observe().cannot_charge

    assert await says(ConnectorState.CHARGING, 3.0) == frozenset()
    assert await says(ConnectorState.FAULTED, 0.0) == {"CA-303"}
    assert PermitGap.CHARGER in service.loop.permit_of("CA-303").missing
    _, _, outcome = planned(service)
    rows = dict(zip(outcome.schedule.evse_ids, outcome.schedule.power_kw, strict=True))
    assert not rows["CA-303"].any()
    assert rows["CA-305"].any()
    assert await says(ConnectorState.FAULTED, 3.0) == frozenset()
    assert await says(ConnectorState.PREPARING, 0.0) == frozenset()
    assert asked == ["CA-303 faulted", "CA-303 works again"]


async def test_a_car_takes_no_more_than_it_said(service: Service) -> None:
    await service.fleet.handle(EvNeeds("CA-303", service.clock.now(), max_charge_kw=4.0, max_discharge_kw=2.0))
    situation, _, outcome = planned(service)
    assert situation.draw_limits_kw == {"CA-303": 4.0}
    rows = dict(zip(outcome.schedule.evse_ids, outcome.schedule.power_kw, strict=True))
    assert rows["CA-303"].max() == pytest.approx(4.0, abs=1e-6)
    assert PermitGap.CAR in service.loop.permit_of("CA-303").missing  # it asked for no bidirectional transfer


async def test_a_car_that_left_meanwhile_gets_nothing(service: Service) -> None:
    situation, request, outcome = planned(service)
    await service.fleet.handle(TransactionEnded("CA-305", "2", service.clock.now(), 6500.0, 0.0, "EVDisconnected"))
    await service.loop.adopt(situation, request, outcome, ("clock",))
    (_,), rows = await kept(service)
    assert [row.evse_id for row in rows] == ["CA-303"]


async def test_the_car_that_came_after_it_is_not_given_the_profile_of_the_one_before(service: Service) -> None:
    situation, request, outcome = planned(service)
    now = service.clock.now()
    await service.fleet.handle(TransactionEnded("CA-305", "2", now, 6500.0, 0.0, "EVDisconnected"))
    await service.fleet.handle(TransactionStarted("CA-305", "3", "card-3", now, 6500.0))
    await service.loop.adopt(situation, request, outcome, ("clock",))
    (_,), rows = await kept(service)
    assert [row.evse_id for row in rows] == ["CA-303"]


async def test_a_second_plan_replaces_what_the_first_wished(service: Service) -> None:
    for _ in range(2):
        await service.loop.adopt(*planned(service), ("clock",))
    plans, rows = await kept(service)
    assert len(plans) == 2
    assert len(rows) == len(CARS)
    assert {row.version for row in rows} <= {1, 2}
