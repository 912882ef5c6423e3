"""Does a charger do what it accepted? Ask it (advisory) and look at its meter (what counts).

A composite schedule is a charger's opinion: several answer Accepted without one, others accept a profile and ignore
it. The meter decides, once the charger had time to respond, within the bias learnt for its model: a measured V2G
charger was off by 740, -440 and 420 W for negative, positive and zero set-points (World Electric Vehicle Journal
2019, 10(2), 21), so a narrow fixed band would call honest hardware a liar.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from aggregator.clock import Clock
from aggregator.dispatch.capabilities import CapabilityNotes, Limitation
from aggregator.dispatch.desired import power_at
from aggregator.dispatch.outbox import Outbox
from aggregator.ocpp.events import ChargerCommands, MeterSample, ProfileCommand, ProfilePeriod

log = logging.getLogger(__name__)

HORIZON = timedelta(hours=1)
SHORTEST_COMPARED = timedelta(minutes=1)
"""Chargers round period starts; shorter disagreements at a boundary say nothing."""
FIRST_BAND_KW = 0.8
LEAST_BAND_KW = 0.3
LEARNT_FROM = 8
LEARNABLE_KW = 1.5
"""A larger residual is disobedience, not bias, and is not learnt."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest difference between order and what was seen. Powers are signed kW."""

    evse_id: str
    at: datetime
    ordered_kw: float
    seen_kw: float


def compare_composite(
    command: ProfileCommand, composite: Sequence[ProfilePeriod], now: datetime, tolerance_kw: float = 0.5
) -> Deviation | None:
    """The worst difference over the next hour, or None if the charger says what it was told.

    tolerance_kw: absolute; 5 % of the order if that is more.
    """
    end = now + HORIZON if command.valid_to is None else min(now + HORIZON, command.valid_to)
    starts = {period.start for period in (*command.periods, *composite)}
    edges = [now, *sorted(start for start in starts if now < start < end), end]
    worst: Deviation | None = None
    for left, right in pairwise(edges):
        ordered_kw = power_at(command, left)
        said_kw = next((p.power_kw for p in reversed(composite) if p.start <= left), None)
        if right - left < SHORTEST_COMPARED or ordered_kw is None or said_kw is None:
            continue
        difference_kw = abs(said_kw - ordered_kw)
        if difference_kw <= max(tolerance_kw, 0.05 * abs(ordered_kw)):
            continue
        if worst is None or difference_kw > abs(worst.seen_kw - worst.ordered_kw):
            worst = Deviation(command.evse_id, left, ordered_kw, said_kw)
    return worst


class OrderSign(StrEnum):
    DISCHARGE = "discharge"
    ZERO = "zero"
    CHARGE = "charge"


def sign_of(ordered_kw: float) -> OrderSign:
    if ordered_kw == 0:
        return OrderSign.ZERO
    return OrderSign.CHARGE if ordered_kw > 0 else OrderSign.DISCHARGE


@dataclass(slots=True)
class Bias:
    """Running mean and spread of metered minus ordered power (Welford 1962)."""

    count: int = 0
    mean_kw: float = 0.0
    squares: float = 0.0

    def learn(self, residual_kw: float) -> None:
        self.count += 1
        step = residual_kw - self.mean_kw
        self.mean_kw += step / self.count
        self.squares += step * (residual_kw - self.mean_kw)

    @property
    def band_kw(self) -> float:
        """Half width of what is believed: wide until enough was seen, then three standard deviations."""
        if self.count < LEARNT_FROM:
            return FIRST_BAND_KW
        return max(LEAST_BAND_KW, 3 * math.sqrt(self.squares / (self.count - 1)))

    @property
    def centre_kw(self) -> float:
        return self.mean_kw if self.count >= LEARNT_FROM else 0.0


class BiasBook:
    """Bias by charger model and kind of order."""

    def __init__(self) -> None:
        self._biases: dict[tuple[str, OrderSign], Bias] = {}

    def of(self, model: str, ordered_kw: float) -> Bias:
        return self._biases.setdefault((model, sign_of(ordered_kw)), Bias())

    def learn(self, model: str, ordered_kw: float, metered_kw: float) -> None:
        """Take in one settled value; far-off ones and tapering cars (below a charging order) are left out."""
        residual_kw = metered_kw - ordered_kw
        is_taper = ordered_kw > 0 and residual_kw < -FIRST_BAND_KW
        if abs(residual_kw) <= LEARNABLE_KW and not is_taper:
            self.of(model, ordered_kw).learn(residual_kw)


