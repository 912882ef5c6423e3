"""Plans with their verdicts, newest last."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from typing import Any

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.records import PlanRecord
from aggregator.store.repositories.base import Repository, build, values

_TABLE = tables.plans


class Plans(Repository):
    """Plans by id, in the order they were added."""

    async def add(self, record: PlanRecord) -> None:
        """Keep a plan. Raise an `sqlalchemy.exc.IntegrityError` if its id is taken."""
        await self._write(sa.insert(_TABLE).values(values(record)))
        self._tx.audit("plan.made", f"plan:{record.id}", {
            "trigger": record.trigger, "status": record.status, "passed": record.passed,
            "objective": record.objective, "rounds": len(record.rounds), "note": record.note,
        })

    async def latest(self) -> PlanRecord | None:
        newest = await self.list(1)
        return newest[0] if newest else None

    async def get(self, plan_id: str) -> PlanRecord | None:
        row = await self._one(sa.select(_TABLE).where(_TABLE.c.id == plan_id))
        return None if row is None else _plan(row)

    async def list(self, limit: int | None = None) -> list[PlanRecord]:
        """Newest first; all of them if `limit` is None."""
        rows = await self._rows(sa.select(_TABLE).order_by(_TABLE.c.seq.desc()).limit(limit))
        return [_plan(row) for row in rows]


def _plan(row: sa.Row[Any]) -> PlanRecord:
    record = build(PlanRecord, row)
    # SQLite keeps NaN, the bound of a plan that has none, as NULL.
    missing: dict[str, Any] = {name: nan for name in ("objective", "bound", "gap") if getattr(record, name) is None}
    return replace(record, **missing)
