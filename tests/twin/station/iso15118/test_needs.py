"""What a car can mean, and when it is worth telling."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.station.iso15118.needs import Memory
from twin.station.iso15118.plausible import impossible, impossible_target
from twin.station.rail import Control, EvNeeds, EvseRatings, Language, Transfer

RATINGS = EvseRatings(max_charge_kw=11.0, max_discharge_kw=10.0, max_current_a=32.0)
NEEDS = EvNeeds(
    Language.ISO_15118_20, Transfer.DC_BPT, Control.DYNAMIC, departure_s=7200.0, present_soc=0.5, target_soc=0.8,
    min_soc=0.2, max_soc=0.9, capacity_kwh=60.0, target_energy_kwh=18.0, max_energy_kwh=24.0, min_energy_kwh=-18.0,
    max_v2x_energy_kwh=20.0, min_v2x_energy_kwh=-10.0, max_charge_kw=11.0, min_charge_kw=0.1, max_discharge_kw=10.0,
    min_discharge_kw=0.0, max_charge_current_a=40.0, min_charge_current_a=0.0, max_discharge_current_a=40.0,
    min_discharge_current_a=0.0, max_voltage_v=500.0, min_voltage_v=200.0,
)
NUMBERS = [f.name for f in fields(EvNeeds) if f.name not in {"language", "transfer", "control"}]


def test_a_car_that_wants_more_than_the_evse_has_is_possible() -> None:
    assert impossible(NEEDS, RATINGS) is None
    assert impossible(replace(NEEDS, max_charge_kw=350.0, max_charge_current_a=500.0), RATINGS) is None


def test_a_car_that_says_nothing_is_possible() -> None:
    assert impossible(EvNeeds(Language.DIN_70121, Transfer.DC, Control.SCHEDULED), RATINGS) is None


@given(st.sampled_from(NUMBERS), st.integers(-32768, 32767), st.integers(-128, 127))
def test_no_rational_number_makes_the_check_fail_and_absurd_ones_are_named(
    name: str, value: int, exponent: int
) -> None:
    number = value * 10.0**exponent
    said = impossible(replace(NEEDS, **{name: number}), RATINGS)
    if abs(number) > 1e9 or (number < -0.001 and "energy" not in name):
        assert name in str(said)


@pytest.mark.parametrize(("change", "named"), [
    ({"max_charge_kw": float("nan")}, "max_charge_kw"),
    ({"max_charge_kw": -1.0}, "max_charge_kw"),
    ({"present_soc": 1.01}, "present_soc"),
    ({"min_charge_kw": 12.0}, "min_charge_kw"),
    ({"min_soc": 0.9}, "min_soc"),
    ({"max_voltage_v": 100.0, "min_voltage_v": 50.0}, "max_voltage_v"),
    ({"min_voltage_v": 1200.0, "max_voltage_v": 1500.0}, "min_voltage_v"),
    ({"departure_s": 1e9}, "departure_s"),
    ({"capacity_kwh": 1e6}, "capacity_kwh"),
])
def test_what_no_car_can_mean_is_named(change: dict[str, Any], named: str) -> None:
    assert impossible(replace(NEEDS, **change), RATINGS).startswith(named)


@pytest.mark.parametrize(("volts", "amperes", "is_fine"), [
    (400.0, 32.0, True), (400.0, 320.0, True), (400.0, -32.0, True), (1000.0, 0.0, True),
    (1001.0, 0.0, False), (-1.0, 0.0, False), (400.0, 1e9, False), (float("inf"), 1.0, False),
])
def test_a_target_voltage_above_the_rating_is_impossible_and_a_high_current_is_not(
    volts: float, amperes: float, is_fine: bool
) -> None:
    assert (impossible_target(volts, amperes, RATINGS) is None) is is_fine


def test_a_car_that_repeats_itself_while_it_charges_tells_nothing_new() -> None:
    memory = Memory()
    assert memory.is_news(NEEDS, 0.0)
    for k in range(1, 60):  # an hour at 11 kW of 60 kWh, said in whole percent
        soc = 0.5 + 11.0 / 60.0 * k / 60.0
        again = replace(
            NEEDS, departure_s=7200.0 - 60.0 * k, present_soc=round(soc, 2), target_energy_kwh=(0.8 - soc) * 60.0,
            max_energy_kwh=(0.9 - soc) * 60.0, min_energy_kwh=(0.2 - soc) * 60.0,
        )
        assert not memory.is_news(again, 60.0 * k)


@pytest.mark.parametrize("change", [
    {"departure_s": 5400.0}, {"departure_s": None}, {"target_soc": 0.9}, {"target_energy_kwh": 30.0},
    {"max_discharge_kw": 5.0}, {"min_soc": 0.3},
    {"present_soc": 0.9, "target_energy_kwh": -6.0},  # a jump that no charging explains
])
def test_a_car_that_says_something_else_is_heard_once(change: dict[str, Any]) -> None:
    memory = Memory()
    memory.is_news(NEEDS, 0.0)
    changed = replace(NEEDS, **change)
    assert memory.is_news(changed, 1.0)
    assert not memory.is_news(changed, 1.2)
