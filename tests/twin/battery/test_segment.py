"""The closed forms against formulas that were written down elsewhere, and against their own inverse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.battery import FleetState
from twin.battery.segment import growth, slowing


def two_stage_soc(
    soc: float, pilot_kw: float, max_kw: float, capacity: float, transition: float, hours: float
) -> float:
    """SoC after `hours` by the two-stage battery of ACN-Sim (Lee et al., IEEE SmartGridComm 2019, "ACN-Sim").

    The pilot is drawn until the falling limit max_kw * (1 - soc) / (1 - transition) meets it, then 1 - soc decays
    exponentially at the rate (max_kw / capacity) / (1 - transition).
    """
    decay = (max_kw / capacity) / (1.0 - transition)
    drawn = min(pilot_kw, max_kw)
    meets = 1.0 - (1.0 - transition) * drawn / max_kw
    bulk = max(meets - soc, 0.0) * capacity / drawn
    if hours <= bulk:
        return soc + drawn * hours / capacity
    return 1.0 - (1.0 - max(soc, meets)) * math.exp(-decay * (hours - bulk))


@settings(max_examples=80, deadline=None)
@given(
    soc=st.floats(0.0, 0.999), pilot_kw=st.floats(0.5, 20.0), max_kw=st.floats(3.0, 15.0),
    capacity=st.floats(8.0, 100.0), transition=st.floats(0.1, 0.95), hours=st.floats(0.01, 12.0),
)
def test_charging_equals_the_exact_two_stage_battery_of_acn_sim(
    soc: float, pilot_kw: float, max_kw: float, capacity: float, transition: float, hours: float
) -> None:
    curve = PowerCurve((0.0, transition, 1.0), (max_kw, max_kw, 0.0))
    fleet = FleetState(1)
    fleet.plug(0, Vehicle("acn", Battery(capacity, curve), 20.0), soc * capacity)
    fleet.set_power(0, pilot_kw)
    fleet.advance(3600.0 * hours)
    expected = two_stage_soc(soc, pilot_kw, max_kw, capacity, transition, hours)
    assert fleet.soc[0] == pytest.approx(expected, rel=1e-11)
    assert fleet.import_kwh[0] == pytest.approx((expected - soc) * capacity, rel=1e-9, abs=1e-11)


@given(y=st.floats(-30.0, 30.0))
def test_the_time_to_move_undoes_the_move(y: float) -> None:
    # X = B t growth(k t) and t = X/B slowing(k X/B), with B = t = 1 and k = y.
    moved = growth(np.array([y]))
    assert float((moved * slowing(y * moved))[0]) == pytest.approx(1.0, rel=1e-4 if y < -10 else 1e-9)


def test_the_limits_of_both_forms_are_taken_where_they_are_defined() -> None:
    np.testing.assert_array_equal(growth(np.array([0.0])), [1.0])
    np.testing.assert_array_equal(slowing(np.array([0.0, -1.0])), [1.0, np.inf])
    tiny = np.array([1e-12, -1e-12])
    np.testing.assert_allclose(growth(tiny), 1.0 + tiny / 2.0, rtol=1e-15)
    np.testing.assert_allclose(slowing(tiny), 1.0 - tiny / 2.0, rtol=1e-15)


def test_a_level_and_the_fall_behind_it_are_one_segment() -> None:
    curve = PowerCurve((0.0, 0.8, 1.0), (11.0, 11.0, 1.0))
    fleet = FleetState(1, keep_history=True)
    fleet.plug(0, Vehicle("one", Battery(60.0, curve), 11.0), 40.0)
    fleet.set_power(0, 11.0)
    begun = fleet.history().slots.size
    fleet.advance(2 * 3600.0)
    # 8 kWh at 11 kW, then 1 - soc of the line that would reach 0 kW at 61.2 kWh decays at 10/12 per hour.
    expected = 61.2 - 13.2 * math.exp(-(2.0 - 8.0 / 11.0) * 10.0 / 12.0)
    assert fleet.energy_kwh[0] == pytest.approx(expected, rel=1e-14)
    assert fleet.power_kw[0] == pytest.approx((61.2 - expected) * 10.0 / 12.0, rel=1e-13)
    assert fleet.history().slots.size == begun + 1


def test_the_next_change_is_where_the_limit_comes_down_to_the_power_and_then_where_its_piece_ends() -> None:
    curve = PowerCurve((0.0, 0.8, 1.0), (11.0, 11.0, 1.0))
    fleet = FleetState(1)
    fleet.plug(0, Vehicle("one", Battery(60.0, curve), 11.0), 40.0)
    fleet.set_power(0, 6.0)
    # The line 11 - 10/12 * (u - 48) is down to 6 kW at 54 kWh.
    assert fleet.next_change_s() == pytest.approx(3600.0 * 14.0 / 6.0, rel=1e-12)
    fleet.advance(3600.0 * 14.0 / 6.0 + 60.0)
    until_full_h = math.log(6.0 / 1.0) * 12.0 / 10.0 - 60.0 / 3600.0
    assert fleet.next_change_s() == pytest.approx(3600.0 * until_full_h, rel=1e-9)


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_a_charge_along_many_pieces_is_the_same_however_often_it_is_looked_at_and_ordered_anew(
    seed: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    soc = np.concatenate([[0.0], np.sort(rng.uniform(0.02, 0.98, 5)), [1.0]])
    kw = rng.choice([3.0, 7.0, 7.0, 11.0, 22.0], 7)
    curve = PowerCurve(tuple(soc.tolist()), tuple(kw.tolist()))
    car = Vehicle("many", Battery(60.0, curve, loss=LossCurve(0.1, 0.04, 0.002)), 15.0)
    once, often = FleetState(1), FleetState(1)
    for fleet in (once, often):
        fleet.plug(0, car, 2.0)
        fleet.set_power(0, 9.0)
    once.advance(4 * 3600.0)
    for _ in range(steps):
        often.advance(4 * 3600.0 / steps)
        often.set_power(0, 9.0 + 1e-13 * float(rng.random()))
    for name in ("energy_kwh", "import_kwh", "loss_kwh", "power_kw"):
        assert getattr(often, name)[0] == pytest.approx(getattr(once, name)[0], rel=1e-9), name
