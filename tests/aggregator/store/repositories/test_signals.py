from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from aggregator.signals.model import Decision, GridSignal, Obligation, ReasonCode, SignalInterval, SignalState
from aggregator.store import SignalTransition, Store
from aggregator.store.repositories import UnknownSignalError

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 17, tzinfo=UTC)
SIGNAL = GridSignal(
    id="s1", source="openadr:utility", external_id="event-1", revision=1, content_hash="a", received_at=T0,
    programme="peak", obligation=Obligation.COMMITTED, site_id="caltech", priority=3,
    intervals=(
        SignalInterval(T0 + timedelta(hours=4), T0 + timedelta(hours=5), 20.0),
        SignalInterval(T0 + timedelta(hours=5), T0 + timedelta(hours=6), -7.25, min_net_kw=-30.5),
    ),
)


async def test_a_signal_comes_back_as_it_was_in_state_received(store: Store) -> None:
    async with store.transaction("utility") as tx:
        await tx.signals.add(SIGNAL)
    async with store.read() as tx:
        assert await tx.signals.get("s1") == SIGNAL
        assert await tx.signals.all() == [SIGNAL]
        assert await tx.signals.state("s1") == SignalState.RECEIVED
        assert await tx.signals.transitions("s1") == [SignalTransition("s1", SignalState.RECEIVED, T0)]
        assert await tx.signals.get("s2") is None


async def test_the_newest_revision_answers_for_its_external_id(store: Store) -> None:
    newer = replace(SIGNAL, id="s2", revision=2, content_hash="b")
    # A sender may go back to what it asked first: the same content is then a third revision.
    back = replace(SIGNAL, id="s3", revision=3)
    async with store.transaction("utility") as tx:
        for signal in (SIGNAL, newer, back):
            await tx.signals.add(signal)
            assert await tx.signals.by_external("openadr:utility", "event-1") == signal
        assert await tx.signals.by_external("openadr:other", "event-1") is None


async def test_the_same_revision_cannot_be_stored_twice(store: Store) -> None:
    async with store.transaction("utility") as tx:
        await tx.signals.add(SIGNAL)
    with pytest.raises(IntegrityError):
        async with store.transaction("utility") as tx:
            await tx.signals.add(replace(SIGNAL, id="s2"))
    async with store.read() as tx:
        assert await tx.signals.all() == [SIGNAL]


async def test_transitions_keep_their_order_and_a_repeat_is_none(store: Store) -> None:
    async with store.transaction("desk") as tx:
        await tx.signals.add(SIGNAL)
        assert await tx.signals.transition("s1", SignalState.ACCEPTED, T0, "all of it")
        assert not await tx.signals.transition("s1", SignalState.ACCEPTED, T0 + timedelta(hours=1))
        assert await tx.signals.transition("s1", SignalState.ACTIVE, T0 + timedelta(hours=4))
        states = [(t.state, t.detail) for t in await tx.signals.transitions("s1")]
    assert states == [
        (SignalState.RECEIVED, ""), (SignalState.ACCEPTED, "all of it"), (SignalState.ACTIVE, ""),
    ]


async def test_an_unknown_signal_has_no_state_and_no_transitions(store: Store) -> None:
    async with store.transaction("desk") as tx:
        with pytest.raises(UnknownSignalError, match="'nope'"):
            await tx.signals.transition("nope", SignalState.ACTIVE, T0)
        assert await tx.signals.transitions("nope") == []


@pytest.mark.parametrize("state", list(SignalState))
async def test_active_are_those_that_bind_until_their_end(store: Store, state: SignalState) -> None:
    set_aside = {"opted_out", "rejected", "superseded", "cancelled", "failed"}
    async with store.transaction("desk") as tx:
        await tx.signals.add(SIGNAL)
        await tx.signals.transition("s1", state, T0)
        before_end = await tx.signals.active(SIGNAL.end - timedelta(microseconds=1))
        at_end = await tx.signals.active(SIGNAL.end)
    assert before_end == ([] if state.value in set_aside else [SIGNAL])
    assert at_end == []


async def test_a_later_decision_replaces_the_earlier_one(store: Store) -> None:
    decision = Decision(
        "s1", SignalState.PARTIAL, 40.0, 31.5, 60.0, (20.0, -7.25),
        ((ReasonCode.ENERGY, 3), (ReasonCode.PERMIT, 1)), T0, "plan-1",
    )
    async with store.transaction("planner") as tx:
        await tx.signals.add(SIGNAL)
        assert await tx.signals.decision("s1") is None
        await tx.signals.decide(decision)
        assert await tx.signals.decision("s1") == decision
        full = replace(decision, state=SignalState.ACCEPTED, committed_kw=40.0, reasons=(), plan_id=None)
        await tx.signals.decide(full)
        assert await tx.signals.decision("s1") == full


async def test_a_decision_about_nothing_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError):
        async with store.transaction("planner") as tx:
            await tx.signals.decide(Decision("nope", SignalState.ACCEPTED, 1, 1, 1, (1,), (), T0))
