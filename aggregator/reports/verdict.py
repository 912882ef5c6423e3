"""Judge a day: was the promise kept?

The promise is the design's: no driver leaves short because of a grid service, the site stays under its cap and the
grid gets what it was promised, all of it measured. A criterion that could not be measured is not met.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.reports.facts import DayFacts, EventFact, EventInterval, Floats, LimitFact, VisitFact

SHORT_KWH = 0.2
"""Less than this below the need is not short; the paired run must give more than this for a grid service to be why."""

GRACE_WALL_S = 1.0
"""Cap and limit are judged from this many wall seconds after they take effect."""

COMMITMENT_TOLERANCE = 0.05
"""A quarter hour counts as delivered from 95 % of the committed reduction on."""

METER_RESOLUTION_KW = 0.01
"""A mean above a limit by less than the meter's resolution is not a crossing."""

MIN_DISCHARGE_KWH = 0.1
"""Energy out of the cars that counts as real discharge."""

WIRE_EVS = 3
"""Cars on the wire that have to discharge."""

MAX_UNMEASURED_SHARE = 0.02
"""More minutes without a measurement than this, and a ceiling cannot be shown to have held."""


class Cause(StrEnum):
    """Why a driver left short of the need."""

    GRID_SERVICE = "grid service"
    LEFT_EARLY = "left earlier than declared"
    OTHER = "not the grid service"
    NO_PAIR = "unknown: not in the paired run"


@dataclass(frozen=True, slots=True)
class Short:
    """A driver who left with less than the need, and why."""

    visit: VisitFact
    missing_kwh: float
    cause: Cause
    text: str


@dataclass(frozen=True, slots=True)
class CeilingResult:
    """How a ceiling held on 1-minute means.

    worst_kw: largest mean minus the ceiling (negative = room left); NaN if nothing was measured. at: when.
    """

    limit: LimitFact
    minutes: int
    unmeasured: int
    crossings: int
    worst_kw: float
    at: datetime | None


@dataclass(frozen=True, slots=True)
class QuarterResult:
    """One interval of an event, as promised and as measured. Reductions are below the baseline; NaN = not measured."""

    interval: EventInterval
    measured_net_kw: float
    committed_kw: float
    delivered_kw: float

    @property
    def is_delivered(self) -> bool:
        return bool(self.delivered_kw >= self.committed_kw * (1 - COMMITMENT_TOLERANCE) - METER_RESOLUTION_KW)


@dataclass(frozen=True, slots=True)
class Check:
    """One criterion. required and measured are phrases for the reader."""

    key: str
    title: str
    passed: bool
    required: str
    measured: str


