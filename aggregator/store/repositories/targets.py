"""Departure targets: what was declared, every revision kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.records import TargetRecord
from aggregator.store.repositories.base import Repository, build, values

_TABLE = tables.targets


class Targets(Repository):
    """Append-only revisions per id_token; the newest one counts."""

    async def add(self, record: TargetRecord) -> TargetRecord:
        """Keep a new revision and return it with its number (`record.revision` is ignored).

        The audit entry names the row, not the token: a driver's data stays erasable.
        """
        newest = sa.select(sa.func.max(_TABLE.c.revision)).where(_TABLE.c.id_token == record.id_token)
        last = (await self._tx.connection.execute(newest)).scalar_one()
        kept = replace(record, revision=(last or 0) + 1)
        row_id = (
            await self._tx.connection.execute(sa.insert(_TABLE).values(values(kept)).returning(_TABLE.c.id))
        ).scalar_one()
        self._tx.audit("target.declared", f"target:{row_id}",
                       {"revision": kept.revision, "declared_by": kept.declared_by, "v2g_consent": kept.v2g_consent})
        return kept

    async def latest(self, id_token: str) -> TargetRecord | None:
        row = await self._one(
            sa.select(_TABLE).where(_TABLE.c.id_token == id_token).order_by(_TABLE.c.revision.desc()).limit(1)
        )
        return None if row is None else build(TargetRecord, row)

    async def all(self, since: datetime) -> list[TargetRecord]:
        """Every revision for a departure after `since`, in the order in which they were declared."""
        query = sa.select(_TABLE).where(_TABLE.c.departure > since).order_by(_TABLE.c.id)
        return [build(TargetRecord, row) for row in await self._rows(query)]

    async def all_latest(self) -> dict[str, TargetRecord]:
        """The newest revision of everyone, by id_token."""
        newest = (
            sa.select(_TABLE.c.id_token, sa.func.max(_TABLE.c.revision).label("revision"))
            .group_by(_TABLE.c.id_token).subquery()
        )
        joined = sa.select(_TABLE).join(
            newest, sa.and_(newest.c.id_token == _TABLE.c.id_token, newest.c.revision == _TABLE.c.revision)
        )
        return {row.id_token: build(TargetRecord, row) for row in await self._rows(joined)}
