"""`result.json`: what a run came to, for machines. `by_replica` is what runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation_facts import CAUSES, MEASURES, Cause, EventFact, SimulationFacts
from aggregator.reports.simulation_warnings import warnings
from aggregator.reports.simulation_wear import wear_totals
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
    return [round(value + 0.0, _DIGITS + 3) if np.isfinite(value) else None for value in values.tolist()]
