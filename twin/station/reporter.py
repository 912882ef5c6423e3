"""One JSON line per fact on stdout, written by a thread: a reader that is slow never holds the event loop."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import orjson


class Reporter:
    """Writes lines in the order they come.

    truth: if given, the same lines also go to this file, together with those of `report_truth`.
    on_broken: called from the writing thread when nobody reads any more.
    """

    def __init__(
        self, out: IO[bytes] | None = None, truth: Path | None = None, on_broken: Callable[[], object] | None = None
    ) -> None:
        self._out = sys.stdout.buffer if out is None else out
        self._on_broken = on_broken
        self._truth = None if truth is None else truth.open("wb")
        self._lines: queue.SimpleQueue[tuple[bytes, bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="reporter", daemon=True)
        self._thread.start()

    @property
    def keeps_truth(self) -> bool:
        return self._truth is not None

    def report(self, fact: dict[str, Any]) -> None:
        self._lines.put((orjson.dumps(fact, option=orjson.OPT_APPEND_NEWLINE), True))

    def report_truth(self, fact: dict[str, Any]) -> None:
        """A line for the truth file alone."""
        if self._truth is not None:
            self._lines.put((orjson.dumps(fact, option=orjson.OPT_APPEND_NEWLINE), False))

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left. Lines for a reader that does not read for `timeout_s` are lost."""
        self._lines.put(None)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        out: IO[bytes] | None = self._out
        while (line := self._lines.get()) is not None:
            text, is_public = line
            if self._truth is not None:
                self._truth.write(text)
            if out is None or not is_public:
                continue
            try:
                out.write(text)
                out.flush()
            except (BrokenPipeError, ValueError):
                out = None  # nobody listens any more; the truth file still does
                if self._on_broken is not None:
                    self._on_broken()
        if self._truth is not None:
            self._truth.close()
