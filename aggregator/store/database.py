"""Open the database, bring it up to date, and hand out transactions one writer at a time.

Three engines over one SQLite file in WAL mode. Business writes are synchronous=FULL: a commit survives a power cut.
Telemetry is NORMAL: a commit survives the death of the process; a power cut may cost the last instant of it, never
the integrity of the file. Readers see a snapshot and block nobody. One lock in this process keeps the two writers
apart, so that neither waits in SQLite's busy loop; `busy_timeout` is for other processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from aggregator.store import audit, migrate
from aggregator.store.connection import begun
from aggregator.store.telemetry import Telemetry
from aggregator.store.transaction import Transaction

_BUSY_TIMEOUT_MS = 10_000
_READERS = 4


class StoreError(Exception):
    """The database cannot be used; the message says which, and what was expected."""


class NestedTransactionError(RuntimeError):
    """A task asked for a second write transaction while it holds one: it would wait for itself for ever."""


class DomainClock(Protocol):
    """The part of `aggregator.clock.Clock` that stamps audit entries."""

    def now(self) -> datetime: ...


class _UtcWall:
    def now(self) -> datetime:
        return datetime.now(UTC)


class WriteLock:
    """First come, first served; refuses the task that already holds it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if self._owner is not None and self._owner is task:
            raise NestedTransactionError("transaction: this task holds one already, expected `tx` to be passed on")
        await self._lock.acquire()
        self._owner = task

    async def __aexit__(self, *_: object) -> None:
        self._owner = None
        self._lock.release()


class Store:
    """The service's memory. `open` it once; `close` it last.

    telemetry: the batching writer and the readers of meter values.
    """

    def __init__(self, writer: AsyncEngine, bulk: AsyncEngine, reader: AsyncEngine, clock: DomainClock) -> None:
        self._engines = (writer, bulk, reader)
        self._writer, self._reader = writer, reader
        self._clock = clock
        self._lock = WriteLock()
        self.telemetry = Telemetry(bulk, reader, self._lock)

    @classmethod
    async def open(cls, url: str, *, clock: DomainClock | None = None) -> Self:
        """Open `url`, create or migrate its tables, and start the telemetry writer.

        Args:
            url: "sqlite+aiosqlite:///path/to/file.db"; missing folders are made.
            clock: domain time for audit entries; the wall if None.

        Raises:
            StoreError: the URL is not one we can serve, the file cannot be opened or is newer than this program.
        """
        path = _sqlite_path(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"database_url: cannot make the folder {path.parent}: {error.strerror}") from error
        writer = _engine(url, "FULL", "IMMEDIATE", 1)
        bulk = _engine(url, "NORMAL", "IMMEDIATE", 1)
        reader = _engine(url, "NORMAL", "DEFERRED", _READERS, read_only=True)
        store = cls(writer, bulk, reader, clock or _UtcWall())
        try:
            await migrate.upgrade(writer)
        except migrate.UnknownRevisionError as error:
            await store.close()
            raise StoreError(f"database {path}: {error}") from error
        except (OperationalError, sa.exc.DatabaseError) as error:
            await store.close()
            raise StoreError(f"database {path}: {error.orig}, expected a readable and writable SQLite file") from error
        store.telemetry.start()
        async with store.read():  # loads what transactions need now, not in the first urgent one
            return store

    async def close(self) -> None:
        """Write what telemetry still holds and let go of the file."""
        await self.telemetry.stop()
        for engine in self._engines:
            await engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def transaction(self, actor: str) -> AsyncIterator[Transaction]:
        """A write transaction: commits when the block ends, rolls back when it raises.

        One at a time in the process, in the order asked for; keep network and solver calls out of the block.

        Raises:
            NestedTransactionError: this task already holds one.
        """
        async with self._lock, begun(self._writer) as connection:
            tx = Transaction(connection, actor, self._clock.now())
            yield tx
            await tx.write_audit()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A consistent snapshot that waits for nobody. Writing through it is an error of the database."""
        async with begun(self._reader) as connection:
            yield Transaction(connection, "reader", self._clock.now())

    async def ping(self) -> None:
        """Answer a trivial query, or raise: the readiness check."""
        async with begun(self._reader) as connection:
            await connection.execute(sa.text("SELECT 1"))


class _Snapshots:
    """Reads of a database that nobody has opened as a store."""

    def __init__(self, reader: AsyncEngine) -> None:
        self._reader = reader

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with begun(self._reader) as connection:
            yield Transaction(connection, "reader", datetime.now(UTC))


async def verify_database(path: Path, *, expect: audit.AuditHead | None = None) -> audit.AuditVerdict:
    """Check the audit chain of a database file, without changing it; the service may be running on it.

    Raises:
        StoreError: there is no such file, or it is not a database of this service.
    """
    if not path.is_file():  # noqa: ASYNC240  one look at a local file, by a command that does nothing else
        raise StoreError(f"database {path}: no such file, expected a database of this service")
    reader = _engine(f"sqlite+aiosqlite:///{path}", "NORMAL", "DEFERRED", 1, read_only=True)
    try:
        return await audit.verify(_Snapshots(reader), expect=expect)
    except sa.exc.DatabaseError as error:
        raise StoreError(f"database {path}: {error.orig}, expected a database of this service") from error
    finally:
        await reader.dispose()


def _sqlite_path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("database_url: not a URL, expected sqlite+aiosqlite:///path/to/file.db") from error
    if parsed.drivername != "sqlite+aiosqlite":
        raise StoreError(f"database_url: {parsed.drivername!r}, expected sqlite+aiosqlite")
    if parsed.database in (None, "", ":memory:"):
        raise StoreError("database_url: no file named, expected sqlite+aiosqlite:///path/to/file.db")
    return Path(str(parsed.database))


def _dumps(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _engine(
    url: str, synchronous: str, begin: Literal["IMMEDIATE", "DEFERRED"], connections: int, *, read_only: bool = False
) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=connections, max_overflow=0, json_serializer=_dumps, json_deserializer=orjson.loads,
        hide_parameters=True,  # an error is logged, and parameters hold drivers' tokens
    )
    pragmas = [
        f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}", "PRAGMA journal_mode=WAL", f"PRAGMA synchronous={synchronous}",
        "PRAGMA foreign_keys=ON",
    ]
    if read_only:
        pragmas.append("PRAGMA query_only=ON")

    def configure(connection: Any, _record: object) -> None:
        # The driver's own BEGIN comes late (at the first write) and deferred; ours says what it is, at once.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    sa.event.listen(engine.sync_engine, "connect", configure)
    sa.event.listen(engine.sync_engine, "begin", start)
    return engine
