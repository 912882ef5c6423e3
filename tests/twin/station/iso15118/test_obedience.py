"""A car is judged by all that was permitted while it may still have been following."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twin.station.iso15118.obedience import Obedience

WITHIN_S = 10.0

steps = st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(-11.0, 11.0)), min_size=1, max_size=12)


def permitted(steps_: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(instant, signed set-point), by the pauses between them."""
    at, found = 0.0, []
    for pause, power_kw in steps_:
        found.append((at, power_kw))
        at += pause
    return found


@given(steps, st.floats(0.0, 40.0), st.floats(-15.0, 15.0))
def test_what_flows_is_right_if_a_set_point_of_the_last_seconds_allowed_it(
    steps_: list[tuple[float, float]], later: float, flowing_kw: float
) -> None:
    said = permitted(steps_)
    now = said[-1][0] + later
    judge = Obedience(WITHIN_S)
    judge.begin(said[0][0], max(said[0][1], 0.0), max(-said[0][1], 0.0))
    for at, power_kw in said[1:]:
        judge.permit(at, max(power_kw, 0.0), max(-power_kw, 0.0))
    ends = [at for at, _ in said[1:]] + [float("inf")]
    recent = [kw for (_, kw), end in zip(said, ends, strict=True) if end + WITHIN_S > now]
    most, least = max(0.0, *recent, 0.0), min(0.0, *recent, 0.0)
    is_fine = least - max(0.1, -0.05 * least) <= flowing_kw <= most + max(0.1, 0.05 * most)
    assert (judge.breach(now, flowing_kw) is None) is is_fine


def test_it_is_judged_when_the_larger_permit_has_run_out() -> None:
    judge = Obedience(WITHIN_S)
    judge.begin(100.0, 7.0, 0.0)
    assert judge.judge_at() is None
    judge.permit(103.0, 2.0, 0.0)
    judge.permit(104.0, 0.0, 5.0)
    assert judge.judge_at() == 113.0
    assert judge.breach(112.9, 7.0) is None
    assert "did not follow" in str(judge.breach(113.0, 7.0))
    assert judge.judge_at() == 114.0
