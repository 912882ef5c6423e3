"""The closed forms against formulas that were written down elsewhere, and against their own inverse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Battery, PowerCurve, Vehicle
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
