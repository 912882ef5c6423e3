"""Plans as files: JSON to read, NPZ for large fleets; docs/planner.md has the schema."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from aggregator.planning.fleet.plan import Plan
from aggregator.planning.fleet.problem import PRODUCTS, Problem
from aggregator.planning.fleet.short import lacks, most_energy
from aggregator.planning.fleet.why import Reason, binding
from aggregator.planning.fleet.words import lack_words

FORMAT: Final = "v2g-fleet-plan/1"
Why = Mapping[int, tuple[Reason, ...]]
NOTHING: Final[Why] = MappingProxyType({})
_FELT_KWH: Final = 1e-6  # below is solver noise
_LOOKED_INTO: Final = 1000  # cars that leave short, of which the file says what was in the way
_NAMED: Final = 20  # binding limits that a file names, dearest first


def summary(problem: Problem, plan: Plan) -> dict[str, Any]:
    """What a plan comes to, without its series."""
    evs = problem.evs
    return {
        "format": FORMAT, "status": plan.status, "objective": plan.objective,
        "bound": _finite(plan.bound), "gap": _finite(plan.gap),
        "costs": plan.outcome.costs, "seconds": plan.seconds, "repair": asdict(plan.repair),
        "evs": len(evs), "sites": len(problem.sites), "steps": problem.steps,
        "shortfalls": _short(problem, plan),
        "events": _events(problem, plan),
        "reserve_check": _reserve_check(plan),
        "alarms": list(plan.alarms),
        "binding": [{**asdict(item), "in_words": str(item)} for item in binding(problem, plan)[:_NAMED]],
    }


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if np.isfinite(value) else None


def _reserve_check(plan: Plan) -> dict[str, Any] | None:
    check = plan.reserve_check
    return None if check is None else {
        "sold_first_kw": dict(zip(PRODUCTS, check.sold_kw.tolist(), strict=True)), "checks": check.checks,
        "judged": check.judged}


def _short(problem: Problem, plan: Plan) -> list[dict[str, Any]]:
    ids, missing, possible = problem.evs.ids, plan.outcome.shortfall_kwh, most_energy(problem)
    found = [
        {"id": ids[lack.ev], "missing_kwh": lack.missing_kwh, "possible_kwh": lack.possible_kwh,
         "beyond_kw": lack.beyond_kw, "more_kw": lack.more_kw, "steps": list(lack.steps), "limits": dict(lack.limits),
         "in_words": lack_words(lack)} for lack in lacks(problem, plan, _LOOKED_INTO)]
    order = np.argsort(-missing, kind="stable")[_LOOKED_INTO:]
    return found + [{"id": ids[ev], "missing_kwh": float(missing[ev]), "possible_kwh": float(possible[ev])}
                    for ev in order[missing[order] > _FELT_KWH].tolist()]


def _events(problem: Problem, plan: Plan) -> list[dict[str, Any]]:
    found, at = [], 0
    for event in problem.events:
        own = slice(at, at + len(event.steps))
        at = own.stop
        found.append({
            "id": event.id, "steps": event.steps.tolist(), "max_net_kw": event.max_net_kw.tolist(),
            "net_kw": plan.outcome.event_net_kw[own].tolist(),
            "shortfall_kw": plan.outcome.event_shortfall_kw[own].tolist(),
            "shortfall_kwh": problem.step_h * float(plan.outcome.event_shortfall_kw[own].sum())})
    return found


def as_json(problem: Problem, plan: Plan, why: Why = NOTHING) -> dict[str, Any]:
    """The JSON form of a plan. why: reasons of the steps of some EVs, by their number."""
    evs, sites = problem.evs, problem.sites
    found = summary(problem, plan)
    found["evs"] = [
        {"id": name, "site": sites.ids[evs.site[k]], "arrive": int(evs.arrive[k]), "depart": int(evs.depart[k]),
         "power_kw": plan.power_kw[k, evs.arrive[k]:evs.depart[k]].tolist(),
         "leaves_with_kwh": float(plan.outcome.energy_kwh[k, -1]),
         "missing_kwh": float(plan.outcome.shortfall_kwh[k])} for k, name in enumerate(evs.ids)]
    found["sites"] = [
        {"id": name, "net_kw": plan.outcome.net_kw[k].tolist(), "peak_kw": float(plan.outcome.peak_kw[k]),
         "curtailed_kw": plan.schedule.curtailed_kw[k].tolist(),
         "unserved_kw": plan.schedule.unserved_kw[k].tolist(), "spilled_kw": plan.schedule.spilled_kw[k].tolist()}
        for k, name in enumerate(sites.ids)]
    found["reserve_kw"] = dict(zip(PRODUCTS, plan.schedule.reserve_kw.tolist(), strict=True))
    found["why"] = _explained(problem, why)
    return found


def _explained(problem: Problem, why: Why) -> dict[str, Any]:
    return {problem.evs.ids[ev]: [asdict(reason) for reason in found] for ev, found in why.items()}


def plan_bytes(problem: Problem, plan: Plan, path: Path, why: Why = NOTHING) -> bytes:
    """What a plan's file holds: .npz arrays and the summary as JSON text, or JSON under any other name."""
    if path.suffix != ".npz":
        return (json.dumps(as_json(problem, plan, why)) + "\n").encode()
    text = summary(problem, plan)
    text["why"] = _explained(problem, why)
    file = io.BytesIO()
    np.savez_compressed(
        file, summary=np.array(json.dumps(text)), ev_ids=np.array(problem.evs.ids, dtype=str),
        site_ids=np.array(problem.sites.ids, dtype=str), charge_kw=plan.schedule.charge_kw,
        discharge_kw=plan.schedule.discharge_kw, energy_kwh=plan.outcome.energy_kwh, net_kw=plan.outcome.net_kw,
        curtailed_kw=plan.schedule.curtailed_kw, unserved_kw=plan.schedule.unserved_kw,
        spilled_kw=plan.schedule.spilled_kw, reserve_kw=plan.schedule.reserve_kw)
    return file.getvalue()
