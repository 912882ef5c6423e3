"""Departure errors as probabilities over the steps of a horizon."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fleet import DepartureErrors, DepartureHistory, PastStay
from twin.assets import TimeGrid

START = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
GRID = TimeGrid(START, 900, 96)


@given(declared_h=st.floats(-2.0, 20.0), now_h=st.floats(0.0, 0.24))
def test_leaving_is_a_probability_and_never_after_the_declared_departure(declared_h: float, now_h: float) -> None:
    declared = START + timedelta(hours=declared_h)
    chance = DepartureErrors().leave_probability(GRID, START + timedelta(hours=now_h), declared)
    assert (chance >= 0).all()
    assert chance.sum() <= 1 + 1e-12
    ends = np.array([(GRID.at(k + 1) - declared).total_seconds() for k in range(GRID.steps)])
    assert (chance[ends > 0] == 0).all()


def test_the_prior_says_that_a_third_leave_half_an_hour_early() -> None:
    declared = START + timedelta(hours=16)
    chance = DepartureErrors().leave_probability(GRID, START, declared)
    early = chance[: GRID.index(declared - timedelta(minutes=30))].sum()
    assert early == pytest.approx(0.31, abs=0.01)


def test_what_is_not_a_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a distribution"):
        DepartureErrors((0.0, -1.0), (0.0, 1.0))


def stay(number: int, share: float, *, declared_h: float = 8.0, who: str = "", days_ago: int = 5) -> PastStay:
    arrival = START - timedelta(days=days_ago, minutes=number)
    return PastStay(
        who or f"card-{number}", arrival, arrival + timedelta(hours=declared_h),
        arrival + share * timedelta(hours=declared_h))


def gone_after(history: DepartureHistory, hours: float, *, who: str = "new", declared_h: float = 8.0) -> float:
    declared = START + timedelta(hours=declared_h)
    return float(history.gone_by([START + timedelta(hours=hours)], who, START, declared)[0])


@given(declared_h=st.floats(0.1, 20.0), now_h=st.floats(0.0, 10.0))
def test_a_site_without_history_is_taken_for_what_is_believed_of_any(declared_h: float, now_h: float) -> None:
    now, declared = START + timedelta(hours=now_h), START + timedelta(hours=declared_h)
    learnt = DepartureHistory().leave_probability(GRID, now, declared, arrival=START, id_token="new")
    assert learnt.tolist() == DepartureErrors().leave_probability(GRID, now, declared).tolist()
    assert DepartureHistory().ready_by(0.1, now, declared, arrival=START, id_token="new") is None


@given(seed=st.integers(0, 10_000), at_h=st.floats(0.5, 8.0), own=st.integers(0, 40))
def test_a_driver_is_believed_between_the_site_and_the_own_record_as_visits_weigh(
    seed: int, at_h: float, own: int
) -> None:
    """Mean of a Dirichlet process: the site counts as ten visits, each of the driver's as one."""
    draw = np.random.default_rng(seed)
    others = [stay(number, share) for number, share in enumerate(draw.uniform(0.2, 1.1, 80))]
    mine = [stay(number, share, who="me", declared_h=3.0) for number, share in enumerate(draw.uniform(0.2, 1.1, own))]
    history = DepartureHistory.learnt([*others, *mine], before=START)
    recorded = float(np.mean([each.share <= at_h / 8.0 for each in mine])) if mine else 0.0
    expected = (10.0 * gone_after(history, at_h) + own * recorded) / (10.0 + own)
    assert gone_after(history, at_h, who="me") == pytest.approx(expected)


def test_a_driver_who_always_leaves_at_noon_is_ready_by_noon_although_the_site_stays_longer() -> None:
    others = [stay(number, 0.95 + 0.0002 * number) for number in range(500)]
    mine = [stay(number, 0.5, who="early bird", days_ago=1 + number) for number in range(60)]
    history = DepartureHistory.learnt([*others, *mine], before=START)
    declared = START + timedelta(hours=8)
    early, usual = (
        history.ready_by(0.2, START, declared, arrival=START, id_token=who) for who in ("early bird", "new"))
    assert early is not None
    assert usual is not None
    assert START + timedelta(hours=3) <= early <= START + timedelta(hours=4)
    assert usual > early


@given(seed=st.integers(0, 10_000), quantile=st.floats(0.05, 0.5), now_h=st.floats(0.0, 7.0))
def test_at_most_the_quantile_leaves_before_the_buffer_ends(seed: int, quantile: float, now_h: float) -> None:
    draw = np.random.default_rng(seed)
    history = DepartureHistory.learnt(
        [stay(number, share) for number, share in enumerate(draw.uniform(0.1, 1.2, 200))], before=START)
    now, declared = START + timedelta(hours=now_h), START + timedelta(hours=8)
    ready = history.ready_by(quantile, now, declared, arrival=START, id_token="new")
    assert ready is not None
    assert now <= ready <= declared
    gone, here = history.gone_by([ready, now], "new", START, declared).tolist()
    assert ready == now or (gone - here) / (1.0 - here) <= quantile + 1e-12
    later = min(ready + timedelta(minutes=5), declared)
    after = float(history.gone_by([later], "new", START, declared)[0])
    assert later == declared or (after - here) / (1.0 - here) > quantile


def test_stays_are_compared_with_stays_of_like_length() -> None:
    """Who declares an hour keeps to it here; who declares a day leaves at half of it."""
    short = [stay(number, 1.0, declared_h=1.0) for number in range(60)]
    long = [stay(number, 0.5, declared_h=11.0) for number in range(60)]
    history = DepartureHistory.learnt([*short, *long], before=START)
    assert gone_after(history, 0.75, declared_h=1.0) < 0.3
    assert gone_after(history, 8.0, declared_h=11.0) > 0.7


def test_only_stays_that_ended_before_teach() -> None:
    past = [stay(number, 0.7) for number in range(60)]
    still_there = stay(1, 0.1, days_ago=0)
    assert DepartureHistory.learnt([*past, still_there], before=still_there.departure).stays == 60
    assert DepartureHistory.learnt([*past, still_there], before=START + timedelta(hours=9)).stays == 61


def test_history_is_kept_out_of_what_is_printed() -> None:
    history = DepartureHistory.learnt([stay(1, 0.5, who="card-of-a-driver")], before=START)
    assert "card-of-a-driver" not in repr(history)
    assert "card-of-a-driver" not in repr(stay(1, 0.5, who="card-of-a-driver"))
