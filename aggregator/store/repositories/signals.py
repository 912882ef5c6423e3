"""Grid signals: immutable revisions, the states they went through, and what was answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aggregator.signals.model import (
    Decision,
    GridSignal,
    Obligation,
    ReasonCode,
    SignalInterval,
    SignalState,
)
from aggregator.store import tables
from aggregator.store.columns import from_us, to_us, upsert
from aggregator.store.records import SignalTransition
from aggregator.store.repositories.base import Repository, values

_SIGNALS, _TRANSITIONS, _DECISIONS = tables.signals, tables.signal_transitions, tables.signal_decisions
_SET_ASIDE = (
    SignalState.OPTED_OUT, SignalState.REJECTED, SignalState.SUPERSEDED, SignalState.CANCELLED, SignalState.FAILED,
)


class UnknownSignalError(LookupError):
    """No signal with this id was added."""


class Signals(Repository):
    """Signals by our id, with their lifecycle."""

    async def add(self, signal: GridSignal) -> None:
        """Keep a new revision in state RECEIVED.

        Raises:
            sqlalchemy.exc.IntegrityError: the id, or this revision of (source, external_id), is known already.
        """
        row = values(signal) | {
            "intervals": [[to_us(i.start), to_us(i.end), i.max_net_kw, i.min_net_kw] for i in signal.intervals],
            "obligation": signal.obligation.value, "ends_at": signal.end, "state": SignalState.RECEIVED.value,
        }
        await self._write(sa.insert(_SIGNALS).values(row))
        await self._write(sa.insert(_TRANSITIONS).values(
            signal_id=signal.id, state=SignalState.RECEIVED.value, at=signal.received_at, detail=""
        ))
        self._tx.audit("signal.received", _subject(signal.id), {
            "source": signal.source, "external_id": signal.external_id, "revision": signal.revision,
            "content_hash": signal.content_hash, "programme": signal.programme,
            "obligation": signal.obligation.value,
        })

    async def get(self, signal_id: str) -> GridSignal | None:
        row = await self._one(sa.select(_SIGNALS).where(_SIGNALS.c.id == signal_id))
        return None if row is None else _signal(row)

    async def by_external(self, source: str, external_id: str) -> GridSignal | None:
        """The newest revision of what the sender calls `external_id`."""
        row = await self._one(
            sa.select(_SIGNALS).where(_SIGNALS.c.source == source, _SIGNALS.c.external_id == external_id)
            .order_by(_SIGNALS.c.revision.desc()).limit(1)
        )
        return None if row is None else _signal(row)

    async def transition(self, signal_id: str, state: SignalState, at: datetime, detail: str = "") -> bool:
        """Record a new state; False, and nothing changed, if the signal is in it already.

        Raises:
            UnknownSignalError: there is no such signal.
        """
        if await self.state(signal_id) == state:
            return False
        await self._write(sa.update(_SIGNALS).where(_SIGNALS.c.id == signal_id).values(state=state.value))
        await self._write(
            sa.insert(_TRANSITIONS).values(signal_id=signal_id, state=state.value, at=at, detail=detail)
        )
        self._tx.audit("signal.state", _subject(signal_id), {"state": state.value, "detail": detail})
        return True

    async def transitions(self, signal_id: str) -> list[SignalTransition]:
        """Every state in the order it was reached, RECEIVED first."""
        rows = await self._rows(
            sa.select(_TRANSITIONS).where(_TRANSITIONS.c.signal_id == signal_id).order_by(_TRANSITIONS.c.id)
        )
        return [SignalTransition(row.signal_id, SignalState(row.state), row.at, row.detail) for row in rows]

    async def state(self, signal_id: str) -> SignalState:
        """Raise an `UnknownSignalError` if there is no such signal."""
        row = await self._one(sa.select(_SIGNALS.c.state).where(_SIGNALS.c.id == signal_id))
        if row is None:
            raise UnknownSignalError(f"signal: {signal_id!r}, expected the id of a signal that was received")
        return SignalState(row.state)

    async def active(self, now: datetime) -> list[GridSignal]:
        """Signals that still bind or may come to bind: not over, not set aside; in order of receipt."""
        rows = await self._rows(
            sa.select(_SIGNALS)
            .where(_SIGNALS.c.ends_at > now, _SIGNALS.c.state.not_in([state.value for state in _SET_ASIDE]))
            .order_by(_SIGNALS.c.received_at, _SIGNALS.c.id)
        )
        return [_signal(row) for row in rows]

    async def decide(self, decision: Decision) -> None:
        """Keep the answer to a signal; a later one replaces it (the audit chain has them all)."""
        net = list(decision.committed_net_kw)
        # The feeder's limits stand beside the reason that they explain.
        reasons: list[list[Any]] = [
            [code.value, count, *(decision.feeder_limits if code is ReasonCode.FEEDER else ())]
            for code, count in decision.reasons
        ]
        row = values(decision) | {"state": decision.state.value, "committed_net_kw": net, "reasons": reasons}
        del row["feeder_limits"]
        await upsert(self._tx.connection, _DECISIONS, [row])
        self._tx.audit("signal.decided", _subject(decision.signal_id), {
            "state": decision.state.value, "requested_kw": decision.requested_kw,
            "committed_kw": decision.committed_kw, "baseline_kw": decision.baseline_kw,
            "committed_net_kw": net, "reasons": reasons, "plan_id": decision.plan_id,
        })

    async def decision(self, signal_id: str) -> Decision | None:
        row = await self._one(sa.select(_DECISIONS).where(_DECISIONS.c.signal_id == signal_id))
        if row is None:
            return None
        return Decision(
            row.signal_id, SignalState(row.state), row.requested_kw, row.committed_kw, row.baseline_kw,
            tuple(row.committed_net_kw), tuple((ReasonCode(code), count) for code, count, *_ in row.reasons),
            row.decided_at, row.plan_id, tuple(limit for _, _, *limits in row.reasons for limit in limits),
        )

    async def all(self) -> list[GridSignal]:
        """Every revision of every signal, in order of receipt."""
        rows = await self._rows(sa.select(_SIGNALS).order_by(_SIGNALS.c.received_at, _SIGNALS.c.id))
        return [_signal(row) for row in rows]


def _signal(row: sa.Row[Any]) -> GridSignal:
    return GridSignal(
        id=row.id, source=row.source, external_id=row.external_id, revision=row.revision,
        content_hash=row.content_hash, received_at=row.received_at, programme=row.programme,
        obligation=Obligation(row.obligation), site_id=row.site_id, priority=row.priority,
        intervals=tuple(
            SignalInterval(from_us(start), from_us(end), *limits_kw) for start, end, *limits_kw in row.intervals
        ),
    )


def _subject(signal_id: str) -> str:
    return f"signal:{signal_id}"
