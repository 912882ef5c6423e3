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


def leaving(now: datetime, declared: datetime, history: DepartureHistory | None = None) -> np.ndarray:
    return (history or DepartureHistory()).leave_probability(GRID, now, declared, arrival=START, id_token="new")


@given(declared_h=st.floats(-2.0, 20.0), now_h=st.floats(0.0, 0.24))
def test_leaving_is_a_probability_and_never_after_the_declared_departure(declared_h: float, now_h: float) -> None:
    declared = START + timedelta(hours=declared_h)
    chance = leaving(START + timedelta(hours=now_h), declared)
    assert (chance >= 0).all()
    assert chance.sum() <= 1 + 1e-12
    ends = np.array([(GRID.at(k + 1) - declared).total_seconds() for k in range(GRID.steps)])
    assert (chance[ends > 0] == 0).all()


def test_the_prior_says_that_a_third_leave_half_an_hour_early() -> None:
    declared = START + timedelta(hours=16)
    early = leaving(START, declared)[: GRID.index(declared - timedelta(minutes=30))].sum()
    assert early == pytest.approx(0.31, abs=0.03)  # a few have left sixteen hours before


def test_what_is_not_a_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a distribution"):
        DepartureErrors((0.0, -1.0), (0.0, 1.0))


def stay(number: int, share: float, *, declared_h: float = 8.0, who: str = "", days_ago: int = 5) -> PastStay:
    arrival = START - timedelta(days=days_ago, minutes=number % 20)
    return PastStay(
        who or f"card-{number}", arrival, arrival + timedelta(hours=declared_h),
        arrival + share * timedelta(hours=declared_h))


def learnt(stays: list[PastStay], before: datetime = START) -> DepartureHistory:
    return DepartureHistory.learnt(stays, before=before, timezone="UTC")


def gone_after(
    history: DepartureHistory, hours: float, *, who: str = "new", declared_h: float = 8.0, now_h: float = 0.0
) -> float:
    declared = START + timedelta(hours=declared_h)
    return float(history.gone_by([START + timedelta(hours=hours)], now=START + timedelta(hours=now_h), arrival=START,
                                 declared=declared, id_token=who)[0])


@given(declared_h=st.floats(0.1, 20.0), now_h=st.floats(0.0, 10.0), later_h=st.floats(0.0, 10.0))
def test_a_site_without_history_is_taken_for_what_is_believed_of_any(
    declared_h: float, now_h: float, later_h: float
) -> None:
    """Of those who are still there now: the share that leaves before the later time."""
    here, gone = DepartureErrors().gone_by(60.0 * (np.array([now_h, now_h + later_h]) - declared_h))
    expected = (gone - here) / (1.0 - here) if here < 1.0 else 1.0
    found = gone_after(DepartureHistory(), now_h + later_h, declared_h=declared_h, now_h=now_h)
    assert found == pytest.approx(expected, abs=1e-9)
    now, declared = START + timedelta(hours=now_h), START + timedelta(hours=declared_h)
    assert DepartureHistory().ready_by(0.1, now, declared, arrival=START, id_token="new") is None
    assert DepartureHistory().stays_until(0.5, now, declared, arrival=START, id_token="new") is None


@given(late_h=st.floats(0.0, 60.0), is_known=st.booleans())
def test_who_is_there_now_has_not_left_by_now_however_late_it_is(late_h: float, is_known: bool) -> None:
    history = learnt([stay(number, 0.9) for number in range(60)]) if is_known else DepartureHistory()
    assert gone_after(history, 8.0 + late_h, now_h=8.0 + late_h) == 0.0


@given(seed=st.integers(0, 10_000), at_h=st.floats(0.5, 8.0), own=st.integers(0, 40), now_h=st.floats(0.0, 4.0))
def test_a_driver_is_believed_between_the_site_and_the_own_record_as_visits_weigh(
    seed: int, at_h: float, own: int, now_h: float
) -> None:
    """Mean of a Dirichlet process: the site counts as ten visits, each of the driver's that lasted as long as one."""
    draw = np.random.default_rng(seed)
    others = [stay(number, share) for number, share in enumerate(draw.uniform(0.2, 1.1, 80))]
    mine = [stay(number, share, who="me", declared_h=3.0) for number, share in enumerate(draw.uniform(0.2, 1.1, own))]
    history = learnt([*others, *mine])
    until_h = now_h + at_h
    alike = [each.share for each in mine if each.share > now_h / 8.0]
    left = sum(share <= until_h / 8.0 for share in alike)
    expected = (10.0 * gone_after(history, until_h, now_h=now_h) + left) / (10.0 + len(alike))
    assert gone_after(history, until_h, now_h=now_h, who="me") == pytest.approx(expected)


def test_a_driver_who_always_leaves_at_noon_is_ready_by_noon_although_the_site_stays_longer() -> None:
    others = [stay(number, 0.95 + 0.0002 * number) for number in range(500)]
    mine = [stay(number, 0.5, who="early bird", days_ago=1 + number) for number in range(60)]
    history = learnt([*others, *mine])
    declared = START + timedelta(hours=8)
    early, usual = (
        history.ready_by(0.2, START, declared, arrival=START, id_token=who) for who in ("early bird", "new"))
    assert early is not None
    assert usual is not None
    assert START + timedelta(hours=3) <= early <= START + timedelta(hours=4)
    assert usual > early


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.9), now_h=st.floats(0.0, 7.0))
def test_buffer_and_stay_end_at_the_last_time_by_which_no_more_than_the_share_has_left(
    seed: int, share: float, now_h: float
) -> None:
    draw = np.random.default_rng(seed)
    history = learnt([stay(number, each) for number, each in enumerate(draw.uniform(0.1, 1.9, 200))])
    now, declared = START + timedelta(hours=now_h), START + timedelta(hours=8)
    whose = {"arrival": START, "id_token": "new"}
    ready = history.ready_by(share, now, declared, **whose)
    stays = history.stays_until(share, now, declared, **whose)
    assert ready is not None
    assert stays is not None
    assert now <= ready <= declared
    for until, at_most in ((ready, declared), (stays, now + timedelta(hours=24))):
        gone, after = history.gone_by(
            [until, min(until + timedelta(minutes=5), at_most)], now=now, declared=declared, **whose).tolist()
        assert gone <= share + 1e-12
        assert after > share or until == at_most


def test_who_has_outstayed_is_compared_with_those_who_had() -> None:
    """Half of the site leaves as declared, half four hours later: who is there after an hour will stay for three."""
    punctual = [stay(number, 1.0) for number in range(100)]
    late = [stay(100 + number, 1.5) for number in range(100)]
    history = learnt(punctual + late)
    declared = START + timedelta(hours=8)
    until = history.stays_until(0.5, declared + timedelta(hours=1), declared, arrival=START, id_token="new")
    assert until is not None
    assert declared + timedelta(hours=2) <= until <= declared + timedelta(hours=4)
    assert gone_after(history, 12.5, now_h=9.0) > 0.8


def test_only_stays_that_ended_before_teach() -> None:
    past = [stay(number, 0.7) for number in range(60)]
    still_there = stay(1, 0.1, days_ago=0)
    assert learnt([*past, still_there], still_there.departure).stays == 60
    assert learnt([*past, still_there], START + timedelta(hours=9)).stays == 61


def test_history_is_kept_out_of_what_is_printed() -> None:
    history = learnt([stay(1, 0.5, who="card-of-a-driver")])
    assert "card-of-a-driver" not in repr(history)
    assert "card-of-a-driver" not in repr(stay(1, 0.5, who="card-of-a-driver"))
