"""Departure errors as probabilities over the steps of a horizon."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fleet import DepartureErrors
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


def test_a_site_with_enough_history_replaces_the_prior() -> None:
    punctual = DepartureErrors.learnt([0.0] * 60)
    chance = punctual.leave_probability(GRID, START, START + timedelta(hours=6))
    assert chance[:20].sum() == pytest.approx(0.0, abs=1e-6)
    assert DepartureErrors.learnt([0.0] * 10) == DepartureErrors()


def test_what_is_not_a_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a distribution"):
        DepartureErrors((0.0, -1.0), (0.0, 1.0))
