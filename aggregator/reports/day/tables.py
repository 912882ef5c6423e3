"""The tables of a day's report. Every figure is computed from the day's facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from aggregator.reports.day.facts import BillFact, DayFacts, visit_label
from aggregator.reports.day.outcomes import SHORT_KWH, ceiling_result
from aggregator.reports.day.totals import Totals
from aggregator.reports.day.verdict import Verdict
from aggregator.reports.page import ABSENT, Table, figure, money
from aggregator.reports.words import OF_FEEDER, reasons_in_words


def day_tables(facts: DayFacts, totals: Totals, verdict: Verdict) -> tuple[Table, ...]:
    """Every table that has rows, in reading order."""
    zone = ZoneInfo(facts.timezone)
    made = (
        _energy(totals), _departures(facts, totals), _shorts(verdict, zone), _impossible(facts, zone),
        *(_event(facts, totals, index, zone) for index in range(len(facts.events))),
        _peak_and_cost(facts, totals, zone), _bill_lines(facts), _v2g(facts, zone), _plans(facts, totals),
        _refusals(facts, zone), _feeder(facts, zone), _carried(facts, zone), _ceilings(facts, zone), _messages(facts),
        _seconds(facts, totals), _assumptions(facts), _attributions(facts),
    )
    return tuple(table for table in made if table.rows)


def _energy(totals: Totals) -> Table:
    rows = (
        ("Drawn from the grid at the connection point", figure(totals.site_import_kwh)),
        ("Given to the grid at the connection point", figure(totals.site_export_kwh)),
        ("Used by the building", figure(totals.building_kwh)),
        ("Into cars, by the chargers' registers", figure(totals.ev_import_kwh)),
        ("Out of cars, by the chargers' registers", figure(totals.ev_export_kwh)),
        ("Gained by the batteries", figure(totals.battery_gain_kwh)),
        ("Lost in conversion", figure(totals.loss_kwh)),
    )
    return Table("energy", "Energy in and out", (("", False), ("kWh", True)), rows)


def _departures(facts: DayFacts, totals: Totals) -> Table:
    kinds: dict[str, list[bool]] = defaultdict(list)
    for visit in facts.visits:
        kinds[visit.protocol].append(visit.delivered_kwh >= visit.need_kwh - SHORT_KWH)
    rows = [(name, str(len(met)), str(sum(met)), str(len(met) - sum(met))) for name, met in sorted(kinds.items())]
    rows.append(("Total", str(totals.drivers), str(totals.met), str(totals.drivers - totals.met)))
    columns = (("Charger speaks", False), ("Sessions", True), ("Left with their need", True), ("Short", True))
    return Table("departures", "Departures met", columns, tuple(rows),
                 f"Short means over {SHORT_KWH} kWh below the need.")


def _shorts(verdict: Verdict, zone: ZoneInfo) -> Table:
    rows = tuple(
        (visit_label(short.visit, zone), figure(short.visit.need_kwh), figure(short.visit.delivered_kwh),
         figure(short.missing_kwh, digits=2), short.cause.value, short.text)
        for short in verdict.shorts
    )
    columns = (("Session", False), ("Need, kWh", True), ("Delivered, kWh", True), ("Missing, kWh", True),
               ("Cause", False), ("Because", False))
    return Table("shorts", "Drivers who left short, with the cause", columns, rows,
                 "The cause is judged against the same loop on the same day without the two signals.")


def _impossible(facts: DayFacts, zone: ZoneInfo) -> Table:
    rows = tuple(
        (visit_label(visit, zone), figure(visit.requested_kwh), figure(visit.possible_kwh), figure(visit.delivered_kwh))
        for visit in facts.visits if visit.requested_kwh > visit.possible_kwh + SHORT_KWH
    )
    columns = (("Session", False), ("Asked, kWh", True), ("Possible, kWh", True), ("Delivered, kWh", True))
    return Table("impossible", "Asked for more than was possible", columns, rows,
                 "Too little time, power or battery for the request; the need is what was possible.")


def _event(facts: DayFacts, totals: Totals, index: int, zone: ZoneInfo) -> Table:
    event, result = facts.events[index], totals.events[index]
    rows = [
        (f"{quarter.interval.start.astimezone(zone):%H:%M}", figure(quarter.interval.baseline_kw),
         figure(quarter.interval.committed_net_kw), figure(quarter.measured_net_kw), figure(quarter.committed_kw),
         figure(quarter.delivered_kw), _share(quarter.delivered_kw, quarter.committed_kw),
         "delivered" if quarter.is_delivered else "missed")
        for quarter in result.quarters
    ]
    rows.append(("Total", "", "", "", figure(result.committed_kw), figure(result.delivered_kw),
                 _share(result.delivered_kw, result.committed_kw), ""))
    decided = f"{event.decided_at.astimezone(zone):%H:%M}" if event.decided_at else "not at all"
    note = (
        f"Programme {event.programme}, posted at {event.posted_at.astimezone(zone):%H:%M}, decided {decided}, "
        f"last state {event.state.replace('_', ' ')}."
    )
    if event.reasons:
        note += f" Less than asked because of {'; '.join(reasons_in_words(event.reasons))}."
    if event.incentive is not None:
        note += f" Incentive {money(event.incentive, facts.currency)}"
        charge = event.shortfall_charge or Decimal(0)
        note += f", shortfall charge {money(charge, facts.currency)}."
    columns = (("From", False), ("Baseline, kW", True), ("Net promised, kW", True), ("Net measured, kW", True),
               ("Promised, kW less", True), ("Delivered, kW less", True), ("Share", True), ("", False))
    return Table(f"event-{index + 1}", "The event by quarter hour", columns, tuple(rows), note)


def _share(part: float, whole: float) -> str:
    return figure(100 * part / whole, "%") if whole > 0 else ABSENT


def _peak_and_cost(facts: DayFacts, totals: Totals, zone: ZoneInfo) -> Table:
    def at(when: datetime | None) -> str:
        return f" at {when.astimezone(zone):%H:%M}" if when else ""

    peak, other = totals.peak, totals.uncontrolled_peak
    rows = (
        ("Highest 15-minute mean, kW", figure(peak.kw) + at(peak.at), figure(other.kw) + at(other.at),
         figure(other.kw - peak.kw)),
        ("Drawn from the grid, kWh", figure(totals.site_import_kwh), figure(totals.uncontrolled_import_kwh),
         figure(totals.uncontrolled_import_kwh - totals.site_import_kwh)),
        (f"Bill, {facts.currency}", figure(float(facts.bill.total), digits=2),
         figure(float(facts.uncontrolled_bill.total), digits=2), figure(float(totals.saving), digits=2)),
    )
    columns = (("", False), ("Measured", True), ("Uncontrolled", True), ("Saved", True))
    return Table("peak-and-cost", "Peak and cost against uncontrolled charging", columns, rows,
                 "Uncontrolled is a replay of the same day in which every car charges at full power from plug-in until "
                 "it holds what its driver asked for. It knows no cap, no limit and no event.")


def _bill_lines(facts: DayFacts) -> Table:
    def lines(who: str, bill: BillFact) -> Iterable[tuple[str, ...]]:
        for line in bill.lines:
            yield (who, line.name, figure(line.quantity, line.unit, 2), f"{line.rate.normalize():f}",
                   money(line.amount, facts.currency))
        yield (f"Total {who.lower()}", "", "", "", money(bill.total, facts.currency))

    columns = (
        ("Bill", False), ("Line", False), ("Quantity", True), (f"Rate, {facts.currency}", True), ("Amount", True),
    )
    rows = (*lines("Measured", facts.bill), *lines("Uncontrolled", facts.uncontrolled_bill))
    return Table("bill", "The two bills, line by line", columns, rows)


def _v2g(facts: DayFacts, zone: ZoneInfo) -> Table:
    rows = [
        (f"{credit.evse_id} {credit.arrival.astimezone(zone):%H:%M}", figure(credit.exported_kwh, digits=2),
         money(credit.amount, facts.currency))
        for credit in sorted(facts.credits, key=lambda credit: (credit.arrival, credit.evse_id))
    ]
    if rows:
        rows.append(("Total", figure(sum(credit.exported_kwh for credit in facts.credits), digits=2),
                     money(sum((credit.amount for credit in facts.credits), Decimal(0)), facts.currency)))
    columns = (("Session", False), ("Given back, kWh", True), ("Driver's credit", True))
    return Table("v2g", "Energy given back, and what drivers get for it", columns, tuple(rows))


def _plans(facts: DayFacts, totals: Totals) -> Table:
    rounds = Counter(len(plan.rounds) for plan in facts.plans)

    def named(count: int) -> str:
        return f"{count} round{'s' * (count != 1)}" if count else "No round: the planner did not answer"

    rows = [(named(count), str(number)) for count, number in sorted(rounds.items())]
    rows += [
        ("Total plans", str(len(facts.plans))), ("Refused at least once", str(totals.plans_refused)),
        ("Passed in a later round", str(totals.plans_recovered)), ("Safe plan used instead", str(totals.plans_safe)),
    ]
    return Table("plans", "Plans and the gate", (("", False), ("Plans", True)), tuple(rows) if facts.plans else ())


def _refusals(facts: DayFacts, zone: ZoneInfo) -> Table:
    rows = tuple(
        (f"{plan.made_at.astimezone(zone):%H:%M}", plan.trigger, str(number),
         "; ".join(refusal.in_words(zone) for refusal in one.refusals),
         "passed later" if plan.was_refused_then_passed else plan.status)
        for plan in facts.plans for number, one in enumerate(plan.rounds, start=1) if one.refusals
    )
    columns = (("At", False), ("Because of", False), ("Round", True), ("The replay showed", False), ("Then", False))
    return Table("refusals", "What the gate refused, and why", columns, rows)


def _feeder(facts: DayFacts, zone: ZoneInfo) -> Table:
    """What the street's grid took from whom: first plan that it refused beside the one that passed."""
    told = [(plan, change) for plan in facts.plans for change in plan.feeder_changes]
    rows = tuple(
        (f"{plan.made_at.astimezone(zone):%H:%M}", change.evse_id,
         f"{change.start.astimezone(zone):%H:%M} to {change.end.astimezone(zone):%H:%M}", figure(change.kw),
         "gives back" if change.was_discharging else "charges", change.because)
        for plan, change in told
    )
    refused = [plan for plan in facts.plans if any(refusal.kind in OF_FEEDER for refusal in plan.refusals)]
    passed = sum(plan.was_refused_then_passed for plan in refused)
    note = (
        f"{len(refused)} plan{'s' * (len(refused) != 1)} would have broken a limit of the grid beyond the connection "
        f"point; {passed} passed in a later round, in two power-flow engines. Limits met once are kept to from the "
        "start by every later plan."
    )
    columns = (("Plan of", False), ("Charger", False), ("When", False), ("Less, kW", True), ("It", False),
               ("Because of", False))
    return Table("feeder", "What the grid changed", columns, rows, note if rows else "")


