"""The shipped vehicle classes and chargers: every figure valid, and true to what was measured and published."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest
from scipy.optimize import brentq

from twin import catalogue
from twin.ageing import FleetAgeing
from twin.ageing.cells import CELLS
from twin.assets import Current, Evse, LossCurve, Vehicle, pair_limits, pair_loss
from twin.catalogue import CatalogueError, charger, charger_entry, vehicle, vehicle_entry

VEHICLES, CHARGERS = catalogue.names()
PAIRS = [(plug, car) for plug in CHARGERS for car in VEHICLES]


def stand(plug: str, car: str) -> tuple[Evse, Vehicle]:
    return charger(plug, "E1", "depot"), vehicle(car)


def battery_side_kw(loss: LossCurve, connector_kw: float) -> float:
    """Solve connector = battery + loss(battery) by bisection; signs as everywhere."""

    def excess(b: float) -> float:
        drawn = loss.standby_kw + loss.proportional * abs(b) + loss.quadratic_per_kw * b * b
        return b + drawn - connector_kw

    least, most = sorted((0.0, 1.5 * connector_kw))
    return float(brentq(excess, least, most, xtol=1e-12))


def round_trip(loss: LossCurve, connector_kw: float) -> float:
    one_way = battery_side_kw(loss, connector_kw) / connector_kw
    back = connector_kw / -battery_side_kw(loss, -connector_kw)
    return one_way * back


def minutes(car: Vehicle, low: float, high: float) -> float:
    """Time from one SoC to another along the battery's curve."""
    soc = np.linspace(low, high, 20001)
    hours_per_soc = car.battery.capacity_kwh / np.interp(soc, car.battery.charge.soc, car.battery.charge.kw)
    return float(np.trapezoid(hours_per_soc, soc)) * 60.0


def mean_kw(car: Vehicle, low: float, high: float) -> float:
    return (high - low) * car.battery.capacity_kwh / minutes(car, low, high) * 60.0


# ---------------------------------------------------------------------------------------------- every entry


def test_at_least_six_vehicle_classes_and_all_kinds_of_charger_are_shipped() -> None:
    assert len(VEHICLES) >= 6
    kinds = {(entry.current, entry.max_discharge_kw > 0) for entry in map(charger_entry, CHARGERS)}
    assert kinds == {(current, back) for current in Current for back in (True, False)}


@pytest.mark.parametrize("name", VEHICLES)
def test_a_vehicle_is_valid_sourced_and_ages(name: str) -> None:
    entry, car = vehicle_entry(name), vehicle(name)
    assert len(entry.sources) >= 1
    assert all(len(text) > 10 for text in entry.sources.values())
    assert max(car.battery.charge.kw) <= car.max_charge_kw, "the curve, not the connector, limits it on DC"
    assert car.battery.charge.at(1.0) < 0.25 * max(car.battery.charge.kw), "it tapers"
    assert (car.max_discharge_kw > 0.0) == bool(car.discharges_on) == (car.battery.discharge is not None)
    assert entry.chemistry in CELLS
    assert catalogue.chemistry(car.model) == entry.chemistry
    fleet = FleetAgeing(entry.chemistry, 1)
    fleet.live(np.array([[0.4, 0.8, 0.4]]), 20.0)
    assert 0.99 < fleet.capacity[0] < 1.0


@pytest.mark.parametrize("name", CHARGERS)
def test_a_charger_is_valid_and_says_what_is_known_and_what_assumed(name: str) -> None:
    entry, evse = charger_entry(name), charger(name, "E7", "depot")
    assert (evse.id, evse.site_id) == ("E7", "depot")
    assert entry.sources or entry.assumed
    assert (evse.loss is not None) == (evse.current is Current.DC)
    if evse.current is Current.AC:
        assert evse.ac_max_current_a is not None
        assert evse.max_charge_kw == pytest.approx(evse.ac_phases * evse.ac_volts * evse.ac_max_current_a / 1000.0)
        assert evse.min_charge_kw == pytest.approx(6.0 * evse.ac_phases * evse.ac_volts / 1000.0), "IEC 61851-1"


@pytest.mark.parametrize(("file", "tables"), [("vehicles.toml", VEHICLES), ("chargers.toml", CHARGERS)])
def test_every_assumption_and_source_names_a_field_of_its_entry(file: str, tables: tuple[str, ...]) -> None:
    entries = tomllib.loads(files("twin").joinpath("data", file).read_text(encoding="utf-8"))
    assert tuple(entries) == tables
    for name, entry in entries.items():
        fields = set(entry) | {"capacity", "ac"}
        stated = set(entry["sources"]) | set(entry.get("assumed", {}))
        assert stated <= fields, name


# ---------------------------------------------------------------------------------------------- measured figures


@pytest.mark.parametrize(("plug", "car"), [
    pair for pair in PAIRS if pair_limits(*stand(*pair)).max_discharge_kw > 0.0
])
def test_a_round_trip_at_20_to_100_percent_of_rated_power_keeps_79_to_88_percent(plug: str, car: str) -> None:
    """Schram et al., SEST 2020: 79.1 to 87.8 %, lower at lower power."""
    evse, type_ = stand(plug, car)
    rated = min(pair_limits(evse, type_).max_charge_kw, pair_limits(evse, type_).max_discharge_kw)
    trips = [round_trip(pair_loss(evse, type_), share * rated) for share in np.linspace(0.2, 1.0, 33)]
    assert min(trips) >= 0.79
    assert max(trips) <= 0.88
    assert trips[0] < trips[16] < 0.878


