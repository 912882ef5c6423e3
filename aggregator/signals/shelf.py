"""The signals of every site while they matter, each in its site's limit book."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from aggregator.clock import Clock
from aggregator.signals.limits import SET_ASIDE, Held, LimitBook
from aggregator.signals.model import GridSignal, named_by_sender
from aggregator.signals.openadr import SignalDraft, SignalFault

log = structlog.get_logger(__name__)

MAX_AHEAD = 4000
"""Intervals of one party that are not over: more than a month of quarter hours."""

KEPT = timedelta(days=1)
"""How long a signal stays in its book after its end: its measurement and its ramp may still be due."""

_OLDEST_START = timedelta(days=366)


class UnknownSignal(LookupError):
    """No signal with this id, or none that the asking party may see."""


class Shelf:
    """books: by site; replaced whenever one changes. changed: set then."""

    def __init__(self, books: Iterable[LimitBook], clock: Clock) -> None:
        self.books = {book.site_id: book for book in books}
        self.changed = asyncio.Event()
        self._clock = clock

    def all(self) -> list[Held]:
        """Of all sites, also those set aside whose release is still due."""
        return [held for book in self.books.values() for held in book.held]

    def one(self, signal_id: str) -> Held:
        """Raise an `UnknownSignal` if it is not held (any more)."""
        for held in self.all():
            if held.signal.id == signal_id:
                return held
        raise UnknownSignal(signal_id)

    def keep(self, held: Held) -> None:
        """Put a signal into its site's book and drop what has been over for a day."""
        book = self.books.get(held.signal.site_id)
        if book is None:
            log.warning("signal for a site that is gone", signal_id=held.signal.id, site_id=held.signal.site_id)
            return
        past = self._clock.now() - KEPT
        over = [other.signal.id for other in book.held if other.signal.end < past]
        self.books[held.signal.site_id] = book.without(over).with_(held)
        self.changed.set()

    def drop(self, held: Held) -> None:
        """A limit that was in force is released by its ramp, one that had not begun is gone."""
        if held.ended_at is not None and held.signal.start > held.ended_at:
            book = self.books[held.signal.site_id]
            self.books[held.signal.site_id] = book.without([held.signal.id])
            self.changed.set()
        else:
            self.keep(held)

    def same(self, source: str, content_hash: str, now: datetime) -> tuple[GridSignal, ...]:
        """What asked exactly this, is not over and was not withdrawn."""
        return tuple(
            held.signal for held in self.all()
            if held.signal.source == source and held.signal.content_hash == content_hash
            and held.state not in SET_ASIDE and held.signal.end > now
        )

    def require_room(self, source: str, external_id: str, draft: SignalDraft, now: datetime) -> None:
        """One party cannot bury the planner under intervals, nor ask for what began in another age."""
        start = draft.intervals[0].start
        if start < now - _OLDEST_START:
            raise SignalFault("intervals[0].start", start.isoformat(), "a start within the last year, or later")
        ahead = sum(
            1 for held in self.all()
            if held.signal.source == source and held.state not in SET_ASIDE
            and named_by_sender(held.signal) != external_id
            for interval in held.signal.intervals if interval.end > now
        )
        if ahead + len(draft.intervals) > MAX_AHEAD:
            raise SignalFault(
                "intervals", len(draft.intervals),
                f"no more than {MAX_AHEAD} intervals that are not over in all signals of this party; it has {ahead}",
            )
