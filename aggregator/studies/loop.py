"""The service's loop as a controller of the twin: it believes, plans through the gate and follows the plan.

It sees of the world what meters, chargers and drivers' apps would tell, so that a day can be run again with one thing
changed (no grid signals, say) and compared driver by driver.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from aggregator.fleet.beliefs import Beliefs
from aggregator.fleet.draw import DrawLimits, Silence
from aggregator.fleet.model import DepartureTarget, LiveSession
from aggregator.ocpp.events import MeterSample
from aggregator.planning.gate import GateOutcome, PlanRequest, plan_through_gate
from aggregator.planning.site.decision import could_discharge_kw, decide
from aggregator.planning.site.request import as_far_as_needed, build_request
from aggregator.planning.site.situation import Dispatched, SiteModel, Situation, horizon_grid
from aggregator.signals.limits import Held, LimitBook
from aggregator.signals.model import Decision, GridSignal, Obligation, SignalState
from twin.assets import Visit
from twin.replay import WorldView

_ASLEEP_KW = 0.05
_SETTLE = timedelta(minutes=2)
_FULL_KWH = 0.01
_DEMAND_S = 900
_REPORTED_SOC_STEP = 0.01
"""Chargers report SoC in whole per cent."""


@dataclass
class LoopLog:
    """What the loop did: every outcome with its time and reasons, and the answers to signals."""

    plans: list[tuple[datetime, tuple[str, ...], GateOutcome]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


class LoopController:
    """Implements `twin.replay.Controller`.

    declarations: what each driver's app says at plug-in, by visit id. later: declarations made at an instant.
    reports_soc: visits whose charger reports SoC. permitted_kw: discharge allowed for a session, all permits counted.
    latency_s: domain seconds from the start of a plan until chargers follow it. fallback_kw: by EVSE id, what a car
        charges at until a plan knows it.
    signals: what arrives when (`received_at`). progress: called with domain time as the day advances.
    plan: answers a request; the gate, unless somebody knows the answer already.
    learn: called as each local day begins, with what is planned from; what it returns is planned from then on.
    """

    def __init__(
        self, model: SiteModel, beliefs: Beliefs, declarations: Mapping[str, DepartureTarget], *,
        permitted_kw: Callable[[LiveSession, datetime], float],
        reports_soc: frozenset[str] = frozenset(), later: Sequence[tuple[datetime, DepartureTarget]] = (),
        signals: Sequence[GridSignal] = (), book: LimitBook | None = None, peak_so_far_kw: float = 0.0,
        interval_s: int = 900, latency_s: float = 0.0, fallback_kw: Mapping[str, float] | None = None,
        progress: Callable[[datetime], None] | None = None,
        plan: Callable[[PlanRequest], GateOutcome] = plan_through_gate,
        learn: Callable[[SiteModel, datetime], SiteModel] | None = None,
    ) -> None:
        self._plan_of, self._learn = plan, learn
        self._today: date | None = None
        self._metered: tuple[datetime, float] | None = None
        self._base: tuple[datetime, float] | None = None
        self._model, self._beliefs, self._declarations = model, beliefs, declarations
        self._permitted_kw, self._reports_soc = permitted_kw, reports_soc
        self._later = sorted(later, key=lambda entry: entry[0])
        self._signals = sorted(signals, key=lambda signal: signal.received_at)
        self._book = book or LimitBook(model.site.id)
        self._peak_kw = peak_so_far_kw
        self._interval_s, self._progress = interval_s, progress
        self._seen: dict[str, Visit] = {}
        self._outcome: GateOutcome | None = None
        self._reasons: list[str] = []
        self._coming: tuple[datetime, GateOutcome] | None = None
        self._latency, self._fallback_kw = timedelta(seconds=latency_s), fallback_kw or {}
        self._draws, self._silence = DrawLimits(), Silence()
        self._ordered_before: dict[str, float] = {}
        self._ordered_since: dict[str, datetime] = {}
        self.log = LoopLog()

    def ceiling_kwh(self, visit: Visit) -> float:
        del visit
        return math.inf

    def setpoints(self, now: datetime, view: WorldView) -> Mapping[str, float]:
        self._meter_peak(now, view)
        self._reasons += self._observe(now, view)
        self._begin_day(now)
        if int(now.timestamp()) % self._interval_s == 0:
            self._reasons.append("clock")
        if self._coming is not None and now >= self._coming[0]:
            self._outcome, self._coming = self._coming[1], None
        if not self._seen and not self._awaits_answer:
            self._reasons, self._outcome = [], None  # nothing to decide
        if self._reasons and self._coming is None:
            reasons, self._reasons = tuple(dict.fromkeys(self._reasons)), []
            self._coming = (now + self._latency, self._plan(now, reasons))
            if self._latency <= timedelta(0):
                self._outcome, self._coming = self._coming[1], None
            if self._progress is not None:
                self._progress(now)
        ordered = self._ordered(now)
        for evse_id, kw in ordered.items():
            if self._ordered_before.get(evse_id) != kw:
                self._ordered_since[evse_id] = now
        self._ordered_before = ordered
        return ordered

    def _begin_day(self, now: datetime) -> None:
        today = now.astimezone(ZoneInfo(self._model.site.timezone)).date()
        if self._learn is not None and today != self._today:
            self._model, self._today = self._learn(self._model, now), today

    def _meter_peak(self, now: datetime, view: WorldView) -> None:
        """The mean of the demand interval that ends now, from registers: between two steps there is no reading."""
        if int(now.timestamp()) % _DEMAND_S:
            return
        registers = [view.registers_kwh(slot) for slot in range(len(view.evse_ids))]
        energy_kwh = sum(imported - exported for imported, exported in registers)
        before = self._metered
        self._metered = now, energy_kwh
        if before is not None and now - before[0] == timedelta(seconds=_DEMAND_S):
            grid = view.world.grid
            base_kw = view.world.base_load_kw[grid.index(before[0]):max(grid.index(now), grid.index(before[0]) + 1)]
            mean_kw = (energy_kwh - before[1]) * 3600.0 / _DEMAND_S + float(base_kw.mean())
            self._peak_kw = max(self._peak_kw, mean_kw)

    @property
    def _awaits_answer(self) -> bool:
        return any(
            held.decision is None and held.signal.obligation is not Obligation.MANDATORY for held in self._book.held
        )

    def _is_settled(self, evse_id: str, now: datetime) -> bool:
        """The charger had time to follow its last order."""
        return now - self._ordered_since.get(evse_id, now) >= _SETTLE

    def _observe(self, now: datetime, view: WorldView) -> list[str]:
        reasons: list[str] = []
        for slot, (evse_id, visit) in enumerate(zip(view.evse_ids, view.visits, strict=True)):
            known = self._seen.get(evse_id)
            if known is not None and (visit is None or visit.id != known.id):
                self._beliefs.ended(evse_id, known.id)
                self._draws.forget(evse_id)
                self._silence.forget(evse_id)
                del self._seen[evse_id]
                reasons.append("departure")
            imported_kwh, exported_kwh = view.registers_kwh(slot)
            if visit is None:
                continue
            if evse_id not in self._seen:
                self._seen[evse_id] = visit
                self._beliefs.declare(self._declarations[visit.id])
                self._beliefs.started(
                    visit.id, evse_id, self._declarations[visit.id].id_token, now,
                    imported_kwh * 1000.0, exported_kwh * 1000.0,
                )
                reasons.append("arrival")
            soc = None
            if visit.id in self._reports_soc:
                true_soc = view.energy_kwh[slot] / visit.vehicle.battery.capacity_kwh
                soc = round(true_soc / _REPORTED_SOC_STEP) * _REPORTED_SOC_STEP
            power_kw, ordered_kw = float(view.power_kw[slot]), self._ordered_before.get(evse_id)
            if ordered_kw is not None:
                self._judge(evse_id, visit, now, ordered_kw, power_kw, float(view.energy_kwh[slot]))
                if soc is None:
                    self._draws.seen(evse_id, now, ordered_kw, power_kw)
            self._beliefs.metered(MeterSample(
                evse_id, visit.id, now, float(view.power_kw[slot]), imported_kwh * 1000.0, exported_kwh * 1000.0, soc
            ))
        grid = view.world.grid
        step = min(max(grid.index(now), 0), grid.steps - 1)
        # What the world draws is its step's mean: taken for its middle, or a building whose load rises would look as if
        # it drew more than it usually does.
        self._base = grid.at(step) + timedelta(seconds=grid.step_s / 2), float(view.world.base_load_kw[step])
        while self._later and self._later[0][0] <= now:
            self._beliefs.declare(self._later.pop(0)[1])
            reasons.append("departure target")
        while self._signals and self._signals[0].received_at <= now:
            self._book = self._book.with_(Held(self._signals.pop(0), SignalState.RECEIVED))
            reasons.append("grid signal")
        return reasons

    def _judge(
        self, evse_id: str, visit: Visit, now: datetime, ordered_kw: float, power_kw: float, energy_kwh: float
    ) -> None:
        """A car that draws nothing is full if its charger says so; else it, or the charger, is out of order."""
        battery = visit.vehicle.battery
        is_full = energy_kwh >= battery.soc_max * battery.capacity_kwh - _FULL_KWH
        if ordered_kw > 0.0 and is_full:
            if ordered_kw > _ASLEEP_KW > abs(power_kw) and self._is_settled(evse_id, now):
                self._beliefs.stopped_drawing(evse_id)
        elif ordered_kw >= 0.0 or energy_kwh > visit.floor_kwh + _FULL_KWH:
            self._silence.seen(evse_id, now, ordered_kw, power_kw)

    def _plan(self, now: datetime, reasons: tuple[str, ...]) -> GateOutcome:
        grid = horizon_grid(now, self._model.step_s, self._model.steps)
        sessions = self._beliefs.sessions(now)
        mute = self._silence.cannot_discharge(now)
        situation = Situation(
            now=now, sessions=sessions, measured_base=self._base,
            peak_so_far_kw=self._peak_kw,
            import_cap_kw=self._book.import_cap(grid, self._model.site.import_cap_kw, now),
            export_cap_kw=self._book.export_cap(grid, self._model.site.export_cap_kw),
            permitted_kw={
                s.evse_id: 0.0 if s.evse_id in mute else self._permitted_kw(s, now) for s in sessions
            },
            commitments=self._book.commitments(grid, now),
            draw_limits_kw=self._draws.at(now),
            known_cuts=self._outcome.lasting_cuts if self._outcome is not None else (),
            watched=self._outcome.watched if self._outcome is not None else (),
            cannot_charge=self._silence.cannot_charge(now),
            dispatched=None if self._outcome is None else Dispatched.of(self._outcome),
        )
        request = build_request(*as_far_as_needed(self._model, situation))
        outcome = self._plan_of(request)
        self.log.plans.append((now, reasons, outcome))
        considered = {commitment.signal_id for commitment in situation.commitments}
        for held in self._book.held:
            is_stopgap = outcome.plan.status == "safe"
            is_asked = held.signal.obligation is not Obligation.MANDATORY and held.signal.id in considered
            if held.decision is None and not is_stopgap and is_asked:
                baseline = outcome.counterfactual or outcome.plan
                decision = decide(
                    held.signal, request.problem, outcome.plan, baseline.net_kw,
                    could_discharge_kw=could_discharge_kw(self._model, sessions), now=now,
                    plan_id=str(len(self.log.plans)),
                )
                self.log.decisions.append(decision)
                self._book = self._book.with_(Held(held.signal, decision.state, decision))
        return outcome

    def _ordered(self, now: datetime) -> dict[str, float]:
        """The plan's power for cars it knows, the charger's fallback share for one that came since."""
        planned: dict[str, str] = {}
        step, row_of, power = -1, {}, None
        if self._outcome is not None:
            schedule = self._outcome.schedule
            planned = dict(zip(self._outcome.plan.evse_ids, self._outcome.plan.ev_ids, strict=True))
            step, power = schedule.grid.index(now), schedule.power_kw
            row_of = {evse_id: row for row, evse_id in enumerate(schedule.evse_ids)}
        ordered = {}
        for evse_id, visit in self._seen.items():
            if power is not None and planned.get(evse_id) == visit.id and 0 <= step < power.shape[1]:
                ordered[evse_id] = float(power[row_of[evse_id], step])
            else:
                ordered[evse_id] = self._fallback_kw.get(evse_id, 0.0)
        return ordered
