"""Signals from their arrival to their report, on a real store."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.clock import Clock, ScaledClock, Segment
from aggregator.signals import (
    Decision,
    GridSignal,
    Obligation,
    Programme,
    ReasonCode,
    Receipt,
    SignalDesk,
    SignalDraft,
    SignalFault,
    SignalInterval,
    SignalState,
    UnknownSignal,
)
from aggregator.store import Store, verify
from twin.assets import TimeGrid

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 17, 0, tzinfo=UTC)
PROGRAMMES = (
    Programme("peak", "utility", Obligation.COMMITTED, 0.5, 2.0),
    Programme("emergency", "utility", Obligation.MANDATORY),
    Programme("emergency", "other", Obligation.VOLUNTARY),
)
S = SignalState


class SteppedClock:
    """Domain time that stands until it is moved."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time

    def wall_seconds_until(self, when: datetime) -> float:
        return 0.01 if when > self.time else 0.0

    async def sleep_until(self, when: datetime) -> None:
        while self.time < when:  # noqa: ASYNC110  a test moves it
            await asyncio.sleep(0.01)

    async def sleep(self, domain_seconds: float) -> None:
        await self.sleep_until(self.time + timedelta(seconds=domain_seconds))


class Listening:
    """Who the desk tells, writing down what it was told."""

    def __init__(self) -> None:
        self.applied, self.told = [], []

    async def on_mandatory(self, signal: GridSignal) -> None:
        self.applied.append(signal)

    async def on_signal(self, signal: GridSignal) -> None:
        self.told.append(signal)


def draft(
    programme: str = "peak", *, start: float = 2.0, end: float = 4.0, kw: float = 20.0, digest: str = "a",
    targets: Sequence[str] = (),
) -> SignalDraft:
    interval = SignalInterval(T0 + timedelta(hours=start), T0 + timedelta(hours=end), kw)
    return SignalDraft(programme, tuple(targets), (interval,), 0, digest)


@asynccontextmanager
async def opened(
    tmp_path: Path, clock: Clock | None = None, **more: Any
) -> AsyncIterator[tuple[SignalDesk, Listening, SteppedClock, Store]]:
    clock = clock or SteppedClock()
    ears = Listening()
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path}/v2g.db", clock=clock) as store:
        desk = SignalDesk(store, clock, PROGRAMMES, ["site"], ears.on_mandatory, ears.on_signal, **more)
        await desk.recover()
        yield desk, ears, clock, store


async def send(
    desk: SignalDesk, what: SignalDraft, external_id: str = "e1", party: str = "utility", **more: Any
) -> Receipt:
    return await desk.receive(
        what, protocol="openadr", party=party, external_id=external_id, actor="client", **more
    )


async def states(desk: SignalDesk, signal_id: str) -> list[SignalState]:
    return [step.state for step in (await desk.view(signal_id, None)).transitions]


async def test_the_same_signal_twice_is_one_signal_and_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, ears, _, _):
        first = await send(desk, draft())
        again = await send(desk, draft())
        assert again.signals == first.signals
        assert (first.is_new, again.is_new) == (True, False)
        assert len(ears.told) == 1
        assert len(await desk.views(None)) == 1


async def test_the_same_signal_from_many_at_once_is_one_signal(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, ears, _, _):
        await asyncio.gather(*(send(desk, draft(), f"drawn-{n}", is_named=False) for n in range(10)))
        assert len(await desk.views(None)) == 1
        assert len(ears.told) == 1


async def test_a_change_is_a_new_revision_and_supersedes_the_old_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (old,) = (await send(desk, draft())).signals
        (new,) = (await send(desk, draft(kw=30.0, digest="b"))).signals
        assert (old.revision, new.revision) == (1, 2)
        assert await states(desk, old.id) == [S.RECEIVED, S.SUPERSEDED]
        assert [held.signal.id for held in desk.book().held] == [new.id]


async def test_a_withdrawn_signal_is_cancelled_and_may_be_sent_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, ears, _, _):
        (old,) = (await send(desk, draft())).signals
        await desk.cancel(protocol="openadr", party="utility", external_id="e1", actor="client")
        assert await states(desk, old.id) == [S.RECEIVED, S.CANCELLED]
        assert len(ears.told) == 2
        assert desk.book().commitments(TimeGrid(T0, 900, 16)) == ()
        (new,) = (await send(desk, draft())).signals
        assert new.revision == 2
        assert await states(desk, new.id) == [S.RECEIVED]


