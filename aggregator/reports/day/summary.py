"""A day in a paragraph and in four figures, for someone who reads nothing else."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from zoneinfo import ZoneInfo

from aggregator.reports.day.facts import DayFacts
from aggregator.reports.day.outcomes import MAX_UNMEASURED_SHARE
from aggregator.reports.day.totals import Totals
from aggregator.reports.day.verdict import Verdict
from aggregator.reports.page import ABSENT, figure, money


def summary(facts: DayFacts, totals: Totals, verdict: Verdict) -> str:
    """What happened, in a paragraph for someone who reads nothing else."""
    zone = ZoneInfo(facts.timezone)
    day = facts.start.astimezone(zone)
    sentences = [
        (f"On {day:%A} {day.day} {day:%B %Y} {totals.drivers} cars charged at {facts.site_id}; "
         f"{totals.met} of them left with what they needed."),
        (f"The site drew {figure(totals.site_import_kwh, 'kWh', 0)} and peaked at {figure(totals.peak.kw, 'kW')}; "
         f"with every car charging at full power on arrival the peak would have been "
         f"{figure(totals.uncontrolled_peak.kw, 'kW')}."),
    ]
    for event, result in zip(facts.events, totals.events, strict=True):
        sentences.append(
            f"From {event.start.astimezone(zone):%H:%M} to {event.end.astimezone(zone):%H:%M} the grid asked for "
            f"{figure(result.requested_kw, 'kW')} less than the baseline, {figure(result.committed_kw, 'kW')} were "
            f"promised and {figure(result.delivered_kw, 'kW')} delivered; {result.discharging_cars} cars gave back "
            f"{figure(result.discharged_kwh, 'kWh')}."
        )
    sentences.append(
        f"The twin refused {totals.plans_refused} of {len(facts.plans)} plans before any charger saw them, and "
        f"{totals.plans_recovered} of those passed in a later round."
    )
    verb = "less" if totals.saving >= 0 else "more"
    sentences.append(
        f"Energy and demand cost {money(facts.bill.total, facts.currency)}, "
        f"{money(abs(totals.saving), facts.currency)} {verb} than uncontrolled charging of the same cars."
    )
    if facts.events:
        earned = sum((e.incentive or Decimal(0)) - (e.shortfall_charge or Decimal(0)) for e in facts.events)
        sentences.append(
            f"The programme {'pays' if earned >= 0 else 'charges'} {money(abs(Decimal(earned)), facts.currency)}; "
            f"the drivers of {len(facts.credits)} cars are credited {money(totals.credit, facts.currency)}."
        )
    day_s = (facts.end - facts.start).total_seconds()
    measured_s = facts.net.measured_s(facts.start, facts.end)
    if measured_s < (1 - MAX_UNMEASURED_SHARE) * day_s:
        sentences.append(
            f"Only {measured_s / 3600:.1f} of {day_s / 3600:.1f} hours were measured: energy, peak and cost are theirs."
        )
    if verdict.succeeded:
        sentences.append("Every criterion of success is met.")
    else:
        sentences.append(f"Not met: {'; '.join(check.title for check in verdict.failed)}.")
    return " ".join(sentences)


def headline(facts: DayFacts, sums: Totals) -> tuple[tuple[str, str, str], ...]:
    """Four figures one wants to know first: label, value, unit or relation."""
    discharged = sum(event.discharged_kwh for event in sums.events)
    committed = sum(event.committed_kw for event in sums.events)
    delivered = sum(event.delivered_kw for event in sums.events)
    share = figure(100 * delivered / committed, "%", 0) if committed > 0 and isfinite(delivered) else ABSENT
    cheaper = "less" if sums.saving >= 0 else "more"
    return (
        ("Left with their need", f"{sums.met} of {sums.drivers}", "drivers"),
        ("Peak", figure(sums.peak.kw, "kW"), f"instead of {figure(sums.uncontrolled_peak.kw, 'kW')}"),
        ("Promise kept", share, f"{discharged:.1f} kWh out of the cars"),
        ("Bill", money(facts.bill.total, facts.currency), f"{money(abs(sums.saving), facts.currency)} {cheaper}"),
    )