def _carried(facts: DayFacts, zone: ZoneInfo) -> Table:
    """The grid under what was measured, not planned."""
    columns = (("Limit", False), ("Worst 1-minute mean", True), ("At", False), ("Allowed", True),
               ("Minutes beyond", True))
    if facts.feeder is None:
        return Table("carried", "What the grid carried", columns, ())
    rows = tuple(
        (one.what, figure(one.worst, one.unit, 3 if one.unit == "p.u." else 1), f"{one.at.astimezone(zone):%H:%M}",
         figure(one.limit, one.unit, 3 if one.unit == "p.u." else 1), str(one.minutes_beyond))
        for one in facts.feeder.carried
    )
    agreement = "agree" if facts.feeder.do_agree else "do not agree"
    note = (
        f"Power flow of {facts.feeder.minutes} minutes of the chargers' and the site's meters, not of plans; two "
        f"engines {agreement} (voltages to {facts.feeder.apart_pu:.0e} p.u.). A car that has just come charges at its "
        "share until a plan knows it."
    )
    if facts.feeder.without_solution:
        note += f" {facts.feeder.without_solution} minutes have no solution."
    return Table("carried", "What the grid carried", columns, rows, note)


def _ceilings(facts: DayFacts, zone: ZoneInfo) -> Table:
    rows = []
    for limit in facts.limits:
        result = ceiling_result(facts, limit)
        rows.append((
            "Site cap" if limit.kind == "cap" else "Mandatory limit",
            f"{limit.start.astimezone(zone):%H:%M} to {limit.end.astimezone(zone):%H:%M}", figure(limit.max_net_kw),
            figure(limit.max_net_kw + result.worst_kw, digits=2), str(result.crossings),
            f"{result.minutes - result.unmeasured} of {result.minutes}",
        ))
    columns = (("Ceiling", False), ("In force", False), ("kW", True), ("Highest 1-minute mean, kW", True),
               ("Minutes above", True), ("Minutes measured", True))
    return Table("ceilings", "Ceilings at the connection point", columns, tuple(rows))


