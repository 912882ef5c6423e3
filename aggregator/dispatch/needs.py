"""See that a car which said what it needs gets its profile in time (OCPP 2.1 K15.FR.04, K16, K17).

The needs themselves are answered Processing at once; the planner, the gate and the outbox do the rest. Here somebody
looks at the clock: a station that waits in vain goes on with its default profile, and an operator should know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aggregator.ocpp.events import ProfileCommand, Purpose

ANSWER_WITHIN_S = 60.0
"""Wall seconds."""


class NeedsWatch:
    """Cars that wait for a profile.

    ask: called with the EVSE when its car spoke, so that the next plan is sent even if it is the one it holds.
    overdue: called with the EVSE and a sentence if no profile was accepted in time.
    """

    def __init__(
        self, ask: Callable[[str], None], overdue: Callable[[str, str], None], within_s: float = ANSWER_WITHIN_S
    ) -> None:
        self._ask, self._overdue, self._within_s = ask, overdue, within_s
        self._waiting: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self.answered_s: list[float] = []
        """Wall seconds from a car's needs to its accepted profile, in the order of the answers."""

    def told(self, evse_id: str) -> None:
        """The car at `evse_id` said what it needs. Only from within the running event loop."""
        self.forget(evse_id)
        timer = asyncio.get_running_loop().call_later(self._within_s, self._late, evse_id)
        self._waiting[evse_id] = (time.monotonic(), timer)
        self._ask(evse_id)

    def accepted(self, command: ProfileCommand) -> None:
        """A charger accepted a profile."""
        if command.purpose is Purpose.PLAN and (waited := self._waiting.pop(command.evse_id, None)) is not None:
            waited[1].cancel()
            self.answered_s.append(time.monotonic() - waited[0])

    def forget(self, evse_id: str) -> None:
        """The car left, or spoke again."""
        if (waited := self._waiting.pop(evse_id, None)) is not None:
            waited[1].cancel()

    def _late(self, evse_id: str) -> None:
        self._waiting.pop(evse_id, None)
        self._overdue(evse_id, f"its car said what it needs, and no profile was accepted within {self._within_s:g} s")
