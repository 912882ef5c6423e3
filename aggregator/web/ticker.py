"""Publish the live page's changes: each tick is encoded once and its bytes are shared by all who look.

A subscriber gets a snapshot, then deltas. Its mailbox holds one message; if it is too slow to take one before the next
comes, it misses that one and gets a snapshot next. Nothing runs while nobody looks.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

import orjson

from aggregator.web.feed import LiveFeed, LiveSnapshot
from aggregator.web.view import Cell, live_view

_log = logging.getLogger(__name__)

Fragments = dict[str, str]
_REMEMBERED_DELTAS = 40
KEEPALIVE = b": still here\n\n"


class _Mailbox:
    """One slot: a delta not taken before the next one turns into "send me a snapshot"."""

    def __init__(self) -> None:
        self.delta: bytes | None = None
        self.needs_snapshot = False
        self.filled = asyncio.Event()

    def put(self, delta: bytes) -> None:
        if self.delta is not None:
            self.delta, self.needs_snapshot = None, True
        if not self.needs_snapshot:
            self.delta = delta
        self.filled.set()


class LiveTicker:
    """Compares consecutive pictures of the feed and hands the difference to every subscriber.

    fragments: renders the parts of the page that are lists. interval_s: wall seconds between ticks.
    Message ids are "<run>-<sequence>"; the run changes with every process, so that a reconnect after a restart
    never continues on numbers of another run.
    """

    def __init__(
        self, feed: LiveFeed, fragments: Callable[[LiveSnapshot], Fragments], *, interval_s: float = 0.5,
        keepalive_s: float = 15.0,
    ) -> None:
        self._feed = feed
        self._fragments = fragments
        self._interval_s = interval_s
        self._keepalive_s = keepalive_s
        self._run_id = secrets.token_hex(4)
        self._sequence = 0
        self._cells: dict[str, Cell] = {}
        self._parts: Fragments = {}
        self._points: dict[int, tuple[float | None, ...]] = {}
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_REMEMBERED_DELTAS)
        self._snapshot: tuple[int, bytes] | None = None
        self._mailboxes: set[_Mailbox] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    @property
    def subscribers(self) -> int:
        return len(self._mailboxes)

    async def subscribe(self, last_event_id: str | None = None) -> AsyncGenerator[bytes, None]:
        """Server-sent events as bytes, until the ticker is closed or the caller stops reading."""
        if self._closed.is_set():
            return
        if self._task is None:
            self._refresh()
            self._task = asyncio.create_task(self._tick_for_ever(), name="live-ticker")
        mailbox = _Mailbox()
        self._mailboxes.add(mailbox)
        try:
            # Nothing is awaited between this look and the first wait, so no delta can slip in between.
            missed = self._missed_since(last_event_id)
            for message in [self._snapshot_bytes()] if missed is None else missed:
                yield message
            while not self._closed.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(mailbox.filled.wait(), self._keepalive_s)
                if not self._closed.is_set():
                    yield self._take(mailbox)
        finally:
            self._mailboxes.discard(mailbox)
            if not self._mailboxes and self._task is not None:
                self._task.cancel()
                self._task = None

    def close(self) -> None:
        """End every stream, so that a server that waits for its connections can stop."""
        self._closed.set()
        for mailbox in self._mailboxes:
            mailbox.filled.set()

    def _take(self, mailbox: _Mailbox) -> bytes:
        mailbox.filled.clear()
        if mailbox.needs_snapshot:
            mailbox.needs_snapshot, mailbox.delta = False, None
            return self._snapshot_bytes()
        delta, mailbox.delta = mailbox.delta, None
        return delta if delta is not None else KEEPALIVE

    def _missed_since(self, last_event_id: str | None) -> list[bytes] | None:
        """The deltas a reconnecting browser lacks; None if only a snapshot can bring it up to date."""
        run_id, _, number = (last_event_id or "").partition("-")
        if run_id != self._run_id or not number.isdecimal():
            return None
        seen = int(number)
        missed = [message for sequence, message in self._recent if sequence > seen]
        return missed if len(missed) == self._sequence - seen else None

    def _snapshot_bytes(self) -> bytes:
        if self._snapshot is None or self._snapshot[0] != self._sequence:
            points = [[x, *row] for x, row in self._points.items()]
            body = {"cells": self._cells, "parts": self._parts, "points": points}
            self._snapshot = (self._sequence, self._encode("snapshot", body))
        return self._snapshot[1]

    def _encode(self, kind: str, body: object) -> bytes:
        # JSON has no raw line breaks, so one data line carries it (WHATWG HTML, 9.2.6).
        head = f"id: {self._run_id}-{self._sequence}\nevent: {kind}\ndata: ".encode()
        return head + orjson.dumps(body) + b"\n\n"

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                delta = self._refresh()
            except Exception:  # noqa: BLE001  the page itself says that it is stale; the next tick tries again
                _log.exception("live page: the feed gave no snapshot")
                continue
            if delta is not None:
                for mailbox in self._mailboxes:
                    mailbox.put(delta)

    def _refresh(self) -> bytes | None:
        """Take a new picture; the encoded difference to the last one, None if nothing changed."""
        snapshot = self._feed.snapshot()
        view, parts = live_view(snapshot), self._fragments(snapshot)
        body = {
            "cells": {key: value for key, value in view.cells.items() if self._cells.get(key) != value},
            "parts": {key: html for key, html in parts.items() if self._parts.get(key) != html},
            "points": [[x, *row] for x, row in view.points.items() if self._points.get(x) != row],
            "gone": [x for x in self._points if x not in view.points],
        }
        self._cells, self._parts, self._points = view.cells, parts, view.points
        if not any(body.values()):
            return None
        self._sequence += 1
        delta = self._encode("delta", body)
        self._recent.append((self._sequence, delta))
        return delta
