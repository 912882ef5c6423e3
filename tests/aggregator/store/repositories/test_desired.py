import asyncio
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ocpp.events import Purpose
from aggregator.store import DesiredRecord, DesiredState, Store
from aggregator.store.audit import entries

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 17, tzinfo=UTC)
WISH = DesiredRecord("E1", Purpose.PLAN, {"periods": [[0, -7.5]]}, "hash-1", T0, valid_to=T0 + timedelta(hours=1))


async def test_a_new_wish_replaces_the_old_one_under_a_higher_version(store: Store) -> None:
    async with store.transaction("planner") as tx:
        first = await tx.desired.put(WISH)
        assert first == replace(WISH, version=1)
        assert await tx.desired.mark("E1", Purpose.PLAN, 1, DesiredState.VERIFIED, "ok", T0, attempts=2, sent_wall=1.5)
        second = await tx.desired.put(replace(WISH, content_hash="hash-2"))
        assert second == replace(WISH, content_hash="hash-2", version=2)
        assert await tx.desired.all() == [second]


async def test_an_answer_to_a_replaced_version_changes_nothing(store: Store) -> None:
    async with store.transaction("planner") as tx:
        await tx.desired.put(WISH)
        newer = await tx.desired.put(WISH)
        assert not await tx.desired.mark("E1", Purpose.PLAN, 1, DesiredState.ACCEPTED, "late", T0)
        assert await tx.desired.get("E1", Purpose.PLAN) == newer


async def test_stamps_are_kept_from_mark_to_mark(store: Store) -> None:
    async with store.transaction("outbox") as tx:
        await tx.desired.put(WISH)
        await tx.desired.mark("E1", Purpose.PLAN, 1, DesiredState.SENT, "", T0, sent_wall=10.25, attempts=1)
        await tx.desired.mark("E1", Purpose.PLAN, 1, DesiredState.ACCEPTED, "fine", T0, answered_wall=10.5)
        row = await tx.desired.get("E1", Purpose.PLAN)
    assert row == replace(
        WISH, version=1, state=DesiredState.ACCEPTED, detail="fine", attempts=1, sent_wall=10.25, answered_wall=10.5
    )


async def test_queued_and_sent_are_pending_and_nothing_else(store: Store) -> None:
    async with store.transaction("outbox") as tx:
        for number, state in enumerate(DesiredState):
            await tx.desired.put(replace(WISH, evse_id=f"E{number}"))
            await tx.desired.mark(f"E{number}", Purpose.PLAN, 1, state, "", T0 + timedelta(seconds=-number))
        pending = [row.state for row in await tx.desired.pending()]
    assert pending == [DesiredState.SENT, DesiredState.QUEUED]


async def test_purposes_of_one_charger_do_not_touch_each_other(store: Store) -> None:
    async with store.transaction("planner") as tx:
        await tx.desired.put_many([WISH, replace(WISH, purpose=Purpose.FALLBACK, valid_to=None)])
        await tx.desired.put(WISH)
        assert {(row.purpose, row.version) for row in await tx.desired.all()} == {
            (Purpose.PLAN, 2), (Purpose.FALLBACK, 1),
        }


async def test_two_wishes_for_one_charger_at_once_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="expected at most one"):
        async with store.transaction("planner") as tx:
            await tx.desired.put_many([WISH, WISH])
    async with store.read() as tx:
        assert await tx.desired.all() == []


async def test_the_chain_tells_what_replaced_what(store: Store) -> None:
    async with store.transaction("planner") as tx:
        await tx.desired.put(WISH)
        await tx.desired.put(replace(WISH, plan_id="p2"))
    first, second = [entry async for entry in entries(store)]
    assert first.detail["replaces"] is None
    assert second.detail == {
        "version": 2, "content_hash": "hash-1", "plan_id": "p2", "replaces": {"version": 1, "state": "queued"},
    }


steps = st.lists(
    st.tuples(st.sampled_from(["put", "mark"]), st.sampled_from(["E1", "E2"]), st.integers(1, 6),
              st.sampled_from(list(DesiredState))),
    max_size=14,
)


@settings(max_examples=8, deadline=None)
@given(steps=steps)
def test_versions_only_rise_and_only_the_newest_can_be_marked(
    steps: list[tuple[str, str, int, DesiredState]]
) -> None:
    """Against a model of two numbers per charger."""
    async def run() -> None:
        model: dict[str, tuple[int, DesiredState]] = {}
        with tempfile.TemporaryDirectory() as folder:
            async with await Store.open(f"sqlite+aiosqlite:///{Path(folder) / 'v2g.sqlite'}") as store:
                for step, evse_id, version, state in steps:
                    async with store.transaction("outbox") as tx:
                        if step == "put":
                            await tx.desired.put(replace(WISH, evse_id=evse_id))
                            model[evse_id] = (model.get(evse_id, (0, state))[0] + 1, DesiredState.QUEUED)
                        else:
                            fits = evse_id in model and model[evse_id][0] == version
                            assert await tx.desired.mark(evse_id, Purpose.PLAN, version, state, "", T0) == fits
                            if fits:
                                model[evse_id] = (version, state)
                async with store.read() as tx:
                    assert {row.evse_id: (row.version, row.state) for row in await tx.desired.all()} == model

    asyncio.run(run())
