"""Everything a day's report says, for machines."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from aggregator.reports.day.facts import DayFacts
from aggregator.reports.day.outcomes import ceiling_result, discharged_kwh
from aggregator.reports.day.summary import summary
from aggregator.reports.day.totals import EventTotals, totals
from aggregator.reports.day.verdict import judge


def result_json(facts: DayFacts) -> dict[str, Any]:
    """What `render_report` shows as JSON-able values: money as decimal text, what was not measured as null."""
    sums, verdict = totals(facts), judge(facts)
    return {
        "site_id": facts.site_id,
        "start": _iso(facts.start),
        "end": _iso(facts.end),
        "succeeded": verdict.succeeded,
        "checks": [
            {"key": check.key, "title": check.title, "passed": check.passed, "required": check.required,
             "measured": check.measured}
            for check in verdict.checks
        ],
        "summary": summary(facts, sums, verdict),
        "energy_kwh": {
            "site_import": _number(sums.site_import_kwh), "site_export": _number(sums.site_export_kwh),
            "building": _number(sums.building_kwh), "ev_import": _number(sums.ev_import_kwh),
            "ev_export": _number(sums.ev_export_kwh), "battery_gain": _number(sums.battery_gain_kwh),
            "loss": _number(sums.loss_kwh), "uncontrolled_site_import": _number(sums.uncontrolled_import_kwh),
        },
        "drivers": {
            "sessions": sums.drivers,
            "met": sums.met,
            "shorts": [
                {"evse_id": short.visit.evse_id, "arrival": _iso(short.visit.arrival),
                 "need_kwh": _number(short.visit.need_kwh), "delivered_kwh": _number(short.visit.delivered_kwh),
                 "missing_kwh": _number(short.missing_kwh), "cause": short.cause.value, "because": short.text}
                for short in verdict.shorts
            ],
        },
        "sessions": [
            {"evse_id": visit.evse_id, "protocol": visit.protocol, "arrival": _iso(visit.arrival),
             "declared_departure": _iso(visit.declared_departure), "real_departure": _iso(visit.real_departure),
             "reached_at": _iso(visit.reached_at), "requested_kwh": _number(visit.requested_kwh),
             "possible_kwh": _number(visit.possible_kwh), "need_kwh": _number(visit.need_kwh),
             "delivered_kwh": _number(visit.delivered_kwh), "imported_kwh": _number(visit.imported_kwh),
             "exported_kwh": _number(visit.exported_kwh),
             "delivered_without_signals_kwh": _number(visit.paired_delivered_kwh)}
            for visit in facts.visits
        ],
        "events": [_event_json(facts, index, result) for index, result in enumerate(sums.events)],
        "ceilings": [_ceiling_json(facts, index) for index in range(len(facts.limits))],
        "peak_kw": {"measured": _number(sums.peak.kw), "measured_at": _iso(sums.peak.at),
                    "uncontrolled": _number(sums.uncontrolled_peak.kw),
                    "uncontrolled_at": _iso(sums.uncontrolled_peak.at)},
        "cost": {"currency": facts.currency, "measured": _amount(facts.bill.total),
                 "uncontrolled": _amount(facts.uncontrolled_bill.total), "saving": _amount(sums.saving)},
        "v2g": {"exported_kwh": _number(sums.ev_export_kwh), "credit": _amount(sums.credit)},
        "plans": {
            "count": len(facts.plans), "rounds": sum(len(plan.rounds) for plan in facts.plans),
            "refused": sums.plans_refused, "refused_then_passed": sums.plans_recovered, "safe": sums.plans_safe,
            "refusals": [
                {"plan_id": plan.plan_id, "round": refusal.round, "kind": refusal.kind, "asset_id": refusal.asset_id,
                 "start": _iso(refusal.start), "end": _iso(refusal.end), "worst": _number(refusal.worst),
                 "unit": refusal.unit}
                for plan in facts.plans for refusal in plan.refusals
            ],
            "feeder_changes": [
                {"plan_id": plan.plan_id, "evse_id": change.evse_id, "start": _iso(change.start),
                 "end": _iso(change.end), "less_kw": _number(change.kw), "was_discharging": change.was_discharging,
                 "because": change.because}
                for plan in facts.plans for change in plan.feeder_changes
            ],
        },
        "feeder": None if facts.feeder is None else {
            "name": facts.feeder.name, "minutes": facts.feeder.minutes,
            "without_solution": facts.feeder.without_solution, "engines_agree": facts.feeder.do_agree,
            "engines_apart_pu": facts.feeder.apart_pu if np.isfinite(facts.feeder.apart_pu) else None,
            "limits": [
                {"what": one.what, "worst": _number(one.worst), "limit": _number(one.limit), "unit": one.unit,
                 "at": _iso(one.at), "minutes_beyond": one.minutes_beyond}
                for one in facts.feeder.carried
            ],
        },
        "wire": [
            {"evse_id": one.evse_id, "session": one.session, "charged": one.charged, "broken": one.broken,
             "setup_s": _number(one.setup_s)}
            for one in facts.wire
        ],
        "messages": {
            "total": sums.messages,
            "counts": [
                {"protocol": one.protocol, "direction": one.direction, "action": one.action, "count": one.count}
                for one in facts.messages
            ],
        },
        "seconds": {"plan_median": _number(sums.plan_median_s), "plan_p95": _number(sums.plan_p95_s),
                    "wall": _number(facts.wall_s), "speed": _number(facts.speed)},
    }


def _event_json(facts: DayFacts, index: int, result: EventTotals) -> dict[str, Any]:
    event = facts.events[index]
    out = discharged_kwh(facts, event.start, event.end)
    return {
        "signal_id": event.signal_id, "programme": event.programme, "state": event.state,
        "start": _iso(event.start), "end": _iso(event.end), "requested_kw": _number(result.requested_kw),
        "committed_kw": _number(result.committed_kw), "delivered_kw": _number(result.delivered_kw),
        "delivered_kwh": _number(result.delivered_kwh), "discharged_kwh": _number(sum(out.values())),
        "discharging_cars": result.discharging_cars,
        "reasons": [{"code": code.value, "count": count} for code, count in event.reasons],
        "intervals": [
            {"start": _iso(quarter.interval.start), "baseline_kw": _number(quarter.interval.baseline_kw),
             "committed_net_kw": _number(quarter.interval.committed_net_kw),
             "measured_net_kw": _number(quarter.measured_net_kw), "delivered": quarter.is_delivered}
            for quarter in result.quarters
        ],
    }


def _ceiling_json(facts: DayFacts, index: int) -> dict[str, Any]:
    limit = facts.limits[index]
    result = ceiling_result(facts, limit)
    return {
        "id": limit.id, "kind": limit.kind, "start": _iso(limit.start), "end": _iso(limit.end),
        "max_net_kw": _number(limit.max_net_kw), "highest_minute_kw": _number(limit.max_net_kw + result.worst_kw),
        "crossings": result.crossings, "minutes": result.minutes, "unmeasured": result.unmeasured,
        "first_profile_s": _number(limit.first_profile_s), "last_profile_s": _number(limit.last_profile_s),
        "metered_under_s": _number(limit.metered_under_s),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def _amount(amount: Decimal) -> str:
    return f"{amount:f}"


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat().replace("+00:00", "Z")
