"""The loop: grid signal -> plan -> validate in the twin -> dispatch -> measure, and around again.

Each part does its work in its own room; this module only hands the result of one to the next.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from aggregator.clock import Clock
from aggregator.dispatch.desired import PermitClip, discharges, from_now, plan_command, power_at, without_discharge
from aggregator.dispatch.fast_loop import FastLoop
from aggregator.dispatch.outbox import Outbox, queue_commands
from aggregator.dispatch.permits import DischargePermit, DischargeUse, PermitBook
from aggregator.dispatch.stop import DischargeStop
from aggregator.fleet.desk import FleetDesk
from aggregator.fleet.draw import DrawLimits
from aggregator.fleet.model import LiveSession
from aggregator.fleet.site_power import SitePower
from aggregator.ocpp.events import ChargerCommands, ConnectorState, MeterSample, ProfileCommand
from aggregator.planning.gate import GateOutcome, PlanRequest
from aggregator.planning.site.decision import could_discharge_kw, decide
from aggregator.planning.site.situation import Dispatched, SiteModel, Situation, horizon_grid
from aggregator.signals.desk import SignalDesk
from aggregator.signals.measurement import event_performance
from aggregator.signals.model import GridSignal, Obligation, SignalState
from aggregator.signals.shelf import UnknownSignal

if TYPE_CHECKING:
    from aggregator.store import PlanRecord, SiteReading, Store

log = structlog.get_logger(__name__)

_METER_LEAD = timedelta(minutes=5)
_STILL_KW = 0.05
_ANSWER_FIRST_S = 0.02
"""Wall seconds: a station takes a transaction's profile only once the start of that transaction was answered."""


@dataclass(frozen=True)
class AdoptedPlan:
    """The plan in force: its record, what it was made from, and when it was made (domain time)."""

    record: PlanRecord
    outcome: GateOutcome
    situation: Situation
    reasons: tuple[str, ...]


