"""Who may call, and what was already answered."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.columns import upsert
from aggregator.store.records import ClientRecord, IdempotencyRecord
from aggregator.store.repositories.base import Repository, build, values

_CLIENTS, _ANSWERS = tables.clients, tables.idempotency


class Clients(Repository):
    """API clients by client_id."""

    async def put(self, record: ClientRecord) -> None:
        """Insert or replace; the audit entry never holds the secret's hash."""
        await upsert(self._tx.connection, _CLIENTS, [values(record) | {"scopes": list(record.scopes)}])
        self._tx.audit("client.written", f"client:{record.client_id}", {
            "role": record.role, "scopes": list(record.scopes), "party": record.party,
            "is_enabled": record.is_enabled,
        })

    async def get(self, client_id: str) -> ClientRecord | None:
        row = await self._one(sa.select(_CLIENTS).where(_CLIENTS.c.client_id == client_id))
        return None if row is None else _client(row)

    async def all(self) -> list[ClientRecord]:
        return [_client(row) for row in await self._rows(sa.select(_CLIENTS).order_by(_CLIENTS.c.client_id))]


class Idempotency(Repository):
    """Answers by (principal, key). Bookkeeping of the transport, so it leaves no audit entry of its own."""

    async def get(self, principal: str, key: str) -> IdempotencyRecord | None:
        row = await self._one(
            sa.select(_ANSWERS).where(_ANSWERS.c.principal == principal, _ANSWERS.c.key == key)
        )
        return None if row is None else build(IdempotencyRecord, row)

    async def put(self, principal: str, key: str, body_hash: str, status: int, response: dict[str, Any]) -> None:
        """Keep the answer. Raise an `sqlalchemy.exc.IntegrityError` if the key was used before."""
        await self._write(sa.insert(_ANSWERS).values(
            principal=principal, key=key, body_hash=body_hash, status=status, response=response
        ))


def _client(row: sa.Row[Any]) -> ClientRecord:
    return ClientRecord(row.client_id, row.role, tuple(row.scopes), row.secret_sha256, row.party, row.is_enabled)
