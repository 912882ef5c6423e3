"""Meter values by the thousand: one writer, commits shared by everyone who waits.

    caller A --rows--+                       +--> A, B, C told once it is on disk
    caller B --rows--+--> next batch --commit+
    caller C --rows--+     (all that came while the last commit ran)

A lone row is committed at once; under load the batches grow by themselves. No timer, no row per commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregator.store import tables
from aggregator.store.columns import from_us, to_us, upsert
from aggregator.store.connection import Connection, begun
from aggregator.store.records import MessageKey, SiteReading

if TYPE_CHECKING:
    from aggregator.ocpp.events import MeterSample

Floats = NDArray[np.float64]


class TelemetryClosedError(RuntimeError):
    """The store is closing: the rows were not taken."""


class TelemetryRefusedError(ValueError):
    """A row that no meter can have measured, or that the database refused; nothing of its request was written."""


class Lock(Protocol):
    """What keeps this writer and the business writer apart."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class MeterSeries:
    """One EVSE's samples in time order, arrays of equal length; NaN where the station said nothing.

    ts_us: microseconds since 1970 UTC. power_kw: discharge negative. Registers in Wh. soc: 0 to 1.
    """

    evse_id: str
    ts_us: NDArray[np.int64]
    power_kw: Floats
    import_wh: Floats
    export_wh: Floats
    soc: Floats

    def times(self) -> list[datetime]:
        return [from_us(int(ts)) for ts in self.ts_us]


@dataclass(frozen=True)
class SiteSeries:
    """The connection point's readings in time order; ev_kw is NaN without a sub-meter."""

    site_id: str
    ts_us: NDArray[np.int64]
    import_kw: Floats
    ev_kw: Floats

    def times(self) -> list[datetime]:
        return [from_us(int(ts)) for ts in self.ts_us]


@dataclass(frozen=True, slots=True)
class _Request:
    """The rows of one caller. add: counts are summed instead of filled."""

    table: sa.Table
    rows: list[dict[str, Any]]
    done: asyncio.Future[None]
    add: bool = False


