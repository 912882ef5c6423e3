"""A whole charge in closed form against integrals over the curve: hours = integral of dE / P(E), and so for losses."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad

from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.battery import battery_kw
from twin.battery.full_charge import Charges, FullCharge

CAPACITY = 60.0
LOSSES = (LossCurve(), LossCurve(proportional=0.08), LossCurve(0.15, 0.03, 0.004))


def car(curve: PowerCurve, loss: LossCurve = LOSSES[0], *, soc_max: float = 1.0, rating: float = 22.0) -> Vehicle:
    return Vehicle("car", Battery(CAPACITY, curve, loss=loss, soc_max=soc_max), rating)


def charge(vehicle: Vehicle, energy: float, hours: float, *, ordered: float = 11.0, ceiling: float = 1e9) -> Charges:
    kinds = FullCharge([(vehicle, vehicle.battery.loss, ordered)])
    return kinds.run(np.zeros(1, dtype=np.int64), np.array([energy]), np.array([ceiling]), np.array([hours]))


@st.composite
def curves(draw: st.DrawFn) -> PowerCurve:
    """Two to five pieces, up and down, nowhere without power."""
    soc = draw(st.lists(st.floats(0.03, 0.97), min_size=1, max_size=4, unique_by=lambda at: round(at * 40)))
    kw = draw(st.lists(st.sampled_from([2.0, 5.0, 9.5, 11.0, 14.0, 30.0]), min_size=len(soc) + 2,
                       max_size=len(soc) + 2))
    return PowerCurve((0.0, *sorted(soc), 1.0), tuple(kw))


@settings(max_examples=60, deadline=None)
@given(curves(), st.sampled_from(LOSSES), st.floats(0.0, 0.9), st.floats(0.01, 0.1), st.sampled_from([3.7, 11.0, 22.0]))
def test_it_takes_as_long_and_loses_as_much_as_the_integrals_over_the_curve_say(
    curve: PowerCurve, loss: LossCurve, begin: float, way: float, ordered: float
) -> None:
    vehicle = car(curve, loss)
    low, high = begin * CAPACITY, min(begin + way * 10.0, 1.0) * CAPACITY
    want = battery_kw(vehicle, ordered, loss)

    def power(energy: float) -> float:
        return min(want, curve.at(energy / CAPACITY))

    def wasted_per_kwh(energy: float) -> float:
        here = power(energy)
        return loss.standby_kw / here + loss.proportional + loss.quadratic_per_kw * here

    bends = {low, high, *(soc * CAPACITY for soc in curve.soc)}
    for (soc, kw), (next_soc, next_kw) in pairwise(zip(curve.soc, curve.kw, strict=True)):
        if (kw - want) * (next_kw - want) < 0.0:
            bends.add((soc + (want - kw) / (next_kw - kw) * (next_soc - soc)) * CAPACITY)
    inside = [energy for energy in sorted(bends) if low <= energy <= high]
    hours = sum(quad(lambda energy: 1.0 / power(energy), *part)[0] for part in pairwise(inside))
    lost = sum(quad(wasted_per_kwh, *part)[0] for part in pairwise(inside))
    found = charge(vehicle, low, hours, ordered=ordered)
    assert found.energy_kwh == pytest.approx([high], rel=1e-9)
    assert found.lost_kwh == pytest.approx([lost], rel=1e-8, abs=1e-9)
    assert found.imported_kwh == pytest.approx([high - low + lost], rel=1e-8)
    bounded = charge(vehicle, low, 1e4, ordered=ordered, ceiling=high)
    assert bounded.energy_kwh == pytest.approx([high], rel=1e-12)
    assert sum(part.hours[0] for part in bounded.stretches) == pytest.approx(hours, rel=1e-8)
    assert bounded.lost_kwh == pytest.approx([lost], rel=1e-8, abs=1e-9)


def stretch_of(found: Charges) -> list[tuple[float, float, float]]:
    return [(float(part.begin_h[0]), float(part.hours[0]), float(part.through_kwh[0])) for part in found.stretches]


def test_stretches_follow_one_another_and_hold_all_that_flowed() -> None:
    found = charge(car(PowerCurve((0.0, 0.3, 0.6, 1.0), (4.0, 20.0, 6.0, 3.0)), LOSSES[2]), 1.0, 8.0)
    parts = stretch_of(found)
    assert len(parts) > 3
    for (begin, hours, _), (next_begin, _, _) in pairwise(parts):
        assert next_begin == pytest.approx(begin + hours, rel=1e-14)
    assert sum(part[2] for part in parts) == pytest.approx(float(found.imported_kwh[0]), rel=1e-14)
    assert found.imported_kwh - found.lost_kwh == pytest.approx(found.energy_kwh - 1.0, rel=1e-12)


def test_a_taper_that_comes_down_to_nothing_never_quite_fills_the_battery() -> None:
    curve = PowerCurve((0.0, 0.8, 1.0), (11.0, 11.0, 0.0))
    found = charge(car(curve), 48.0, 5.0)
    assert found.energy_kwh == pytest.approx([48.0 + 12.0 * -np.expm1(-5.0 * 11.0 / 12.0)], rel=1e-14)
    assert charge(car(curve), 48.0, 1e6).energy_kwh == pytest.approx([60.0], rel=1e-12)


@pytest.mark.parametrize(("energy", "ceiling", "soc_max"), [(60.0, 1e9, 1.0), (48.0, 1e9, 0.8), (50.0, 40.0, 1.0)])
def test_a_car_that_is_full_or_at_its_ceiling_takes_nothing(energy: float, ceiling: float, soc_max: float) -> None:
    found = charge(car(PowerCurve((0.0, 1.0), (11.0, 11.0)), LOSSES[2], soc_max=soc_max), energy, 5.0, ceiling=ceiling)
    assert (found.energy_kwh[0], found.imported_kwh[0], found.lost_kwh[0]) == (energy, 0.0, 0.0)
    assert not found.stretches


def test_where_the_curve_stands_at_nothing_the_charge_ends() -> None:
    curve = PowerCurve((0.0, 0.5, 0.6, 1.0), (10.0, 10.0, 0.0, 10.0))
    found = charge(car(curve, LOSSES[2]), 10.0, 1e5)
    assert found.energy_kwh == pytest.approx([36.0], rel=1e-9)
    assert charge(car(curve, LOSSES[2]), 36.0, 5.0).imported_kwh == [0.0]


def test_power_below_the_standby_loss_is_lost_as_a_whole() -> None:
    found = charge(car(PowerCurve((0.0, 1.0), (11.0, 11.0)), LOSSES[2]), 30.0, 4.0, ordered=0.1)
    assert found.energy_kwh == [30.0]
    assert found.imported_kwh == pytest.approx([0.4], rel=1e-14)
    assert found.lost_kwh == pytest.approx([0.4], rel=1e-14)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.lists(curves(), min_size=1, max_size=4))
def test_visits_side_by_side_fare_as_each_alone(seed: int, drawn: list[PowerCurve]) -> None:
    rng = np.random.default_rng(seed)
    vehicles = [car(curve, LOSSES[int(rng.integers(3))]) for curve in drawn]
    kind = rng.integers(0, len(vehicles), 25)
    energy, ceiling, stay = rng.uniform(0.0, 60.0, 25), rng.uniform(10.0, 60.0, 25), rng.uniform(0.0, 12.0, 25)
    kinds = FullCharge([(vehicle, vehicle.battery.loss, 11.0) for vehicle in vehicles])
    together = kinds.run(kind, energy, ceiling, stay)
    alone = [charge(vehicles[k], e, h, ceiling=c) for k, e, h, c in zip(kind, energy, stay, ceiling, strict=True)]
    for name in ("energy_kwh", "imported_kwh", "lost_kwh"):
        each: NDArray[np.float64] = np.array([getattr(one, name)[0] for one in alone])
        np.testing.assert_allclose(getattr(together, name), each, rtol=1e-13, atol=1e-13)
