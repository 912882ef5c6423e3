"""`result.json`: what a run came to, for machines. `by_replica` is what runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation import CAUSES, MEASURES, Cause, EventFact, SimulationFacts, warnings, wear_totals
from aggregator.reports.simulation.feeder import FeederFact
from aggregator.studies.folder import KIND

SCHEMA = 2
"""Raised whenever a reader of the last version would misunderstand."""

_DIGITS = 6


def result_json(
    facts: SimulationFacts, scenario_sha256: str, settings: Mapping[str, Any], files: tuple[str, ...]
) -> dict[str, Any]:
    """Everything of the run that is not a table. Energies in kWh, powers in kW; what is not known is null."""
    grid = facts.grid
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "program_version": facts.program_version,
        "scenario": facts.name,
        "scenario_sha256": scenario_sha256,
        "settings": dict(settings),
        "control": facts.control,
        "seed": facts.seed,
        "replicas": facts.replicas,
        "start": grid.start.isoformat().replace("+00:00", "Z"),
        "step_s": grid.step_s,
        "steps": grid.steps,
        "timezone": facts.timezone,
        "evses": facts.evses,
        "digest": facts.digest,
        "summary": {
            measure.key: _spread(facts.measures[measure.key])
            for measure in MEASURES if measure.key in facts.measures
        },
        "by_replica": {key: _numbers(values) for key, values in facts.measures.items()},
        "short_by_cause": short_by_cause(facts),
        "events": [_event(event, grid.step_hours) for event in facts.events],
        "occurrences": dict(facts.occurrences),
        "warnings": list(warnings(facts)),
        "dropped": dict(facts.dropped),
        "assumptions": list(facts.assumptions),
        "notes": list(facts.notes),
        "ledger": {"relative_residual": facts.residual},
        "wear": _wear(facts),
        "feeder": _feeder(facts.feeder),
        "files": list(files),
        "seconds": {phase: round(seconds, 3) for phase, seconds in facts.seconds.items()},
    }


def _wear(facts: SimulationFacts) -> dict[str, Any] | None:
    """Shares of a battery's life, over all courses; null where wear was not asked for or nothing came."""
    totals = wear_totals(facts)
    if totals is None or facts.ageing is None:
        return None

    def share(life: NDArray[np.float64], of: NDArray[np.float64]) -> float | None:
        whole = float(of.sum())
        return float(f"{float(life.sum()) / whole:.9g}") if whole else None

    written: dict[str, Any] = {
        "cells": dict(facts.ageing.cells), "temperature_c": list(facts.ageing.temperature_c),
        "end_of_life": facts.ageing.end_of_life, "look_ahead_years": facts.ageing.look_ahead_years,
        "stays": int(totals.stays.sum()),
        "throughput_kwh": round(float(totals.throughput_kwh.sum()), _DIGITS),
        "per_stay": {"calendar": share(totals.calendar, totals.stays), "cycle": share(totals.cycle, totals.stays)},
        "per_kwh": {"calendar": share(totals.calendar, totals.throughput_kwh),
                    "cycle": share(totals.cycle, totals.throughput_kwh)},
    }
    if facts.events:
        written["event"] = {
            "added_kwh": round(float(totals.event_kwh.sum()), _DIGITS),
            "added_per_stay": {"calendar": share(totals.event_calendar, totals.stays),
                               "cycle": share(totals.event_cycle, totals.stays)},
            "added_per_added_kwh": share(totals.event_life, totals.event_kwh),
        }
    return written


def _feeder(fact: FeederFact | None) -> dict[str, Any] | None:
    """What holds for the feeder whatever the course, and what it would be without EVs; null where there is none."""
    if fact is None:
        return None
    points, places = fact.points, fact.points.places
    return {
        "name": fact.name, "connection_points": len(points.ids), "nominal_volts": fact.nominal_volts,
        "limits": {"voltage_pu": list(_numbers(np.array(fact.voltage_pu))), "line_loading": fact.line_limit,
                   "transformer_loading": fact.transformer_limit, "unbalance": fact.unbalance_limit},
        "without_evs": {key: _number(value) for key, value in fact.base_measures.items()},
        "minutes_per_course": {
            "violation": _total(points.minutes[places]), "attributable": _total(points.attributable[places]),
            "unfixable": _total(points.unfixable[places]), "worsened": _total(points.worsened[places]),
            "cured": _total(points.cured[places]),
        },
        "en50160": {
            "is_of_ten_minutes": fact.ten_minutes, "days_of_each_week": list(fact.days),
            "points_that_hold_in_every_course": int((points.holds >= 1.0).sum()),
            "points_that_hold_without_evs": int(points.base_holds.sum()),
            "worst_share_within_10": _number(float(points.within_10.min(initial=1.0))),
            "worst_share_balanced": _number(float(fact.balanced.min(initial=1.0))),
        },
        "transformers": [
            {"id": row.id, "rated_kva": row.rated_kva, "paper": row.paper, "loading": _spread(row.peak),
             "hot_spot_c": _spread(row.hot_spot_c), "life_h": _spread(row.life_h),
             "without_evs": {"loading": _number(row.base_peak), "hot_spot_c": _number(row.base_hot_spot_c),
                             "life_h": _number(row.base_life_h)}}
            for row in fact.transformers
        ],
        "inverters": None if fact.inverters is None else {
            "grid_code": fact.inverters.code, "nominal_volts": fact.inverters.nominal_volts,
            "evses": len(fact.inverters.ids), "rated_kva": _total(fact.inverters.rated_kva),
        },
        "lines_without_rating": fact.unrated, "second_engine": {"agrees": fact.agrees, "said": fact.second_engine},
    }


def short_by_cause(facts: SimulationFacts) -> dict[str, float]:
    """Short drivers per replica, by cause; causes that nobody met are left out."""
    counts = np.bincount(facts.visits.cause, minlength=len(CAUSES)) / facts.replicas
    return {
        cause.value: round(float(count), _DIGITS)
        for cause, count in zip(CAUSES, counts, strict=True) if cause is not Cause.NONE and count > 0
    }


def _event(event: EventFact, step_hours: float) -> dict[str, Any]:
    return {
        "id": event.name, "site": event.site_id, "first_step": event.first_step, "steps": event.steps,
        "asked_net_kw": _numbers(event.asked_net_kw), "promised_from": event.promised_from,
        "promised_kw": _numbers(np.median(event.promised_kw, axis=0)),
        "promised_kwh": _spread(event.promised_kwh(step_hours)),
        "delivered_kwh": _spread(event.delivered_kwh(step_hours)), "kept_share": _spread(event.kept_share()),
        "kept_step_share": _numbers(event.is_kept().mean(axis=0)),
    }


def _spread(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Mean and percentiles over replicas."""
    if not np.isfinite(values).all() or not values.size:
        return None
    p10, p50, p90 = np.quantile(values, (0.1, 0.5, 0.9))
    return {name: round(float(value) + 0.0, _DIGITS + 3) for name, value in (
        ("mean", values.mean()), ("p10", p10), ("p50", p50), ("p90", p90),
    )}


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _total(values: NDArray[np.float64]) -> float | None:
    return _number(float(values.sum()))


def _number(value: float) -> float | None:
    return round(value + 0.0, _DIGITS + 3) if np.isfinite(value) else None
