"""Many followers at once answer exactly as each does alone."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import Response
from twin.response import Follower, Followers, Stair, settled_kw

responses = st.builds(
    Response, delay_s=st.sampled_from([0.0, 2.5, 4.0, 7.0]), ramp_kw_per_s=st.sampled_from([0.0, 0.7, 3.3]),
    granularity_kw=st.sampled_from([0.0, 0.5]), charge_bias_kw=st.sampled_from([0.0, -0.44]),
    discharge_bias_kw=st.sampled_from([0.0, 0.74]), idle_bias_kw=st.sampled_from([0.0, 0.42]),
)
quarters = st.integers(0, 240).map(lambda quarter: quarter / 4)
powers = st.sampled_from([11.0, -11.0, 0.0, 3.7, -4.2, 6.1, 6.5])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(responses, st.dictionaries(quarters, powers, max_size=7)), min_size=1, max_size=3))
def test_many_at_once_equal_each_alone(hardware: list[tuple[Response, dict[float, float]]]) -> None:
    alone = [Follower(response) for response, _ in hardware]
    together = Followers([response for response, _ in hardware])
    agenda: dict[float, list[Stair]] = defaultdict(list)
    orders: dict[float, list[int]] = defaultdict(list)
    for slot, (_, given_orders) in enumerate(hardware):
        for time_s in given_orders:
            orders[time_s].append(slot)
    while agenda or orders:
        now_s = min([*agenda, *orders])
        slots = np.array(orders.pop(now_s, []), dtype=np.int64)
        kw = np.array([hardware[slot][1][now_s] for slot in slots.tolist()])
        for slot, asked in zip(slots.tolist(), kw.tolist(), strict=True):
            alone[slot].order(now_s, asked)
        for stair in together.order(now_s, slots, kw):
            agenda[stair.time_s].append(stair)
        if now_s in agenda:
            for stair in together.climb(agenda.pop(now_s))[1]:
                assert stair.time_s > now_s
                agenda[stair.time_s].append(stair)
        assert together.level_kw.tolist() == [follower.power_at(now_s) for follower in alone]


def test_a_reset_forgets_what_is_under_way() -> None:
    followers = Followers([Response(2.0, 1.0)])
    only, (first,) = np.array([0]), Followers([Response(2.0, 1.0)]).order(0.0, np.array([0]), np.array([5.0]))
    assert followers.order(0.0, only, np.array([5.0]))[0].time_s == first.time_s == 2.0
    _, climbing = followers.climb([first])
    assert followers.level_kw[0] == 0.5
    followers.reset(only)
    changed, following = followers.climb(climbing)
    assert changed.size == 0
    assert following == []
    assert followers.level_kw[0] == 0.0


@pytest.mark.parametrize(
    ("asked", "flows"), [(6.3, 5.56), (-6.3, -5.26), (0.0, 0.42), (0.49, 0.42), (-0.2, 0.42), (6.5, 6.06)]
)
def test_hardware_settles_on_whole_granules_and_its_bias(asked: float, flows: float) -> None:
    response = Response(granularity_kw=0.5, charge_bias_kw=-0.44, discharge_bias_kw=0.74, idle_bias_kw=0.42)
    assert settled_kw(response, asked) == pytest.approx(flows)
