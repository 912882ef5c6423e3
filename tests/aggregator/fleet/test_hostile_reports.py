"""Chargers are authenticated, not trusted: absurd reports are left out, and nothing that is believed becomes absurd."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fleet import Beliefs, VehicleModel
from aggregator.fleet.beliefs import SiteDefaults
from aggregator.fleet.desk import FleetDesk
from aggregator.fleet.plausible import Plausibility
from aggregator.ocpp.events import EvNeeds, MeterSample, TransactionEnded, TransactionStarted
from aggregator.store import Store
from twin.assets import Battery, LossCurve, PowerCurve, Vehicle

NOW = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
CURVE = PowerCurve((0.0, 1.0), (11.0, 11.0))
CAR = VehicleModel(Vehicle("compact", Battery(50.0, CURVE, CURVE, LossCurve(0.05, 0.04, 0.002)), 11.0, 11.0), 0.08)


class Standing:
    def now(self) -> datetime:
        return NOW


def believing() -> Beliefs:
    return Beliefs({"compact": CAR}, SiteDefaults(timedelta(hours=6), 8.0, "compact"), {"E1": 11.0})


def desk_on(store: Store) -> FleetDesk:
    async def ignore(_sample: MeterSample) -> None: ...

    return FleetDesk(
        store, Standing(), believing(), on_change=lambda _reason: None, on_boot=lambda _station: None, on_meter=ignore,
        on_ended=lambda _evse: None, plausible=Plausibility(Standing(), {"E1": 11.0}),
    )


@pytest.mark.anyio
@pytest.mark.parametrize("at", [FIRST, LAST])
async def test_a_transaction_from_another_age_starts_now_and_only_once(tmp_path: Path, at: datetime) -> None:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/v2g.db") as store:
        desk = desk_on(store)
        first = await desk.accept_transaction_start("E1", "card", at, 100.0, 0.0)
        assert await desk.accept_transaction_start("E1", "card", at, 100.0, 0.0) == first
        (session,) = desk.beliefs.sessions(NOW)
        assert session.started_at == NOW
        assert session.departure == NOW + timedelta(hours=6)
        await desk.handle(TransactionEnded("E1", first, FIRST, 200.0, 1e308, "Local"))
        async with store.read() as tx:
            (stored,) = await tx.sessions.all()
        assert stored.ended_at is not None
        assert stored.ended_at >= stored.started_at


@pytest.mark.anyio
async def test_a_reading_from_the_future_does_not_silence_the_true_ones(tmp_path: Path) -> None:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/v2g.db") as store:
        desk = desk_on(store)
        await desk.handle(TransactionStarted("E1", "t1", "card", NOW - timedelta(hours=1), 0.0, 0.0))
        await desk.handle(MeterSample("E1", "t1", LAST, 6.0, 3000.0))
        await desk.handle(MeterSample("E1", "t1", NOW, 5.0, 3010.0))
        (session,) = desk.beliefs.sessions(NOW)
        assert session.power_kw == 5.0
        assert session.imported_kwh == pytest.approx(3.01)


@pytest.mark.parametrize("power_kw", [1e308, -1e308, 5e14, 31.0])
def test_power_that_the_evse_cannot_carry_is_left_out(power_kw: float) -> None:
    sane = Plausibility(Standing(), {"E1": 11.0}).sample(MeterSample("E1", "t1", NOW, power_kw, 1000.0))
    assert sane.power_kw is None
    assert sane.import_wh == 1000.0


@pytest.mark.parametrize("capacity_kwh", [1e300, 0.001, 0.0])
def test_a_battery_that_no_car_has_is_left_out(capacity_kwh: float) -> None:
    needs = EvNeeds("E1", NOW, 0.5, capacity_kwh)
    assert Plausibility(Standing()).needs(needs).capacity_kwh is None


@given(
    departure=st.none() | st.datetimes(timezones=st.just(UTC)), number=st.floats(),
    at=st.datetimes(timezones=st.just(UTC)),
)
def test_needs_that_no_car_can_have_are_left_out(departure: datetime | None, number: float, at: datetime) -> None:
    needs = Plausibility(Standing()).needs(EvNeeds(
        "E1", at, number, number, departure, number, number, True, number, number, number, number,
    ))
    assert needs.departure is None or needs.at < needs.departure <= needs.at + timedelta(days=60)
    for share in (needs.soc, needs.target_soc):
        assert share is None or 0.0 <= share <= 1.0
    for energy_kwh in (needs.target_energy_kwh, needs.min_energy_kwh, needs.min_v2x_energy_kwh):
        assert energy_kwh is None or abs(energy_kwh) <= 2000.0
    for power_kw in (needs.max_charge_kw, needs.max_discharge_kw):
        assert power_kw is None or 0.0 <= power_kw <= 10_000.0


def test_a_meter_that_begins_anew_is_counted_on_from_there() -> None:
    known = believing()
    known.started("t1", "E1", "card", NOW, 5_000_000.0)
    for minutes, register in ((30, 5_003_000.0), (60, 0.0), (90, 3000.0), (120, 9e11), (150, 9e11 + 3000)):
        known.metered(MeterSample("E1", "t1", NOW + timedelta(minutes=minutes), 6.0, register))
    session = known.session("E1", NOW)
    assert session is not None
    assert session.imported_kwh == pytest.approx(9.0, abs=0.01)


def test_an_export_register_out_of_order_does_not_hide_a_discharge() -> None:
    known = believing()
    known.started("t1", "E1", "card", NOW, 0.0)
    known.soc_reported("E1", 0.9, NOW)
    for minutes, register in ((10, 1000.0), (20, 9e11), (30, 2000.0), (60, 7000.0)):
        known.metered(MeterSample("E1", "t1", NOW + timedelta(minutes=minutes), -10.0, None, register))
    session = known.session("E1", NOW)
    assert session is not None
    assert session.exported_kwh >= 5.9
    assert session.energy_kwh <= 0.9 * 50.0 - 5.9


registers = st.none() | st.floats(-1e6, 2e12) | st.sampled_from([1e308, -1e308, 5e-324])


@settings(max_examples=60)
@given(st.lists(st.tuples(
    st.datetimes(timezones=st.just(UTC)), st.floats(allow_nan=False, allow_infinity=False), registers, registers,
    st.floats(-5, 5),
), max_size=12))
def test_whatever_a_charger_says_beliefs_stay_within_the_battery(said: list[tuple]) -> None:
    known, sane = believing(), Plausibility(Standing(), {"E1": 11.0})
    known.started("t1", "E1", "card", NOW - timedelta(hours=8), 0.0)
    for at, power_kw, import_wh, export_wh, soc in said:
        known.metered(sane.sample(MeterSample("E1", "t1", at, power_kw, import_wh, export_wh, soc)))
        session = known.session("E1", NOW)
        assert session is not None
        assert 0.0 <= session.energy_kwh <= session.capacity_kwh
        assert abs(session.power_kw) <= 27.0
        assert session.discharged_h >= 0.0
        assert math.isfinite(session.imported_kwh + session.exported_kwh + session.target_kwh)
