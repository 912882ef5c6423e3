"""Beliefs about cars: estimated from registers, replaced by reports, never knowing more than was observed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fleet import Beliefs, DepartureTarget, SocSource, UnknownVehicleModel, VehicleModel
from aggregator.fleet.beliefs import SiteDefaults
from aggregator.ocpp.events import MeterSample
from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.battery import battery_kw

T0 = datetime(2019, 7, 15, 15, 0, tzinfo=UTC)
LOSS = LossCurve(0.05, 0.04, 0.002)


def car(loss: LossCurve = LOSS) -> VehicleModel:
    curve = PowerCurve((0.0, 1.0), (11.0, 11.0))
    return VehicleModel(Vehicle("compact", Battery(50.0, curve, curve, loss), 11.0, 11.0), wear_per_kwh=0.08)


def beliefs() -> Beliefs:
    return Beliefs({"compact": car()}, SiteDefaults(timedelta(hours=6), 8.0, "compact"))


def target(requested_kwh: float = 12.0, departure: datetime = T0 + timedelta(hours=5)) -> DepartureTarget:
    return DepartureTarget("card", departure, requested_kwh, "compact", v2g_consent=True, floor_soc=0.3)


def sample(minutes: float, import_wh: float, export_wh: float = 0.0, **extra: float) -> MeterSample:
    return MeterSample("E1", "t1", T0 + timedelta(minutes=minutes), import_wh=import_wh, export_wh=export_wh, **extra)


def test_a_car_without_declaration_gets_the_defaults_of_the_site() -> None:
    known = beliefs()
    known.started("t1", "E1", "card", T0, 1000.0)
    session = known.session("E1", T0)
    assert session is not None
    assert not session.is_declared
    assert not session.v2g_consent
    assert session.departure == T0 + timedelta(hours=6)
    assert session.target_kwh - session.energy_kwh == pytest.approx(8.0)


def test_energy_follows_the_registers_less_the_losses() -> None:
    known = beliefs()
    known.declare(target())
    known.started("t1", "E1", "card", T0, 1000.0)
    arrival = known.session("E1", T0)
    assert arrival is not None
    for minute in range(1, 61):
        known.metered(sample(minute, 1000.0 + 6000.0 * minute / 60, power_kw=6.0))
    session = known.session("E1", T0 + timedelta(hours=1))
    assert session is not None
    assert session.energy_kwh - arrival.energy_kwh == pytest.approx(battery_kw(car().vehicle, 6.0), rel=1e-9)
    assert session.imported_kwh == pytest.approx(6.0)
    assert session.soc_source is SocSource.ESTIMATED


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_repeated_and_late_samples_count_no_energy_twice(order: list[int]) -> None:
    known = beliefs()
    known.started("t1", "E1", "card", T0, 0.0)
    for minute in order:
        known.metered(sample(minute, 100.0 * minute))
        known.metered(sample(minute, 100.0 * minute))
    session = known.session("E1", T0)
    assert session is not None
    assert session.imported_kwh == pytest.approx(0.1 * max(order))


def test_a_reported_soc_replaces_the_estimate_and_ages_with_the_registers() -> None:
    known = beliefs()
    known.declare(target())
    known.started("t1", "E1", "card", T0, 0.0)
    known.soc_reported("E1", 0.62, T0, capacity_kwh=50.0)
    known.metered(sample(30, 3000.0))
    session = known.session("E1", T0 + timedelta(minutes=30))
    assert session is not None
    assert session.soc_source is SocSource.REPORTED
    assert session.soc_at == T0
    assert session.energy_kwh == pytest.approx(31.0 + 0.5 * battery_kw(car().vehicle, 6.0))
    assert session.target_kwh == pytest.approx(31.0 + 12.0)


def test_a_report_in_whole_per_cent_does_not_make_the_estimate_jump() -> None:
    known = beliefs()
    known.declare(target())
    known.started("t1", "E1", "card", T0, 0.0)
    true_kwh = 31.2
    known.soc_reported("E1", round(true_kwh / 50.0, 2), T0, capacity_kwh=50.0)
    for minute in range(1, 121):
        true_kwh += battery_kw(car().vehicle, 6.0) / 60
        known.metered(sample(minute, 100.0 * minute, soc=round(true_kwh / 50.0, 2)))
    session = known.session("E1", T0 + timedelta(hours=2))
    assert session is not None
    assert session.energy_kwh == pytest.approx(true_kwh, abs=0.02)
    assert session.delivered_kwh == pytest.approx(2 * battery_kw(car().vehicle, 6.0), rel=1e-6)


def test_discharge_lowers_the_battery_by_more_than_the_meter_exports() -> None:
    known = beliefs()
    known.declare(target())
    known.started("t1", "E1", "card", T0, 0.0)
    known.soc_reported("E1", 0.8, T0)
    known.metered(sample(60, 0.0, export_wh=5000.0))
    session = known.session("E1", T0 + timedelta(hours=1))
    assert session is not None
    assert 40.0 - session.energy_kwh > 5.0
    assert session.exported_kwh == pytest.approx(5.0)


def test_a_full_car_wants_no_more_than_it_holds() -> None:
    known = beliefs()
    known.declare(target(requested_kwh=30.0))
    known.started("t1", "E1", "card", T0, 0.0)
    known.stopped_drawing("E1")
    session = known.session("E1", T0)
    assert session is not None
    assert session.is_full
    assert session.target_kwh == session.energy_kwh


def test_an_overdue_car_is_expected_to_leave_soon_again_and_again() -> None:
    known = beliefs()
    known.declare(target(departure=T0 + timedelta(hours=1)))
    known.started("t1", "E1", "card", T0, 0.0)
    late = T0 + timedelta(hours=3)
    session = known.session("E1", late)
    assert session is not None
    assert late < session.departure <= late + timedelta(hours=1)


def test_a_second_start_of_the_same_transaction_changes_nothing() -> None:
    known = beliefs()
    assert known.started("t1", "E1", "card", T0, 500.0)
    known.metered(sample(10, 1500.0))
    assert not known.started("t1", "E1", "card", T0, 500.0)
    session = known.session("E1", T0)
    assert session is not None
    assert session.imported_kwh == pytest.approx(1.0)


def test_samples_of_another_transaction_are_refused() -> None:
    known = beliefs()
    known.started("t2", "E1", "card", T0, 0.0)
    assert not known.metered(sample(10, 900.0))


def test_an_unknown_vehicle_model_is_refused_by_name() -> None:
    with pytest.raises(UnknownVehicleModel, match="'bicycle', expected one of compact"):
        beliefs().declare(DepartureTarget("card", T0, 5.0, "bicycle"))
