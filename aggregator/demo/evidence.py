"""Gather the evidence of a day: from the service's store what was measured, from the scenario what was needed.

Nothing here looks at what plans hoped for; plans appear as plans only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregator.clock import ScaledClock
from aggregator.config import AssetsFile, load_clock, load_settings
from aggregator.demo.assumptions import ATTRIBUTIONS, assumptions
from aggregator.demo.carried import carried
from aggregator.demo.paired import SimulatedDay
from aggregator.demo.people import SignalTrace
from aggregator.demo.scene import Scene
from aggregator.demo.stored import Stored
from aggregator.demo.visits_seen import visit_facts
from aggregator.live import refusals_of
from aggregator.reports.day import (
    BillFact,
    BillLine,
    CreditFact,
    DayFacts,
    EventFact,
    EventInterval,
    FeederChange,
    LimitFact,
    PlanFact,
    RoundFact,
    StepSeries,
    WireFact,
)
from aggregator.signals.measurement import event_performance
from aggregator.signals.model import GridSignal
from aggregator.store import MeterSeries, PlanRecord, SessionRecord, SiteSeries
from markets.bill import Bill, bill
from markets.program import Terms
from markets.rate import QUARTER_S, load_rate
from markets.settlement import driver_credits, settle
from twin.assets import TimeGrid

_LONGEST_GAP_S = 300.0
_STAYS_S = 60.0


def day_facts(
    folder: Path, scene: Scene, stored: Stored, *, paired: SimulatedDay, uncontrolled: SimulatedDay,
    limit: SignalTrace, speed: float, wall_s: float, notes: Sequence[str], wire: tuple[WireFact, ...] = (),
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
    visits = visit_facts(scene, stored, paired, assets, folder)
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
        credits=credited, messages=stored.messages, assumptions=assumptions(scene, wire), attributions=ATTRIBUTIONS,
        notes=tuple(notes), program_version=version("v2g-aggregator"),
        feeder=None if assets.street is None else carried(assets.street, grid, building, evse_power), wire=wire,
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
