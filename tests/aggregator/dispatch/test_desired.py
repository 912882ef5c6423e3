"""What a plan's row becomes for one charger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch import (
    DischargePermit,
    PermitGap,
    content_hash,
    decode,
    encode,
    fallback_command,
    no_permit,
    permitted,
    plan_command,
    power_at,
    without_discharge,
)
from aggregator.dispatch.desired import capped, curtailed, expiring, from_now
from twin.assets import TimeGrid

GRID = TimeGrid(datetime(2019, 7, 15, 13, 0, tzinfo=UTC), 900, 16)
FULL = DischargePermit("A", 11.0, ())
HOUR = timedelta(hours=1)

rows = st.lists(st.sampled_from([-8.0, -3.5, 0.0, 1.5, 6.0]), min_size=GRID.steps, max_size=GRID.steps)
moments = st.integers(0, GRID.steps * 900 - 1).map(lambda s: GRID.start + timedelta(seconds=s))


def probes(now: datetime) -> list[datetime]:
    return [now + timedelta(minutes=5 * k) for k in range(80)]


@given(row=rows, now=moments)
def test_a_command_orders_what_the_plan_says_for_as_long_as_it_lasts(row: list[float], now: datetime) -> None:
    command, clips = plan_command("A", GRID, row, now, "tx", FULL)
    assert clips == ()
    assert command.periods[0].start <= now
    assert power_at(command, now) == row[GRID.index(now)]
    assert all(a.power_kw != b.power_kw for a, b in zip(command.periods, command.periods[1:], strict=False))
    for when in probes(now):
        ordered = power_at(command, when)
        if ordered is not None:
            assert ordered == row[min(GRID.index(when), GRID.steps - 1)]


@given(row=rows, now=moments)
def test_discharge_expires_by_itself_within_the_hour(row: list[float], now: datetime) -> None:
    command, _ = plan_command("A", GRID, row, now, "tx", FULL)
    assert command.valid_to is not None
    assert all((power_at(command, when) or 0.0) >= 0 for when in probes(now) if when >= now + HOUR)
    if min(row[GRID.index(now):]) >= 0:
        assert command.valid_to == GRID.end + timedelta(hours=2)


def test_a_profile_that_discharges_only_later_ends_where_that_begins() -> None:
    command, _ = plan_command("A", GRID, [2.0] * 10 + [-8.0] * 6, GRID.start, "tx", FULL)
    assert command.valid_to == GRID.at(10)
    assert [period.power_kw for period in command.periods] == [2.0]


@given(row=rows, now=moments)
def test_without_a_permit_there_is_no_discharge_and_charging_stays(row: list[float], now: datetime) -> None:
    bare = no_permit("A", PermitGap.CONSENT)
    command, clips = plan_command("A", GRID, row, now, "tx", bare)
    ahead = row[GRID.index(now):]
    assert all(period.power_kw >= 0 for period in command.periods)
    assert bool(clips) is (min(ahead) < 0)
    assert all(clip.given_kw == 0 and clip.asked_kw < 0 and clip.missing == (PermitGap.CONSENT,) for clip in clips)
    for when in probes(now):
        ordered = power_at(command, when)
        if ordered is not None:
            assert ordered == max(0.0, row[min(GRID.index(when), GRID.steps - 1)])


def test_discharge_is_cut_to_the_kilowatts_and_the_end_of_the_permit() -> None:
    until = GRID.start + timedelta(minutes=20)
    permit = DischargePermit("A", 5.0, (), until)
    command, clips = plan_command("A", GRID, [-8.0] * 16, GRID.start, "tx", permit)
    assert power_at(command, GRID.start) == -5.0
    assert power_at(command, until - timedelta(seconds=1)) == -5.0
    assert power_at(command, until) == 0.0
    assert [clip.given_kw for clip in clips] == [-5.0, 0.0]


def test_a_permit_that_outlives_the_command_cuts_nothing() -> None:
    row = [0.0] * (GRID.steps - 1) + [-5.0]
    command, _ = plan_command("A", GRID, row, GRID.at(GRID.steps - 1), "t1", FULL)
    kept, clips = permitted(command, DischargePermit("A", 11.0, (), GRID.end + timedelta(days=365)))
    assert kept == command
    assert clips == ()


def test_a_charger_that_holds_few_periods_gets_the_first_and_an_earlier_end() -> None:
    row = [1.0, 2.0] * 8
    command, _ = plan_command("A", GRID, row, GRID.start, "tx", FULL, max_periods=3)
    assert len(command.periods) == 3
    assert command.valid_to == GRID.at(3)


def test_a_row_of_the_wrong_length_or_a_time_outside_the_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 16"):
        plan_command("A", GRID, [0.0], GRID.start, "tx", FULL)
    with pytest.raises(ValueError, match="between"):
        plan_command("A", GRID, [0.0] * 16, GRID.end, "tx", FULL)


@given(row=rows, now=moments, version=st.integers(0, 10**6))
def test_a_command_survives_the_store(row: list[float], now: datetime, version: int) -> None:
    command = replace(plan_command("A", GRID, row, now, "tx", FULL)[0], version=version)
    assert decode("A", "plan", version, encode(command)) == command


def test_a_foreign_payload_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="desired state of A"):
        decode("A", "plan", 1, {"periods": [["yesterday", 1.0]]})


@given(row=rows, now=moments)
def test_the_hash_says_what_will_happen_and_not_when_it_was_said(row: list[float], now: datetime) -> None:
    command, _ = plan_command("A", GRID, row, now, "tx", FULL)
    assert content_hash(replace(command, version=9)) == content_hash(command)
    assert content_hash(from_now(command, now + timedelta(seconds=1))) == content_hash(command) or any(
        period.start == now + timedelta(seconds=1) for period in command.periods
    )
    other = replace(command, periods=(replace(command.periods[0], power_kw=0.123), *command.periods[1:]))
    assert content_hash(other) != content_hash(command)
    assert content_hash(replace(command, transaction_id="another car")) != content_hash(command)


@given(row=rows, now=moments, ceiling=st.floats(0, 7), wait=st.integers(0, 7200))
def test_a_ceiling_lowers_charging_from_then_on_and_touches_nothing_else(
    row: list[float], now: datetime, ceiling: float, wait: int
) -> None:
    command, _ = plan_command("A", GRID, row, now, "tx", FULL)
    since = now + timedelta(seconds=wait)
    limited, held_back = capped(command, ceiling, since), curtailed(command, ceiling, since)
    for when in probes(now):
        ordered = power_at(command, when)
        if ordered is None:
            assert power_at(limited, when) is None
            continue
        expected = ordered if when < since else min(ordered, ceiling)
        assert power_at(limited, when) == pytest.approx(expected, abs=1e-3)
        expected = ordered if when < since else max(ordered, -ceiling)
        assert power_at(held_back, when) == pytest.approx(expected, abs=1e-3)


def test_no_limit_and_no_fallback_can_be_negative() -> None:
    command, _ = plan_command("A", GRID, [1.0] * 16, GRID.start, "tx", FULL)
    with pytest.raises(ValueError, match="0 or more"):
        capped(command, -1.0, GRID.start)
    with pytest.raises(ValueError, match="0 or more"):
        fallback_command("A", -1.0, GRID.start)


def test_the_fallback_never_expires() -> None:
    command = fallback_command("A", 1.5, GRID.start)
    assert command.valid_to is None
    assert power_at(command, GRID.end + timedelta(days=900)) == 1.5


@given(row=rows, now=moments, kw=st.floats(0, 12))
def test_permitted_never_adds_discharge(row: list[float], now: datetime, kw: float) -> None:
    command, _ = plan_command("A", GRID, row, now, "tx", FULL)
    cut, _ = permitted(command, DischargePermit("A", kw, ()))
    for when in probes(now):
        before, after = power_at(command, when), power_at(cut, when)
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert after == pytest.approx(max(before, -kw), abs=1e-3)
    assert power_at(without_discharge(command), now) == max(0.0, row[GRID.index(now)])
    assert expiring(without_discharge(command), now) == without_discharge(command)
