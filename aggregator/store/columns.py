"""Column types and the one statement that dialects spell differently.

Everything else in the tables is plain SQLAlchemy, so a second back end needs only another branch here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from aggregator.store.connection import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(when: datetime) -> int:
    """Microseconds since 1970 of an aware time; raise a `ValueError` if it is naive."""
    if when.tzinfo is None:
        raise ValueError(f"time: {when.isoformat()}, expected an aware datetime")
    return (when - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The aware UTC time `microseconds` after 1970; exact inverse of `to_us`."""
    return _EPOCH + microseconds * _MICROSECOND


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An instant, kept as integer microseconds: exact, sortable, and never without its zone."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002  SQLAlchemy's signature
        return None if value is None else to_us(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  same
        return None if value is None else from_us(value)


_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


async def upsert(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keep: Collection[str] = (),
    fill: bool = False,
) -> None:
    """Insert `rows`, or change the row that has the same primary key.

    keep: columns that an existing row keeps. fill: an existing value wins and only missing (NULL) ones are filled.
    """
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    insert = _INSERTS[connection.dialect_name](table)
    written = [name for name in rows[0] if name not in keys and name not in keep]
    changes = {
        name: sa.func.coalesce(table.c[name], insert.excluded[name]) if fill else insert.excluded[name]
        for name in written
    }
    statement = insert.on_conflict_do_update(index_elements=keys, set_=changes)
    await connection.execute(statement, list(rows))
