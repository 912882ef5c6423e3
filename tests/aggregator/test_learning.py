"""What stored sessions teach the planner, through a real database."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aggregator.clock import ScaledClock, Segment
from aggregator.fleet.beliefs import VehicleModel
from aggregator.learning import learn, next_day, past_stays, past_visits
from aggregator.planning.site.arrivals import LearntArrivals
from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.planning.site.situation import SiteModel
from aggregator.store import SessionRecord, Store, TargetRecord
from markets.rate import shipped_rate
from twin.assets import Battery, Current, Evse, PowerCurve, Site, Vehicle

pytestmark = pytest.mark.anyio
ZONE = ZoneInfo("America/Los_Angeles")
NOW = datetime(2019, 7, 15, 10, tzinfo=ZONE).astimezone(UTC)
HOUR = timedelta(hours=1)
CONFIGURED = ArrivalForecast((1.0,) * 24, 10.0, 7.4, ZONE.key)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    clock = ScaledClock([Segment(0.0, NOW, 1.0)])
    opened = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'v2g.sqlite'}", clock=clock)
    yield opened
    await opened.close()


def site() -> SiteModel:
    car = Vehicle("car", Battery(60.0, PowerCurve((0.0, 1.0), (50.0, 50.0))), 11.0)
    return SiteModel(
        site=Site("site", ZONE.key, 100.0), evses={"E": Evse("E", "site", Current.AC, 11.0, 1.4)},
        vehicles={"car": VehicleModel(car, 0.05)}, rate=shipped_rate("sce_tou_ev_4"),
        base_load=BaseLoadForecast((40.0,) * 24, ZONE.key), arrivals=CONFIGURED)


def morning(days_ago: int) -> datetime:
    return NOW - timedelta(days=days_ago) - 2 * HOUR


def session(days_ago: int, number: int, **changes: object) -> SessionRecord:
    begin = morning(days_ago)
    ended = SessionRecord(
        f"{days_ago}-{number}", "E", f"card-{number}", begin + timedelta(minutes=number), 1000.0, import_wh=13_000.0,
        ended_at=begin + 4 * HOUR, last_at=begin + 4 * HOUR, end_reason="unplugged")
    return replace(ended, **changes)  # type: ignore[arg-type]


def target(days_ago: int, number: int, hours: float = 8.0, said_after: timedelta = timedelta(0)) -> TargetRecord:
    begin = morning(days_ago) + timedelta(minutes=number)
    return TargetRecord(f"card-{number}", begin + hours * HOUR, 12.0, "car", declared_at=begin + said_after)


async def fill(store: Store, days: int) -> None:
    async with store.transaction("test") as tx:
        for day in range(1, days + 1):
            for number in range(4):
                await tx.targets.add(target(day, number))
                begun = replace(session(day, number), ended_at=None, end_reason=None, import_wh=None, last_at=None)
                await tx.sessions.start(begun)
                await tx.sessions.end("E", begun.transaction_id, at=morning(day) + 4 * HOUR, reason="unplugged",
                                      import_wh=13_000.0)


async def test_a_service_with_three_weeks_of_sessions_plans_with_what_they_taught(store: Store) -> None:
    await fill(store, 21)
    model = await learn(site(), store, NOW, days=56, virtual_evs=True)
    assert isinstance(model.arrivals, LearntArrivals)
    assert model.arrivals.power_kw == 7.4
    assert model.arrivals.expected(weekend=False, hour=8).count == pytest.approx(4.0)
    assert model.arrivals.expected(weekend=False, hour=8).energy_kwh == 12.0
    assert model.departures.stays == 84
    declared = NOW + 8 * HOUR
    ready = model.departures.ready_by(0.1, NOW, declared, arrival=NOW, id_token="card-0")
    assert ready is not None
    assert ready < NOW + 4 * HOUR, "all of them stayed half as long as they had declared"


async def test_without_virtual_evs_only_departures_are_learnt(store: Store) -> None:
    await fill(store, 21)
    model = await learn(site(), store, NOW, days=56, virtual_evs=False)
    assert model.arrivals == CONFIGURED
    assert model.departures.stays == 84


async def test_only_the_days_asked_for_teach(store: Store) -> None:
    await fill(store, 21)
    assert (await learn(site(), store, NOW, days=7, virtual_evs=True)).departures.stays == 24
    assert (await learn(site(), store, NOW, days=0, virtual_evs=True)).arrivals == CONFIGURED


async def test_a_new_service_keeps_what_is_configured(store: Store) -> None:
    model = await learn(site(), store, NOW, days=56, virtual_evs=True)
    assert (model.arrivals, model.departures.stays) == (CONFIGURED, 0)


def test_sessions_that_go_on_or_drew_nothing_are_no_visits() -> None:
    open_one = session(2, 1, ended_at=None)
    empty = session(2, 2, import_wh=1000.0)
    unmetered = session(2, 3, import_wh=None)
    (visit,) = past_visits([open_one, empty, unmetered, session(2, 4)])
    assert (visit.energy_kwh, visit.departure) == (12.0, morning(2) + 4 * HOUR)


def test_what_was_said_on_arrival_counts_and_not_what_was_known_later() -> None:
    revised = [target(2, 1, 8.0), target(2, 1, 9.0, timedelta(minutes=20)), target(2, 1, 4.0, 3 * HOUR)]
    (stay,) = past_stays([session(2, 1)], revised)
    assert stay.declared - stay.arrival == 9 * HOUR
    assert past_stays([session(2, 1)], [target(2, 1, 4.0, 3 * HOUR), target(2, 2)]) == []


def test_days_begin_at_the_sites_own_midnight() -> None:
    assert next_day(site(), NOW) == datetime(2019, 7, 16, tzinfo=ZONE)
    before_the_clocks_go_back = datetime(2019, 11, 3, 0, 30, tzinfo=ZONE).astimezone(UTC)
    assert next_day(site(), before_the_clocks_go_back) == datetime(2019, 11, 4, tzinfo=ZONE)
