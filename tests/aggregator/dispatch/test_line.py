"""The line to one EVSE remembers the newest and never goes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch import content_hash, fallback_command
from aggregator.dispatch.line import Held, Line, Slot
from aggregator.ocpp.events import Delivery, DeliveryState

pytestmark = pytest.mark.anyio

offers = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(offers=offers)
def test_what_is_taken_for_sending_never_gets_older_whatever_snapshots_are_offered(
    offers: list[tuple[int, bool, bool]], kit: Any
) -> None:
    line, sent = Line("A"), []
    for version, again, is_sent_now in offers:
        line.offer(replace(kit.command("A", 5.0), version=version), again=again)
        job = line.due(0.0)
        if job is not None and job.command is not None and is_sent_now:
            sent.append(job.command.version)
            line.done(job)
    assert sent == sorted(sent)
    assert line.newest[Slot.PLAN] == max(version for version, _, _ in offers)


def test_the_newest_is_sent_once_unless_it_is_asked_for_again(kit: Any) -> None:
    line, command = Line("A"), replace(kit.command("A", 5.0), version=3)
    assert line.offer(command)
    line.done(line.jobs[Slot.PLAN])
    assert not line.offer(command)
    assert line.offer(command, again=True)


def test_what_is_safe_is_sent_before_what_is_planned(kit: Any) -> None:
    line = Line("A")
    line.offer(replace(kit.command("A", 5.0), version=1))
    line.clear_plan()
    line.offer(replace(fallback_command("A", 1.0, kit.start), version=1))
    order = []
    while (job := line.due(0.0)) is not None:
        order.append(job.slot)
        line.done(job)
    assert order == [Slot.FALLBACK, Slot.CLEAR_PLAN, Slot.PLAN]


async def test_who_waits_for_a_version_is_answered_by_a_newer_one_but_not_by_an_older(kit: Any) -> None:
    line = Line("A")
    answer = line.wait_for(Slot.PLAN, 2)
    line.answer(Slot.PLAN, 1, Delivery(DeliveryState.REJECTED))
    line.answer(Slot.FALLBACK, 9, Delivery(DeliveryState.REJECTED))
    assert not answer.done()
    line.answer(Slot.PLAN, 3, Delivery(DeliveryState.ACCEPTED))
    assert (await answer).state is DeliveryState.ACCEPTED
    left = line.wait_for(Slot.PLAN, 4)
    line.abandon("outbox stopped")
    assert (await left).state is DeliveryState.OFFLINE
    assert kit.start


@given(held_h=st.floats(0, 5), new_h=st.floats(0, 5), age_h=st.floats(0, 5))
def test_what_is_held_serves_only_if_it_covers_half_of_the_new_life_and_ends_no_later(
    held_h: float, new_h: float, age_h: float, kit: Any
) -> None:
    held = kit.command("A", 5.0, lasts_h=held_h)
    new = kit.command("A", 5.0, lasts_h=new_h)
    now = kit.start + timedelta(hours=age_h)
    serves = Held(content_hash(held), held).still_serves(content_hash(new), new, now)
    left, wanted = held.valid_to - now, new.valid_to - now
    assert serves is (timedelta(0) < left <= wanted <= 2 * left)
    assert not Held("another", held).still_serves(content_hash(new), new, now)
