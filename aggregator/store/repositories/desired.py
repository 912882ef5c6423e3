"""The outbox: what each charger should hold, and how far that has come.

One row per EVSE and purpose, so a newer wish replaces an older one and nothing contradictory is ever in the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aggregator.ocpp.events import Purpose
from aggregator.store import tables
from aggregator.store.columns import upsert
from aggregator.store.records import DesiredRecord, DesiredState
from aggregator.store.repositories.base import Repository, build, values

_TABLE = tables.desired
_MOST_NAMES = 500
_UNSETTLED = (DesiredState.QUEUED.value, DesiredState.SENT.value)


class Desired(Repository):
    """Desired profiles by (evse_id, purpose)."""

    async def put(self, record: DesiredRecord) -> DesiredRecord:
        """Queue a new wish in place of the old one; returns it with its new version."""
        return (await self.put_many([record]))[0]

    async def put_many(self, records: Sequence[DesiredRecord]) -> list[DesiredRecord]:
        """`put` for many at once, in two statements; version, state, attempts and stamps of `records` are reset.

        Raises:
            ValueError: two records for the same EVSE and purpose.
        """
        before = {(old.evse_id, old.purpose): old for old in await self._of([record.evse_id for record in records])}
        queued = []
        for record in records:
            old = before.get((record.evse_id, record.purpose))
            queued.append(replace(
                record, version=1 if old is None else old.version + 1, state=DesiredState.QUEUED, detail="",
                attempts=0, sent_wall=None, answered_wall=None,
            ))
        if len({(record.evse_id, record.purpose) for record in queued}) < len(queued):
            raise ValueError("desired: two records for one EVSE and purpose, expected at most one")
        await upsert(self._tx.connection, _TABLE, [_row(record) for record in queued])
        for record in queued:
            old = before.get((record.evse_id, record.purpose))
            self._tx.audit("desired.queued", _subject(record.evse_id, record.purpose), {
                "version": record.version, "content_hash": record.content_hash, "plan_id": record.plan_id,
                "replaces": None if old is None else {"version": old.version, "state": old.state.value},
            })
        return queued

    async def _of(self, evse_ids: Sequence[str]) -> list[DesiredRecord]:
        """Rows of these EVSEs; of all, when there are more than a statement has room for."""
        if len(evse_ids) > _MOST_NAMES:
            return await self.all()
        return [_record(row) for row in await self._rows(sa.select(_TABLE).where(_TABLE.c.evse_id.in_(evse_ids)))]

    async def pending(self) -> list[DesiredRecord]:
        """What still has to be sent or answered, oldest change first (rows "sent" when the process died included)."""
        rows = await self._rows(
            sa.select(_TABLE).where(_TABLE.c.state.in_(_UNSETTLED)).order_by(_TABLE.c.updated_at, _TABLE.c.evse_id)
        )
        return [_record(row) for row in rows]

    async def get(self, evse_id: str, purpose: Purpose) -> DesiredRecord | None:
        row = await self._one(
            sa.select(_TABLE).where(_TABLE.c.evse_id == evse_id, _TABLE.c.purpose == purpose.value)
        )
        return None if row is None else _record(row)

    async def mark(  # one argument per fact of a delivery
        self, evse_id: str, purpose: Purpose, version: int, state: DesiredState, detail: str, at: datetime, *,
        sent_wall: float | None = None, answered_wall: float | None = None, attempts: int | None = None,
    ) -> bool:
        """Record what became of a version; False, and nothing changed, if a newer one has replaced it.

        Stamps and attempts stay as they were where None is given.
        """
        changes: dict[str, Any] = {"state": state.value, "detail": detail, "updated_at": at}
        given = {"sent_wall": sent_wall, "answered_wall": answered_wall, "attempts": attempts}
        changes |= {name: value for name, value in given.items() if value is not None}
        marked = await self._write(
            sa.update(_TABLE).where(
                _TABLE.c.evse_id == evse_id, _TABLE.c.purpose == purpose.value, _TABLE.c.version == version
            ).values(changes)
        ) > 0
        if marked:
            self._tx.audit("desired.state", _subject(evse_id, purpose),
                           {"version": version, "state": state.value, "detail": detail})
        return marked

    async def all(self) -> list[DesiredRecord]:
        query = sa.select(_TABLE).order_by(_TABLE.c.evse_id, _TABLE.c.purpose)
        return [_record(row) for row in await self._rows(query)]


def _row(record: DesiredRecord) -> dict[str, Any]:
    return values(record) | {"purpose": Purpose(record.purpose).value, "state": record.state.value}


def _record(row: sa.Row[Any]) -> DesiredRecord:
    record = build(DesiredRecord, row)
    return replace(record, purpose=Purpose(record.purpose), state=DesiredState(record.state))


def _subject(evse_id: str, purpose: Purpose) -> str:
    return f"desired:{evse_id}/{Purpose(purpose).value}"
