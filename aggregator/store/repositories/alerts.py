"""Alerts: raised once per condition, cleared when it is over."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.records import AlertRecord
from aggregator.store.repositories.base import Repository, build, values

_TABLE = tables.alerts


class Alerts(Repository):
    """Alerts by id; at most one open per (kind, subject)."""

    async def raise_(self, record: AlertRecord) -> AlertRecord:
        """Keep a new alert; if one of this kind and subject is open, return that one instead."""
        row = await self._one(sa.select(_TABLE).where(
            _TABLE.c.kind == record.kind, _TABLE.c.subject == record.subject, _TABLE.c.cleared_at.is_(None)
        ))
        if row is not None:
            return build(AlertRecord, row)
        await self._write(sa.insert(_TABLE).values(values(record)))
        self._tx.audit("alert.raised", f"alert:{record.id}", {
            "kind": record.kind, "subject": record.subject, "severity": record.severity, "message": record.message,
        })
        return record

    async def clear(self, alert_id: str, at: datetime) -> bool:
        """True if the alert was open."""
        cleared = await self._write(
            sa.update(_TABLE).where(_TABLE.c.id == alert_id, _TABLE.c.cleared_at.is_(None)).values(cleared_at=at)
        ) > 0
        if cleared:
            self._tx.audit("alert.cleared", f"alert:{alert_id}")
        return cleared

    async def open(self) -> list[AlertRecord]:
        """Alerts that are not cleared, oldest first."""
        return await self._select(_TABLE.c.cleared_at.is_(None))

    async def all(self) -> list[AlertRecord]:
        return await self._select(sa.true())

    async def _select(self, condition: sa.ColumnElement[bool]) -> list[AlertRecord]:
        query = sa.select(_TABLE).where(condition).order_by(_TABLE.c.raised_at, _TABLE.c.id)
        return [build(AlertRecord, row) for row in await self._rows(query)]
