"""The receding horizon: look at the site as it is believed to be, plan the next day, hand the plan on.

Re-plans on a clock and on every change. Changes coalesce: one solve runs, at most one waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from aggregator.clock import Clock
from aggregator.planning.gate import GateOutcome, PlanRequest
from aggregator.planning.site.request import build_request, without_strange
from aggregator.planning.site.situation import SiteModel, Situation

log = structlog.get_logger(__name__)


_GATHER_S = 0.05
"""Wall seconds for which changes gather before a plan is made of them."""


class Planner(Protocol):
    """Solves one request; the service runs it in a child process."""

    async def plan(self, request: PlanRequest) -> GateOutcome: ...


class RecedingHorizon:
    """Re-plans every `interval_s` of domain time and after each `request`.

    observe: takes the reasons for the plan and returns the situation now.
    adopt: takes the outcome; it stores, dispatches and decides on signals.
    on_left_out: called with the EVSEs whose cars cannot be planned for; the others are planned without them.
    retry_s: wall seconds after a plan that could not be made or adopted; chargers keep their profiles meanwhile.
    """

    def __init__(
        self, model: SiteModel, clock: Clock, planner: Planner,
        observe: Callable[[], Situation],
        adopt: Callable[[Situation, PlanRequest, GateOutcome, tuple[str, ...]], Awaitable[None]],
        interval_s: int = 900,
        *,
        on_left_out: Callable[[tuple[str, ...]], Awaitable[None]] | None = None,
        retry_s: float = 5.0,
    ) -> None:
        self.fault: str | None = None
        """Why the latest plan could not be made or adopted; None if it could."""
        self._on_left_out, self._retry_s = on_left_out, retry_s
        self.model = model
        """What the next plan is made from; replaced when a day has taught something."""
        self._clock, self._planner = clock, planner
        self._observe, self._adopt, self._interval_s = observe, adopt, interval_s
        self._reasons: list[str] = []
        self._wake = asyncio.Event()

    def request(self, reason: str) -> None:
        """Ask for a plan soon; many asks before the next solve make one plan."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            tasks.create_task(self._plan_forever())

    async def _tick(self) -> None:
        while True:
            now = self._clock.now().timestamp()
            following = (now // self._interval_s + 1) * self._interval_s
            await self._clock.sleep_until(datetime.fromtimestamp(following, UTC))
            self.request("clock")

    async def _plan_forever(self) -> None:
        while True:
            await self._wake.wait()
            # A car's start and its driver's declaration come moments apart: one plan for both, not a blind one first.
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            reasons, self._reasons = tuple(self._reasons), []
            try:
                await self._plan_once(reasons)
            except Exception as fault:  # a strange site must not end planning; health and log tell of it
                log.exception("no plan could be made or adopted, trying again", retry_s=self._retry_s)
                self.fault = type(fault).__name__
                self._reasons = list(dict.fromkeys((*reasons, *self._reasons)))
                await asyncio.sleep(self._retry_s)
                self._wake.set()

    async def _plan_once(self, reasons: tuple[str, ...]) -> None:
        situation = self._observe()
        left_out: tuple[str, ...] = ()
        try:
            request = build_request(self.model, situation)
            outcome = await self._planner.plan(request)
        except (ValueError, ArithmeticError):
            log.exception("the site as it is believed to be cannot be planned for")
            situation, left_out = without_strange(self.model, situation)
            request = build_request(self.model, situation)
            outcome = await self._planner.plan(request)
        if left_out:
            names = ", ".join(left_out)
            alert = f"cars that cannot be planned for are left out: {names}"
            outcome = replace(outcome, alerts=(*outcome.alerts, alert))
            if self._on_left_out is not None:
                await self._on_left_out(left_out)
        await self._adopt(situation, request, outcome, reasons)
        self.fault = None
