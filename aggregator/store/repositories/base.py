"""What all repositories share: the transaction, and the way from a row to its frozen record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

if TYPE_CHECKING:
    from aggregator.store.transaction import Transaction

R = TypeVar("R")


class Repository:
    """Reads and writes of one noun, inside one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        rows: Sequence[sa.Row[Any]] = (await self._tx.connection.execute(statement)).all()
        return rows

    async def _one(self, statement: sa.Select[Any]) -> sa.Row[Any] | None:
        row: sa.Row[Any] | None = (await self._tx.connection.execute(statement)).first()
        return row

    async def _write(self, statement: sa.Insert | sa.Update | sa.Delete, rows: Sequence[Any] | None = None) -> int:
        """Run `statement` (once per row, if given) and return how many rows it touched."""
        result = await self._tx.connection.execute(statement, list(rows) if rows is not None else None)
        return int(result.rowcount)


def values(record: Any) -> dict[str, Any]:
    """The fields of a record by name; unlike `dataclasses.asdict` it copies nothing."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def build(kind: type[R], row: sa.Row[Any]) -> R:
    """The record of `kind` whose fields have the names of the row's columns; other columns are left out."""
    mapping = row._mapping  # noqa: SLF001  SQLAlchemy's documented name
    return kind(**{field.name: mapping[field.name] for field in fields(kind)})  # type: ignore[arg-type]
