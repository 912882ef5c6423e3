"""How hardware follows a set-point."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.assets import Response
from twin.response import Follower


def energy_kws(follower: Follower, until_s: float) -> float:
    """Exact integral of the staircase from 0 s, in kW s."""
    at, total = 0.0, 0.0
    while at < until_s:
        span = min(follower.next_change_s(at), until_s - at)
        total += follower.power_at(at) * span
        at += span
    return total


def test_silence_and_then_a_step() -> None:
    follower = Follower(Response(delay_s=2.0))
    assert follower.order(10.0, 6.0) == [12.0]
    assert follower.power_at(11.999) == 0.0
    assert follower.next_change_s(10.0) == 2.0
    assert follower.power_at(12.0) == 6.0
    assert follower.next_change_s(12.0) == math.inf


@given(st.floats(-11, 11), st.floats(-11, 11), st.floats(0.1, 20))
def test_the_stairs_keep_the_energy_of_the_linear_ramp(first: float, then: float, ramp: float) -> None:
    follower = Follower(Response(delay_s=7.0, ramp_kw_per_s=ramp))
    follower.reset(0.0, first)
    times = follower.order(0.0, then)
    until = 400.0
    duration = abs(then - first) / ramp
    ideal = first * 7.0 + (first + then) / 2 * duration + then * (until - 7.0 - duration)
    assert energy_kws(follower, until) == pytest.approx(ideal, abs=1e-6)
    assert follower.power_at(until) == then
    assert all(b - a <= 1.0 + 1e-9 for a, b in pairwise(times))


def test_an_order_does_not_stop_the_one_that_is_on_its_way() -> None:
    follower = Follower(Response(delay_s=7.0))
    follower.order(0.0, 11.0)
    follower.order(5.0, 3.0)
    assert [follower.power_at(t) for t in (6.9, 7.0, 11.9, 12.0)] == [0.0, 11.0, 11.0, 3.0]


def test_a_new_order_turns_a_ramp_where_it_stands() -> None:
    follower = Follower(Response(delay_s=0.0, ramp_kw_per_s=1.0))
    follower.order(0.0, 10.0)
    follower.order(4.0, 0.0)
    # The stair that runs at 4 s is the mean of its second, 4.5 kW; from there it goes down again.
    assert max(follower.power_at(t / 10) for t in range(40, 200)) <= 4.5
    assert follower.power_at(6.0) < 4.0
    assert follower.power_at(20.0) == 0.0


def test_a_pulled_plug_ends_everything_at_once() -> None:
    follower = Follower(Response(delay_s=7.0, ramp_kw_per_s=3.3))
    follower.order(0.0, 11.0)
    follower.reset(8.0)
    assert follower.power_at(8.0) == 0.0
    assert follower.next_change_s(8.0) == math.inf
