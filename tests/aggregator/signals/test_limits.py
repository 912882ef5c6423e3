"""How limits combine."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.signals import (
    NO_LIMIT_KW,
    Decision,
    GridSignal,
    Held,
    LimitBook,
    Obligation,
    Programme,
    ReleaseRule,
    SignalInterval,
    SignalState,
    release_ramp,
)
from twin.assets import TimeGrid

T0 = datetime(2019, 7, 15, 12, 0, tzinfo=UTC)
CAP = 120.0
GRID = TimeGrid(T0, 900, 16)
AT_ONCE = ReleaseRule(0.0, 0.0)
PEAK = Programme("peak", "utility", Obligation.COMMITTED, incentive_per_kwh=0.5, shortfall_per_kwh=2.0)


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


def signal(
    *spans: tuple[int, int, float], obligation: Obligation = Obligation.MANDATORY, name: str = "s",
    min_net_kw: float = -NO_LIMIT_KW,
) -> GridSignal:
    """spans: (first minute, last minute, max_net_kw)."""
    intervals = tuple(SignalInterval(T0 + minutes(a), T0 + minutes(b), kw, min_net_kw) for a, b, kw in spans)
    return GridSignal(
        id=name, source="openadr:utility", external_id=name, revision=1, content_hash=name, received_at=T0,
        programme="peak", obligation=obligation, site_id="site", intervals=intervals,
    )


def book(*held: Held, release: ReleaseRule = AT_ONCE) -> LimitBook:
    return LimitBook("site", {"peak": PEAK}, release, tuple(held))


def in_force(given_signal: GridSignal) -> Held:
    return Held(given_signal, SignalState.ACTIVE)


spans = st.tuples(st.integers(0, 239), st.integers(1, 120), st.floats(0, 200)).map(lambda s: (s[0], s[0] + s[1], s[2]))


@settings(max_examples=80)
@given(st.lists(spans, max_size=6), st.integers(0, 239))
def test_limits_combine_by_minimum_whatever_their_order(found: list[tuple[int, int, float]], minute: int) -> None:
    held = [in_force(signal(span, name=str(index))) for index, span in enumerate(found)]
    expected = min([CAP, *(kw for a, b, kw in found if a <= minute < b)])
    now = T0 + minutes(minute)
    assert book(*held).import_cap_at(now, CAP) == expected
    assert book(*reversed(held)).import_cap_at(now, CAP) == expected


@settings(max_examples=40)
@given(st.lists(spans, max_size=5), st.floats(0, 600), st.floats(0, 600))
def test_no_instant_of_a_step_has_less_than_the_steps_cap_and_one_comes_close(
    found: list[tuple[int, int, float]], ramp_s: float, random_start_s: float
) -> None:
    held = [in_force(signal(span, name=str(index))) for index, span in enumerate(found)]
    limits = book(*held, release=ReleaseRule(ramp_s, random_start_s))
    caps = limits.import_cap(GRID, CAP)
    for step in range(GRID.steps):
        inside = [limits.import_cap_at(GRID.at(step) + minutes(m), CAP) for m in range(15)]
        assert min(inside) == pytest.approx(caps[step], abs=1e-9)


def test_a_cap_is_never_above_the_sites_own_nor_below_zero() -> None:
    caps = book(in_force(signal((0, 60, 500.0))), in_force(signal((60, 120, -30.0), name="t"))).import_cap(GRID, CAP)
    assert caps.max() == CAP
    assert caps.min() == 0.0


def test_only_mandatory_limits_lower_the_cap() -> None:
    voluntary = signal((0, 60, 10.0), obligation=Obligation.COMMITTED)
    assert np.all(book(in_force(voluntary)).import_cap(GRID, CAP) == CAP)


def test_what_is_set_aside_limits_nothing() -> None:
    for state in (SignalState.CANCELLED, SignalState.SUPERSEDED, SignalState.OPTED_OUT, SignalState.REJECTED):
        held = Held(signal((0, 60, 10.0)), state)
        assert book(held).import_cap_at(T0, CAP) == CAP
        assert book(Held(signal((0, 60, 1.0), obligation=Obligation.COMMITTED), state)).commitments(GRID) == ()


def test_after_a_mandatory_limit_the_cap_rises_late_and_linearly() -> None:
    limits = book(in_force(signal((0, 30, 20.0))), release=ReleaseRule(600.0, 120.0))
    end = T0 + minutes(30)
    ramp = release_ramp(end, "site", 20.0, CAP, limits.release, "s")
    assert end <= ramp.start <= end + timedelta(seconds=120)
    assert limits.import_cap_at(end, CAP) == 20.0
    assert limits.import_cap_at(ramp.start + timedelta(seconds=300), CAP) == pytest.approx(70.0)
    assert limits.import_cap_at(ramp.end, CAP) == CAP


def test_sites_of_a_feeder_do_not_return_together_and_each_draws_the_same_again() -> None:
    rule = ReleaseRule(300.0, 120.0)
    starts = [release_ramp(T0, f"site-{n}", 0.0, CAP, rule).start for n in range(40)]
    assert len(set(starts)) == 40
    assert max(starts) - min(starts) > timedelta(seconds=60)
    assert starts[3] == release_ramp(T0, "site-3", 0.0, CAP, rule).start


def test_a_following_interval_needs_no_ramp_but_the_last_one_does() -> None:
    limits = book(in_force(signal((0, 15, 20.0), (15, 30, 60.0))), release=ReleaseRule(900.0, 0.0))
    assert limits.import_cap(GRID, CAP)[:4].tolist() == [20.0, 60.0, 60.0, CAP]


def test_a_cancelled_limit_in_force_is_released_by_its_ramp() -> None:
    held = Held(signal((0, 60, 20.0)), SignalState.CANCELLED, ended_at=T0 + minutes(10))
    limits = book(held, release=ReleaseRule(600.0, 0.0))
    assert limits.import_cap_at(T0 + minutes(15), CAP) == pytest.approx(70.0)
    assert limits.import_cap_at(T0 + minutes(20), CAP) == CAP
    assert limits.mandatory_limit_at(T0 + minutes(15)) is None


def test_what_ended_before_now_no_longer_lowers_the_first_step() -> None:
    limits = book(in_force(signal((0, 5, 20.0))))
    assert limits.import_cap(GRID, CAP)[0] == 20.0
    assert limits.import_cap(GRID, CAP, now=T0 + minutes(6))[0] == CAP


def test_an_undecided_event_is_asked_of_the_planner_at_penalty_and_lost_incentive() -> None:
    asked = signal((30, 60, 25.0), (60, 80, -5.0), obligation=Obligation.COMMITTED)
    (commitment,) = book(Held(asked, SignalState.RECEIVED)).commitments(GRID)
    assert commitment.steps == (2, 3, 4, 5)
    assert commitment.max_net_kw == (25.0, 25.0, -5.0, -5.0)
    assert commitment.shortfall_per_kwh == 2.5


def test_a_decided_event_is_held_to_what_was_promised() -> None:
    asked = signal((30, 60, 25.0), obligation=Obligation.COMMITTED)
    decision = Decision("s", SignalState.PARTIAL, 20.0, 10.0, 45.0, (35.0,), (), T0)
    (commitment,) = book(Held(asked, SignalState.DISPATCHED, decision)).commitments(GRID)
    assert commitment.max_net_kw == (35.0, 35.0)
    assert commitment.shortfall_per_kwh == 2.5


def test_what_was_asked_beyond_the_promise_still_earns_the_incentive() -> None:
    asked = signal((30, 60, 25.0), obligation=Obligation.COMMITTED)
    partly, fully = (
        Decision("s", SignalState.PARTIAL, 20.0, 45.0 - kw, 45.0, (kw,), (), T0) for kw in (35.0, 25.0))
    (commitment,) = book(Held(asked, SignalState.DISPATCHED, partly)).commitments(GRID)
    assert (commitment.asked_net_kw, commitment.asked_per_kwh) == ((25.0, 25.0), 0.5)
    (commitment,) = book(Held(asked, SignalState.DISPATCHED, fully)).commitments(GRID)
    assert (commitment.asked_net_kw, commitment.asked_per_kwh) == ((), 0.0)


def test_commitments_leave_out_what_is_over() -> None:
    asked = signal((0, 60, 25.0), obligation=Obligation.COMMITTED)
    (commitment,) = book(in_force(asked)).commitments(GRID, now=T0 + minutes(31))
    assert commitment.steps == (2, 3)
    assert book(in_force(asked)).commitments(GRID, now=T0 + minutes(60)) == ()


def test_a_mandatory_limit_below_zero_is_a_commitment_below_zero_only() -> None:
    (commitment,) = book(in_force(signal((0, 15, -10.0), (15, 30, 5.0)))).commitments(GRID)
    assert (commitment.steps, commitment.max_net_kw) == ((0,), (-10.0,))


def test_a_mandatory_export_limit_lowers_the_export_cap_and_leaves_import_alone() -> None:
    limits = book(in_force(signal((0, 30, NO_LIMIT_KW), min_net_kw=-5.0)))
    assert limits.export_cap(GRID, 50.0)[:3].tolist() == [5.0, 5.0, 50.0]
    assert np.all(limits.import_cap(GRID, CAP) == CAP)
    assert limits.commitments(GRID) == ()


def test_the_export_cap_at_an_instant_is_that_of_its_step() -> None:
    limits = book(in_force(signal((0, 30, NO_LIMIT_KW), min_net_kw=-5.0)))
    assert [limits.export_cap_at(T0 + minutes(m), 50.0) for m in (0, 29, 30)] == [5.0, 5.0, 50.0]