def follows(ordered_kw: float, metered_kw: float, bias: Bias) -> bool:
    """True if a settled meter value is what the order allows.

    A charging order is an upper limit: a full or tapering car draws less and is no liar, but it must not discharge.
    A discharge order is met on both sides: less is not delivered, more was not permitted.
    """
    residual_kw = metered_kw - ordered_kw - bias.centre_kw
    if residual_kw > bias.band_kw:
        return False
    if ordered_kw < 0:
        return residual_kw >= -bias.band_kw
    return metered_kw >= min(0.0, bias.centre_kw) - bias.band_kw


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """Seconds are domain time unless the name says wall.

    strikes, strike_s, strike_wall_s: so many bad values in a row, over at least so long, make a verdict.
    composite_every_s, composite_every_wall_s: each EVSE is asked at most this often.
    composites_per_wall_s: all EVSEs together.
    """

    settle_s: float = 10.0
    strikes: int = 3
    strike_s: float = 60.0
    strike_wall_s: float = 3.0
    composite_every_s: float = 900.0
    composite_every_wall_s: float = 5.0
    composites_per_wall_s: float = 1.0


@dataclass(slots=True)
class _Watch:
    """What is known of one EVSE's obedience to one command."""

    command: ProfileCommand
    accepted_at: datetime
    is_verified: bool = False
    strikes: int = 0
    first_strike_at: datetime | None = None
    first_strike_wall: float = 0.0


@dataclass(slots=True)
class _Asked:
    at: datetime
    wall: float
    mismatches: int = 0


@dataclass(slots=True)
class VerifierCounters:
    """Every field only grows."""

    verified: int = 0
    not_following: int = 0
    composites: int = 0
    composite_mismatches: int = 0