class Loop:
    """Observes, adopts plans, answers signals. Wired up by `aggregator.service`."""

    def __init__(
        self, *, store: Store, clock: Clock, model: SiteModel, fleet: FleetDesk, power: SitePower,
        permits: PermitBook, commands: ChargerCommands,
    ) -> None:
        self.store, self.clock, self.model, self.fleet, self.power = store, clock, model, fleet, power
        self.permits, self.commands = permits, commands
        self.adopted: AdoptedPlan | None = None
        self.draws = DrawLimits()
        self.request_plan: Callable[[str], None] = lambda _reason: None
        self._soon: set[asyncio.Task[None]] = set()
        self.on_reading: Callable[[SiteReading, float], None] = lambda _reading, _ev_kw: None
        self.on_adopted: Callable[[], None] = lambda: None
        self.outbox: Outbox
        self.fast: FastLoop
        self.desk: SignalDesk
        self.stop: DischargeStop

    def attach(self, outbox: Outbox, fast: FastLoop, desk: SignalDesk, stop: DischargeStop) -> None:
        """The parts that themselves call back into the loop."""
        self.outbox, self.fast, self.desk, self.stop = outbox, fast, desk, stop

    # --- observe -------------------------------------------------------------------------------------------------

    def sessions(self) -> Mapping[str, LiveSession]:
        return {session.evse_id: session for session in self.fleet.beliefs.sessions(self.clock.now())}

    def transaction_of(self, evse_id: str) -> str | None:
        session = self.fleet.beliefs.session(evse_id, self.clock.now())
        return session.transaction_id if session is not None else None

    def permit_of(self, evse_id: str) -> DischargePermit:
        now = self.clock.now()
        return self._permit(evse_id, self.fleet.beliefs.session(evse_id, now), now)

    def _permit(self, evse_id: str, session: LiveSession | None, now: datetime) -> DischargePermit:
        book = self.permits
        if session is not None and session.exported_kwh > 0:
            used = book.use.get(session.id_token, DischargeUse())
            book = book.with_use({
                session.id_token: used.plus(session.exported_kwh, session.discharged_h)
            })
        return book.discharge_permit(
            evse_id, session, now, reconnect_after=None, is_stopped=self.stop.is_stopped(evse_id),
            charger_can_discharge=(
                self.commands.can_discharge(evse_id) and self.outbox.capabilities.may_discharge(evse_id)
                and not self._is_broken(evse_id, session)
            ),
        )

    def _is_broken(self, evse_id: str, session: LiveSession | None) -> bool:
        """The charger says that it is faulted, and no meter shows otherwise."""
        is_still = session is None or abs(session.power_kw) < _STILL_KW
        return is_still and self.fleet.states.get(evse_id) is ConnectorState.FAULTED

    def observe(self) -> Situation:
        """The site as it is believed to be now."""
        now = self.clock.now()
        sessions = self.fleet.beliefs.sessions(now)
        grid = horizon_grid(now, self.model.step_s, self.model.steps)
        book = self.desk.book(self.model.site.id)
        base_kw = self.power.base_kw
        return Situation(
            now=now, sessions=sessions,
            measured_base=None if base_kw is None or self.power.at is None else (self.power.at, base_kw),
            peak_so_far_kw=self.power.peak_kw,
            import_cap_kw=book.import_cap(grid, self.model.site.import_cap_kw, now),
            export_cap_kw=book.export_cap(grid, self.model.site.export_cap_kw),
            permitted_kw={s.evse_id: self._permit(s.evse_id, s, now).allowed_kw for s in sessions},
            commitments=book.commitments(grid, now),
            draw_limits_kw=told_limits(sessions, self.draws.at(now)),
            known_cuts=self.adopted.outcome.lasting_cuts if self.adopted is not None else (),
            watched=self.adopted.outcome.watched if self.adopted is not None else (),
            dispatched=Dispatched.of(self.adopted.outcome) if self.adopted is not None else None,
            cannot_charge=frozenset(s.evse_id for s in sessions if self._is_broken(s.evse_id, s)),
        )

    # --- adopt ---------------------------------------------------------------------------------------------------

    async def adopt(
        self, situation: Situation, request: PlanRequest, outcome: GateOutcome, reasons: tuple[str, ...]
    ) -> None:
        """Store the plan with everything its chargers should hold, in one transaction; then send and answer."""
        plan_id = uuid.uuid4().hex
        record = plan_record(plan_id, situation, outcome, reasons)
        async with self.store.transaction("planner") as tx:
            await tx.plans.add(record)
            commands, clips = self._commands(outcome)
            queued = await queue_commands(tx, self.fast.admit(commands, situation.now), plan_id=plan_id)
        self.outbox.wake(command.evse_id for command in queued)
        self.adopted = AdoptedPlan(record, outcome, situation, reasons)
        self.on_adopted()
        for clip in clips:
            self.on_clip(clip)
        for alert in outcome.alerts:
            self.outbox.raise_alert("plan", self.model.site.id, alert)
        await self._answer(plan_id, request, situation, outcome)

    def _commands(self, outcome: GateOutcome) -> tuple[list[ProfileCommand], list[PermitClip]]:
        """The plan's rows for cars that are (still) there, under the permits in force at this moment."""
        now = self.clock.now()
        schedule = outcome.schedule
        commands: list[ProfileCommand] = []
        clips: list[PermitClip] = []
        if not 0 <= schedule.grid.index(now) < schedule.grid.steps:
            return commands, clips
        rows = {evse_id: row for row, evse_id in enumerate(schedule.evse_ids)}
        planned = dict(zip(outcome.plan.evse_ids, outcome.plan.ev_ids, strict=True))
        for session in self.fleet.beliefs.sessions(now):
            if planned.get(session.evse_id) != session.transaction_id:
                continue  # came after the plan was made; the next plan is already asked for
            command, clipped = plan_command(
                session.evse_id, schedule.grid, schedule.power_kw[rows[session.evse_id]].tolist(), now,
                session.transaction_id, self._permit(session.evse_id, session, now),
            )
            commands.append(command)
            clips.extend(clipped)
        return commands, clips

    async def _answer(
        self, plan_id: str, request: PlanRequest, situation: Situation, outcome: GateOutcome
    ) -> None:
        """Answer every signal that this plan is the first to consider."""
        if outcome.plan.status == "safe":
            return  # a stopgap is no ground for a promise; the next plan answers
        considered = {commitment.signal_id for commitment in situation.commitments}
        for held in self.desk.book(self.model.site.id).held:
            signal = held.signal
            # Not by its state: an event that had begun when it came is active before anyone could answer it.
            if signal.obligation is Obligation.MANDATORY or held.decision is not None or signal.id not in considered:
                continue
            without = outcome.counterfactual or outcome.plan
            decision = decide(
                signal, request.problem, outcome.plan, without.net_kw,
                could_discharge_kw=could_discharge_kw(self.model, situation.sessions),
                now=self.clock.now(), plan_id=plan_id, held_by=outcome.held_by,
            )
            try:
                await self.desk.record_decision(decision)
                await self.desk.advance(signal.id, SignalState.SCHEDULED, f"plan {plan_id}")
            except UnknownSignal:
                log.info("signal withdrawn before it was answered", signal=signal.id)
                continue
            log.info("signal answered", signal=signal.id, state=decision.state, committed_kw=decision.committed_kw)

    def metered(self, sample: MeterSample) -> None:
        """See whether the car takes what it is offered."""
        held = self.outbox.held(sample.evse_id)
        ordered_kw = power_at(held, sample.at) if held is not None else None
        if ordered_kw is not None and sample.power_kw is not None and sample.soc is None:
            self.draws.seen(sample.evse_id, sample.at, ordered_kw, sample.power_kw)

    # --- signals and meters --------------------------------------------------------------------------------------

    async def on_mandatory(self, signal: GridSignal) -> None:
        """Apply a limit that moves power toward zero, before anyone plans."""
        dispatch = await self.fast.apply_limit(signal, self.clock.now())
        self._plan_once_settled(signal)
        async with self.store.transaction("dispatch") as tx:
            tx.audit("limit.applied", signal.id, {
                "level_kw": dispatch.level_kw, "evses": len(dispatch.commands),
                "first_sent_wall": dispatch.first_sent_wall, "last_sent_wall": dispatch.last_sent_wall,
            })
        log.info("mandatory limit applied", signal=signal.id, level_kw=dispatch.level_kw, evses=len(dispatch.commands))

    async def measure(self, signal: GridSignal) -> Mapping[str, object]:
        """What the meter says of an event that is over: kW committed and delivered, no driver."""
        async with self.store.read() as tx:
            decision = await tx.signals.decision(signal.id)
        if decision is None:
            return {"decision": None}
        series = await self.store.telemetry.site_series(
            signal.site_id, signal.start - _METER_LEAD, signal.end + _METER_LEAD
        )
        performance = event_performance(signal, decision, series)
        return {
            "committed_kw": round(performance.committed_kw, 3), "delivered_kw": round(performance.delivered_kw, 3),
            "ratio": round(performance.ratio, 4),
        }

    async def stop_discharge(self, evse_ids: Sequence[str], reason: str) -> None:
        """Take every discharge out of what these EVSEs hold, at once; charging stays as planned."""
        now = self.clock.now()
        held = [command for evse_id in evse_ids if (command := self.outbox.held(evse_id)) is not None]
        commands = [from_now(without_discharge(command), now) for command in held if discharges(command)]
        await self.outbox.deliver_now(commands, actor="dispatch", reason=reason)

    def _plan_once_settled(self, signal: GridSignal) -> None:
        """Share the limit out anew as soon as the chargers have answered it."""
        settled_at = self.fast.settled_at(signal.id)
        if settled_at is None:
            return

        async def ask() -> None:
            await self.clock.sleep_until(settled_at)
            self.request_plan("limit settled")

        task = asyncio.create_task(ask(), name=f"settle-{signal.id}")
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    def car_came(self) -> None:
        """See at once what the feeder leaves for it; the plan that knows it follows."""

        async def ask() -> None:
            await asyncio.sleep(_ANSWER_FIRST_S)
            await self.fast.arrived()

        task = asyncio.create_task(ask(), name="car-came")
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    def on_clip(self, clip: PermitClip) -> None:
        """A discharge order met a missing permit at the last moment: an alarm, because planner and gate let it by."""
        self.outbox.raise_alert(
            "permit", clip.evse_id, f"discharge of {-clip.asked_kw:.1f} kW cut: {', '.join(clip.missing)}"
        )

    async def site_reading(self, reading: SiteReading) -> None:
        """A reading of the connection-point meter, already stored."""
        ev_kw = reading.ev_kw
        if ev_kw is None:
            ev_kw = sum(session.power_kw for session in self.sessions().values())
        if self.power.reading(reading.at, reading.import_kw, ev_kw):
            self.on_reading(reading, ev_kw)
            await self.fast.reading(reading)


