"""Keep a charging session going on a rail while a transaction runs: begin it, and begin again after it broke.

The driver is authorised before the session begins (external identification), so that no car waits in Authorization
for a CSMS. What comes from a wire comes outside the timeline: it is brought into it here.

    begin --> setting up --> charging --> over (the car's wish, the station's, the plug)
                  |              |
                  +--- fault ----+--> pause --> setting up     at most as often as PAUSES_S says, then until the plug
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from twin.station.battery_car import BatteryCar
from twin.station.rail import EvNeeds, Rail, RailListener, SessionEnd, SessionFault, Step
from twin.station.timeline import Event, Timeline

PAUSES_S = (1.0, 5.0, 30.0)
"""Wall seconds between a session that broke and the next try; a session that charged begins the count anew."""


class SessionNews(Protocol):
    """Who is told what becomes of the session. Every call happens at the present event."""

    def needs_told(self, needs: EvNeeds) -> None: ...

    def session_charges(self, setup_s: float) -> None:
        """It came to its charge loop, `setup_s` of wall time after it began."""
        ...

    def session_broke(self, fault: SessionFault) -> None: ...

    def session_mended(self) -> None: ...


class SessionKeeper:
    """One EVSE's sessions; the listener of its rail.

    plan: makes what the EVSE offers a car that plans.
    fault: what broke the last session, until another one charges or the car leaves.
    is_done: the car itself ended or paused its session in good order: it wants no more for now.
    """

    def __init__(self, make_rail: Callable[[RailListener], Rail], timeline: Timeline) -> None:
        self.rail = make_rail(self)
        self.news: SessionNews | None = None
        self.plan: Callable[[], Sequence[Step]] = lambda: ()
        self.fault: SessionFault | None = None
        self.is_done = False
        self._timeline = timeline
        self._car: BatteryCar | None = None
        self._is_wanted = False
        self._is_running = False
        self._tries = 0
        self._retry: Event | None = None
        self._began_wall: float | None = None

    @property
    def is_charging(self) -> bool:
        return self._is_running and self.rail.is_charging

    @property
    def offered_kw(self) -> float | None:
        """What the car was last told to take; None outside a charge loop."""
        return self._car.offered_kw if self._car is not None and self.is_charging else None

    def plug(self, car: BatteryCar) -> None:
        self._car, self.is_done, self._tries = car, False, 0

    def begin(self) -> None:
        """The driver is let in: a session begins unless one runs already."""
        self._is_wanted, self.is_done = True, False
        if not self._is_running and self._retry is None:
            self._connect()

    def order(self, power_kw: float) -> None:
        self.rail.order(power_kw)

    def stop(self) -> None:
        """The transaction is over: 0 kW at once, and the session ends; what broke matters to nobody any more."""
        self._forget_plans()
        self.fault = None
        self.rail.order(0.0)
        self.rail.stop()

    def unplug(self) -> None:
        self._forget_plans()
        self.rail.order(0.0)
        self.rail.disconnect()
        if self._car is not None:
            self._car.leave()
        self._car, self.fault, self.is_done, self._is_running = None, None, False, False

    def look(self) -> None:
        """After the events of an instant: has a session come to its charge loop, is what was broken well again?"""
        if self._began_wall is None or not self.is_charging:
            return
        setup_s, self._began_wall = time.monotonic() - self._began_wall, None
        was_broken, self.fault, self._tries = self.fault is not None, None, 0
        if self.news is not None:
            self.news.session_charges(setup_s)
            if was_broken:
                self.news.session_mended()

    def _forget_plans(self) -> None:
        self._is_wanted = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _connect(self) -> None:
        if self._car is None or self._is_running:
            return
        self._car.offered_kw = None
        self._is_running, self._began_wall = True, time.monotonic()
        self.rail.connect(self._car)
        self.rail.authorise()

    # ------------------------------------------------------------------ RailListener

    def needs(self, needs: EvNeeds) -> None:
        news = self.news
        if news is not None:
            self._timeline.act(lambda: news.needs_told(needs))

    def offer(self) -> Sequence[Step]:
        return self.plan()

    def flowing(self, power_kw: float) -> None:
        """The car's battery has been told already."""

    def ended(self, reason: SessionEnd) -> None:
        self._timeline.act(lambda: self._over(reason))

    def faulted(self, fault: SessionFault) -> None:
        self._timeline.act(lambda: self._broke(fault))

    def _over(self, reason: SessionEnd) -> None:
        self._is_running = False
        if self._car is None or not self._is_wanted:
            return
        if reason in {SessionEnd.CAR, SessionEnd.PAUSED}:
            self.is_done = True
        elif reason is SessionEnd.STATION:  # a new transaction was let in before the old session was over
            self._connect()

    def _broke(self, fault: SessionFault) -> None:
        self._is_running = False
        if self._car is None or not self._is_wanted:
            return
        self.fault = fault
        if self._tries < len(PAUSES_S):
            now = self._timeline.now
            self._retry = self._timeline.at(
                now + PAUSES_S[self._tries] * self._timeline.clock.factor(now), lambda _: self._try_again()
            )
            self._tries += 1
        if self.news is not None:
            self.news.session_broke(fault)

    def _try_again(self) -> None:
        self._retry = None
        self._connect()
