"""What the site will draw in the next moment: building load by its meter, EVs by their orders and their meters.

A car is expected to do what it is told, until its meter, settled, says that it does less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.dispatch.allocation import Draw
from aggregator.dispatch.desired import GRACE, capped, curtailed, from_now, power_at
from aggregator.dispatch.trims import FastLoopSettings, Trim
from aggregator.fleet.model import LiveSession
from aggregator.ocpp.events import MeterSample, ProfileCommand, ProfilePeriod, Purpose
from aggregator.store import SiteReading
from twin.assets import Evse

EPSILON_KW = 1e-6
_CHARGE_EFFICIENCY = 0.9
"""Only ranks cars by urgency; plans use the real curve."""


@dataclass(slots=True)
class _Order:
    power_kw: float
    since: datetime


def expected_kw(ordered_kw: float, metered_kw: float | None, *, is_settled: bool) -> float:
    """What an EVSE will draw, given its order and, once it had time to follow, its meter.

    A full or tapering car draws less than ordered and will not draw more than a little above what it does now; one
    that discharges less than ordered helps only as much as it does.
    """
    if metered_kw is None or not is_settled:
        return ordered_kw
    if ordered_kw > 0:
        return min(ordered_kw, max(0.0, metered_kw) + max(0.5, 0.1 * ordered_kw))
    return min(0.0, max(ordered_kw, metered_kw))


class Expectation:
    """Orders, meters and readings of one site, put together.

    plan: the profiles as planned, by EVSE. ceilings, floors: what is taken from them now, by EVSE.
    """

    def __init__(
        self,
        evses: Mapping[str, Evse],
        fallback_kw: Mapping[str, float],
        sessions: Callable[[], Mapping[str, LiveSession]],
        settings: FastLoopSettings,
    ) -> None:
        self.plan: dict[str, ProfileCommand] = {}
        self.ceilings: dict[str, Trim] = {}
        self.floors: dict[str, Trim] = {}
        self.reading: SiteReading | None = None
        self.evses = evses
        self._fallback_kw = fallback_kw
        self._sessions = sessions
        self._settings = settings
        self._metered: dict[str, MeterSample] = {}
        self._orders: dict[str, _Order] = {}
        self._changed_wall = 0.0

    def meter(self, sample: MeterSample) -> None:
        if sample.power_kw is not None:
            self._metered[sample.evse_id] = sample

    def forget(self, evse_id: str) -> None:
        for state in (self.plan, self.ceilings, self.floors, self._metered, self._orders):
            state.pop(evse_id, None)

    def sent(self) -> None:
        """Orders went out just now: the wall needs its time, too."""
        self._changed_wall = time.monotonic()

    # --- orders --------------------------------------------------------------------------------------------------

    def plugged(self) -> tuple[str, ...]:
        """EVSEs with a car."""
        return tuple(self._sessions())

    def running(self, evse_id: str, now: datetime) -> ProfileCommand | None:
        """The plan profile that the car at this EVSE should be following."""
        command = self.plan.get(evse_id)
        session = self._sessions().get(evse_id)
        if command is None or session is None or command.transaction_id != session.transaction_id:
            return None
        return command if power_at(command, now) is not None else None

    def planned_kw(self, evse_id: str, when: datetime) -> float:
        """By the plan; without one that runs, the fallback share; 0 without a car."""
        if evse_id not in self._sessions():
            return 0.0
        command = self.running(evse_id, when)
        planned_kw = power_at(command, when) if command is not None else None
        return self._fallback_kw.get(evse_id, 0.0) if planned_kw is None else planned_kw

    def ordered_kw(self, evse_id: str, when: datetime) -> float:
        """By the plan, under ceilings and floors."""
        power_kw = self.planned_kw(evse_id, when)
        ceiling, floor = self.ceilings.get(evse_id), self.floors.get(evse_id)
        if ceiling is not None and ceiling.since <= when:
            power_kw = min(power_kw, ceiling.ceiling_kw)
        if floor is not None and floor.since <= when:
            power_kw = max(power_kw, -floor.ceiling_kw)
        return power_kw

    def trimmed(self, command: ProfileCommand, now: datetime) -> ProfileCommand:
        """What is to be sent in place of `command`."""
        ceiling, floor = self.ceilings.get(command.evse_id), self.floors.get(command.evse_id)
        command = from_now(command, now)
        if ceiling is not None:
            command = capped(command, ceiling.ceiling_kw, max(now, ceiling.since))
        if floor is not None:
            command = curtailed(command, floor.ceiling_kw, max(now, floor.since))
        return command

    def to_send(self, evse_ids: Sequence[str], now: datetime) -> tuple[ProfileCommand, ...]:
        """Profiles under the trims; a car without a plan gets its fallback share, bounded, for its transaction."""
        sessions = self._sessions()
        commands = []
        for evse_id in evse_ids:
            command, session = self.running(evse_id, now), sessions.get(evse_id)
            if command is None and session is not None:
                share = (ProfilePeriod(now, self._fallback_kw.get(evse_id, 0.0)),)
                command = ProfileCommand(evse_id, Purpose.PLAN, 0, share, now, now + GRACE, session.transaction_id)
            if command is not None:
                commands.append(self.trimmed(command, now))
        return tuple(commands)

    # --- expectations --------------------------------------------------------------------------------------------

    def draws(self, now: datetime) -> list[Draw]:
        """What every car plugged in will draw, and how urgently it needs it."""
        draws = []
        for evse_id, session in self._sessions().items():
            evse, ordered_kw = self.evses[evse_id], self.ordered_kw(evse_id, now)
            if session.is_full and ordered_kw > 0:
                power_kw = 0.0
            else:
                metered = self._metered.get(evse_id)
                metered_kw = metered.power_kw if metered is not None else None
                power_kw = expected_kw(ordered_kw, metered_kw, is_settled=self._has_followed(evse_id, ordered_kw))
            need_h = max(0.0, session.target_kwh - session.energy_kwh) / (evse.max_charge_kw * _CHARGE_EFFICIENCY)
            laxity_h = (session.departure - now).total_seconds() / 3600 - need_h
            draws.append(Draw(evse_id, power_kw, evse.min_charge_kw, laxity_h))
        return draws

    @property
    def measured_base_kw(self) -> float | None:
        """Building load by the latest reading; None before the first."""
        reading = self.reading
        if reading is None:
            return None
        if reading.ev_kw is not None:
            return reading.import_kw - reading.ev_kw
        return reading.import_kw - sum(self._seen_kw(evse_id, reading.at) for evse_id in self._sessions())

    def base_kw(self, now: datetime) -> float | None:
        """Building load, plus what the EVs draw above expectation although they had time to follow."""
        base_kw, reading = self.measured_base_kw, self.reading
        if base_kw is None or reading is None or reading.ev_kw is None or not self._is_settled(now):
            return base_kw
        return base_kw + max(0.0, reading.ev_kw - sum(draw.power_kw for draw in self.draws(now)))

    def watch_orders(self, now: datetime) -> None:
        """Remember since when each EVSE has had its present order."""
        for evse_id in self._sessions():
            power_kw = self.ordered_kw(evse_id, now)
            order = self._orders.get(evse_id)
            if order is None or abs(order.power_kw - power_kw) > EPSILON_KW:
                self._orders[evse_id] = _Order(power_kw, now)

    def _seen_kw(self, evse_id: str, when: datetime) -> float:
        metered = self._metered.get(evse_id)
        if metered is not None and metered.power_kw is not None:
            return metered.power_kw
        return self.ordered_kw(evse_id, when)

    def _has_followed(self, evse_id: str, ordered_kw: float) -> bool:
        """The latest meter value was taken long enough after the present order began."""
        order, metered = self._orders.get(evse_id), self._metered.get(evse_id)
        if order is None or metered is None or abs(order.power_kw - ordered_kw) > EPSILON_KW:
            return False
        return metered.at >= order.since + timedelta(seconds=self._settings.settle_s)

    def _is_settled(self, now: datetime) -> bool:
        """No order changed lately, by domain and by wall time."""
        settle = timedelta(seconds=self._settings.settle_s)
        return time.monotonic() - self._changed_wall >= self._settings.settle_wall_s and all(
            now - order.since >= settle for order in self._orders.values()
        )