async def test_nobody_withdraws_what_another_party_sent(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (signal,) = (await send(desk, draft())).signals
        assert await desk.cancel(protocol="openadr", party="other", external_id="e1", actor="x") == ()
        assert await states(desk, signal.id) == [S.RECEIVED]
        with pytest.raises(UnknownSignal):
            await desk.view(signal.id, "other")


async def test_the_obligation_is_that_of_the_partys_own_enrolment(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (ours,) = (await send(desk, draft("emergency"))).signals
        (theirs,) = (await send(desk, draft("emergency"), party="other")).signals
        assert (ours.obligation, theirs.obligation) == (Obligation.MANDATORY, Obligation.VOLUNTARY)


@pytest.mark.parametrize(
    ("what", "party", "field"),
    [
        (draft("unheard"), "utility", "programme"),
        (draft("peak"), "other", "programme"),
        (draft(targets=["nowhere"]), "utility", "targets[0]"),
    ],
)
async def test_what_cannot_be_bound_is_refused_and_nothing_stored(
    tmp_path: Path, what: SignalDraft, party: str, field: str
) -> None:
    async with opened(tmp_path) as (desk, ears, _, _):
        with pytest.raises(SignalFault) as caught:
            await send(desk, what, party=party)
        assert caught.value.field == field
        assert await desk.views(None) == []
        assert ears.told == []


async def test_a_signal_and_what_goes_alongside_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the event could not be written")

    async with opened(tmp_path) as (desk, ears, _, store):
        with pytest.raises(RuntimeError, match="could not be written"):
            await send(desk, draft(), alongside=fail)
        assert await desk.views(None) == []
        assert (desk.book().held, ears.told) == ((), [])
        assert (await verify(store)).ok


async def test_a_mandatory_limit_in_force_is_applied_before_anyone_plans(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, ears, clock, _):
        (signal,) = (await send(desk, draft("emergency", start=0.0, end=0.5))).signals
        assert ears.applied == [signal]
        assert await states(desk, signal.id) == [S.RECEIVED, S.DISPATCHED]
        assert desk.book().import_cap_at(clock.now(), 120.0) == 20.0


async def test_a_mandatory_limit_that_would_start_discharge_waits_for_the_planner(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, ears, _, _):
        await send(desk, draft("emergency", start=0.0, kw=-5.0))
        assert (len(ears.applied), len(ears.told)) == (0, 1)


async def test_a_limit_stands_and_is_told_even_if_it_could_not_be_applied_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, ears, clock, store):
        async def fail(_: object) -> None:
            raise RuntimeError("no charger answers")

        desk = SignalDesk(store, clock, PROGRAMMES, ["site"], fail, ears.on_signal)
        (signal,) = (await send(desk, draft("emergency", start=0.0))).signals
        assert ears.told == [signal]
        assert await states(desk, signal.id) == [S.RECEIVED]
        assert desk.book().import_cap_at(clock.now(), 120.0) == 20.0


async def test_an_answer_is_kept_and_shown_without_drivers(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (signal,) = (await send(desk, draft())).signals
        decision = Decision(signal.id, S.PARTIAL, 30.0, 24.0, 50.0, (26.0,), ((ReasonCode.ENERGY, 3),), T0, "plan-1")
        await desk.record_decision(decision)
        seen = await desk.view(signal.id, "utility")
        assert (seen.state, seen.decision) == (S.PARTIAL, decision)
        (commitment,) = desk.book().commitments(TimeGrid(T0, 900, 16))
        assert set(commitment.max_net_kw) == {26.0}


async def test_an_answer_needs_a_promise_for_each_interval(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (signal,) = (await send(desk, draft())).signals
        with pytest.raises(ValueError, match="committed_net_kw"):
            await desk.record_decision(Decision(signal.id, S.ACCEPTED, 1.0, 1.0, 1.0, (), (), T0))
        with pytest.raises(UnknownSignal):
            await desk.record_decision(Decision("none", S.ACCEPTED, 1.0, 1.0, 1.0, (1.0,), (), T0))


async def test_the_lifecycle_only_goes_forward(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (signal,) = (await send(desk, draft())).signals
        assert await desk.advance(signal.id, S.DISPATCHED)
        assert not await desk.advance(signal.id, S.SCHEDULED)
        assert not await desk.advance(signal.id, S.DISPATCHED)
        await desk.record_decision(Decision(signal.id, S.PARTIAL, 1.0, 1.0, 1.0, (1.0,), (), T0))
        assert await states(desk, signal.id) == [S.RECEIVED, S.DISPATCHED]


async def test_signals_are_followed_through_start_and_end(tmp_path: Path) -> None:
    async def measure(_: object) -> dict[str, float]:
        return {"delivered_kwh": 12.5}

    async with opened(tmp_path, measure=measure) as (desk, ears, clock, _):
        following = asyncio.create_task(desk.run())
        (event,) = (await send(desk, draft(start=1.0, end=2.0))).signals
        (limit,) = (await send(desk, draft("emergency", start=1.0, end=2.0), "e2")).signals
        assert ears.applied == []
        clock.time = T0 + timedelta(hours=1)
        await _until(lambda: _last(desk, event.id, S.ACTIVE))
        await _until(lambda: _last(desk, limit.id, S.ACTIVE))
        assert ears.applied == [limit]
        clock.time = T0 + timedelta(hours=2)
        await _until(lambda: _last(desk, event.id, S.REPORTED))
        measured = (await desk.view(event.id, None)).transitions[-2]
        assert (measured.state, measured.detail) == (S.MEASURED, '{"delivered_kwh":12.5}')
        following.cancel()
        await asyncio.wait({following})


async def test_a_restarted_desk_holds_what_was_accepted(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        (event,) = (await send(desk, draft())).signals
        await send(desk, draft("emergency", start=0.0, end=1.0), "e2")
        await desk.record_decision(Decision(event.id, S.PARTIAL, 30.0, 24.0, 50.0, (26.0,), (), T0))
        before = {held.signal.id: (held.state, held.decision) for held in desk.book().held}
    async with opened(tmp_path) as (desk, ears, clock, _):
        assert {held.signal.id: (held.state, held.decision) for held in desk.book().held} == before
        assert desk.book().import_cap_at(clock.now(), 120.0) == 20.0
        assert not (await send(desk, draft())).is_new
        assert ears.told == []


async def test_the_desk_follows_a_scaled_clock(tmp_path: Path) -> None:
    loop_start = datetime.now(UTC).timestamp()
    clock = ScaledClock([Segment(loop_start, T0, 3600.0)])
    async with opened(tmp_path, clock) as (desk, _, _, _):
        following = asyncio.create_task(desk.run())
        start_h = (clock.now() - T0) / timedelta(hours=1) + 0.3
        (signal,) = (await send(desk, draft(start=start_h, end=start_h + 500))).signals
        await _until(lambda: _last(desk, signal.id, S.ACTIVE))
        began = (await desk.view(signal.id, None)).transitions[-1].at
        assert signal.start <= began < signal.end, "18 minutes of domain time are less than a second of the wall"
        following.cancel()
        await asyncio.wait({following})


async def _last(desk: SignalDesk, signal_id: str, state: SignalState) -> bool:
    return (await states(desk, signal_id))[-1] is state


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)


async def test_a_party_cannot_bury_the_planner_under_intervals(tmp_path: Path) -> None:
    second = timedelta(seconds=1)
    many = tuple(SignalInterval(T0 + k * second, T0 + (k + 1) * second, 20.0) for k in range(2000))

    async with opened(tmp_path) as (desk, _, clock, _):
        for turn in range(2):
            await send(desk, SignalDraft("emergency", (), many, 0, f"d{turn}"), f"e{turn}")
        with pytest.raises(SignalFault, match="no more than 4000 intervals that are not over"):
            await send(desk, draft("emergency"), "one too many")
        revised = await send(desk, SignalDraft("emergency", (), many, 0, "d2"), "e1")
        assert revised.signals[0].revision == 2
        await send(desk, draft("emergency"), "another's", party="other")
        began = time.process_time()  # the work of it: a stalled machine is not ours
        caps = desk.book("site").import_cap(TimeGrid(T0, 900, 96), 100.0, T0)
        assert time.process_time() - began < 0.5
        assert caps[:3].tolist() == [20.0] * 3
        clock.time = T0 + timedelta(hours=1)
        await send(desk, draft("emergency"), "when those are over")


async def test_what_began_in_another_age_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as (desk, _, _, _):
        with pytest.raises(SignalFault, match="within the last year"):
            await send(desk, draft(start=-24 * 400))
        assert desk.book("site").held == ()
