"""A call of reserve is shared out over the cars exactly, and what a stricter battery does not hold is not sold."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet.checker import energies, ev_headroom
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.program.monolith import solve_whole
from aggregator.planning.fleet.reserve.call import held_reserve, shared_out

Make = Callable[..., Problem]


def _as_ordered(energy_kwh: Floats, ordered_kw: Floats, hours: float) -> Floats:  # noqa: ARG001 - a judge's signature
    return ordered_kw


@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0), step=st.integers(0, 7),
       sign=st.sampled_from([1.0, -1.0]))
@settings(max_examples=40, deadline=None)
def test_a_call_within_the_headroom_is_delivered_to_the_watt(
    make_fleet: Make, seed: int, share: float, step: int, sign: float,
) -> None:
    problem = make_fleet(seed, reserve=True, evs=10)
    schedule = solve_whole(problem).schedule
    room = ev_headroom(problem, schedule)[0 if sign > 0 else 1][:, step]
    planned = schedule.charge_kw[:, step] - schedule.discharge_kw[:, step]
    change = sign * (planned - shared_out(problem, planned, room, sign * share * room.sum()))
    assert change.sum() == pytest.approx(share * room.sum(), abs=1e-6)
    assert (change >= -1e-9).all()
    assert (change <= np.maximum(room, 0.0) + 1e-9).all()


@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0), sign=st.sampled_from([1.0, -1.0]))
@settings(max_examples=4, deadline=None)
def test_no_car_is_called_to_less_than_its_minimum(make_fleet: Make, seed: int, share: float, sign: float) -> None:
    problem = make_fleet(seed, reserve=True, minimums=True, evs=10)
    schedule, evs = solve_whole(problem).schedule, problem.evs
    for step in range(problem.steps):
        planned = schedule.charge_kw[:, step] - schedule.discharge_kw[:, step]
        room = ev_headroom(problem, schedule)[0 if sign > 0 else 1][:, step]
        powers = shared_out(problem, planned, room, sign * share * room.sum())
        called = np.abs(powers - planned) > 1e-9
        weak = (powers > 1e-9) & (powers < evs.min_charge_kw - 1e-6)
        weak |= (powers < -1e-9) & (powers > -evs.min_discharge_kw + 1e-6)
        assert not (called & weak).any()
        assert sign * (planned - powers).sum() <= share * room.sum() + 1e-6


def test_what_is_held_as_ordered_is_sold_as_planned(make_fleet: Make) -> None:
    problem = make_fleet(7, reserve=True, evs=12)
    schedule = solve_whole(problem).schedule
    assert schedule.reserve_kw.sum() > 0
    np.testing.assert_allclose(held_reserve(problem, schedule, _as_ordered).reserve_kw, schedule.reserve_kw, atol=1e-6)


def test_a_battery_that_tapers_sells_less_down_and_as_much_up(make_fleet: Make) -> None:
    problem = make_fleet(7, reserve=True, evs=12)
    schedule = solve_whole(problem).schedule

    def tapering(energy_kwh: Floats, ordered_kw: Floats, hours: float) -> Floats:  # noqa: ARG001 - a judge's signature
        soc = energy_kwh / problem.evs.capacity_kwh
        return np.where(ordered_kw > 0, ordered_kw * np.clip((1.0 - soc) / 0.5, 0.0, 1.0), ordered_kw)

    held = held_reserve(problem, schedule, tapering).reserve_kw
    assert (held <= schedule.reserve_kw + 1e-9).all()
    asked, left = (problem.reserve.asked(kw) for kw in (schedule.reserve_kw, held))
    assert left[1].sum() < asked[1].sum() - 0.1 or asked[1].sum() == 0
    assert energies(problem, schedule.charge_kw, schedule.discharge_kw).max() > 0
