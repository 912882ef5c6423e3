"""Charging sessions: one row per transaction, from its start to its last register."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.records import SessionRecord
from aggregator.store.repositories.base import Repository, build, values

_TABLE = tables.sessions
_IDENTITY = ("evse_id", "transaction_id", "id_token", "started_at")


class UnknownSessionError(LookupError):
    """No session with this EVSE and transaction id was started."""


class Sessions(Repository):
    """Sessions by (evse_id, transaction_id)."""

    async def start(self, record: SessionRecord) -> bool:
        """Keep a new session; False, and nothing changed, if this transaction is known already."""
        if await self.by_transaction(record.evse_id, record.transaction_id) is not None:
            return False
        await self._write(sa.insert(_TABLE).values(values(record)))
        self._tx.audit("session.started", _subject(record.evse_id, record.transaction_id),
                       {"import_wh_start": record.import_wh_start, "export_wh_start": record.export_wh_start})
        return True

    async def update(self, *records: SessionRecord) -> None:
        """Write what was measured since. An end that is stored stays, even if the record has none.

        Raises:
            UnknownSessionError: one of them was never started.
        """
        for record in records:
            changes = {name: value for name, value in values(record).items() if name not in _IDENTITY}
            if record.ended_at is None:  # an update that overtakes the end must not reopen the session
                del changes["ended_at"], changes["end_reason"]
            statement = sa.update(_TABLE).where(_key(record.evse_id, record.transaction_id)).values(changes)
            if await self._write(statement) == 0:
                raise UnknownSessionError(
                    f"session: {record.evse_id}/{record.transaction_id}, expected a transaction that was started"
                )

    async def end(  # one argument per fact of the end
        self, evse_id: str, transaction_id: str, *, at: datetime, reason: str,
        import_wh: float | None = None, export_wh: float | None = None,
    ) -> SessionRecord:
        """Close a session and return it. The first end counts; a repeat returns what is stored.

        Raises:
            UnknownSessionError: the transaction was never started.
        """
        record = await self.by_transaction(evse_id, transaction_id)
        if record is None:
            raise UnknownSessionError(
                f"session: {evse_id}/{transaction_id}, expected a transaction that was started"
            )
        if record.ended_at is not None:
            return record
        ended = replace(
            record, ended_at=at, end_reason=reason, last_at=at,
            import_wh=record.import_wh if import_wh is None else import_wh,
            export_wh=record.export_wh if export_wh is None else export_wh,
        )
        await self.update(ended)
        self._tx.audit("session.ended", _subject(evse_id, transaction_id),
                       {"reason": reason, "import_wh": ended.import_wh, "export_wh": ended.export_wh})
        return ended

    async def open(self) -> list[SessionRecord]:
        """Sessions without an end, oldest first."""
        return await self._select(_TABLE.c.ended_at.is_(None))

    async def by_transaction(self, evse_id: str, transaction_id: str) -> SessionRecord | None:
        found = await self._select(_key(evse_id, transaction_id))
        return found[0] if found else None

    async def find_start(self, evse_id: str, id_token: str, started_at: datetime) -> SessionRecord | None:
        """The session that an equal start has already opened (OCPP 1.6 repeats StartTransaction until answered)."""
        found = await self._select(
            sa.and_(_TABLE.c.evse_id == evse_id, _TABLE.c.id_token == id_token, _TABLE.c.started_at == started_at)
        )
        return found[0] if found else None

    async def all(self, since: datetime | None = None) -> list[SessionRecord]:
        """Every session, or those that started at or after `since`; oldest first."""
        return await self._select(sa.true() if since is None else _TABLE.c.started_at >= since)

    async def _select(self, condition: sa.ColumnElement[bool]) -> list[SessionRecord]:
        query = sa.select(_TABLE).where(condition).order_by(_TABLE.c.started_at, _TABLE.c.evse_id)
        return [build(SessionRecord, row) for row in await self._rows(query)]


def _key(evse_id: str, transaction_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_TABLE.c.evse_id == evse_id, _TABLE.c.transaction_id == transaction_id)


def _subject(evse_id: str, transaction_id: str) -> str:
    return f"session:{evse_id}/{transaction_id}"
