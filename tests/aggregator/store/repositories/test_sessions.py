from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aggregator.store import SessionRecord, Store
from aggregator.store.audit import entries
from aggregator.store.repositories import UnknownSessionError

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 15, 40, 16, 38597, tzinfo=UTC)
SESSION = SessionRecord("7", "CA-303", "token-of-a-driver", T0, import_wh_start=1_000.0, export_wh_start=5.0)


async def test_a_session_lives_from_start_to_end(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        assert await tx.sessions.start(SESSION)
    measured = replace(
        SESSION, last_at=T0 + timedelta(hours=1), import_wh=4_000.0, export_wh=9.0, soc=0.5, soc_at=T0,
        soc_start=0.4, soc_start_at=T0, battery_kwh_delta=2.7, vehicle_model="sedan",
    )
    async with store.transaction("gateway") as tx:
        await tx.sessions.update(measured)
        assert await tx.sessions.open() == [measured]
        left_at = T0 + timedelta(hours=2)
        ended = await tx.sessions.end("CA-303", "7", at=left_at, reason="EVDisconnected", import_wh=4_100.0)
    assert ended == replace(
        measured, ended_at=T0 + timedelta(hours=2), last_at=T0 + timedelta(hours=2), end_reason="EVDisconnected",
        import_wh=4_100.0,
    )
    async with store.read() as tx:
        assert await tx.sessions.open() == []
        assert await tx.sessions.by_transaction("CA-303", "7") == ended
        assert await tx.sessions.all() == [ended]
        assert await tx.sessions.all(since=T0 + timedelta(microseconds=1)) == []


async def test_a_repeated_start_changes_nothing(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        assert await tx.sessions.start(SESSION)
        assert not await tx.sessions.start(replace(SESSION, import_wh_start=0.0))
        assert await tx.sessions.find_start("CA-303", "token-of-a-driver", T0) == SESSION
        assert await tx.sessions.find_start("CA-304", "token-of-a-driver", T0) is None


async def test_the_same_transaction_id_at_two_stations_is_two_sessions(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        assert await tx.sessions.start(SESSION)
        assert await tx.sessions.start(replace(SESSION, evse_id="CA-304"))
        assert len(await tx.sessions.open()) == 2


async def test_the_first_end_counts_and_a_late_update_does_not_reopen(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        await tx.sessions.start(SESSION)
        first = await tx.sessions.end("CA-303", "7", at=T0 + timedelta(hours=2), reason="Local", import_wh=2_000.0)
        again = await tx.sessions.end("CA-303", "7", at=T0 + timedelta(hours=3), reason="Remote", import_wh=9_000.0)
        assert again == first
        await tx.sessions.update(replace(SESSION, import_wh=2_001.0))
        late = await tx.sessions.by_transaction("CA-303", "7")
    assert late is not None
    assert (late.ended_at, late.end_reason, late.import_wh) == (T0 + timedelta(hours=2), "Local", 2_001.0)


async def test_updating_or_ending_what_never_started_is_an_error_that_names_it(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        with pytest.raises(UnknownSessionError, match="CA-303/7"):
            await tx.sessions.update(SESSION)
        with pytest.raises(UnknownSessionError, match="CA-303/7"):
            await tx.sessions.end("CA-303", "7", at=T0, reason="Local")


async def test_start_and_end_are_audited_without_the_drivers_token(store: Store) -> None:
    async with store.transaction("gateway") as tx:
        await tx.sessions.start(SESSION)
        await tx.sessions.update(replace(SESSION, import_wh=1_500.0))
        await tx.sessions.end("CA-303", "7", at=T0, reason="Local")
    chain = [entry async for entry in entries(store)]
    assert [entry.action for entry in chain] == ["session.started", "session.ended"]
    assert all("token-of-a-driver" not in repr(entry) for entry in chain)
    assert "token-of-a-driver" not in repr(SESSION)
