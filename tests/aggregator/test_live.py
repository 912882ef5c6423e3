"""The live page's picture, taken of a service that is assembled in full; only its processes and sockets stand still."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from aggregator.fleet import DepartureTarget
from aggregator.live import refusals_of
from aggregator.loop import plan_record
from aggregator.ocpp.events import MeterSample, TransactionStarted
from aggregator.planning.gate import GateOutcome, PlanRequest, Round, plan_through_gate
from aggregator.planning.site.lessons import Refusal
from aggregator.planning.site.request import build_request
from aggregator.planning.site.situation import Situation
from aggregator.service import Service
from aggregator.signals.model import Decision, GridSignal, Obligation, SignalInterval, SignalState
from aggregator.store import SiteReading
from aggregator.web.pages import LivePage
from aggregator.web.view import live_view

pytestmark = pytest.mark.anyio

NOON = datetime(2019, 7, 15, 19, 0, tzinfo=UTC)
DC, AC = "CA-303", "CA-305"


async def plug(
    service: Service, evse_id: str, transaction_id: str, *, leaves_h: float, requested_kwh: float
) -> None:
    """A car that came an hour ago and has taken 1 kWh since."""
    vehicle = next(iter(service.loop.model.vehicles))
    token = f"card-of-{transaction_id}"
    service.fleet.beliefs.declare(DepartureTarget(token, NOON + timedelta(hours=leaves_h), requested_kwh, vehicle))
    started = NOON - timedelta(hours=1)
    await service.fleet.handle(TransactionStarted(evse_id, transaction_id, token, started, 5000.0))
    await service.fleet.handle(MeterSample(evse_id, transaction_id, NOON, 3.0, 6000.0, 0.0))


async def adopt(service: Service) -> tuple[Situation, PlanRequest, GateOutcome]:
    situation = service.loop.observe()
    request = build_request(service.loop.model, situation)
    outcome = plan_through_gate(request)
    await service.loop.adopt(situation, request, outcome, ("clock",))
    return situation, request, outcome


async def meter(service: Service, at: datetime, import_kw: float, ev_kw: float) -> None:
    await service.loop.site_reading(SiteReading(service.loop.model.site.id, at, import_kw, ev_kw))


async def test_the_day_so_far_is_the_mean_of_each_minute(service: Service) -> None:
    for second, import_kw in ((0, 99.0), (15, 60.0), (60, 80.0), (90, 50.0), (120, 40.0), (130, 10.0)):
        await meter(service, NOON + timedelta(seconds=second), import_kw, 20.0)
    shown = {point.at: point for point in service.picture.snapshot().history}
    first, second = shown[NOON], shown[NOON + timedelta(minutes=1)]
    assert first.net_kw == pytest.approx((15 * 60.0 + 45 * 80.0) / 60), "a reading is the mean since the one before"
    assert second.net_kw == pytest.approx((30 * 50.0 + 30 * 40.0) / 60)
    assert (second.ev_kw, second.building_kw) == (pytest.approx(20.0), pytest.approx(25.0))
    assert second.cap_kw == service.loop.model.site.import_cap_kw
    assert shown[NOON + timedelta(minutes=2)].net_kw == pytest.approx(10.0), "the running minute shows already"


async def test_a_later_plan_does_not_rewrite_what_was_planned_for_a_minute_that_is_over(service: Service) -> None:
    await plug(service, AC, "17", leaves_h=6.0, requested_kwh=12.0)
    await meter(service, NOON, 40.0, 0.0)
    _, _, first = await adopt(service)
    for second in (30, 60, 61):
        await meter(service, NOON + timedelta(seconds=second), 40.0, 0.0)
    situation, request, _ = await adopt(service)
    other = replace(first, plan=replace(first.plan, net_kw=first.plan.net_kw + 7.0))
    await service.loop.adopt(situation, request, other, ("clock",))
    shown = {point.at: point for point in service.picture.snapshot().history}
    assert shown[NOON].planned_kw == pytest.approx(first.plan.net_kw[0])
    assert shown[NOON + timedelta(minutes=1)].planned_kw == pytest.approx(first.plan.net_kw[0] + 7.0)
    ahead = [point for at, point in shown.items() if at > NOON + timedelta(minutes=2)]
    assert [point.planned_kw for point in ahead] == pytest.approx((first.plan.net_kw[1:25] + 7.0).tolist())
    assert all(point.net_kw is None for point in ahead)


async def test_a_driver_at_risk_misses_what_full_power_cannot_give_and_no_more(service: Service) -> None:
    await plug(service, AC, "17", leaves_h=1.0, requested_kwh=30.0)
    await plug(service, DC, "tx-a", leaves_h=8.0, requested_kwh=6.0)
    await adopt(service)
    rows = {row.evse_id: row for row in service.picture.snapshot().chargers}
    risk, session = rows[AC].risk, service.loop.sessions()[AC]
    assert risk is not None
    missing_now = session.target_kwh - session.energy_kwh
    full_power_kwh = 1.0 * service.loop.model.evses[AC].max_charge_kw
    assert missing_now - full_power_kwh < risk.missing_kwh < missing_now - 0.8 * full_power_kwh
    assert "full power" in risk.why
    assert rows[DC].risk is None


async def test_margins_that_refusals_taught_are_not_told_as_energy_that_a_driver_misses(service: Service) -> None:
    await plug(service, AC, "17", leaves_h=6.0, requested_kwh=12.0)
    situation, request, outcome = await adopt(service)
    taught = replace(outcome, plan=replace(outcome.plan, shortfall_kwh={"17": 3.0}))
    await service.loop.adopt(situation, request, taught, ("clock",))
    assert all(row.risk is None for row in service.picture.snapshot().chargers), "the replay fills the car"


async def test_a_car_that_stayed_beyond_its_departure_is_shown_as_overdue(service: Service) -> None:
    await plug(service, AC, "17", leaves_h=-0.5, requested_kwh=12.0)
    snapshot = service.picture.snapshot()
    row = next(row for row in snapshot.chargers if row.evse_id == AC)
    assert row.overdue_since == NOON - timedelta(minutes=30)
    assert live_view(snapshot).cells[f"{AC}/departure"] == "11:30 overdue"


async def test_cars_are_named_by_their_charger_and_never_by_session_or_card(service: Service) -> None:
    await plug(service, AC, "tx-4711", leaves_h=1.0, requested_kwh=30.0)
    await plug(service, DC, "tx-0815", leaves_h=2.0, requested_kwh=30.0)
    situation, request, outcome = await adopt(service)
    assert any(f"the car at {AC}" in words for words in outcome.plan.binding), outcome.plan.binding
    refused = Round(1, "optimal", 1.0, (Refusal("departure", "tx-4711", 0, 4, 0.31),), (), {"solve": 0.1})
    outcome = replace(outcome, rounds=(refused, *outcome.rounds))
    await service.loop.adopt(situation, request, outcome, ("clock",))
    async with service.store.read() as tx:
        stored = await tx.plans.latest()
    assert stored is not None
    refusals = refusals_of(stored.rounds, outcome.plan.grid)
    assert [refusal.asset_id for refusal in refusals] == [AC]
    words = refusals[0].in_words(ZoneInfo("America/Los_Angeles"))
    assert words == f"the car at {AC} leaves 0.31 kWh short at 13:00"
    page = LivePage().html(service.picture.snapshot())
    assert words in page
    assert "tx-4711" not in page
    assert "tx-0815" not in page
    assert "card-of" not in page


async def test_plans_are_counted_once_however_many_of_their_rounds_were_refused(service: Service) -> None:
    await plug(service, AC, "17", leaves_h=6.0, requested_kwh=12.0)
    situation, request, outcome = await adopt(service)
    refused = Round(1, "optimal", 1.0, (Refusal("site_cap", "caltech-garage", 0, 1, 1.0),), (), {})
    thrice = replace(outcome, rounds=(refused, replace(refused, number=2), *outcome.rounds))
    await service.loop.adopt(situation, request, thrice, ("clock",))
    plan = service.picture.snapshot().plan
    assert plan is not None
    assert (plan.plans_today, plan.refused_today, plan.rounds) == (2, 1, 3)
    assert plan_record("p", situation, outcome, ("clock",)).binding == list(plan.binding)


async def test_an_event_shows_what_was_promised_and_what_the_meter_says_so_far(service: Service) -> None:
    site_id = service.loop.model.site.id
    half = timedelta(minutes=30)
    signal = GridSignal(
        "s-1", "openadr:utility", "e-1", 1, "hash", NOON - half, "Peak relief", Obligation.COMMITTED, site_id,
        (SignalInterval(NOON - half, NOON + half, 50.0),),
    )
    async with service.store.transaction("test") as tx:
        await tx.signals.add(signal)
    await service.desk.recover()
    asked = service.picture.snapshot()
    assert (asked.target_kw, asked.events[0].committed_kw) == (50.0, None)
    await service.desk.record_decision(
        Decision("s-1", SignalState.PARTIAL, 40.0, 30.0, 90.0, (60.0,), (), NOON - half)
    )
    for minute in range(-40, 1, 10):
        await meter(service, NOON + timedelta(minutes=minute), 70.0 if minute > -30 else 100.0, 0.0)
    snapshot = service.picture.snapshot()
    progress = snapshot.events[0]
    assert (progress.committed_kw, progress.committed_net_kw, snapshot.target_kw) == (30.0, 60.0, 60.0)
    assert progress.delivered_kw == pytest.approx(20.0), "90 kW without it, 70 kW measured"
    assert progress.delivered_kwh == pytest.approx(20.0 * 0.5, rel=0.01)


async def test_a_limit_shows_before_a_minute_is_measured_under_it(service: Service) -> None:
    await meter(service, NOON - timedelta(minutes=3), 80.0, 0.0)
    now = service.clock.now()
    signal = GridSignal(
        "s-2", "openadr:grid-operator", "e-2", 1, "hash", now, "Grid emergency", Obligation.MANDATORY,
        service.loop.model.site.id, (SignalInterval(now - timedelta(seconds=1), now + timedelta(minutes=30), 70.0),),
    )
    async with service.store.transaction("test") as tx:
        await tx.signals.add(signal)
    await service.desk.recover()
    snapshot = service.picture.snapshot()
    assert snapshot.limit_kw == 70.0
    assert snapshot.history[-1].limit_kw == 70.0
    assert snapshot.history[-1].net_kw is None


async def test_a_car_that_only_charges_misses_no_more_than_what_is_left(service: Service) -> None:
    """A replay may start from an energy that is known better by now."""
    await plug(service, AC, "17", leaves_h=0.5, requested_kwh=6.0)
    await plug(service, DC, "tx-a", leaves_h=0.5, requested_kwh=6.0)
    situation, request, outcome = await adopt(service)
    assert outcome.report is not None
    departures = outcome.report.departures
    old = {visit_id: replace(left, energy_kwh=left.energy_kwh - 5.0) for visit_id, left in departures.items()}
    await service.loop.adopt(situation, request, replace(outcome, report=replace(outcome.report, departures=old)), ())
    risks = {row.evse_id: row.risk for row in service.picture.snapshot().chargers}
    sessions = service.loop.sessions()
    assert risks[AC] is not None
    assert risks[AC].missing_kwh == pytest.approx(sessions[AC].target_kwh - sessions[AC].energy_kwh)
    assert risks[DC] is not None
    assert risks[DC].missing_kwh == pytest.approx(sessions[DC].target_kwh - old["tx-a"].energy_kwh), "it may give back"
