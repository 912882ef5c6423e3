"""The picture for the live page, taken from what the parts of the service know at this moment."""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.clock import Clock, ScaledClock
from aggregator.dispatch.trims import TrimReason
from aggregator.fleet.model import LiveSession
from aggregator.loop import AdoptedPlan, Loop
from aggregator.ocpp.events import OcppVersion
from aggregator.reports.words import Refusal
from aggregator.signals.limits import SET_ASIDE, Held
from aggregator.signals.model import NO_LIMIT_KW, Obligation
from aggregator.store import AlertRecord, SiteReading
from aggregator.web.feed import (
    AlertRow,
    ChargerRow,
    EventProgress,
    LiveSnapshot,
    PlanSummary,
    Risk,
    SitePoint,
    TrimRow,
)
from twin.assets import TimeGrid

_SHORT_KWH = 0.2
_AHEAD = timedelta(hours=6)
_KEPT = timedelta(hours=24)
_SHOWN_ALERTS = 20
_TRIM_WORDS = {
    TrimReason.SITE_CAP: "the site's cap", TrimReason.MANDATORY_LIMIT: "a mandatory limit",
    TrimReason.EXPORT_LIMIT: "the site's export limit", TrimReason.FEEDER: "the feeder, until a plan knows the car",
}


@dataclass(slots=True)
class _Minute:
    """Running mean of one domain minute. point: what is shown of it once it is over, with what was in force then."""

    at: datetime
    seconds: float = 0.0
    import_kws: float = 0.0
    ev_kws: float = 0.0
    point: SitePoint | None = None


