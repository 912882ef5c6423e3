"""The audit chain: every entry's hash covers the one before it.

    hash(n) = SHA256( hash(n-1) || canonical JSON of entry n )

`verify` finds an entry that was edited, removed from the middle, inserted or moved, and, through the head kept in
`audit_head`, a tail that was cut off. It cannot tell when someone with write access to the database rewrites every
later hash and the head as well: against that, keep a head outside (`AuditVerdict.head`) and pass it as `expect`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import sqlalchemy as sa

from aggregator.store import tables
from aggregator.store.columns import to_us
from aggregator.store.connection import Connection
from aggregator.store.records import AuditEntry, JsonObject

if TYPE_CHECKING:
    from aggregator.store.transaction import Transaction

GENESIS = "0" * 64
"""What the first entry names as its predecessor."""

_PAGE = 2000
_HEAD_ROW = 1


class Snapshots(Protocol):
    """Whoever gives consistent reads: the running store, or a file opened only to be checked."""

    def read(self) -> AbstractAsyncContextManager[Transaction]: ...


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has its place in the chain."""

    at: datetime
    recorded_at: datetime
    actor: str
    action: str
    subject: str
    detail: JsonObject


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the chain: length and last hash. Kept outside the database, it proves that nothing was rewritten."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What `verify` found. entries: how many were read; first_bad_seq, reason: where and why the chain breaks."""

    entries: int
    ok: bool
    head: AuditHead
    first_bad_seq: int | None = None
    reason: str = ""


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8; decimals as strings. Raise a `TypeError` for what JSON cannot say."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"audit detail: {type(value).__name__}, expected JSON values")


def link_hash(prev_hash: str, seq: int, draft: Draft) -> str:
    """The hash of entry `seq` after `prev_hash`; times enter as integer microseconds."""
    body = {
        "seq": seq, "at": to_us(draft.at), "recorded_at": to_us(draft.recorded_at), "actor": draft.actor,
        "action": draft.action, "subject": draft.subject, "detail": draft.detail,
    }
    return hashlib.sha256(prev_hash.encode() + canonical(body)).hexdigest()


async def append(connection: Connection, drafts: Sequence[Draft]) -> None:
    """Add `drafts` to the end of the chain, inside the caller's transaction (which must hold the write lock)."""
    if not drafts:
        return
    head = await read_head(connection)
    seq, last, rows = head.seq, head.hash, []
    for draft in drafts:
        # What is hashed is what will be read back: one trip through JSON settles tuples, enums and non-text keys.
        settled = Draft(**{**_fields(draft), "detail": orjson.loads(canonical(draft.detail))})
        seq += 1
        digest = link_hash(last, seq, settled)
        rows.append({**asdict(settled), "seq": seq, "prev_hash": last, "hash": digest})
        last = digest
    await connection.execute(sa.insert(tables.audit), rows)
    await connection.execute(
        sa.update(tables.audit_head).where(tables.audit_head.c.id == _HEAD_ROW).values(seq=seq, hash=last)
    )


def _fields(draft: Draft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in Draft.__slots__}


async def read_head(connection: Connection) -> AuditHead:
    row = (await connection.execute(sa.select(tables.audit_head.c.seq, tables.audit_head.c.hash))).first()
    return AuditHead(0, GENESIS) if row is None else AuditHead(row.seq, row.hash)


async def entries(store: Snapshots, *, after: int = 0, limit: int | None = None) -> AsyncIterator[AuditEntry]:
    """The chain in order, from the entry behind `after`; each page is one short read."""
    left = limit
    while left is None or left > 0:
        page = _PAGE if left is None else min(_PAGE, left)
        async with store.read() as tx:
            query = sa.select(tables.audit).where(tables.audit.c.seq > after).order_by(tables.audit.c.seq).limit(page)
            rows = (await tx.connection.execute(query)).all()
        for row in rows:
            yield AuditEntry(**row._mapping)  # noqa: SLF001  SQLAlchemy's documented name
        if len(rows) < page:
            return
        after = rows[-1].seq
        left = None if left is None else left - len(rows)


async def verify(store: Snapshots, *, expect: AuditHead | None = None) -> AuditVerdict:
    """Walk the whole chain and say where it first breaks.

    expect: a head noted earlier; the chain must still contain it.
    """
    async with store.read() as tx:
        known = {"the head record": await read_head(tx.connection)}
    if expect is not None:
        known["the head noted earlier"] = expect
    head = AuditHead(0, GENESIS)
    async for entry in entries(store):
        reason = _break(head, entry)
        if reason is not None:
            return AuditVerdict(head.seq, ok=False, head=head, first_bad_seq=head.seq + 1, reason=reason)
        head = AuditHead(entry.seq, entry.hash)
        for name, noted in known.items():
            if head.seq == noted.seq and head.hash != noted.hash:
                reason = f"entry {head.seq} is not {name}: the chain was rewritten"
                return AuditVerdict(head.seq, ok=False, head=head, first_bad_seq=head.seq, reason=reason)
    for name, noted in known.items():
        if head.seq < noted.seq:
            reason = f"the chain ends at entry {head.seq}, but {name} is entry {noted.seq}: the tail is missing"
            return AuditVerdict(head.seq, ok=False, head=head, first_bad_seq=head.seq + 1, reason=reason)
    return AuditVerdict(head.seq, ok=True, head=head)


def _break(head: AuditHead, entry: AuditEntry) -> str | None:
    """Why `entry` cannot follow `head`, or None if it does."""
    if entry.seq != head.seq + 1:
        return f"entry {head.seq + 1} is missing: entry {entry.seq} follows entry {head.seq}"
    if entry.prev_hash != head.hash:
        return f"entry {entry.seq} does not continue entry {head.seq}"
    draft = Draft(entry.at, entry.recorded_at, entry.actor, entry.action, entry.subject, entry.detail)
    if link_hash(head.hash, entry.seq, draft) != entry.hash:
        return f"entry {entry.seq} is not what was written: its hash does not fit its content"
    return None
