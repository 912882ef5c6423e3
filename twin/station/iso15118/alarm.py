"""A timer that never rings because this process itself stood still.

Limits for a car's silence or disobedience are times in which it could have been heard. When the machine stops the
process for longer, its timers and the car's messages are due in the same moment, and the timer would win.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

STANDSTILL_S = 0.25  # a timer later than this was held up; a busy event loop is not


class Alarm:
    """Calls `ring` at an instant of the event loop; once held up, it waits once more for as long."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    @property
    def at(self) -> float:
        """The instant it was set for, though it may ring later; infinity if it is not set."""
        return math.inf if self._timer is None else self._at

    def set(self, at: float) -> None:
        """Ring at `at` (time of the event loop), in the place of what was set before."""
        self.cancel()
        self._at = at
        self._expect(at, is_excusable=True)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect(self, at: float, *, is_excusable: bool) -> None:
        self._timer = asyncio.get_running_loop().call_at(at, self._due, is_excusable)

    def _due(self, is_excusable: bool) -> None:
        late_s = asyncio.get_running_loop().time() - self._at
        if is_excusable and late_s > STANDSTILL_S:
            self._expect(self._at + 2.0 * late_s, is_excusable=False)
            return
        self._timer = None
        self._ring()
