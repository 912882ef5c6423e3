import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from aggregator.ocpp.events import MeterSample
from aggregator.store import NestedTransactionError, StationRecord, Store, StoreError, verify
from aggregator.store.audit import entries
from aggregator.store.connection import steady

pytestmark = pytest.mark.anyio

T0 = datetime(2019, 7, 15, 13, tzinfo=UTC)


async def test_what_a_transaction_wrote_is_there_after_reopening(url: str) -> None:
    async with await Store.open(url) as first, first.transaction("gateway") as tx:
        await tx.stations.upsert(StationRecord("CA-303", "ocpp1.6", vendor="Acme", booted_at=T0))
    async with await Store.open(url) as second, second.read() as tx:
        assert await tx.stations.all() == [StationRecord("CA-303", "ocpp1.6", vendor="Acme", booted_at=T0)]


async def test_a_raising_block_leaves_neither_change_nor_audit_entry(store: Store) -> None:
    async def break_off() -> None:
        async with store.transaction("gateway") as tx:
            await tx.stations.upsert(StationRecord("CA-303", "ocpp1.6"))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await break_off()
    async with store.read() as tx:
        assert await tx.stations.all() == []
    assert [entry async for entry in entries(store)] == []


async def test_many_concurrent_writers_never_collide(store: Store) -> None:
    async def write(number: int) -> None:
        async with store.transaction(f"writer-{number}") as tx:
            await tx.stations.upsert(StationRecord(f"S{number}", "ocpp2.1"))
            await asyncio.sleep(0)
        await store.telemetry.write_meter([MeterSample(f"S{number}", None, T0, power_kw=1.0)])

    await asyncio.gather(*(write(number) for number in range(60)))
    async with store.read() as tx:
        assert len(await tx.stations.all()) == 60
    verdict = await verify(store)
    assert (verdict.ok, verdict.entries) == (True, 60)


async def test_writers_cancelled_at_any_moment_leave_a_whole_chain(store: Store) -> None:
    done: list[int] = []

    async def write(number: int) -> None:
        async with store.transaction("writer") as tx:
            await tx.stations.upsert(StationRecord(f"S{number}", "ocpp2.1"))
        done.append(number)

    for number in range(40):
        task = asyncio.create_task(write(number))
        await asyncio.sleep(0.0002 * (number % 20))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with store.transaction("last") as tx:
        await tx.stations.upsert(StationRecord("last", "ocpp2.1"))
    async with store.read() as tx:
        kept = {station.id for station in await tx.stations.all()}
    assert {f"S{number}" for number in done} | {"last"} <= kept
    verdict = await verify(store)
    assert verdict.ok
    assert verdict.entries == len(kept)


async def test_readers_cancelled_at_any_moment_give_their_connections_back(store: Store) -> None:
    async def read() -> None:
        async with store.read() as tx:
            await tx.stations.all()
            await tx.stations.get("S")

    for number in range(60):
        task = asyncio.create_task(read())
        await asyncio.sleep(0.0002 * (number % 15))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert store._engines[2].pool.status().endswith("Current Checked out connections: 0")
    async with store.transaction("gateway") as tx:
        await tx.stations.upsert(StationRecord("S", "ocpp2.1"))
    async with store.read() as tx:
        assert len(await tx.stations.all()) == 1


async def test_a_second_transaction_in_the_same_task_is_refused_instead_of_waiting_for_ever(store: Store) -> None:
    async with store.transaction("outer"):
        with pytest.raises(NestedTransactionError, match="expected `tx` to be passed on"):
            async with store.transaction("inner"):
                pytest.fail("entered")
    async with store.transaction("after"):
        pass


async def test_a_read_sees_one_snapshot_and_waits_for_no_writer(store: Store) -> None:
    async with store.read() as reading:
        assert await reading.stations.all() == []
        async with store.transaction("gateway") as tx:
            await tx.stations.upsert(StationRecord("CA-303", "ocpp1.6"))
            async with store.read() as other:
                assert await other.stations.all() == []
        assert await reading.stations.all() == []
    async with store.read() as later:
        assert len(await later.stations.all()) == 1


async def test_writing_through_a_read_is_refused_by_the_database(store: Store) -> None:
    async with store.read() as tx:
        with pytest.raises(OperationalError, match="readonly"):
            await tx.stations.upsert(StationRecord("CA-303", "ocpp1.6"))


async def test_business_commits_reach_the_disk_and_telemetry_commits_the_log(store: Store) -> None:
    levels = {}
    for name, engine in zip(("business", "telemetry"), store._engines, strict=False):
        async with engine.connect() as connection:
            levels[name] = (await connection.execute(sa.text("PRAGMA synchronous"))).scalar_one()
            assert (await connection.execute(sa.text("PRAGMA journal_mode"))).scalar_one() == "wal"
            assert (await connection.execute(sa.text("PRAGMA foreign_keys"))).scalar_one() == 1
    assert levels == {"business": 2, "telemetry": 1}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "expected sqlite"),
        ("sqlite+aiosqlite://", "no file named"),
        ("sqlite+aiosqlite:///:memory:", "no file named"),
        ("postgresql+asyncpg://someone:hush@db/v2g", "expected sqlite"),
    ],
)
async def test_a_url_that_cannot_be_served_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refusal:
        await Store.open(url)
    assert "hush" not in str(refusal.value)


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(database: Path, url: str) -> None:
    letter = b"a letter to a friend, quite long enough to be taken for a header of something" * 20
    database.write_bytes(letter)  # noqa: ASYNC240  nothing else runs on this loop
    with pytest.raises(StoreError, match="not a database"):
        await Store.open(url)
    assert database.read_bytes() == letter  # noqa: ASYNC240  same


async def test_a_database_of_a_newer_version_is_refused(database: Path, url: str) -> None:
    await (await Store.open(url)).close()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"'9999'.*newer version"):
        await Store.open(url)


async def test_a_cancellation_that_comes_as_a_step_ends_is_not_lost() -> None:
    """Both are due in the same turn of the event loop: the step is done, and the caller has just been cancelled."""
    step_may_end = asyncio.Event()
    inner: list[asyncio.Task[object]] = []

    async def step() -> str:
        task = asyncio.current_task()
        assert task is not None
        inner.append(task)
        await step_may_end.wait()
        return "done"

    caller = asyncio.create_task(steady(step()))
    while not inner:  # noqa: ASYNC110  two turns of the loop, no time passes
        await asyncio.sleep(0)
    inner[0].add_done_callback(lambda _: caller.cancel())
    step_may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
