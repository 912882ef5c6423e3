"""The cars' state: exact, conserving energy, and free of energy out of nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Vehicle
from twin.battery import FleetState, SlotOccupied, battery_kw, usable_setpoint
from twin.ledger import Ledger, LedgerBroken

FLAT = PowerCurve((0.0, 1.0), (50.0, 50.0))


def car(
    loss: LossCurve | None = None, charge: PowerCurve = FLAT, discharge: PowerCurve = FLAT, capacity: float = 60.0,
    max_kw: float = 11.0, **window: float,
) -> Vehicle:
    battery = Battery(capacity, charge, discharge, loss or LossCurve(), **window)
    return Vehicle("car", battery, max_kw, max_kw)


def one(vehicle: Vehicle, energy: float, **limits: float) -> FleetState:
    fleet = FleetState(1)
    fleet.plug(0, vehicle, energy, **limits)
    return fleet


losses = st.builds(
    LossCurve, st.sampled_from([0.0, 0.05, 0.2]), st.floats(0.0, 0.1), st.sampled_from([0.0, 0.002, 0.005])
)
powers = st.lists(st.floats(0.0, 60.0), min_size=2, max_size=5)


@st.composite
def curves(draw: st.DrawFn) -> PowerCurve:
    kw = draw(powers)
    inner = sorted(draw(st.lists(st.integers(1, 99), min_size=len(kw) - 2, max_size=len(kw) - 2, unique=True)))
    return PowerCurve((0.0, *(soc / 100 for soc in inner), 1.0), tuple(kw))


cars = st.builds(car, losses, curves(), curves())


@settings(max_examples=60, deadline=None)
@given(
    vehicles=st.lists(cars, min_size=1, max_size=4),
    orders=st.lists(st.tuples(st.integers(0, 3), st.floats(-15, 15), st.floats(0, 7200)), max_size=25),
    soc=st.floats(0, 1),
    floor=st.floats(0, 60),
)
def test_grid_energy_is_battery_change_plus_losses(
    vehicles: list[Vehicle], orders: list[tuple[int, float, float]], soc: float, floor: float
) -> None:
    fleet = FleetState(len(vehicles))
    for slot, vehicle in enumerate(vehicles):
        fleet.plug(slot, vehicle, soc * 60.0, floor_kwh=floor)
    lowest = min(soc * 60.0, floor)
    for slot, kw, seconds in orders:
        fleet.set_power(slot % len(vehicles), kw)
        fleet.advance(seconds)
        assert (fleet.energy_kwh >= lowest - 1e-9).all()
        assert (fleet.energy_kwh <= 60.0 + 1e-9).all()
    ledger = fleet.ledger()
    assert ledger.relative_residual <= 1e-9
    assert (ledger.loss_kwh >= 0).all()
    assert (ledger.import_kwh >= 0).all()
    assert (ledger.export_kwh >= 0).all()


@settings(max_examples=25, deadline=None)
@given(
    vehicle=cars, soc=st.floats(0.02, 0.98), kw=st.floats(-11, 11), floor=st.floats(0, 30),
    tick_s=st.sampled_from([7.0, 60.0, 900.0]),
)
def test_the_length_of_a_tick_changes_nothing(
    vehicle: Vehicle, soc: float, kw: float, floor: float, tick_s: float
) -> None:
    fine, coarse = (one(vehicle, soc * 60.0, floor_kwh=floor) for _ in range(2))
    for fleet in (fine, coarse):
        fleet.set_power(0, kw)
    coarse.advance(6300.0)
    for _ in range(int(6300 / tick_s)):
        fine.advance(tick_s)
        assert math.isfinite(fine.power_kw[0])
    for name in ("energy_kwh", "import_kwh", "export_kwh", "loss_kwh", "power_kw"):
        np.testing.assert_allclose(getattr(fine, name), getattr(coarse, name), rtol=1e-9, atol=1e-12, err_msg=name)


def integrated(vehicle: Vehicle, energy: float, kw: float, seconds: float, floor: float = 0.0) -> tuple[float, float]:
    """Oracle: battery and connector energy by dense numerical integration of the stated power, not of our formula."""
    battery, loss = vehicle.battery, vehicle.battery.loss
    curve = battery.charge if kw > 0 else battery.discharge
    assert curve is not None

    def connector(b: float) -> float:
        lost = loss.standby_kw + loss.proportional * b + loss.quadratic_per_kw * b * b
        return b + lost if kw > 0 else b - lost

    wanted = brentq(lambda b: connector(b) - abs(kw), 0.0, 40.0, xtol=1e-14)

    def flow(_: float, state: np.ndarray) -> list[float]:
        e = state[0]
        if (kw > 0 and e >= battery.soc_max * battery.capacity_kwh) or (kw < 0 and e <= floor):
            return [0.0, 0.0]
        b = min(wanted, float(np.interp(e / battery.capacity_kwh, curve.soc, curve.kw)))
        sign = 1.0 if kw > 0 else -1.0
        return [sign * b / 3600.0, sign * connector(b) / 3600.0]

    solution = solve_ivp(flow, (0, seconds), [energy, 0.0], max_step=5.0, rtol=1e-10, atol=1e-12)
    return float(solution.y[0, -1]), float(solution.y[1, -1])


@pytest.mark.parametrize(
    ("soc", "kw", "hours"), [(0.5, 11.0, 4.0), (0.02, 11.0, 2.0), (0.78, 9.0, 3.0), (0.7, -11.0, 4.0), (0.3, -4.0, 2.0)]
)
def test_the_closed_form_equals_dense_numerical_integration(soc: float, kw: float, hours: float) -> None:
    vehicle = car(
        LossCurve(0.12, 0.03, 0.0033),
        charge=PowerCurve((0.0, 0.1, 0.6, 0.8, 1.0), (4.0, 30.0, 25.0, 8.0, 1.5)),
        discharge=PowerCurve((0.0, 0.2, 0.5, 1.0), (1.0, 4.0, 30.0, 30.0)),
    )
    fleet = one(vehicle, soc * 60.0)
    fleet.set_power(0, kw)
    fleet.advance(hours * 3600)
    energy, drawn = integrated(vehicle, soc * 60.0, kw, hours * 3600)
    assert fleet.energy_kwh[0] == pytest.approx(energy, abs=2e-5)
    assert fleet.import_kwh[0] - fleet.export_kwh[0] == pytest.approx(drawn, abs=2e-5)


def test_taper_follows_the_textbook_exponential() -> None:
    fleet = one(car(charge=PowerCurve((0.0, 0.8, 1.0), (10.0, 10.0, 0.0))), 0.8 * 60.0)
    fleet.set_power(0, 10.0)
    fleet.advance(3600.0)
    # Two-stage battery: P falls linearly to 0 over 12 kWh, so 12 kWh * (1 - exp(-10/12)) flow in the first hour.
    assert fleet.energy_kwh[0] - 48.0 == pytest.approx(12.0 * (1 - math.exp(-10 / 12)), rel=1e-12)
    assert fleet.power_kw[0] == pytest.approx(10.0 * math.exp(-10 / 12), rel=1e-12)
    assert fleet.next_change_s() > 1e5


def test_constant_power_is_booked_as_it_was_asked() -> None:
    fleet = one(car(LossCurve(0.12, 0.03, 0.0033)), 20.0)
    for kw, seconds in ((7.3, 1234.0), (-9.1, 777.0)):
        fleet.set_power(0, kw)
        assert fleet.power_kw[0] == pytest.approx(kw, rel=1e-13)
        fleet.advance(seconds)
    assert fleet.import_kwh[0] == pytest.approx(7.3 * 1234 / 3600, rel=1e-12)
    assert fleet.export_kwh[0] == pytest.approx(9.1 * 777 / 3600, rel=1e-12)


@pytest.mark.parametrize("efficiency", [0.9, 0.95, 0.99])
def test_a_round_trip_returns_the_product_of_both_efficiencies(efficiency: float) -> None:
    proportional = 1.0 - efficiency
    fleet = one(car(LossCurve(proportional=proportional)), 10.0)
    fleet.set_power(0, 11.0)
    fleet.advance(3600.0)
    fleet.set_power(0, -11.0)
    floor_reached = FleetState(1)
    floor_reached.plug(0, car(LossCurve(proportional=proportional)), float(fleet.energy_kwh[0]), floor_kwh=10.0)
    floor_reached.set_power(0, -11.0)
    floor_reached.advance(7200.0)
    assert floor_reached.energy_kwh[0] == 10.0
    assert floor_reached.export_kwh[0] / fleet.import_kwh[0] == pytest.approx(
        (1 - proportional) / (1 + proportional), rel=1e-12
    )


def test_tiny_power_over_many_small_steps_books_exactly_its_energy() -> None:
    fleet = one(car(), 30.0)
    fleet.set_power(0, 0.035)
    for _ in range(600):
        fleet.advance(60.0)
    assert fleet.energy_kwh[0] - 30.0 == pytest.approx(0.35, rel=1e-12)
    assert fleet.import_kwh[0] == pytest.approx(0.35, rel=1e-12)


@pytest.mark.parametrize("energy", [6.0, 10.0])
def test_a_discharge_order_at_or_below_the_floor_gives_and_takes_nothing(energy: float) -> None:
    fleet = one(car(LossCurve(0.1, 0.05, 0.002)), energy, floor_kwh=10.0)
    fleet.set_power(0, -11.0)
    assert fleet.power_kw[0] == 0.0
    fleet.advance(3600.0)
    assert fleet.energy_kwh[0] == energy
    assert (fleet.import_kwh[0], fleet.export_kwh[0], fleet.loss_kwh[0]) == (0.0, 0.0, 0.0)


def test_a_discharge_order_below_the_minimum_is_no_order() -> None:
    evse = Evse("A", "S", Current.DC, 11.0, max_discharge_kw=11.0)
    vehicle = Vehicle("v", car().battery, 11.0, 11.0, min_discharge_kw=1.0)
    assert usable_setpoint(evse, vehicle, -0.9) == 0.0
    assert usable_setpoint(evse, vehicle, -1.0) == -1.0
    fleet = one(vehicle, 6.0)
    fleet.set_power(0, -0.9)
    fleet.advance(36000.0)
    assert fleet.energy_kwh[0] == 6.0


def test_a_one_phase_16_ampere_car_draws_no_more_than_its_wire() -> None:
    evse = Evse("A", "S", Current.AC, 11.0, min_charge_kw=1.38)
    vehicle = car(max_kw=16 * 230 / 1000)
    assert usable_setpoint(evse, vehicle, 11.0) == pytest.approx(3.68)
    fleet = one(vehicle, 6.0)
    fleet.set_power(0, 11.0)
    assert fleet.power_kw[0] == pytest.approx(3.68)


def test_charging_below_six_amperes_is_a_pause() -> None:
    evse = Evse("A", "S", Current.AC, 6.656, min_charge_kw=1.248)
    assert usable_setpoint(evse, car(), 1.247) == 0.0
    assert usable_setpoint(evse, car(), 1.248 - 1e-12) == pytest.approx(1.248)
    assert usable_setpoint(evse, car(), -5.0) == 0.0


def test_the_floor_and_the_full_battery_are_reached_exactly_and_announced() -> None:
    fleet = one(car(), 20.0, floor_kwh=15.0)
    fleet.set_power(0, -10.0)
    assert fleet.next_change_s() == pytest.approx(1800.0)
    fleet.advance(1800.0 + 1e-6)
    assert fleet.energy_kwh[0] == 15.0
    assert fleet.power_kw[0] == 0.0
    fleet.set_power(0, 10.0)
    fleet.advance(36000.0)
    assert fleet.energy_kwh[0] == 60.0
    assert fleet.soc[0] == 1.0
    assert fleet.next_change_s() == math.inf


def test_power_below_the_standby_loss_never_reaches_the_battery() -> None:
    fleet = one(car(LossCurve(standby_kw=0.2)), 20.0)
    fleet.set_power(0, 0.1)
    fleet.advance(3600.0)
    assert fleet.energy_kwh[0] == 20.0
    assert fleet.loss_kwh[0] == pytest.approx(fleet.import_kwh[0], rel=1e-12)
    assert fleet.import_kwh[0] == pytest.approx(0.1, rel=1e-12)


def test_a_fading_discharge_stops_before_the_connector_turns_to_import() -> None:
    fading = PowerCurve((0.0, 0.5, 1.0), (0.0, 10.0, 10.0))
    fleet = one(car(LossCurve(standby_kw=0.3, proportional=0.02), discharge=fading), 20.0)
    fleet.set_power(0, -11.0)
    for _ in range(200):
        fleet.advance(300.0)
        assert fleet.power_kw[0] <= 1e-9
    assert fleet.power_kw[0] == 0.0
    assert fleet.import_kwh[0] == 0.0
    assert fleet.ledger().relative_residual < 1e-12


@pytest.mark.parametrize("kw", [-11.0, -0.5, 0.3, 6.656, 11.0])
def test_battery_power_plus_its_loss_is_the_connector_power(kw: float) -> None:
    loss = LossCurve(0.12, 0.03, 0.0033)
    b = battery_kw(car(loss), kw)
    lost = loss.standby_kw + loss.proportional * abs(b) + loss.quadratic_per_kw * b * b
    assert b + lost == pytest.approx(kw, rel=1e-12)


def test_registers_count_on_over_several_cars() -> None:
    fleet = FleetState(2)
    for energy in (10.0, 30.0):
        fleet.plug(1, car(), energy)
        fleet.set_power(1, 6.0)
        fleet.advance(1800.0)
        assert fleet.unplug(1) == pytest.approx(energy + 3.0)
    assert fleet.import_kwh[1] == pytest.approx(6.0)
    assert fleet.registers(1) == pytest.approx((6.0, 0.0))
    assert np.isnan(fleet.soc).all()
    assert fleet.ledger().battery_kwh[1] == pytest.approx(6.0)


def test_bad_orders_are_refused_by_name() -> None:
    fleet = one(car(), 10.0)
    with pytest.raises(SlotOccupied, match="slot 0"):
        fleet.plug(0, car(), 10.0)
    with pytest.raises(ValueError, match="energy_kwh: 61"):
        FleetState(1).plug(0, car(), 61.0)
    with pytest.raises(ValueError, match="seconds: -1"):
        fleet.advance(-1)


def test_an_unbalanced_ledger_is_an_error() -> None:
    one_kwh = np.ones(1)
    Ledger(one_kwh, 0 * one_kwh, 0.9 * one_kwh, 0.1 * one_kwh).check()
    with pytest.raises(LedgerBroken, match="slot 0"):
        Ledger(one_kwh, 0 * one_kwh, 0.9 * one_kwh, 0.100001 * one_kwh).check()