class Telemetry:
    """Writes return once their rows are committed; reads see everything committed.

    A row with a known key (same EVSE or site, same instant) is a repeat: the first values stay, missing ones are
    filled in. So a station that sends its buffer twice changes nothing.
    """

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, lock: Lock) -> None:
        self._writer, self._reader, self._lock = writer, reader, lock
        self._pending: list[_Request] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Start the writer task; called by `Store.open`."""
        self._task = asyncio.create_task(self._run(), name="telemetry-writer")

    async def stop(self) -> None:
        """Commit what is queued, then end. Later writes raise `TelemetryClosedError`."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def write_meter(self, samples: Sequence[MeterSample]) -> None:
        """Keep `samples`; returns once they are committed.

        Raises:
            TelemetryRefusedError: a value is not finite. TelemetryClosedError: the store is closing.
        """
        rows = [
            {
                "evse_id": sample.evse_id, "ts_us": to_us(sample.at), "transaction_id": sample.transaction_id,
                "power_kw": sample.power_kw, "import_wh": sample.import_wh, "export_wh": sample.export_wh,
                "soc": sample.soc,
            }
            for sample in samples
        ]
        _require_finite(rows, ("power_kw", "import_wh", "export_wh", "soc"), "evse_id")
        await self._submit(tables.meter_values, rows)

    async def write_site(self, readings: Sequence[SiteReading]) -> None:
        """Keep connection-point readings; returns and raises as `write_meter`."""
        rows = [
            {
                "site_id": reading.site_id, "ts_us": to_us(reading.at), "import_kw": reading.import_kw,
                "ev_kw": reading.ev_kw,
            }
            for reading in readings
        ]
        _require_finite(rows, ("import_kw", "ev_kw"), "site_id")
        await self._submit(tables.site_readings, rows)

    async def count_messages(self, counts: Mapping[MessageKey, int]) -> None:
        """Add to the totals of protocol messages."""
        rows = [{**key._asdict(), "count": count} for key, count in counts.items()]
        await self._submit(tables.message_counts, rows, add=True)

    async def _submit(self, table: sa.Table, rows: list[dict[str, Any]], *, add: bool = False) -> None:
        if self._closing or self._task is None:
            raise TelemetryClosedError("telemetry: the store is closed, expected an open one")
        if not rows:
            return
        request = _Request(table, rows, asyncio.get_running_loop().create_future(), add)
        self._pending.append(request)
        self._wake.set()
        await request.done

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._pending = self._pending, []
            if batch:
                await self._settle(batch)
            elif self._closing:
                return
            if self._closing:
                self._wake.set()

    async def _settle(self, batch: Sequence[_Request]) -> None:
        """Commit `batch` as one; if the database refuses it, each request alone, so that one cannot sink the others."""
        try:
            await self._commit(batch)
        except SQLAlchemyError as error:
            if len(batch) > 1:
                for request in batch:
                    await self._settle([request])
            elif not batch[0].done.done():
                refusal = TelemetryRefusedError(f"{batch[0].table.name}: {getattr(error, 'orig', error)}")
                refusal.__cause__ = error
                batch[0].done.set_exception(refusal)
            return
        for request in batch:
            if not request.done.done():  # its caller may have been cancelled meanwhile
                request.done.set_result(None)

    async def _commit(self, batch: Sequence[_Request]) -> None:
        async with self._lock, begun(self._writer) as connection:
            for table in (tables.meter_values, tables.site_readings):
                rows = [row for request in batch if request.table is table for row in request.rows]
                await upsert(connection, table, rows, fill=True)
            for request in batch:
                if request.add:
                    await _add_counts(connection, request.rows)

    async def meter_series(self, evse_id: str, start: datetime, end: datetime) -> MeterSeries:
        """Samples of one EVSE in [start, end)."""
        table = tables.meter_values
        names = ("power_kw", "import_wh", "export_wh", "soc")
        stamps, columns = await self._series(table, table.c.evse_id, evse_id, start, end, names)
        return MeterSeries(evse_id, stamps, *columns)

    async def site_series(self, site_id: str, start: datetime, end: datetime) -> SiteSeries:
        """Connection-point readings of one site in [start, end)."""
        table = tables.site_readings
        stamps, columns = await self._series(table, table.c.site_id, site_id, start, end, ("import_kw", "ev_kw"))
        return SiteSeries(site_id, stamps, *columns)

    async def message_counts(self) -> dict[MessageKey, int]:
        table = tables.message_counts
        query = sa.select(table.c.protocol, table.c.action, table.c.direction, table.c.count)
        async with begun(self._reader) as connection:
            rows = (await connection.execute(query)).mappings().all()
        return {MessageKey(row["protocol"], row["action"], row["direction"]): row["count"] for row in rows}

    async def _series(
        self, table: sa.Table, key: sa.Column[Any], of: str, start: datetime, end: datetime, names: Sequence[str]
    ) -> tuple[NDArray[np.int64], list[Floats]]:
        query = (
            sa.select(table.c.ts_us, *(table.c[name] for name in names))
            .where(key == of, table.c.ts_us >= to_us(start), table.c.ts_us < to_us(end))
            .order_by(table.c.ts_us)
        )
        async with begun(self._reader) as connection:
            rows = (await connection.execute(query)).all()
        stamps = np.array([row[0] for row in rows], dtype=np.int64)
        columns = [np.array([row[at] for row in rows], dtype=np.float64) for at in range(1, len(names) + 1)]
        return stamps, columns


async def _add_counts(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    table = tables.message_counts
    for row in rows:
        key = sa.and_(*(table.c[name] == row[name] for name in MessageKey._fields))
        changed = await connection.execute(sa.update(table).where(key).values(count=table.c.count + row["count"]))
        if changed.rowcount == 0:
            await connection.execute(sa.insert(table).values(**row))


def _require_finite(rows: Sequence[Mapping[str, Any]], names: Sequence[str], owner: str) -> None:
    for row in rows:
        for name in names:
            value = row[name]
            if value is not None and not isfinite(value):
                raise TelemetryRefusedError(f"{name} of {row[owner]}: {value}, expected a finite number")
