"""Sharing what a limit leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch import Draw, allocate, curtail_discharge, first_minute_level_kw

kw = st.floats(0, 12).map(lambda x: round(x, 3))
signed = st.floats(-11, 11).map(lambda x: round(x, 3))


@st.composite
def fleets(draw: st.DrawFn) -> list[Draw]:
    size = draw(st.integers(0, 12))
    return [
        Draw(f"E{k}", draw(signed), draw(st.sampled_from([0.0, 1.248])), draw(st.floats(-2, 8))) for k in range(size)
    ]


@given(fleet=fleets(), limit=st.floats(-20, 150), base=st.floats(0, 100))
def test_the_sum_stays_under_the_limit_and_each_car_at_zero_or_between_its_least_and_its_present_power(
    fleet: list[Draw], limit: float, base: float
) -> None:
    shares = allocate(limit, base, fleet)
    assert shares.keys() == {draw.evse_id for draw in fleet}
    discharging = sum(draw.power_kw for draw in fleet if draw.power_kw < 0)
    assert sum(shares.values()) <= max(limit - base, discharging) + 1e-9
    for draw in fleet:
        share = shares[draw.evse_id]
        if draw.power_kw <= 0:
            assert share == draw.power_kw
        else:
            assert share == 0 or draw.least_kw - 1e-9 <= share <= draw.power_kw


@given(fleet=fleets())
def test_a_limit_of_zero_never_starts_discharge(fleet: list[Draw]) -> None:
    shares = allocate(0.0, 50.0, fleet)
    assert all(share >= min(0.0, draw.power_kw) for draw, share in zip(fleet, shares.values(), strict=True))


@given(fleet=fleets(), base=st.floats(0, 100))
def test_nobody_is_trimmed_when_everything_fits(fleet: list[Draw], base: float) -> None:
    net = base + sum(draw.power_kw for draw in fleet)
    assert allocate(net + 1e-6, base, fleet) == {draw.evse_id: draw.power_kw for draw in fleet}


@given(fleet=fleets(), low=st.floats(0, 120), more=st.floats(0, 50))
def test_a_higher_limit_never_gives_less_in_all(fleet: list[Draw], low: float, more: float) -> None:
    at_low, at_high = allocate(low, 40.0, fleet), allocate(low + more, 40.0, fleet)
    least = max([0.0, *(draw.least_kw for draw in fleet)])
    # A car that fits only with the higher limit may take its least from the others, so compare up to one least.
    assert sum(at_high.values()) >= sum(at_low.values()) - least - 1e-9


def test_equal_cars_share_in_proportion_and_the_most_patient_is_paused_first() -> None:
    fleet = [Draw("urgent", 6.0, 1.248, 0.5), Draw("calm", 3.0, 1.248, 3.0), Draw("idle", 3.0, 1.248, 9.0)]
    assert allocate(66.0, 60.0, fleet) == pytest.approx({"urgent": 3.0, "calm": 1.5, "idle": 1.5})
    squeezed = allocate(62.6, 60.0, fleet)
    assert squeezed["idle"] == 0
    assert squeezed["urgent"] + squeezed["calm"] == pytest.approx(2.6)
    assert allocate(61.3, 60.0, fleet) == pytest.approx({"urgent": 1.3, "calm": 0.0, "idle": 0.0})


@given(fleet=fleets(), export=st.floats(0, 30), base=st.floats(0, 60))
def test_discharge_gives_way_to_the_export_limit_and_never_turns_into_charging(
    fleet: list[Draw], export: float, base: float
) -> None:
    shares = curtail_discharge(export, base, fleet)
    charging = sum(draw.power_kw for draw in fleet if draw.power_kw > 0)
    assert base + sum(shares.values()) >= min(-export, base + charging) - 1e-9
    for draw in fleet:
        assert min(draw.power_kw, 0) <= min(shares[draw.evse_id], 0) <= 0
        assert draw.power_kw < 0 or shares[draw.evse_id] == draw.power_kw


@given(limit=st.floats(0, 100), above=st.floats(-50, 80), response=st.floats(0.5, 40))
def test_the_first_minute_is_paid_back(limit: float, above: float, response: float) -> None:
    net = limit + above
    level = first_minute_level_kw(limit, net, response)
    assert level <= limit
    mean = (max(net, limit) * response + level * (60 - response)) / 60
    assert mean <= limit + 1e-9
    if above <= 0:
        assert level == limit


def test_a_response_as_long_as_the_window_does_not_ask_for_the_impossible() -> None:
    assert first_minute_level_kw(50.0, 60.0, 59.9) == pytest.approx(50.0 - 10 * 59.9 / 10)
