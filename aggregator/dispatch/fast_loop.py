"""Hold the site between plans: trim charging when the building rises, apply mandatory limits at once.

It only ever moves power toward zero and gives back what it took, never more than the plan. Readings, plans and limits
change its state synchronously and in order; sending is the outbox's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from aggregator.clock import Clock
from aggregator.dispatch.allocation import Draw, allocate, curtail_discharge, first_minute_level_kw
from aggregator.dispatch.expectation import EPSILON_KW, Expectation
from aggregator.dispatch.trims import FastLoopSettings, LimitDispatch, LimitHold, Trim, TrimReason
from aggregator.fleet.model import LiveSession
from aggregator.ocpp.events import Delivery, MeterSample, ProfileCommand
from aggregator.signals.model import GridSignal
from aggregator.store import SiteReading
from twin.assets import Evse

_SLOW_S = 5.0
"""IEC 61851-1 gives a car 5 s to follow a new pilot signal; what takes longer is slow."""


class Deliverer(Protocol):
    """The part of the outbox that the fast loop needs."""

    async def deliver_now(
        self, commands: Sequence[ProfileCommand], *, actor: str, reason: str, wait_s: float = 5.0
    ) -> dict[str, Delivery]: ...


class NewcomerRoom(Protocol):
    """What the feeder leaves for cars that no plan knows yet; see `feeder_share.FeederRoom`."""

    def share(
        self, ordered_kw: Mapping[str, float], newcomers_kw: Mapping[str, float], building_kw: float, now: datetime
    ) -> Mapping[str, float]: ...


class FastLoop:
    """Between two plans the keeper of the site's limits.

    Args:
        import_cap_kw: of the site. export_limit_kw: positive or 0.
        export_limit_at: the limit on export in force at a time, where it can be lower than that.
        limit_at: other limits on net import at a time; infinity if none.
        fallback_kw: what each EVSE charges at without a plan.
        sessions: the cars plugged in now, by EVSE.
        on_trim: called when a reading or a limit takes something away; asks for a new plan.
        feeder_room: where the site hangs on a feeder that is known.
    """

    def __init__(
        self,
        *,
        import_cap_kw: float,
        export_limit_kw: float,
        limit_at: Callable[[datetime], float],
        evses: Mapping[str, Evse],
        fallback_kw: Mapping[str, float],
        sessions: Callable[[], Mapping[str, LiveSession]],
        outbox: Deliverer,
        clock: Clock,
        on_trim: Callable[[tuple[Trim, ...]], None] | None = None,
        settings: FastLoopSettings | None = None,
        export_limit_at: Callable[[datetime], float] | None = None,
        feeder_room: NewcomerRoom | None = None,
    ) -> None:
        self._feeder_room = feeder_room
        self.settings = settings or FastLoopSettings()
        self._import_cap_kw = import_cap_kw
        self._export_limit_at = export_limit_at or (lambda _when: export_limit_kw)
        self._limit_at = limit_at
        self._outbox = outbox
        self._clock = clock
        self._on_trim = on_trim
        self._site = Expectation(evses, fallback_kw, sessions, self.settings)
        self._holds: dict[str, LimitHold] = {}
        self._changed_at: datetime | None = None
        self._changed_wall = 0.0

    # --- what it shows -------------------------------------------------------------------------------------------

    @property
    def trims(self) -> tuple[Trim, ...]:
        """Everything it takes away now."""
        return (*self._site.ceilings.values(), *self._site.floors.values())

    @property
    def base_kw(self) -> float | None:
        """Building load by the latest reading; None before the first."""
        return self._site.measured_base_kw

    def limit_kw(self, now: datetime) -> float:
        """The lowest limit on net import in force."""
        limits = [hold.limit_at(now) for hold in self._holds.values()]
        return min([self._import_cap_kw, self._limit_at(now), *(limit for limit in limits if limit is not None)])

    def ordered_kw(self, evse_id: str, now: datetime) -> float:
        """What this EVSE is told to do now: its plan under the trims, or its fallback share without a plan."""
        return self._site.ordered_kw(evse_id, now)

    # --- what it is told -----------------------------------------------------------------------------------------

    def meter(self, sample: MeterSample) -> None:
        """The latest power of one EVSE."""
        self._site.meter(sample)

    def forget(self, evse_id: str) -> None:
        """The transaction is over."""
        self._site.forget(evse_id)

    def admit(self, commands: Sequence[ProfileCommand], made_at: datetime) -> tuple[ProfileCommand, ...]:
        """Take over a new plan and return what is to be queued of it, under the limits as they are now.

        Call it inside the store transaction that queues the result: a limit that is applied meanwhile then waits for
        that transaction and gets the higher version.

        Args:
            commands: plan profiles, from `plan_command`.
            made_at: domain time at which the plan's inputs were taken; trims decided later stay, older ones have been
                planned for.
        """
        now, site = self._clock.now(), self._site
        for command in commands:
            site.plan[command.evse_id] = command
            for trims in (site.ceilings, site.floors):
                trim = trims.get(command.evse_id)
                if trim is not None and trim.at <= made_at and not self._is_settling(trim, now):
                    del trims[command.evse_id]
        others = {trim.evse_id for trim in self._tighten(now)} - {command.evse_id for command in commands}
        return (*(site.trimmed(command, now) for command in commands), *site.to_send(sorted(others), now))

    async def reading(self, reading: SiteReading) -> tuple[Trim, ...]:
        """Take a reading of the connection-point meter; trim or give back, and send what changed.

        Returns:
            the trims it made; empty if nothing was taken away.
        """
        site = self._site
        if site.reading is not None and reading.at < site.reading.at:
            return ()
        site.reading = reading
        now = self._clock.now()
        self._holds = {key: hold for key, hold in self._holds.items() if now < hold.signal.end}
        site.watch_orders(now)
        made = self._tighten(now)
        changed = {trim.evse_id for trim in made} or self._restore(now)
        if changed:
            await self._send(sorted(changed), made, now, made[0].reason.value if made else "restore")
        return made

    async def arrived(self) -> tuple[Trim, ...]:
        """A car came that no plan knows: it gets what the feeder leaves, at most its fallback share, until one does."""
        now = self._clock.now()
        made = self._bound_newcomers(now)
        if made:
            await self._send([trim.evse_id for trim in made], made, now, TrimReason.FEEDER.value)
        return made

    async def apply_limit(self, signal: GridSignal, now: datetime) -> LimitDispatch:
        """Bring the site under a mandatory limit at once, before any plan: charging goes down, nothing else moves.

        Every car is bounded by its share until a plan that knows the limit comes, also after the limit's end. Nothing
        is sent if the orders already stay below it until then.
        """
        site, settings = self._site, self.settings
        start = max(now, signal.start)
        limit_kw = min(interval.max_net_kw for interval in signal.intervals) - settings.margin_kw
        base_kw, draws = site.base_kw(now), site.draws(now)
        if base_kw is None:
            base_kw = limit_kw  # blind: with no building load known nothing is left for charging
        net_kw = base_kw + sum(draw.power_kw for draw in draws)
        response_s = self._response_s(draws)
        level_kw = first_minute_level_kw(limit_kw, net_kw, response_s, settings.window_s)
        window_end = start + timedelta(seconds=settings.window_s)
        self._holds[signal.id] = LimitHold(
            signal, start, level_kw, window_end, start + timedelta(seconds=response_s)
        )
        if self._peak_net_kw(base_kw, draws, now, signal.end) <= level_kw:
            return LimitDispatch(signal.id, level_kw, (), {})
        made = self._lock(self._quick(allocate(level_kw, base_kw, draws), limit_kw, base_kw, draws), draws, now, signal)
        commands, deliveries = await self._send([t.evse_id for t in made], made, now, f"signal:{signal.id}")
        return LimitDispatch(signal.id, level_kw, commands, deliveries)

    @property
    def limiting(self) -> frozenset[str]:
        """Ids of the signals whose limits it holds."""
        return frozenset(self._holds)

    def release(self, signal_id: str) -> None:
        """The limit was cancelled. Its ceilings stay until the next plan, which brings power back without a jump."""
        self._holds.pop(signal_id, None)

    def _quick(
        self, allotted: dict[str, float], limit_kw: float, base_kw: float, draws: Sequence[Draw]
    ) -> dict[str, float]:
        """Let quick chargers make up for slow ones that draw on for seconds; the next plan shares out anew."""
        slow = [draw for draw in draws if self._site.evses[draw.evse_id].response.delay_s > _SLOW_S]
        slow_kw = sum(max(0.0, draw.power_kw) for draw in slow)
        quick = [draw for draw in draws if draw not in slow]
        if slow_kw <= 0.0 or not quick:
            return allotted
        tight = allocate(limit_kw, base_kw + slow_kw, quick)
        return {evse_id: min(kw, tight.get(evse_id, kw)) for evse_id, kw in allotted.items()}

    def _is_settling(self, trim: Trim, now: datetime) -> bool:
        """A mandatory limit was applied moments ago: no plan raises a charger while slower ones still come down."""
        hold = self._holds.get(trim.signal_id) if trim.signal_id is not None else None
        return hold is not None and now < hold.settled_at

    def settled_at(self, signal_id: str) -> datetime | None:
        """When every charger has answered this limit, so that a new plan may share out what there is; None if gone."""
        hold = self._holds.get(signal_id)
        return hold.settled_at if hold is not None else None

    # --- decisions -----------------------------------------------------------------------------------------------

    async def _send(
        self, evse_ids: Sequence[str], made: tuple[Trim, ...], now: datetime, reason: str
    ) -> tuple[tuple[ProfileCommand, ...], dict[str, Delivery]]:
        self._changed_at, self._changed_wall = now, time.monotonic()
        self._site.sent()
        commands = self._site.to_send(evse_ids, now)
        if made and self._on_trim is not None:
            self._on_trim(made)
        return commands, await self._outbox.deliver_now(commands, actor="fast_loop", reason=reason)

    def _level_kw(self, now: datetime) -> float:
        """What the net is held at: the limit less its margin, in the first minute also what that minute needs."""
        levels = [hold.level_kw for hold in self._holds.values() if hold.start <= now < hold.window_end]
        return min([self.limit_kw(now) - self.settings.margin_kw, *levels])

    def _tighten(self, now: datetime) -> tuple[Trim, ...]:
        """Cut charging where the prediction crosses the level, and discharge where it crosses the export limit."""
        base_kw = self._site.base_kw(now)
        if base_kw is None:
            return self._bound_newcomers(now)
        draws = self._site.draws(now)
        level_kw = self._level_kw(now)
        made: list[Trim] = []
        if base_kw + sum(draw.power_kw for draw in draws) > level_kw + EPSILON_KW:
            # Half the band below, so that a load that creeps up does not cost a message for every reading.
            made = self._cut(allocate(level_kw - self.settings.band_kw / 2, base_kw, draws), draws, now)
        curbed = curtail_discharge(self._export_limit_at(now), base_kw, draws)
        for draw in draws:
            curbed_kw = curbed[draw.evse_id]
            if draw.power_kw < 0 and curbed_kw > draw.power_kw + EPSILON_KW:
                trim = Trim(draw.evse_id, now, now, draw.power_kw, -curbed_kw, TrimReason.EXPORT_LIMIT)
                self._site.floors[draw.evse_id] = trim
                made.append(trim)
        return (*made, *self._bound_newcomers(now))

    def _bound_newcomers(self, now: datetime) -> tuple[Trim, ...]:
        """A ceiling for every car without a plan whose fallback share the feeder cannot bear beside the orders."""
        site, ids = self._site, self._site.plugged()
        newcomers = {i: kw for i in ids if site.running(i, now) is None and (kw := site.ordered_kw(i, now)) > 0.0}
        if self._feeder_room is None or not newcomers:
            return ()
        ordered = {evse_id: site.ordered_kw(evse_id, now) for evse_id in ids if evse_id not in newcomers}
        # Before the first reading the building is unknown; its part in what the cables of chargers bear is small.
        shares = self._feeder_room.share(ordered, newcomers, site.base_kw(now) or 0.0, now)
        made = []
        for evse_id, kw in newcomers.items():
            if shares[evse_id] < kw - EPSILON_KW:
                planned_kw = site.planned_kw(evse_id, now)
                trim = Trim(evse_id, now, now, planned_kw, shares[evse_id], TrimReason.FEEDER, None, is_locked=True)
                site.ceilings[evse_id] = trim
                made.append(trim)
        return tuple(made)

    def _cut(self, allotted: Mapping[str, float], draws: Sequence[Draw], now: datetime) -> list[Trim]:
        """Lower the ceilings of those who got less than they draw."""
        active = [(limit, hold) for hold in self._holds.values() if (limit := hold.limit_at(now)) is not None]
        hold = min(active, key=lambda pair: pair[0])[1] if active else None
        reason = TrimReason.SITE_CAP if hold is None else TrimReason.MANDATORY_LIMIT
        signal_id = None if hold is None else hold.signal.id
        made = []
        for draw in draws:
            given_kw = allotted[draw.evse_id]
            if draw.power_kw <= 0 or given_kw >= draw.power_kw - EPSILON_KW:
                continue
            before = self._site.ceilings.get(draw.evse_id)
            is_locked = before is not None and before.is_locked
            planned_kw = self._site.planned_kw(draw.evse_id, now)
            trim = Trim(draw.evse_id, now, now, planned_kw, given_kw, reason, signal_id, is_locked)
            self._site.ceilings[draw.evse_id] = trim
            made.append(trim)
        return made

    def _lock(
        self, allotted: Mapping[str, float], draws: Sequence[Draw], now: datetime, signal: GridSignal
    ) -> tuple[Trim, ...]:
        """A ceiling for every car that charges now or would later; who is idle now may not start."""
        made = []
        for draw in draws:
            start = max(now, signal.start)
            command = self._site.plan.get(draw.evse_id)
            will_charge = command is not None and any(period.power_kw > 0 for period in command.periods)
            if self._site.ordered_kw(draw.evse_id, now) <= 0 and not will_charge:
                continue
            ceiling_kw, before = max(0.0, allotted[draw.evse_id]), self._site.ceilings.get(draw.evse_id)
            if before is not None and before.ceiling_kw <= ceiling_kw:
                ceiling_kw, start = before.ceiling_kw, min(start, before.since)
            planned_kw = self._site.planned_kw(draw.evse_id, start)
            trim = Trim(draw.evse_id, now, start, planned_kw, ceiling_kw, TrimReason.MANDATORY_LIMIT, signal.id, True)
            self._site.ceilings[draw.evse_id] = trim
            made.append(trim)
        return tuple(made)

    def _restore(self, now: datetime) -> set[str]:
        """Give back what there is room for, to the most urgent car first; a little at a time and not at once."""
        site, settings = self._site, self.settings
        draws = {draw.evse_id: draw for draw in site.draws(now)}
        trims = [trim for trim in site.ceilings.values() if not trim.is_locked and trim.evse_id in draws]
        base_kw = site.base_kw(now)
        if not trims or base_kw is None or not self._is_calm(now):
            return set()
        room_kw = self._level_kw(now) - settings.band_kw - base_kw - sum(draw.power_kw for draw in draws.values())
        room_kw = min(room_kw, settings.ramp_kw)
        if room_kw < 0:
            return set()
        raised: dict[str, float] = {}
        gained_kw = 0.0
        for trim in sorted(trims, key=lambda trim: (draws[trim.evse_id].laxity_h, trim.evse_id)):
            planned_kw = max(0.0, site.planned_kw(trim.evse_id, now))
            ordered_kw = min(planned_kw, trim.ceiling_kw)
            given_kw = min(planned_kw, ordered_kw + room_kw - gained_kw)
            if given_kw >= min(planned_kw, site.evses[trim.evse_id].min_charge_kw):
                raised[trim.evse_id] = given_kw
                gained_kw += given_kw - ordered_kw
        whole = {evse_id for evse_id, kw in raised.items() if kw >= site.planned_kw(evse_id, now) - EPSILON_KW}
        if gained_kw < settings.restore_step_kw and len(whole) < len(trims):
            return set()
        for evse_id, kw in raised.items():
            if evse_id in whole:
                del site.ceilings[evse_id]
            else:
                site.ceilings[evse_id] = replace(site.ceilings[evse_id], ceiling_kw=kw)
        return set(raised)

    def _is_calm(self, now: datetime) -> bool:
        """Nothing was changed for a while, by domain and by wall time."""
        return self._changed_at is None or (
            now - self._changed_at >= timedelta(seconds=self.settings.hold_s)
            and time.monotonic() - self._changed_wall >= self.settings.hold_wall_s
        )

    def _response_s(self, draws: Sequence[Draw]) -> float:
        """Until the slowest of the charging EVSEs has come down to nothing."""
        slowest_s = 0.0
        for draw in draws:
            response = self._site.evses[draw.evse_id].response
            if draw.power_kw > 0:
                ramp_s = draw.power_kw / response.ramp_kw_per_s if response.ramp_kw_per_s > 0 else 0.0
                slowest_s = max(slowest_s, response.delay_s + ramp_s)
        return slowest_s + self.settings.response_margin_s

    def _peak_net_kw(self, base_kw: float, draws: Sequence[Draw], now: datetime, end: datetime) -> float:
        """Highest net power the orders lead to until `end`, at the present building load."""
        site = self._site
        ids = [draw.evse_id for draw in draws]
        starts = {p.start for i in ids if i in site.plan for p in site.plan[i].periods if now < p.start < end}
        later = [base_kw + sum(site.ordered_kw(i, start) for i in ids) for start in starts]
        return max([base_kw + sum(draw.power_kw for draw in draws), *later])
