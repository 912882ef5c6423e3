"""Things that fail and are repaired."""

from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from twin.faults.renewal import Broken, Slots, failures, until_repaired

HOUR, DAY = 3600.0, 86_400.0


def slots(count: int, seed: int = 1, purpose: str = "down", replica: int = 0) -> Slots:
    return Slots(seed, purpose, np.full(count, replica), np.arange(count))


def is_broken(broken: Broken, number: int, at_s: float) -> bool:
    mine = broken.number == number
    return bool(((broken.start_s[mine] <= at_s) & (at_s < broken.end_s[mine])).any())


@settings(max_examples=25)
@given(st.floats(0.2, 400), st.floats(0.01, 30), st.floats(0.5, 200), st.integers(0, 99))
def test_intervals_of_a_slot_follow_each_other(up_days: float, down_days: float, days: float, seed: int) -> None:
    broken = failures(
        slots(20, seed), mean_up_s=up_days * DAY, mean_down_s=down_days * DAY, until_s=days * DAY
    )
    assert ((broken.start_s >= 0.0) & (broken.start_s < days * DAY)).all()
    assert (broken.end_s > broken.start_s).all()
    same = np.diff(broken.number) == 0
    assert (np.diff(broken.number) >= 0).all()
    assert (broken.start_s[1:][same] > broken.end_s[:-1][same]).all()


@pytest.mark.parametrize(("up_days", "down_days"), [(75.0, 1.0), (10.0, 2.0), (3.0, 3.0)])
def test_times_up_and_down_are_exponential_with_their_means(up_days: float, down_days: float) -> None:
    until = 400.0 * DAY
    broken = failures(slots(3_000), mean_up_s=up_days * DAY, mean_down_s=down_days * DAY, until_s=until)
    # Only times that begin early enough to be seen whole: a window that cuts long ones off would look too short.
    early = broken.start_s < until / 2
    down = (broken.end_s - broken.start_s)[early]
    assert stats.kstest(down, "expon", args=(0.0, down_days * DAY)).pvalue > 1e-3
    same = np.diff(broken.number) == 0
    up = (broken.start_s[1:] - broken.end_s[:-1])[same & (broken.end_s[:-1] < until / 2)]
    # An up time that began at t before the middle is seen if it ends before `until`: compare below that length.
    seen = up[up < until / 2]
    cut = stats.expon(scale=up_days * DAY)
    assert stats.kstest(cut.cdf(seen) / cut.cdf(until / 2), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("at_day", [0.0, 0.3, 50.0])
def test_the_share_of_broken_slots_is_steady_from_the_first_second(at_day: float) -> None:
    count, share = 20_000, 2.0 / 12.0
    broken = failures(slots(count), mean_up_s=10.0 * DAY, mean_down_s=2.0 * DAY, until_s=60.0 * DAY)
    now = np.count_nonzero((broken.start_s <= at_day * DAY) & (at_day * DAY < broken.end_s))
    assert abs(now - count * share) < 4.0 * np.sqrt(count * share * (1.0 - share))


@settings(max_examples=30)
@given(st.floats(0.5, 300), st.floats(1.0, 20.0), st.integers(0, 99))
def test_a_more_fragile_world_contains_every_failure_of_a_sturdier_one(
    up_days: float, factor: float, seed: int,
) -> None:
    def drawn(up: float) -> Broken:
        return failures(slots(15, seed), mean_up_s=up * DAY, mean_down_s=DAY, until_s=60.0 * DAY)

    sturdy, fragile = drawn(up_days * factor), drawn(up_days)
    for number, start, end in zip(sturdy.number, sturdy.start_s, sturdy.end_s, strict=True):
        covers = (fragile.number == number) & (fragile.start_s <= start) & (end <= fragile.end_s)
        assert np.count_nonzero(covers) == 1


def test_a_longer_look_adds_failures_and_changes_none() -> None:
    short, long = (
        failures(slots(50), mean_up_s=5.0 * DAY, mean_down_s=DAY, until_s=days * DAY) for days in (20.0, 200.0)
    )
    kept = long.take(long.start_s < 20.0 * DAY)
    for column in ("number", "start_s", "end_s"):
        assert (getattr(short, column) == getattr(kept, column)).all()


def test_each_failure_ends_at_the_first_repair_after_it() -> None:
    """Against all repairs of a slot, listed cell by cell in plain Python."""
    world, mean, cells = slots(2, seed=8), 3.0 * HOUR, 2_000
    for number in range(2):
        everywhere = np.arange(cells)
        chances_of = [
            world.uniforms("repair", np.full(cells, number), everywhere, np.full(cells, turn)).T for turn in range(4)
        ]
        repairs = []
        for cell in range(cells):
            at, turn = 0.0, 0
            while at < mean:
                for chance in chances_of[turn][cell]:
                    at -= mean * np.log(chance)
                    repairs += [cell * mean + at] if at < mean else []
                turn += 1
        assert max(np.bincount((np.array(repairs) // mean).astype(int))) > 4
        start = np.arange(cells - 10) * mean + 0.97 * mean
        broken = until_repaired(world, np.full(start.size, number), start, mean)
        ends = sorted({repairs[bisect_right(repairs, begin)] for begin in start})
        assert broken.end_s == pytest.approx(ends, rel=1e-12)


def test_failures_before_one_repair_are_one_interval() -> None:
    number = np.zeros(200, dtype=np.int64)
    start = np.linspace(0.0, 10.0 * DAY, 200)
    broken = until_repaired(slots(1), number, start, 2.0 * DAY)
    for at in start:
        assert is_broken(broken, 0, float(at))
    assert len(broken.number) < 20
    assert (broken.start_s[1:] > broken.end_s[:-1]).all()
