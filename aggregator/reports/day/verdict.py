"""Judge a day: was the promise kept?

The promise is the design's: no driver leaves short because of a grid service, the site stays under its cap and the
grid gets what it was promised, all of it measured. A criterion that could not be measured is not met.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from aggregator.reports.day.facts import DayFacts
from aggregator.reports.day.outcomes import (
    COMMITMENT_TOLERANCE,
    GRACE_WALL_S,
    MAX_UNMEASURED_SHARE,
    MIN_DISCHARGE_KWH,
    SHORT_KWH,
    Cause,
    CeilingResult,
    Short,
    ceiling_result,
    discharged_kwh,
    quarter_results,
    short_of,
)

WIRE_EVS = 3
"""Cars on the wire that have to discharge."""


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