class LivePicture:
    """Implements `LiveFeed`. `site_reading` and `planned` keep the day so far, by the minute."""

    def __init__(self, loop: Loop, clock: Clock, versions: dict[str, OcppVersion]) -> None:
        self._loop, self._clock = loop, clock
        self._versions = versions
        self._minutes: deque[_Minute] = deque()
        self._last: datetime | None = None
        self._planned: dict[datetime, float] = {}
        self.alerts: tuple[AlertRecord, ...] = ()
        self.plans_today = 0
        self.refused_today = 0

    def site_reading(self, reading: SiteReading, ev_kw: float) -> None:
        """Add a reading that is the mean since the one before."""
        seconds = min((reading.at - self._last).total_seconds(), 300.0) if self._last is not None else 1.0
        self._last = reading.at
        # The mean ends at `at`: it belongs to the minute in which it began.
        minute = (reading.at - timedelta(microseconds=1)).replace(second=0, microsecond=0)
        if not self._minutes or self._minutes[-1].at < minute:
            if self._minutes:
                self._minutes[-1].point = self._point(self._minutes[-1])
            self._minutes.append(_Minute(minute))
            while self._minutes[0].at < minute - _KEPT:
                self._minutes.popleft()
        current = self._minutes[-1]
        current.seconds += seconds
        current.import_kws += reading.import_kw * seconds
        current.ev_kws += ev_kw * seconds

    def planned(self) -> None:
        """A plan was adopted: remember what it plans for the time that it is in force."""
        adopted = self._loop.adopted
        if adopted is None:
            return
        grid = adopted.outcome.plan.grid
        self.plans_today += 1
        self.refused_today += adopted.outcome.refused > 0
        past = {at: net_kw for at, net_kw in self._planned.items() if grid.start - _KEPT <= at < grid.start}
        self._planned = past | {grid.at(step): kw for step, kw in enumerate(adopted.outcome.plan.net_kw.tolist())}

    def snapshot(self) -> LiveSnapshot:
        now = self._clock.now()
        loop, site = self._loop, self._loop.model.site
        book = loop.desk.book(site.id)
        events = tuple(self._event(held, now) for held in book.held if held.state not in SET_ASIDE)
        return LiveSnapshot(
            site_id=site.id, timezone=site.timezone, now=now, factor=_factor(self._clock), cap_kw=site.import_cap_kw,
            net_kw=loop.power.import_kw, building_kw=loop.power.base_kw, ev_kw=loop.power.ev_kw,
            planned_kw=self._planned_at(now), measured_at=loop.power.at, limit_kw=book.mandatory_limit_at(now),
            target_kw=self._target_at(now), history=self._history(now), chargers=self._chargers(now), events=events,
            plan=self._plan(), alerts=tuple(
                AlertRow(a.raised_at, a.kind, f"{a.subject}: {a.message}", is_urgent=a.severity == "critical")
                for a in self.alerts[:_SHOWN_ALERTS]
            ),
            trims=tuple(
                TrimRow(t.evse_id, t.at, t.planned_kw, t.ceiling_kw, _TRIM_WORDS[t.reason]) for t in loop.fast.trims
            ),
        )

    def _planned_at(self, when: datetime) -> float | None:
        step = self._loop.model.step_s
        start = datetime.fromtimestamp(when.timestamp() // step * step, when.tzinfo)
        return self._planned.get(start)

    def _target_at(self, when: datetime) -> float | None:
        targets = [
            target for held in self._loop.desk.book(self._loop.model.site.id).held
            if held.state not in SET_ASIDE and held.signal.obligation is not Obligation.MANDATORY
            for interval, target in zip(held.signal.intervals, _promise(held), strict=True)
            if interval.start <= when < interval.end and target < NO_LIMIT_KW
        ]
        return min(targets, default=None)

    def _point(self, minute: _Minute) -> SitePoint:
        book, cap_kw = self._loop.desk.book(self._loop.model.site.id), self._loop.model.site.import_cap_kw
        net, ev = minute.import_kws / minute.seconds, minute.ev_kws / minute.seconds
        return SitePoint(
            minute.at, net - ev, ev, net, self._planned_at(minute.at), cap_kw, book.mandatory_limit_at(minute.at),
            self._target_at(minute.at),
        )

    def _history(self, now: datetime) -> tuple[SitePoint, ...]:
        book, cap_kw = self._loop.desk.book(self._loop.model.site.id), self._loop.model.site.import_cap_kw
        points = [minute.point or self._point(minute) for minute in self._minutes if minute.seconds > 0]
        minute = now.replace(second=0, microsecond=0)
        if not points or points[-1].at < minute:  # what is in force shows before the minute is measured
            points.append(SitePoint(
                minute, planned_kw=self._planned_at(minute), cap_kw=cap_kw, limit_kw=book.mandatory_limit_at(now),
                target_kw=self._target_at(now),
            ))
        ahead = sorted(at for at in self._planned if at > now)
        points.extend(
            SitePoint(
                at, planned_kw=self._planned[at], cap_kw=cap_kw, limit_kw=book.mandatory_limit_at(at),
                target_kw=self._target_at(at),
            )
            for at in ahead[: bisect.bisect_right(ahead, now + _AHEAD)]
        )
        return tuple(points)

    def _chargers(self, now: datetime) -> tuple[ChargerRow, ...]:
        loop = self._loop
        sessions = loop.sessions()
        return tuple(self._charger(evse_id, sessions.get(evse_id), now) for evse_id in sorted(loop.model.evses))

    def _charger(self, evse_id: str, session: LiveSession | None, now: datetime) -> ChargerRow:
        loop = self._loop
        row = ChargerRow(
            evse_id=evse_id, version=self._versions[evse_id], is_online=loop.commands.is_online(evse_id),
            state=loop.fleet.states.get(evse_id), is_bidirectional=loop.model.evses[evse_id].max_discharge_kw > 0,
        )
        if session is None:
            return row
        return ChargerRow(
            evse_id=evse_id, version=row.version, is_online=row.is_online, state=row.state,
            power_kw=session.power_kw, ordered_kw=loop.fast.ordered_kw(evse_id, now), soc=session.soc,
            soc_source=session.soc_source, soc_at=session.soc_at, target_soc=session.target_kwh / session.capacity_kwh,
            floor_soc=session.floor_kwh / session.capacity_kwh, delivered_kwh=session.delivered_kwh,
            requested_kwh=session.requested_kwh, departure=session.departure, is_declared=session.is_declared,
            is_bidirectional=row.is_bidirectional, risk=self._risk(session, now), overdue_since=session.overdue_since,
        )

    def _risk(self, session: LiveSession, now: datetime) -> Risk | None:
        """What the twin's replay of the plan in force misses for this driver, and which limit is why."""
        adopted = self._loop.adopted
        if adopted is None:
            return None
        left = self._energy_on_leaving(session, adopted)
        if left is None:
            return None
        missing = session.target_kwh - left
        if self._loop.model.evses[session.evse_id].max_discharge_kw == 0:  # it has charged on since the plan was made
            missing = min(missing, session.target_kwh - session.energy_kwh)
        if missing <= _SHORT_KWH:
            return None
        hours = max(0.0, (session.departure - now).total_seconds() / 3600.0)
        model = self._loop.model
        evse, vehicle = model.evses[session.evse_id], model.vehicles[session.vehicle_model].vehicle
        if session.energy_kwh + hours * min(evse.max_charge_kw, vehicle.max_charge_kw) < session.target_kwh:
            return Risk(missing, "even full power from now on would not do")
        if (taken_kw := adopted.situation.draw_limits_kw.get(session.evse_id)) is not None:
            return Risk(missing, f"the car takes no more than {taken_kw:.1f} kW")
        return Risk(missing, "the plan has too little power for every car until then")

    def _energy_on_leaving(self, session: LiveSession, adopted: AdoptedPlan) -> float | None:
        """By the replay; by the plan itself if it was not replayed; None if the plan does not know the car yet.

        The plan's own shortfall would not do: it includes the margins that earlier refusals added to the target.
        """
        report, plan = adopted.outcome.report, adopted.outcome.plan
        if report is not None and (departure := report.departures.get(session.transaction_id)) is not None:
            return departure.energy_kwh
        if session.transaction_id not in plan.ev_ids:
            return None
        last = min(max(plan.grid.index(session.departure) - 1, 0), plan.grid.steps - 1)
        return float(plan.energy_kwh[plan.ev_ids.index(session.transaction_id), last])

    def _event(self, held: Held, now: datetime) -> EventProgress:
        signal, decision = held.signal, held.decision
        current = next((i for i in signal.intervals if i.start <= now < i.end), signal.intervals[0])
        promise = dict(zip(signal.intervals, _promise(held), strict=True))[current]
        baseline = decision.baseline_kw if decision else None
        delivered = self._delivered_kw(signal.start, min(now, signal.end), baseline)
        hours = max(0.0, (min(now, signal.end) - signal.start).total_seconds() / 3600.0)
        return EventProgress(
            signal_id=signal.id, programme=signal.programme, obligation=signal.obligation, state=held.state,
            start=signal.start, end=signal.end, max_net_kw=current.max_net_kw,
            requested_kw=decision.requested_kw if decision else None,
            committed_kw=decision.committed_kw if decision else None,
            committed_net_kw=promise if decision else None, baseline_kw=baseline, delivered_kw=delivered,
            delivered_kwh=None if delivered is None else delivered * hours,
            reasons=decision.reasons if decision else (),
        )

    def _delivered_kw(self, start: datetime, end: datetime, baseline_kw: float | None) -> float | None:
        inside = [m for m in self._minutes if start <= m.at < end and m.seconds > 0]
        if baseline_kw is None or not inside:
            return None
        net = sum(m.import_kws for m in inside) / sum(m.seconds for m in inside)
        return max(0.0, baseline_kw - net)

    def _plan(self) -> PlanSummary | None:
        adopted = self._loop.adopted
        if adopted is None:
            return None
        outcome, record = adopted.outcome, adopted.record
        seconds = outcome.seconds()
        return PlanSummary(
            plan_id=record.id, made_at=record.created_at, trigger=record.trigger, status=record.status,
            passed=record.passed, rounds=len(outcome.rounds),
            refusals=refusals_of(record.rounds, outcome.plan.grid), binding=outcome.plan.binding,
            solve_s=sum(v for name, v in seconds.items() if name != "replay"), replay_s=seconds.get("replay", 0.0),
            plans_today=self.plans_today, refused_today=self.refused_today,
        )


def refusals_of(rounds: list[dict[str, object]], grid: TimeGrid) -> tuple[Refusal, ...]:
    """The refusals of a stored plan's rounds, with their times; a car is named by its EVSE."""
    found: list[Refusal] = []
    for each in rounds:
        breaches = each.get("breaches")
        if isinstance(breaches, list):
            found.extend(
                Refusal(
                    int(str(each["number"])), b["kind"], b.get("evse_id") or b["asset_id"], grid.at(b["first"]),
                    grid.at(b["last"]), b["worst"],
                )
                for b in breaches
            )
    return tuple(found)


def _promise(held: Held) -> tuple[float, ...]:
    """What the site holds itself to, per interval: the decision, or what was asked while there is none."""
    if held.decision is not None:
        return held.decision.committed_net_kw
    return tuple(interval.max_net_kw for interval in held.signal.intervals)


def _factor(clock: Clock) -> float:
    """Domain seconds per wall second now."""
    if not isinstance(clock, ScaledClock):
        return 1.0
    return clock.factor

