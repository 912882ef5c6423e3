"""The evidence of a day, gathered from a store that was written by hand; its sums are worked out beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.clock import Segment
from aggregator.config import load_clock, load_settings
from aggregator.demo.configuration import Credentials, write_clock, write_configuration
from aggregator.demo.evidence import day_facts
from aggregator.demo.paired import SimulatedDay
from aggregator.demo.people import SignalTrace
from aggregator.demo.scene import Scene, load_scene
from aggregator.demo.stored import read_store
from aggregator.ocpp.events import MeterSample
from aggregator.reports.day import DayFacts, judge, render_report, result_json
from aggregator.reports.day.totals import totals
from aggregator.signals.model import Decision, GridSignal, Obligation, SignalInterval, SignalState
from aggregator.store import MessageKey, PlanRecord, SessionRecord, SiteReading, Store
from twin.assets import Visit
from twin.scenario import resource_path

pytestmark = pytest.mark.anyio

START = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
"""06:00 at the site."""
EVENT_START, EVENT_END = START + timedelta(hours=8), START + timedelta(hours=10)
LIMIT_START, LIMIT_END = START + timedelta(hours=6.5), START + timedelta(hours=7)
NET_KW, EVENT_KW, LIMIT_KW = 50.0, 40.0, 120.0
POSTED_WALL = 1_700_000_000.0


@dataclass(frozen=True)
class Day:
    folder: Path
    scene: Scene
    car: Visit
    """A bidirectional car that is there during the event."""

    @property
    def token(self) -> str:
        return self.scene.declared()[self.car.id].id_token

    async def open(self) -> Store:
        return await Store.open(
            load_settings(self.folder / "v2g.toml").store_url, clock=load_clock(self.folder / "clock.json")
        )

    async def facts(self, paired_kwh: dict[str, float] | None = None) -> DayFacts:
        calm = SimulatedDay(np.full(840, 60.0), paired_kwh or {}, {}, None)
        return day_facts(
            self.folder, self.scene, await read_store(self.folder, self.scene), paired=calm, uncontrolled=calm,
            limit=SignalTrace(POSTED_WALL), speed=480.0, wall_s=120.0, notes=(),
        )


@pytest.fixture
def day(tmp_path: Path) -> Day:
    scene = load_scene(resource_path("workplace_caltech.toml"))
    write_configuration(tmp_path, scene, Credentials.make(scene), host="127.0.0.1", http_port=0, ocpp_port=0)
    # The clock runs at factor 1 from the moment in which the limit is posted.
    write_clock(tmp_path / "clock.json", [Segment(POSTED_WALL, LIMIT_START, 1.0)])
    car = next(
        visit for visit in scene.scenario.truth().visits
        if visit.vehicle.max_discharge_kw > 0 and visit.arrival < EVENT_START and visit.departure > EVENT_END
    )
    return Day(tmp_path, scene, car)


def site_readings(site_id: str) -> list[SiteReading]:
    """One a minute; each is the mean since the one before. A short excess when the limit begins."""
    found = []
    for minute in range(841):
        at = START + timedelta(minutes=minute)
        net = EVENT_KW if EVENT_START < at <= EVENT_END else NET_KW
        found.append(SiteReading(site_id, at, net, net - 30.0))
    for second, net in ((2, 130.0), (4, 125.0), (6, 110.0)):
        found.append(SiteReading(site_id, LIMIT_START + timedelta(seconds=second), net, net - 30.0))
    return sorted(found, key=lambda reading: reading.at)


def registers(day: Day, rows: Sequence[tuple[float, float, float]]) -> list[MeterSample]:
    """Meter values at (hours after START, import Wh, export Wh)."""
    return [
        MeterSample(day.car.evse_id, "tx-1", START + timedelta(hours=hour), 0.0, import_wh, export_wh, 0.5)
        for hour, import_wh, export_wh in rows
    ]


def signal(
    signal_id: str, programme: str, obligation: Obligation, interval: SignalInterval, site_id: str
) -> GridSignal:
    return GridSignal(
        signal_id, "openadr:utility", f"{signal_id}/{site_id}", 1, signal_id, START, programme, obligation, site_id,
        (interval,),
    )


def plan(plan_id: str, hour: float, net_kw: float, **changes: object) -> PlanRecord:
    record = PlanRecord(
        id=plan_id, created_at=START + timedelta(hours=hour), trigger="clock", status="optimal", passed=True,
        objective=1.0, bound=1.0, gap=0.0, costs={}, seconds={}, binding=[],
        rounds=[{"number": 1, "seconds": {"build": 0.1, "solve": 0.2, "repair": 0.05, "replay": 0.3}, "breaches": []}],
        grid_start=START + timedelta(hours=hour), step_s=900, evse_ids=[], power_kw=[], net_kw=[net_kw] * 96,
        base_kw=[], import_cap_kw=[],
    )
    return replace(record, **changes)  # type: ignore[arg-type]


async def test_the_measured_bill_is_that_of_the_stored_readings(day: Day) -> None:
    site_id = day.scene.scenario.public().site.id
    async with await day.open() as store:
        await store.telemetry.write_site([r for r in site_readings(site_id) if r.at.second == 0])
    facts = await day.facts()
    sums = totals(facts)
    assert sums.site_import_kwh == pytest.approx(12 * NET_KW + 2 * EVENT_KW)
    assert sums.building_kwh == pytest.approx(14 * 30.0)
    assert (sums.peak.kw, sums.uncontrolled_peak.kw) == (pytest.approx(NET_KW), pytest.approx(60.0))
    # SCE TOU-EV-4, summer weekday, by local hours 6-8, 8-12, 12-18 (two of them the event's), 18-20; no new peak.
    expected = (
        2 * NET_KW * 0.05623 + 4 * NET_KW * 0.0925 + (4 * NET_KW + 2 * EVENT_KW) * 0.26668 + 2 * NET_KW * 0.0925
    )
    assert float(facts.bill.total) == pytest.approx(expected, abs=0.02)
    uncontrolled = 60.0 * (2 * 0.05623 + 4 * 0.0925 + 6 * 0.26668 + 2 * 0.0925)
    assert float(facts.uncontrolled_bill.total) == pytest.approx(uncontrolled, abs=0.02)


async def test_hours_without_a_reading_are_not_measured_instead_of_guessed(day: Day) -> None:
    site_id = day.scene.scenario.public().site.id
    async with await day.open() as store:
        await store.telemetry.write_site([
            r for r in site_readings(site_id)
            if r.at.second == 0 and not START + timedelta(hours=3) < r.at < START + timedelta(hours=5)
        ])
    facts = await day.facts()
    assert facts.net.measured_s(facts.start, facts.end) == pytest.approx(12 * 3600)
    cap = next(check for check in judge(facts).checks if check.key == "cap_never_crossed")
    assert not cap.passed, "what was not measured cannot be shown to have held"
    assert "Only 12.0 of 14.0 hours were measured" in render_report(facts)


async def test_energy_of_a_car_comes_from_its_registers_even_if_its_session_was_never_closed(day: Day) -> None:
    arrival_h = (day.car.arrival - START).total_seconds() / 3600
    async with await day.open() as store:
        async with store.transaction("test") as tx:
            await tx.sessions.start(SessionRecord("tx-1", day.car.evse_id, day.token, day.car.arrival, 1000.0, 500.0))
        await store.telemetry.write_meter(registers(day, [
            (arrival_h + 0.1, 1000.0, 500.0), (arrival_h + 1, 9000.0, 500.0), (9.0, 9000.0, 2500.0),
            (9.5, 9500.0, 2500.0),
        ]))
    facts = await day.facts({day.car.id: 6.0})
    visit = next(v for v in facts.visits if v.evse_id == day.car.evse_id and v.arrival == day.car.arrival)
    assert (visit.imported_kwh, visit.exported_kwh) == (pytest.approx(8.5), pytest.approx(2.0))
    assert 5.0 < visit.delivered_kwh < 6.5, "battery side: what came in less losses, less what went out"
    assert visit.paired_delivered_kwh == 6.0
    power = facts.evse_power[day.car.evse_id]
    assert power.energy_kwh(facts.start, facts.end) == pytest.approx(6.5)
    others = [v for v in facts.visits if v is not visit]
    assert {v.cause for v in others} == {"no charging session was recorded"}
    assert len(facts.visits) == len(day.scene.scenario.truth().visits)


async def test_an_event_is_settled_by_the_meter_and_credited_by_the_energy_given_within_it(day: Day) -> None:
    site_id = day.scene.scenario.public().site.id
    programme = next(p for p in day.scene.tables.programmes if p.obligation is Obligation.COMMITTED)
    asked = signal("s-1", programme.name, programme.obligation, SignalInterval(EVENT_START, EVENT_END, 40.0), site_id)
    async with await day.open() as store:
        async with store.transaction("test") as tx:
            await tx.signals.add(asked)
            await tx.signals.decide(Decision(
                "s-1", SignalState.ACCEPTED, 20.0, 20.0, 60.0, (40.0,), (), START + timedelta(hours=4)
            ))
            await tx.sessions.start(SessionRecord("tx-1", day.car.evse_id, day.token, day.car.arrival, 0.0))
        await store.telemetry.write_site([r for r in site_readings(site_id) if r.at.second == 0])
        await store.telemetry.write_meter(registers(day, [  # 2 kWh before the event, 4 within it, 1 after it
            (7.0, 9000.0, 0.0), (8.0, 9000.0, 2000.0), (10.0, 9000.0, 6000.0), (10.1, 9000.0, 7000.0),
        ]))
    facts = await day.facts()
    event = facts.events[0]
    assert [i.start for i in event.intervals] == [EVENT_START + timedelta(minutes=15 * k) for k in range(8)]
    result = totals(facts).events[0]
    assert [round(q.delivered_kw, 6) for q in result.quarters] == [20.0] * 8, "60 kW without it, 40 kW measured"
    assert (result.discharged_kwh, result.discharging_cars) == (pytest.approx(4.0), 1)
    assert event.incentive == pytest.approx(Decimal(str(2 * 20.0 * programme.incentive_per_kwh)))
    assert event.shortfall_charge == 0
    credit, = facts.credits
    assert (credit.evse_id, credit.exported_kwh) == (day.car.evse_id, pytest.approx(4.0))
    assert 0 < credit.amount <= event.incentive
    assert credit.amount == totals(facts).credit


async def test_the_mandatory_limit_is_told_in_wall_seconds_after_its_post(day: Day) -> None:
    site_id = day.scene.scenario.public().site.id
    programme = next(p for p in day.scene.tables.programmes if p.obligation is Obligation.MANDATORY)
    async with await day.open() as store:
        async with store.transaction("test") as tx:
            await tx.signals.add(signal(
                "s-2", programme.name, programme.obligation, SignalInterval(LIMIT_START, LIMIT_END, LIMIT_KW), site_id
            ))
            tx.audit("limit.applied", "s-2", {
                "first_sent_wall": POSTED_WALL + 0.04, "last_sent_wall": POSTED_WALL + 0.25
            })
        await store.telemetry.write_site(site_readings(site_id))
    limit = (await day.facts()).limits[-1]
    assert (limit.kind, limit.max_net_kw, limit.start, limit.end) == ("mandatory", LIMIT_KW, LIMIT_START, LIMIT_END)
    assert (limit.first_profile_s, limit.last_profile_s) == (pytest.approx(0.04), pytest.approx(0.25))
    assert limit.metered_under_s == pytest.approx(6.0), "the readings at 2 s and 4 s are above the limit"


async def test_the_seconds_of_a_plan_include_the_one_it_is_compared_with(day: Day) -> None:
    alone, compared = plan("p-1", 0.0, 50.0), plan("p-2", 1.0, 70.0, seconds={"counterfactual": 0.5})
    async with await day.open() as store, store.transaction("test") as tx:
        await tx.plans.add(compared)
        await tx.plans.add(alone)
    facts = await day.facts()
    assert [one.plan_id for one in facts.plans] == ["p-1", "p-2"], "in the order in which they were made"
    assert [one.seconds for one in facts.plans] == pytest.approx([0.65, 1.15])
    planned = facts.planned.means(START, 900.0, 8)
    assert planned.tolist() == pytest.approx([50.0] * 4 + [70.0] * 4), "each plan until the next"


async def test_a_refused_car_is_named_by_its_charger_in_the_report(day: Day) -> None:
    breach = {"kind": "departure", "asset_id": "tx-secret", "evse_id": "CA-327", "first": 0, "last": 8, "worst": 0.42}
    good = plan("p-1", 0.0, 50.0).rounds[0]
    refused = plan("p-1", 0.0, 50.0, rounds=[{**good, "breaches": [breach]}, {**good, "number": 2}])
    async with await day.open() as store:
        async with store.transaction("test") as tx:
            await tx.plans.add(refused)
        await store.telemetry.count_messages({MessageKey("ocpp1.6", "MeterValues", "in"): 7})
        await store.telemetry.write_site([r for r in site_readings("caltech-garage") if r.at.second == 0])
    facts = await day.facts()
    assert facts.plans[0].was_refused_then_passed
    page = render_report(facts)
    assert "the car at CA-327 leaves 0.42 kWh short at 08:00" in page
    assert "tx-secret" not in page
    assert day.token not in page
    assert len(page.encode()) < 10_000_000
    assert result_json(facts)["messages"]["total"] == 7
    assert {"real", "assumed"} <= {"real" if one.is_real else "assumed" for one in facts.assumptions}
    assert all(one.licence and one.url for one in facts.attributions)