@dataclass
class Verifier:
    """Watches accepted plan profiles.

    model_of: charger model of an EVSE, the key of its bias. response_s_of: its delay and ramp together.
    Wire `accepted` to the outbox's `on_accepted` and `meter` to the meter values.
    """

    commands: ChargerCommands
    outbox: Outbox
    clock: Clock
    model_of: Callable[[str], str]
    response_s_of: Callable[[str], float]
    capabilities: CapabilityNotes
    settings: VerifierSettings = field(default_factory=VerifierSettings)
    biases: BiasBook = field(default_factory=BiasBook)
    counters: VerifierCounters = field(default_factory=VerifierCounters)
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _asked: dict[str, _Asked] = field(default_factory=dict)

    def accepted(self, command: ProfileCommand) -> None:
        """A charger took a plan profile: its meter has to show it from now on."""
        if command.transaction_id is None:
            return
        watch, before = _Watch(command, self.clock.now()), self._watches.get(command.evse_id)
        if before is not None and before.command.transaction_id == command.transaction_id:
            # A new plan every few minutes must not let a disobedient charger start afresh each time.
            watch.strikes, watch.first_strike_at = before.strikes, before.first_strike_at
            watch.first_strike_wall = before.first_strike_wall
        self._watches[command.evse_id] = watch

    def forget(self, evse_id: str) -> None:
        """The transaction is over."""
        self._watches.pop(evse_id, None)

    def is_verified(self, evse_id: str) -> bool:
        watch = self._watches.get(evse_id)
        return watch is not None and watch.is_verified

    async def meter(self, sample: MeterSample) -> None:
        """Judge one meter value, if its charger had time to settle on the order in force when it was taken."""
        watch = self._watches.get(sample.evse_id)
        if watch is None or sample.power_kw is None or self.outbox.held(sample.evse_id) is not watch.command:
            return
        ordered_kw = power_at(watch.command, sample.at)
        if ordered_kw is None or not self._has_settled(watch, sample.at):
            return
        model = self.model_of(sample.evse_id)
        if follows(ordered_kw, sample.power_kw, self.biases.of(model, ordered_kw)):
            self.biases.learn(model, ordered_kw, sample.power_kw)
            watch.strikes, watch.first_strike_at = 0, None
            if not watch.is_verified:
                watch.is_verified = True
                self.counters.verified += 1
                await self.outbox.record_verified(watch.command, f"metered {sample.power_kw:.2f} kW")
            return
        self._strike(watch, sample, ordered_kw)

    def _has_settled(self, watch: _Watch, when: datetime) -> bool:
        begun = max((p.start for p in watch.command.periods if p.start <= when), default=watch.accepted_at)
        since = max(begun, watch.accepted_at)
        wait_s = self.response_s_of(watch.command.evse_id) + self.settings.settle_s
        return when >= since + timedelta(seconds=wait_s)

    def _strike(self, watch: _Watch, sample: MeterSample, ordered_kw: float) -> None:
        watch.strikes += 1
        if watch.first_strike_at is None:
            watch.first_strike_at, watch.first_strike_wall = sample.at, time.monotonic()
        lasted_s = (sample.at - watch.first_strike_at).total_seconds()
        lasted_wall_s = time.monotonic() - watch.first_strike_wall
        settings = self.settings
        if (
            watch.strikes < settings.strikes
            or lasted_s < settings.strike_s
            or lasted_wall_s < settings.strike_wall_s
        ):
            return
        detail = f"ordered {ordered_kw:.2f} kW, metered {sample.power_kw:.2f} kW for {lasted_s:.0f} s"
        if self.capabilities.note(sample.evse_id, Limitation.DOES_NOT_FOLLOW, detail, self.clock.now()):
            self.counters.not_following += 1
            self.outbox.raise_alert("charger_does_not_follow", sample.evse_id, f"accepts but does not follow: {detail}")

    async def run(self) -> None:
        """Ask chargers for their composite schedules, a few at a time, until cancelled."""
        while True:
            await asyncio.sleep(1 / self.settings.composites_per_wall_s)
            evse_id = self._next_to_ask()
            if evse_id is not None:
                try:
                    await self.ask(evse_id)
                except Exception:  # what one charger says must not end the watch over the others
                    log.exception("the composite schedule of %s could not be judged", evse_id)
                    self._asked[evse_id] = _Asked(self.clock.now(), time.monotonic())

    def _next_to_ask(self) -> str | None:
        """The EVSE that was asked longest ago, if it may be asked again."""
        now, wall = self.clock.now(), time.monotonic()
        due: list[tuple[float, str]] = []
        for evse_id, watch in self._watches.items():
            asked = self._asked.get(evse_id)
            if (
                self.capabilities.has(evse_id, Limitation.NO_COMPOSITE)
                or not self.commands.is_online(evse_id)
                or self.outbox.held(evse_id) is not watch.command
            ):
                continue
            if asked is None:
                due.append((-math.inf, evse_id))
            elif (
                now - asked.at >= timedelta(seconds=self.settings.composite_every_s)
                and wall - asked.wall >= self.settings.composite_every_wall_s
            ):
                due.append((asked.wall, evse_id))
        return min(due)[1] if due else None

    async def ask(self, evse_id: str) -> Deviation | None:
        """Compare the charger's own schedule with its order; twice wrong in a row raises an alert, no more."""
        watch = self._watches[evse_id]
        mismatches = self._asked[evse_id].mismatches if evse_id in self._asked else 0
        self.counters.composites += 1
        composite = await self.commands.composite_schedule(evse_id, int(HORIZON.total_seconds()))
        now = self.clock.now()
        self._asked[evse_id] = _Asked(now, time.monotonic(), mismatches)
        if composite is None:
            if self.commands.is_online(evse_id):
                self.capabilities.note(evse_id, Limitation.NO_COMPOSITE, "gave no composite schedule", now)
            return None
        if self.outbox.held(evse_id) is not watch.command:
            return None  # it was told something else meanwhile
        deviation = compare_composite(watch.command, composite, now)
        self._asked[evse_id].mismatches = 0 if deviation is None else mismatches + 1
        if deviation is not None:
            self.counters.composite_mismatches += 1
            if mismatches >= 1:
                ordered, said, at = deviation.ordered_kw, deviation.seen_kw, deviation.at.isoformat()
                message = f"ordered {ordered:.2f} kW, says {said:.2f} kW at {at}"
                self.outbox.raise_alert("composite_mismatch", evse_id, message)
        return deviation