def _messages(facts: DayFacts) -> Table:
    by_action: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: {"in": 0, "out": 0})
    for message in facts.messages:
        by_action[message.protocol, message.action][message.direction] += message.count
    rows = [
        (protocol, action, f"{both['in']:,}", f"{both['out']:,}")
        for (protocol, action), both in sorted(by_action.items())
    ]
    if rows:
        total = [sum(both[way] for both in by_action.values()) for way in ("in", "out")]
        rows.append(("Total", "", f"{total[0]:,}", f"{total[1]:,}"))
    columns = (("Protocol", False), ("Message", False), ("From chargers", True), ("To chargers", True))
    return Table("messages", "Messages by protocol", columns, tuple(rows))


def _seconds(facts: DayFacts, totals: Totals) -> Table:
    rows = [
        ("New plan (build, solve, replay), median", figure(totals.plan_median_s, "s", 3)),
        ("New plan (build, solve, replay), 95th percentile", figure(totals.plan_p95_s, "s", 3)),
    ]
    for limit in facts.limits:
        if limit.kind == "mandatory":
            rows += [
                ("Mandatory limit: POST to first SetChargingProfile sent", figure(limit.first_profile_s, "s", 3)),
                ("Mandatory limit: POST to last SetChargingProfile sent", figure(limit.last_profile_s, "s", 3)),
                ("Mandatory limit: POST to metered power at or below it", figure(limit.metered_under_s, "s", 2)),
            ]
    rows += [("The whole day, on the wall", figure(facts.wall_s, "s")),
             ("Clock, times real time", figure(facts.speed, digits=0))]
    return Table("seconds", "Seconds", (("", False), ("", True)), tuple(rows))


def _assumptions(facts: DayFacts) -> Table:
    rows = tuple(
        ("real" if one.is_real else "assumed", one.topic, one.text, one.source)
        for one in sorted(facts.assumptions, key=lambda one: not one.is_real)
    )
    columns = (("", False), ("What", False), ("How", False), ("Source", False))
    return Table("assumptions", "What is real and what is assumed", columns, rows)


def _attributions(facts: DayFacts) -> Table:
    rows = tuple((one.name, one.licence, one.credit, one.url) for one in facts.attributions)
    columns = (("Data", False), ("Licence", False), ("Credit", False), ("Where", False))
    return Table("attribution", "Data and licences", columns, rows)
