"""What of a day can be judged, one by one: drivers who left short, ceilings, the quarter hours of an event.

Everything is taken from what was measured; `verdict` makes criteria of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from aggregator.reports.day.facts import DayFacts, EventFact, EventInterval, LimitFact, VisitFact
from aggregator.reports.day.series import Floats

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
