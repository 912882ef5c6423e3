"""Connections that survive the cancellation of whoever uses them.

A statement runs in the driver's thread and cannot be called back. If its caller is cancelled meanwhile (a browser
went away, a timeout), SQLAlchemy would drop the connection with its transaction still open, and with it the write
lock of the file. Here every step runs to its end first; then the cancellation goes on, and the block rolls back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

T = TypeVar("T")


async def steady(step: Coroutine[Any, Any, T]) -> T:
    """Await `step` to its end even if the caller is cancelled; the cancellation is raised afterwards."""
    task = asyncio.create_task(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                break  # it was the step that was cancelled, not the caller
            cancelled = error
        except BaseException:  # noqa: BLE001  the step's own failure: `task.result` raises it below
            break
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what the caller learns
        raise cancelled
    return task.result()


class Connection:
    """One open transaction's connection: statements in order, none of them abandoned half way."""

    def __init__(self, raw: AsyncConnection) -> None:
        self._raw = raw

    @property
    def dialect_name(self) -> str:
        return self._raw.dialect.name

    async def execute(
        self, statement: sa.Executable, rows: Sequence[Mapping[str, Any]] | None = None
    ) -> sa.CursorResult[Any]:
        """Run `statement`, once for each of `rows` if given."""
        return await steady(self._raw.execute(statement, rows))


@asynccontextmanager
async def begun(engine: AsyncEngine) -> AsyncIterator[Connection]:
    """A transaction of `engine`: commits when the block ends, rolls back when it raises or is cancelled."""
    raw = engine.connect()
    try:
        await steady(_begin(raw))
        yield Connection(raw)
        await steady(raw.commit())
    finally:
        if raw.sync_connection is not None:
            await steady(raw.close())  # rolls back whatever is not committed


async def _begin(raw: AsyncConnection) -> None:
    await raw.start()
    await raw.begin()