@dataclass(frozen=True, slots=True)
class Verdict:
    checks: tuple[Check, ...]
    shorts: tuple[Short, ...]

    @property
    def succeeded(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


def judge(facts: DayFacts) -> Verdict:
    """Judge every criterion of the day; all of them must pass."""
    shorts = tuple(short for visit in facts.visits if (short := short_of(visit)) is not None)
    return Verdict(
        (
            _drivers(facts, shorts),
            _cap(facts),
            _mandatory(facts),
            _gate(facts),
            _discharge(facts),
            _commitment(facts),
            *_wire(facts),
        ),
        shorts,
    )


def short_of(visit: VisitFact) -> Short | None:
    """Is this driver short of the need, and is the grid service why (the paired run gave over 0.2 kWh more)?"""
    missing = visit.need_kwh - visit.delivered_kwh
    if missing <= SHORT_KWH:
        return None
    if visit.paired_delivered_kwh is None:
        return Short(visit, missing, Cause.NO_PAIR, visit.cause or "the paired run does not have this visit")
    gain = visit.paired_delivered_kwh - visit.delivered_kwh
    if gain > SHORT_KWH:
        return Short(visit, missing, Cause.GRID_SERVICE, f"{gain:.2f} kWh more without the signals")
    early_min = (visit.declared_departure - visit.real_departure).total_seconds() / 60
    if early_min >= 1:
        return Short(visit, missing, Cause.LEFT_EARLY, visit.cause or f"left {early_min:.0f} min before declared")
    return Short(visit, missing, Cause.OTHER, visit.cause or "no more in the run without the signals either")


def ceiling_result(facts: DayFacts, limit: LimitFact) -> CeilingResult:
    """Judge one ceiling on 1-minute means of net power, from one wall second after it takes effect.

    The minutes are counted from that second; the last one ends with the limit, so that no second goes unjudged.
    """
    begin = max(limit.start, facts.start).timestamp() + GRACE_WALL_S * limit.factor
    end = min(limit.end, facts.end).timestamp()
    if end <= begin:
        return CeilingResult(limit, 0, 0, 0, float("nan"), None)
    starts = np.arange(begin, max(end - 60.0, begin) + 1e-6, 60.0)
    if starts[-1] + 60.0 < end - 1e-6:
        starts = np.append(starts, end - 60.0)
    means = facts.net.window_means(starts, np.minimum(starts + 60.0, end))
    known = np.isfinite(means)
    excess = means[known] - limit.max_net_kw
    if excess.size == 0:
        return CeilingResult(limit, starts.size, starts.size, 0, float("nan"), None)
    worst = int(np.argmax(excess))
    at = datetime.fromtimestamp(float(starts[known][worst]), tz=facts.start.tzinfo)
    crossings = int(np.count_nonzero(excess > METER_RESOLUTION_KW))
    return CeilingResult(limit, starts.size, int(starts.size - excess.size), crossings, float(excess[worst]), at)


def quarter_results(facts: DayFacts, event: EventFact) -> tuple[QuarterResult, ...]:
    """Measured means over each interval of an event against what was committed for it."""
    starts: Floats = np.array([interval.start.timestamp() for interval in event.intervals])
    ends: Floats = np.array([interval.end.timestamp() for interval in event.intervals])
    nets = facts.net.window_means(starts, ends)
    return tuple(
        QuarterResult(
            interval, float(net), interval.baseline_kw - interval.committed_net_kw, interval.baseline_kw - float(net)
        )
        for interval, net in zip(event.intervals, nets, strict=True)
    )


def discharged_kwh(facts: DayFacts, start: datetime, end: datetime) -> dict[str, float]:
    """Energy that left the cars at each EVSE's connector over [start, end), from the chargers' meters."""
    return {
        evse_id: -series.clipped(high=0.0).energy_kwh(start, end) for evse_id, series in facts.evse_power.items()
    }


def _drivers(facts: DayFacts, shorts: tuple[Short, ...]) -> Check:
    blamed = [short for short in shorts if short.cause in (Cause.GRID_SERVICE, Cause.NO_PAIR)]
    measured = f"{len(shorts)} of {len(facts.visits)} drivers short of their need"
    if blamed:
        who = ", ".join(f"{short.visit.evse_id} ({short.text})" for short in blamed)
        measured += f"; because of a grid service or unproven: {who}"
    else:
        measured += ", none because of a grid service" if shorts else ""
    return Check(
        "no_short_by_grid_service", "No driver short because of a grid service", not blamed and bool(facts.visits),
        f"nobody over {SHORT_KWH} kWh below the need who gets over {SHORT_KWH} kWh more without the signals",
        measured if facts.visits else "no visit was recorded",
    )


def _ceilings(facts: DayFacts, kind: str) -> tuple[CeilingResult, ...]:
    return tuple(ceiling_result(facts, limit) for limit in facts.limits if limit.kind == kind)


def _held(result: CeilingResult) -> bool:
    measured_enough = result.minutes > 0 and result.unmeasured <= MAX_UNMEASURED_SHARE * result.minutes
    return measured_enough and result.crossings == 0


def _ceiling_words(facts: DayFacts, result: CeilingResult) -> str:
    limit = result.limit
    if result.at is None:
        return f"{limit.max_net_kw:.1f} kW: not one minute of it was measured"
    local = result.at.astimezone(ZoneInfo(facts.timezone))
    relation = "above" if result.worst_kw > 0 else "below"
    words = (
        f"highest 1-minute mean {limit.max_net_kw + result.worst_kw:.2f} kW at {local:%H:%M}, "
        f"{abs(result.worst_kw):.2f} kW {relation} {limit.max_net_kw:.1f} kW; "
        f"{result.crossings} of {result.minutes - result.unmeasured} measured minutes above"
    )
    return words + (f"; {result.unmeasured} minutes not measured" if result.unmeasured else "")


def _cap(facts: DayFacts) -> Check:
    results = _ceilings(facts, "cap")
    return Check(
        "cap_never_crossed", "Site cap never crossed", bool(results) and all(map(_held, results)),
        "every 1-minute mean at the connection point at or below the cap",
        "; ".join(_ceiling_words(facts, result) for result in results) or "no cap is on record",
    )


def _mandatory(facts: DayFacts) -> Check:
    results = _ceilings(facts, "mandatory")
    return Check(
        "mandatory_limit_obeyed", "Mandatory limit obeyed", bool(results) and all(map(_held, results)),
        f"every 1-minute mean at or below the limit, from {GRACE_WALL_S:.0f} wall second after it takes effect",
        "; ".join(_ceiling_words(facts, result) for result in results) or "no mandatory limit was received",
    )


def _gate(facts: DayFacts) -> Check:
    refused = [plan for plan in facts.plans if any(one.refusals for one in plan.rounds)]
    recovered = [plan for plan in facts.plans if plan.was_refused_then_passed]
    return Check(
        "gate_refused_then_passed", "The gate refused a plan and a later round passed", bool(recovered),
        "at least one plan refused by the twin's replay that passed in a later round",
        f"{len(facts.plans)} plans, {len(refused)} refused at least once, {len(recovered)} of them passed later",
    )


def _discharge(facts: DayFacts) -> Check:
    by_evse: dict[str, float] = {}
    for event in facts.events:
        for evse_id, energy in discharged_kwh(facts, event.start, event.end).items():
            by_evse[evse_id] = by_evse.get(evse_id, 0.0) + energy
    total = sum(by_evse.values())
    cars = sum(energy >= MIN_DISCHARGE_KWH for energy in by_evse.values())
    return Check(
        "discharged_during_event", "EVs really discharged during the event",
        bool(facts.events) and total >= MIN_DISCHARGE_KWH,
        f"at least {MIN_DISCHARGE_KWH} kWh out of the cars by the chargers' meters",
        f"{total:.2f} kWh out of {cars} cars" if facts.events else "no event was received",
    )


def _commitment(facts: DayFacts) -> Check:
    quarters = [quarter for event in facts.events for quarter in quarter_results(facts, event)]
    promised = [quarter for quarter in quarters if quarter.committed_kw > 0]
    missed = [quarter for quarter in promised if not quarter.is_delivered]
    if promised:
        zone = ZoneInfo(facts.timezone)
        ratios = [quarter.delivered_kw / quarter.committed_kw for quarter in promised]
        worst = int(np.argmin([ratio if np.isfinite(ratio) else -np.inf for ratio in ratios]))
        local = promised[worst].interval.start.astimezone(zone)
        share = f"{100 * ratios[worst]:.1f} %".replace("-", "\u2212") if np.isfinite(ratios[worst]) else "not measured"
        measured = (
            f"{len(promised) - len(missed)} of {len(promised)} intervals delivered; "
            f"worst {share} of the committed reduction, at {local:%H:%M}"
        )
    else:
        measured = "nothing was committed" if facts.events else "no event was received"
    return Check(
        "commitment_delivered", f"Commitment delivered within {100 * COMMITMENT_TOLERANCE:.0f} %",
        bool(promised) and not missed,
        f"every 15-minute mean at {100 * (1 - COMMITMENT_TOLERANCE):.0f} % of the committed reduction or more",
        measured,
    )


def _wire(facts: DayFacts) -> tuple[Check, ...]:
    """Of the cars that were told over ISO 15118 what to do, not by a call within the emulation."""
    if not facts.wire:
        return ()
    given = {fact.evse_id: 0.0 for fact in facts.wire}
    for event in facts.events:
        for evse_id, energy in discharged_kwh(facts, event.start, event.end).items():
            if evse_id in given:
                given[evse_id] += energy
    enough = sum(energy >= MIN_DISCHARGE_KWH for energy in given.values())
    broken = sum(fact.broken for fact in facts.wire)
    measured = ", ".join(f"{evse_id} {energy:.2f} kWh" for evse_id, energy in sorted(given.items()))
    return (Check(
        "wire_evs_discharged", "EVs told over ISO 15118 discharged during the event", enough >= WIRE_EVS,
        f"{WIRE_EVS} EVs or more on the wire, {MIN_DISCHARGE_KWH} kWh or more out of each, by their chargers' meters",
        f"{measured} ({', '.join(sorted({fact.session for fact in facts.wire}))})"
        + (f"; {broken} sessions broke" if broken else ""),
    ),)