def test_both_kinds_of_current_have_a_bidirectional_pair() -> None:
    able = {stand(*pair)[0].current for pair in PAIRS if pair_limits(*stand(*pair)).max_discharge_kw > 0.0}
    assert able == set(Current)


def test_a_round_trip_at_3_x_16_a_keeps_the_measured_87_percent() -> None:
    evse, car = stand("ac-bidirectional-11", "renault-5-52")
    assert round_trip(pair_loss(evse, car), 11.04) == pytest.approx(0.870, abs=0.002)


@pytest.mark.parametrize(("plug", "car"), PAIRS)
def test_one_way_charging_keeps_85_to_95_percent_at_full_power_and_no_more_at_half(plug: str, car: str) -> None:
    evse, type_ = stand(plug, car)
    most = pair_limits(evse, type_).max_charge_kw
    if most == 0.0:
        assert evse.current not in type_.charges_on
        return
    full, half = (battery_side_kw(pair_loss(evse, type_), kw) / kw for kw in (most, 0.5 * most))
    assert 0.85 < full < 0.95
    assert 0.80 < half < full + 0.01


@pytest.mark.parametrize(("name", "published"), [
    ("volkswagen-id3-58", 70.0), ("hyundai-ioniq-5-58", 144.0), ("renault-zoe-ze50", 36.0),
])
def test_mean_power_from_20_to_80_percent_is_the_measured_one(name: str, published: float) -> None:
    assert mean_kw(vehicle(name), 0.2, 0.8) == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(("name", "published"), [("renault-5-52", 30.0), ("ford-f150-lightning-131", 41.0)])
def test_minutes_from_15_to_80_percent_are_the_published_ones(name: str, published: float) -> None:
    assert minutes(vehicle(name), 0.15, 0.8) == pytest.approx(published, rel=0.05)


def test_the_measured_v2g_charger_carries_its_measured_response() -> None:
    remote = charger("chademo-v2g-10", "E1", "lab").response
    local = charger("chademo-v2g-10", "E1", "lab", control="local").response
    assert (local.delay_s, remote.delay_s) == (4.0, 7.0)
    assert remote.ramp_kw_per_s == 3.3
    biases = (remote.discharge_bias_kw, remote.charge_bias_kw, remote.idle_bias_kw)
    assert biases == (0.740, -0.440, 0.420)


# ---------------------------------------------------------------------------------------------- pairs


def test_a_single_phase_16_a_car_draws_3_68_kw_on_a_three_phase_outlet() -> None:
    wallbox = charger("ac-wallbox-22", "E1", "home")
    leaf = vehicle("nissan-leaf-40")
    small = Vehicle("one phase, 16 A", leaf.battery, max_charge_kw=50.0, ac_phases=1, ac_max_current_a=16.0)
    assert pair_limits(wallbox, small).max_charge_kw == pytest.approx(3.68)
    assert pair_limits(wallbox, leaf).max_charge_kw == pytest.approx(6.6, abs=0.01)
    assert pair_limits(charger("ac-wallbox-11", "E2", "home"), leaf).max_charge_kw == pytest.approx(3.68)
    assert pair_limits(wallbox, leaf).min_charge_kw == pytest.approx(1.38), "6 A on its one phase"


@pytest.mark.parametrize(("plug", "car", "charge_kw", "discharge_kw"), [
    ("ac-wallbox-22", "renault-zoe-ze50", 22.08, 0.0),
    ("ac-wallbox-22", "volkswagen-id3-58", 11.04, 0.0),
    ("ac-bidirectional-11", "renault-5-52", 11.04, 11.0),
    ("ac-bidirectional-11", "nissan-leaf-40", 3.68, 0.0),  # discharges on DC only
    ("dc-bidirectional-11", "renault-5-52", 11.0, 0.0),  # discharges on AC only
    ("chademo-v2g-10", "nissan-leaf-40", 10.0, 10.0),
    ("dc-150", "mercedes-ecitaro-12m", 150.0, 0.0),
    ("ac-wallbox-22", "mercedes-ecitaro-12m", 0.0, 0.0),  # no charger on board
])
def test_a_pair_does_what_both_can(plug: str, car: str, charge_kw: float, discharge_kw: float) -> None:
    limits = pair_limits(*stand(plug, car))
    assert limits.max_charge_kw == pytest.approx(charge_kw)
    assert limits.max_discharge_kw == pytest.approx(discharge_kw)


# ---------------------------------------------------------------------------------------------- bad input


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(CatalogueError, match=r"vehicles\.toml: 'nissan-leaf', expected one of nissan-leaf-40, "):
        vehicle("nissan-leaf")
    assert catalogue.chemistry("hatchback-40") is None
    with pytest.raises(CatalogueError, match=r"chargers\.toml: 'dc-350', expected one of .*dc-150"):
        charger("dc-350", "E1", "depot")
