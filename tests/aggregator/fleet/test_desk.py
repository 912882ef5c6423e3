"""What chargers and apps report, through a real store: once is enough, twice is the same, a restart forgets nothing."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator.clock import ScaledClock, Segment
from aggregator.fleet import Beliefs, DepartureTarget, UnknownVehicleModel, VehicleModel
from aggregator.fleet.beliefs import SiteDefaults
from aggregator.fleet.desk import FleetDesk
from aggregator.ocpp.events import (
    ConnectorState,
    ConnectorStatus,
    EvNeeds,
    MeterSample,
    OcppVersion,
    StationBooted,
    StationOffline,
    StationOnline,
    TransactionEnded,
    TransactionStarted,
)
from aggregator.store import Store
from twin.assets import Battery, LossCurve, PowerCurve, Vehicle

pytestmark = pytest.mark.anyio
START = datetime(2019, 7, 15, 15, 0, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


class Desk:
    """A desk over a store, with what it told the other rooms."""

    def __init__(self, store: Store) -> None:
        curve = PowerCurve((0.0, 1.0), (11.0, 11.0))
        battery = Battery(50.0, curve, curve, LossCurve(0.05, 0.04, 0.002))
        vehicles = {"compact": VehicleModel(Vehicle("compact", battery, 11.0, 11.0), 0.08)}
        self.store = store
        self.reasons: list[str] = []
        self.booted: list[str] = []
        self.metered: list[MeterSample] = []
        self.left: list[str] = []
        # Four hours into the day: everything below lies in the past of the clock.
        clock = ScaledClock([Segment(time.time(), START + timedelta(hours=4), 1.0)])
        self.desk = FleetDesk(
            store, clock, Beliefs(vehicles, SiteDefaults(timedelta(hours=6), 8.0, "compact")),
            on_change=self.reasons.append, on_boot=self.booted.append, on_meter=self._on_meter,
            on_ended=self.left.append,
        )

    async def _on_meter(self, sample: MeterSample) -> None:
        self.metered.append(sample)

    def seen(self) -> tuple[object, ...]:
        """Everything believed of the cars, at one instant after all that happens below."""
        return self.desk.beliefs.sessions(after(200))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'v2g.sqlite'}"


@pytest.fixture
async def site(url: str) -> AsyncIterator[Desk]:
    async with await Store.open(url) as store:
        yield Desk(store)


def target(card: str = "card-1", hours: float = 8) -> DepartureTarget:
    return DepartureTarget(card, START + timedelta(hours=hours), 12.0, "compact", v2g_consent=True, floor_soc=0.3)


def meter(minutes: float, import_wh: float, export_wh: float = 0.0, *, evse_id: str = "E1", transaction: str = "1",
          soc: float | None = None) -> MeterSample:
    return MeterSample(evse_id, transaction, after(minutes), 6.0, import_wh, export_wh, soc)


async def plug_in(site: Desk, evse_id: str = "E1", card: str = "card-1", minutes: float = 0.0) -> str:
    return await site.desk.accept_transaction_start(evse_id, card, after(minutes), 1000.0, 0.0)


async def stored_sessions(site: Desk) -> list[tuple[str, str, bool]]:
    async with site.store.read() as tx:
        return [(s.evse_id, s.transaction_id, s.ended_at is None) for s in await tx.sessions.all()]


async def test_a_start_sent_again_is_the_same_transaction(site: Desk) -> None:
    first = await plug_in(site)
    assert await plug_in(site) == first
    assert await plug_in(site, "E2", "card-2") != first
    assert len(await stored_sessions(site)) == 2
    assert site.reasons == ["arrival", "arrival"]


async def test_a_started_event_delivered_twice_is_one_car(site: Desk) -> None:
    started = TransactionStarted("E1", "tx-9", "card-1", START, 1000.0)
    await site.desk.handle(started)
    await site.desk.handle(started)
    assert await stored_sessions(site) == [("E1", "tx-9", True)]
    assert site.reasons == ["arrival"]


async def test_a_meter_value_counts_once_however_often_it_comes(site: Desk) -> None:
    await plug_in(site)
    for minutes, wh in ((10, 2000.0), (20, 3000.0)):
        await site.desk.handle(meter(minutes, wh))
    before = site.seen()
    for minutes, wh in ((10, 2000.0), (20, 3000.0), (20, 3000.0)):
        await site.desk.handle(meter(minutes, wh))
    assert site.seen() == before
    session = site.desk.beliefs.session("E1", after(20))
    assert session is not None
    assert session.imported_kwh == pytest.approx(2.0)
    series = await site.store.telemetry.meter_series("E1", START, after(60))
    assert series.times() == [after(10), after(20)]


async def test_an_ended_session_stays_ended(site: Desk) -> None:
    number = await plug_in(site)
    await site.desk.handle(meter(30, 4000.0))
    ended = TransactionEnded("E1", number, after(40), 5000.0, 0.0, "EVDisconnected")
    await site.desk.handle(ended)
    await site.desk.handle(ended)
    assert await plug_in(site) == number  # the old start, delivered once more
    await site.desk.handle(TransactionStarted("E1", number, "card-1", START, 1000.0))
    assert site.seen() == ()
    assert site.left == ["E1"]
    assert site.reasons == ["arrival", "departure"]
    async with site.store.read() as tx:
        (session,) = await tx.sessions.all()
    assert (session.ended_at, session.import_wh, session.end_reason) == (after(40), 5000.0, "EVDisconnected")
    assert session.battery_kwh_delta == pytest.approx(3.8, abs=0.2)  # 4 kWh at the connector less the losses


async def test_the_end_of_a_transaction_nobody_started_harms_nobody(site: Desk) -> None:
    await plug_in(site)
    await site.desk.handle(TransactionEnded("E1", "unknown", after(5), None, None, "Other"))
    assert len(site.seen()) == 1
    assert site.left == []


async def test_after_a_restart_the_desk_believes_what_it_believed_before(site: Desk) -> None:
    await site.desk.declare(target(), "app-1")
    await site.desk.declare(target(hours=6), "fleet-manager")  # the newer one counts
    for evse_id, card in (("E1", "card-1"), ("E2", "card-2"), ("E3", "card-3")):
        await plug_in(site, evse_id, card)
    await site.desk.handle(EvNeeds(
        "E2", after(1), soc=0.42, departure=after(400), target_energy_kwh=10.0, min_v2x_energy_kwh=-3.0,
        max_charge_kw=9.0, max_discharge_kw=6.0, bidirectional=True,
    ))
    for minutes in range(5, 65, 5):
        await site.desk.handle(meter(minutes, 1000.0 + 100.0 * minutes))
        await site.desk.handle(meter(minutes, 1000.0 + 90.0 * min(minutes, 30), 80.0 * max(0, minutes - 30),
                                     evse_id="E2", transaction="2", soc=0.5 if minutes == 30 else None))
    await site.desk.handle(TransactionEnded("E3", "3", after(90), 1000.0, 0.0, "EVDisconnected"))
    believed = site.seen()
    assert len(believed) == 2

    again = Desk(site.store)
    await again.desk.recover()
    assert again.seen() == believed
    assert again.reasons == []  # what is remembered is no news
    first = again.desk.beliefs.session("E1", after(200))
    assert first is not None
    assert first.departure == START + timedelta(hours=6)
    assert await again.desk.accept_transaction_start("E4", "card-4", after(100), 0.0, 0.0) == "4"


async def test_needs_that_come_before_their_transaction_wait_for_it(site: Desk) -> None:
    told: list[str] = []
    site.desk._on_needs = told.append
    await site.desk.handle(EvNeeds("E1", after(-2), soc=0.4, departure=after(400)))
    assert told == []
    await plug_in(site)
    assert told == ["E1"]
    assert site.reasons == ["charging needs", "arrival"]
    session = site.desk.beliefs.session("E1", after(1))
    assert session is not None
    assert (session.departure, session.soc) == (after(400), pytest.approx(0.4))


async def test_needs_of_a_car_that_never_began_are_not_the_next_ones(site: Desk) -> None:
    await site.desk.handle(EvNeeds("E1", after(0), soc=0.4, departure=after(400)))
    await plug_in(site, minutes=11)
    assert site.reasons == ["arrival"]
    session = site.desk.beliefs.session("E1", after(12))
    assert session is not None
    assert not session.is_declared


async def test_the_same_start_after_a_restart_is_still_the_same_transaction(site: Desk) -> None:
    number = await plug_in(site)
    again = Desk(site.store)
    await again.desk.recover()
    assert await plug_in(again) == number
    assert len(again.seen()) == 1
    assert again.reasons == []


async def test_a_declaration_is_stored_before_it_is_believed(site: Desk) -> None:
    with pytest.raises(UnknownVehicleModel, match="'spaceship'"):
        await site.desk.declare(DepartureTarget("card-1", after(60), 5.0, "spaceship"), "app-1")
    async with site.store.read() as tx:
        assert await tx.targets.all_latest() == {}
    await plug_in(site)
    session = await site.desk.declare(target(), "app-1")
    assert session is not None
    assert (session.evse_id, session.is_declared, session.v2g_consent) == ("E1", True, True)
    async with site.store.read() as tx:
        latest = await tx.targets.latest("card-1")
    assert latest is not None
    assert latest.declared_by == "app-1"
    assert site.reasons == ["arrival", "departure target"]


async def test_a_reported_soc_is_news_only_when_it_says_something_new(site: Desk) -> None:
    await plug_in(site)
    await site.desk.handle(EvNeeds("E1", after(1), soc=0.3))
    assert site.reasons == ["arrival", "charging needs"]
    await site.desk.handle(meter(2, 1000.0, soc=0.31))
    assert site.reasons[2:] == []
    await site.desk.handle(meter(3, 1000.0, soc=0.6))
    assert site.reasons[2:] == ["state of charge"]


async def test_a_car_that_stops_drawing_asks_for_one_new_plan(site: Desk) -> None:
    await plug_in(site)
    for _ in range(2):
        await site.desk.handle(ConnectorStatus("E1", ConnectorState.SUSPENDED_EV, after(30)))
    session = site.desk.beliefs.session("E1", after(30))
    assert session is not None
    assert session.is_full
    assert len(site.reasons) == 2


async def test_a_late_goodbye_of_a_replaced_connection_takes_no_station_offline(site: Desk) -> None:
    await site.desk.handle(StationOnline("S1", OcppVersion.V201, 1, after(0)))
    await site.desk.handle(StationBooted("S1", OcppVersion.V201, "Twin", "AC-32", "1.0", after(0)))
    await site.desk.handle(StationOnline("S1", OcppVersion.V201, 2, after(1)))
    await site.desk.handle(StationOffline("S1", 1, after(2)))
    assert site.desk.stations["S1"].is_online
    await site.desk.handle(StationOffline("S1", 2, after(3)))
    assert not site.desk.stations["S1"].is_online
    assert site.desk.model_of("S1") == "Twin AC-32"
    assert site.desk.model_of("S2") == ""
    assert set(site.booted) == {"S1"}
    async with site.store.read() as tx:
        (kept,) = await tx.stations.all()
    assert (kept.epoch, kept.is_online, kept.firmware) == (2, False, "1.0")
