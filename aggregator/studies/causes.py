"""Why drivers left short, found out and not guessed: by physics at full power, and by the course without the event."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation import CAUSES, SHORT_KWH, Cause
from aggregator.studies.gather import Rows
from twin.assets import Evse, TimeGrid
from twin.controllers import Uncontrolled
from twin.engine import run
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.visits import VisitTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_EARLY_S = 60.0
"""Leaving less than this before the declared departure is not early."""


@dataclass(frozen=True)
class Verdict:
    """In the order of `rows`. cause: index into `CAUSES`; full_power_kwh, event_kwh: see `VisitColumns`."""

    cause: Ints
    full_power_kwh: Floats
    event_kwh: Floats


def find_causes(
    outcome: Outcome, visits: VisitTable, rows: Rows, *,
    without_event: Outcome | None = None, faults: FaultPlan | None = None, changed: Ints | None = None,
) -> Verdict:
    """The cause of every shortfall above `SHORT_KWH` of who has left, the first that holds in the order of `Cause`.

    without_event: the same visits, drivers and faults without the event. changed: rows of `visits` whose driver
    changed the wish or the departure on the way.
    """
    missing = outcome.visits.shortfall_kwh[rows.order]
    event_kwh = np.full(missing.shape, np.nan)
    if without_event is not None:
        paired = Rows.of(without_event, visits)
        event_kwh = missing - without_event.visits.shortfall_kwh[paired.order]
    short = np.flatnonzero((missing > SHORT_KWH) & outcome.visits.has_left[rows.order])
    cause = np.full(missing.shape, CAUSES.index(Cause.NONE))
    full_power_kwh = np.full(missing.shape, np.nan)
    if not short.size:
        return Verdict(cause, full_power_kwh, event_kwh)

    at = rows.table[short]
    left_s, declared_s = visits.departure_s[at], visits.declared_s[at]
    left_early = left_s < declared_s - _EARLY_S
    target_kwh = visits.target_kwh[at]
    declared_kwh = full_power(outcome.ensemble, visits, at, declared_s)
    really_kwh = full_power(outcome.ensemble, visits, at, np.minimum(left_s, declared_s))
    full_power_kwh[short] = really_kwh

    holds = {
        Cause.EVENT: missing[short] - np.nan_to_num(event_kwh[short]) <= SHORT_KWH,
        Cause.STAY: declared_kwh < target_kwh - SHORT_KWH,
        Cause.LEFT_EARLY: left_early & (really_kwh < target_kwh - SHORT_KWH),
        Cause.FAULT: _met_a_fault(outcome.ensemble, visits, at, rows.replica[short], faults),
        Cause.CHANGED: np.isin(at, changed) if changed is not None else np.zeros(at.shape, dtype=np.bool_),
        Cause.EARLY_AND_SHARED: left_early,
        Cause.SHARED: np.ones(at.shape, dtype=np.bool_),
    }
    cause[short] = np.select(list(holds.values()), [CAUSES.index(one) for one in holds])
    return Verdict(cause, full_power_kwh, event_kwh)


def full_power(ensemble: Ensemble, visits: VisitTable, rows: Ints, until_s: Floats) -> Floats:
    """Battery energy of the visits `rows` at `until_s` if each charged at full power from arrival, up to its target.

    Each has a charger of its kind to itself: no cap, no fault, no delay, and as much time as that takes.
    """
    arrival_s = visits.arrival_s[rows]
    energy_kwh = visits.energy_kwh[rows].copy()
    stays = np.flatnonzero(until_s > arrival_s)
    if not stays.size:
        return energy_kwh
    order = stays[np.argsort(arrival_s[stays], kind="stable")]
    chosen = rows[order]
    alone = VisitTable(
        evse=np.arange(order.size), vehicle=visits.vehicle[chosen], arrival_s=arrival_s[order],
        departure_s=until_s[order], declared_s=until_s[order], energy_kwh=visits.energy_kwh[chosen],
        target_kwh=visits.target_kwh[chosen], floor_kwh=visits.floor_kwh[chosen],
    )
    chargers = _one_charger_each(ensemble, visits.evse[chosen], float(until_s[order].max()))
    done = run(chargers, alone, Uncontrolled(), response=False, record_evses=False).visits
    energy_kwh[order[done.row]] = done.energy_kwh
    return energy_kwh


def _one_charger_each(ensemble: Ensemble, evses: Ints, until_s: float) -> Ensemble:
    """A copy of the charger of each visit, at its site, in one step that ends after `until_s`."""
    copies: list[Evse] = [replace(ensemble.evses[index], id=str(k)) for k, index in enumerate(evses.tolist())]
    grid = TimeGrid(ensemble.grid.start, int(until_s) + 1, 1)
    nothing, everything = np.zeros((len(ensemble.sites), 1)), np.full((len(ensemble.sites), 1), np.inf)
    return Ensemble(ensemble.sites, tuple(copies), ensemble.vehicles, grid, nothing, everything, everything)


def _met_a_fault(
    ensemble: Ensemble, visits: VisitTable, rows: Ints, replicas: Ints, faults: FaultPlan | None
) -> NDArray[np.bool_]:
    """A fault interval of the charger overlaps the stay."""
    met = np.zeros(rows.shape, dtype=np.bool_)
    if faults is None or not faults.intervals.slot.size:
        return met
    slots = replicas * len(ensemble.evses) + visits.evse[rows]
    by_slot = np.argsort(faults.intervals.slot, kind="stable")
    ordered = faults.intervals.slot[by_slot]
    first, last = np.searchsorted(ordered, slots, "left"), np.searchsorted(ordered, slots, "right")
    for k, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        these = by_slot[low:high]
        overlaps = (
            (faults.intervals.start_s[these] < visits.departure_s[rows[k]])
            & (faults.intervals.end_s[these] > visits.arrival_s[rows[k]])
        )
        met[k] = bool(overlaps.any())
    return met