def told_limits(sessions: Sequence[LiveSession], seen_kw: Mapping[str, float]) -> dict[str, float]:
    """What each car takes at most, by EVSE id: what it was seen to take, and what it said itself."""
    told = {s.evse_id: s.car_charge_kw for s in sessions if s.car_charge_kw}
    return {evse_id: min(told.get(evse_id, kw), kw) for evse_id, kw in {**told, **seen_kw}.items()}


def plan_record(
    plan_id: str, situation: Situation, outcome: GateOutcome, reasons: tuple[str, ...]
) -> PlanRecord:
    """A plan as it is stored: what was decided, why, and what the twin refused on the way."""
    from aggregator.store import PlanRecord  # noqa: PLC0415 - the store knows this room's words

    plan, schedule = outcome.plan, outcome.schedule
    detail = outcome.record()
    return PlanRecord(
        id=plan_id, created_at=situation.now, trigger=", ".join(reasons), status=plan.status, passed=outcome.passed,
        objective=plan.objective, bound=plan.bound, gap=plan.gap, costs=plan.costs, seconds=outcome.seconds(),
        binding=list(plan.binding), rounds=detail["rounds"], grid_start=plan.grid.start, step_s=plan.grid.step_s,
        evse_ids=list(schedule.evse_ids), power_kw=schedule.power_kw.round(4).tolist(),
        net_kw=plan.net_kw.round(4).tolist(),
        base_kw=(plan.net_kw - plan.power_kw.sum(axis=0)).round(4).tolist(),  # with what is expected of cars to come
        import_cap_kw=situation.import_cap_kw.tolist(), note="; ".join(outcome.alerts),
    )
