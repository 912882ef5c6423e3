"""OpenADR programmes and events as their owners wrote them; what they mean to us is in the signals."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.columns import upsert
from aggregator.store.records import JsonObject, OpenAdrRecord
from aggregator.store.repositories.base import Repository, build

_TABLE = tables.openadr_objects


class OpenAdrObjects(Repository):
    """Objects by (kind, id); kind is "program" or "event"."""

    async def put(  # the six facts of an object
        self, kind: str, id: str, body: JsonObject, created: datetime, modified: datetime, owner: str  # noqa: A002  the wire's word
    ) -> None:
        """Insert or replace; the first `created` and `owner` stay."""
        row = {"kind": kind, "id": id, "body": body, "created": created, "modified": modified, "owner": owner}
        await upsert(self._tx.connection, _TABLE, [row], keep=("created", "owner"))
        self._tx.audit("openadr.written", f"{kind}:{id}", {"body": body})

    async def get(self, kind: str, id: str) -> OpenAdrRecord | None:  # noqa: A002  the wire's word
        row = await self._one(sa.select(_TABLE).where(_TABLE.c.kind == kind, _TABLE.c.id == id))
        return None if row is None else build(OpenAdrRecord, row)

    async def list(self, kind: str) -> list[OpenAdrRecord]:
        """Objects of one kind, oldest first."""
        query = sa.select(_TABLE).where(_TABLE.c.kind == kind).order_by(_TABLE.c.created, _TABLE.c.id)
        return [build(OpenAdrRecord, row) for row in await self._rows(query)]

    async def delete(self, kind: str, id: str) -> bool:  # noqa: A002  the wire's word
        """True if there was such an object."""
        gone = await self._write(sa.delete(_TABLE).where(_TABLE.c.kind == kind, _TABLE.c.id == id)) > 0
        if gone:
            self._tx.audit("openadr.deleted", f"{kind}:{id}")
        return gone
