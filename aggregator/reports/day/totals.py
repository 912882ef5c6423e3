"""What a day adds up to: energies, peaks, bills, seconds; computed once, shown as text, table and JSON alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from aggregator.reports.day.facts import DayFacts
from aggregator.reports.day.outcomes import (
    MIN_DISCHARGE_KWH,
    SHORT_KWH,
    QuarterResult,
    discharged_kwh,
    quarter_results,
)
from aggregator.reports.day.series import StepSeries

BILLING_STEP_S = 900.0
"""Demand is billed on 15-minute means."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest 15-minute mean and when it began; kw is NaN if nothing was measured."""

    kw: float
    at: datetime | None


@dataclass(frozen=True, slots=True)
class EventTotals:
    """Means over the event's intervals, and the energy that left the cars meanwhile. NaN = not measured."""

    quarters: tuple[QuarterResult, ...]
    requested_kw: float
    committed_kw: float
    delivered_kw: float
    delivered_kwh: float
    discharged_kwh: float
    discharging_cars: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Energies in kWh: site and EVs at the connector or connection point, gain in the batteries.

    loss_kwh: what the EV connectors took minus what they gave back minus what stayed in the batteries.
    """

    site_import_kwh: float
    site_export_kwh: float
    building_kwh: float
    ev_import_kwh: float
    ev_export_kwh: float
    battery_gain_kwh: float
    uncontrolled_import_kwh: float
    peak: Peak
    uncontrolled_peak: Peak
    met: int
    drivers: int
    credit: Decimal
    saving: Decimal
    plan_median_s: float
    plan_p95_s: float
    plans_refused: int
    plans_recovered: int
    plans_safe: int
    messages: int
    events: tuple[EventTotals, ...]

    @property
    def loss_kwh(self) -> float:
        return self.ev_import_kwh - self.ev_export_kwh - self.battery_gain_kwh


def totals(facts: DayFacts) -> Totals:
    """Add the day up."""
    seconds = [plan.seconds for plan in facts.plans]
    return Totals(
        site_import_kwh=_energy(facts, facts.net.clipped(low=0.0)),
        site_export_kwh=-_energy(facts, facts.net.clipped(high=0.0)),
        building_kwh=_energy(facts, facts.building),
        ev_import_kwh=sum(visit.imported_kwh for visit in facts.visits),
        ev_export_kwh=sum(visit.exported_kwh for visit in facts.visits),
        battery_gain_kwh=sum(visit.delivered_kwh for visit in facts.visits),
        uncontrolled_import_kwh=_energy(facts, facts.uncontrolled.clipped(low=0.0)),
        peak=peak(facts, facts.net),
        uncontrolled_peak=peak(facts, facts.uncontrolled),
        met=sum(visit.delivered_kwh >= visit.need_kwh - SHORT_KWH for visit in facts.visits),
        drivers=len(facts.visits),
        credit=sum((credit.amount for credit in facts.credits), Decimal(0)),
        saving=facts.uncontrolled_bill.total - facts.bill.total,
        plan_median_s=_quantile(seconds, 0.5),
        plan_p95_s=_quantile(seconds, 0.95),
        plans_refused=sum(any(one.refusals for one in plan.rounds) for plan in facts.plans),
        plans_recovered=sum(plan.was_refused_then_passed for plan in facts.plans),
        plans_safe=sum(plan.status == "safe" for plan in facts.plans),
        messages=sum(message.count for message in facts.messages),
        events=tuple(_event_totals(facts, index) for index in range(len(facts.events))),
    )


def peak(facts: DayFacts, series: StepSeries) -> Peak:
    """Highest 15-minute mean of the day, on quarter hours counted from its start."""
    count = int((facts.end - facts.start).total_seconds() // BILLING_STEP_S)
    means = series.means(facts.start, BILLING_STEP_S, count)
    if not np.isfinite(means).any():
        return Peak(float("nan"), None)
    index = int(np.nanargmax(means))
    return Peak(float(means[index]), facts.start + timedelta(seconds=BILLING_STEP_S * index))


def _energy(facts: DayFacts, series: StepSeries) -> float:
    """Energy of the day in kWh; NaN if nothing of it was measured, which is not the same as nothing."""
    if series.measured_s(facts.start, facts.end) <= 0:
        return float("nan")
    return series.energy_kwh(facts.start, facts.end)


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def _event_totals(facts: DayFacts, index: int) -> EventTotals:
    event = facts.events[index]
    quarters = quarter_results(facts, event)
    hours = np.array([(one.end - one.start).total_seconds() / 3600 for one in event.intervals])
    delivered = np.array([quarter.delivered_kw for quarter in quarters])
    out = discharged_kwh(facts, event.start, event.end)

    def mean(values: Sequence[float]) -> float:
        return float(np.average(values, weights=hours))

    return EventTotals(
        quarters,
        requested_kw=mean([one.baseline_kw - one.requested_net_kw for one in event.intervals]),
        committed_kw=mean([quarter.committed_kw for quarter in quarters]),
        delivered_kw=mean(delivered.tolist()),
        delivered_kwh=float(delivered @ hours),
        discharged_kwh=sum(out.values()),
        discharging_cars=sum(energy >= MIN_DISCHARGE_KWH for energy in out.values()),
    )
