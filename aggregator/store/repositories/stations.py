"""Charging stations as they last presented themselves."""

from __future__ import annotations

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.columns import upsert
from aggregator.store.records import StationRecord
from aggregator.store.repositories.base import Repository, build, values

_TABLE = tables.stations


class Stations(Repository):
    """What is known of each charging station."""

    async def upsert(self, record: StationRecord) -> None:
        """Insert or replace the station's row."""
        await upsert(self._tx.connection, _TABLE, [values(record)])
        self._tx.audit(
            "station.updated", f"station:{record.id}",
            {
                "version": record.version, "vendor": record.vendor, "model": record.model,
                "firmware": record.firmware, "is_online": record.is_online, "epoch": record.epoch,
            },
        )

    async def get(self, station_id: str) -> StationRecord | None:
        row = await self._one(sa.select(_TABLE).where(_TABLE.c.id == station_id))
        return None if row is None else build(StationRecord, row)

    async def all(self) -> list[StationRecord]:
        return [build(StationRecord, row) for row in await self._rows(sa.select(_TABLE).order_by(_TABLE.c.id))]
