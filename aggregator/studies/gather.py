"""From what the engine gives to what a report says: bands over replicas, visits as rows, one figure per replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation import (
    CAUSES,
    Band,
    Cause,
    EventFact,
    SiteFact,
    SocFan,
    VisitColumns,
    WearColumns,
    WearTotals,
)
from twin.ensemble import Outcome
from twin.visits import VisitTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_SAMPLES = 4_000_000
"""Battery states that a SoC fan looks at; a run with more gives every n-th replica."""


@dataclass(frozen=True)
class Rows:
    """The visits of a run in the order of its tables: by replica, then arrival.

    order: rows of `outcome.visits`. table: rows of the visits that were given, one for each.
    """

    order: Ints
    table: Ints
    replica: Ints

    @classmethod
    def of(cls, outcome: Outcome, visits: VisitTable) -> Rows:
        done = outcome.visits
        order = np.lexsort((done.row, visits.arrival_s[done.row], done.replica))
        return cls(order, done.row[order], done.replica[order])


def site_facts(outcome: Outcome) -> tuple[tuple[SiteFact, ...], SiteFact]:
    """Every connection point, and all of them together (the site itself where there is only one)."""
    ensemble = outcome.ensemble
    hours = ensemble.grid.step_hours
    charge, discharge, net = outcome.import_kwh / hours, outcome.export_kwh / hours, outcome.net_kw
    caps, export_caps = ensemble.import_cap_kw, ensemble.export_cap_kw
    over_import_kwh = np.maximum(net - caps, 0.0).sum(axis=2) * hours
    over_export_kwh = np.maximum(-net - export_caps, 0.0).sum(axis=2) * hours

    def fact(name: str, of: slice | int) -> SiteFact:
        chosen = slice(of, of + 1) if isinstance(of, int) else of
        base = ensemble.base_load_kw[chosen].sum(axis=0)
        into, out = charge[:, chosen].sum(axis=1), discharge[:, chosen].sum(axis=1)
        return SiteFact(
            name, base, caps[chosen].sum(axis=0), export_caps[chosen].sum(axis=0), Band.of(into - out + base),
            Band.of(into - out), Band.of(into), Band.of(out),
            (over_import_kwh + over_export_kwh)[:, chosen].sum(axis=1), over_export_kwh[:, chosen].sum(axis=1),
            (-net[:, chosen]).max(axis=(1, 2), initial=0.0),
        )

    sites = tuple(fact(site.id, index) for index, site in enumerate(ensemble.sites))
    return sites, sites[0] if len(sites) == 1 else fact("all sites together", slice(None))


def soc_fan(outcome: Outcome, visits: VisitTable) -> SocFan | None:
    """Percentiles of the SoC at the end of each step; None if the run did not record its chargers or had no cars."""
    if outcome.battery_kwh is None or not len(visits):
        return None
    ensemble = outcome.ensemble
    replicas, evses, steps = outcome.battery_kwh.shape
    every = -(-outcome.battery_kwh.size // _MOST_SAMPLES)
    soc = outcome.battery_kwh[::every] / _capacity_kwh(outcome, visits)[::every]
    samples = soc.reshape(-(-replicas // every) * evses, steps)
    there = np.isfinite(samples).any(axis=0)
    fan = np.full((3, ensemble.grid.steps), np.nan)
    if there.any():
        fan[:, there] = np.nanquantile(samples[:, there], (0.1, 0.5, 0.9), axis=0)
    return SocFan(*fan)


def _capacity_kwh(outcome: Outcome, visits: VisitTable) -> Floats:
    """Capacity of the car at each EVSE at the end of each step, shape (replica, evse, step); NaN without a car."""
    ensemble = outcome.ensemble
    grid = ensemble.grid
    by_class = np.array([vehicle.battery.capacity_kwh for vehicle in ensemble.vehicles])
    done = outcome.visits
    # Where every car has one size, nothing needs to be looked up.
    capacity = np.full((ensemble.slots, grid.steps), by_class[0])
    if np.unique(by_class[visits.vehicle]).size > 1:
        slot = done.replica * len(ensemble.evses) + visits.evse[done.row]
        first = np.floor(np.maximum(visits.arrival_s[done.row], 0.0) / grid.step_s).astype(np.int64)
        order = np.argsort(visits.arrival_s[done.row], kind="stable")
        kwh = by_class[visits.vehicle[done.row]]
        for visit in order[first[order] < grid.steps].tolist():
            capacity[slot[visit], first[visit]:] = kwh[visit]
    return capacity.reshape(ensemble.replicas, len(ensemble.evses), grid.steps)


def visit_columns(
    outcome: Outcome, visits: VisitTable, rows: Rows, causes: Ints, full_power_kwh: Floats, event_kwh: Floats,
    wear: WearColumns | None = None,
) -> VisitColumns:
    """The visits as they go into tables and reports; the arguments after `rows` are in their order."""
    ensemble, done = outcome.ensemble, outcome.visits
    evse_ids = [evse.id for evse in ensemble.evses]
    models = [vehicle.model for vehicle in ensemble.vehicles]
    at = rows.table
    labels = [visits.ids[row] for row in at.tolist()] if visits.ids else [str(row) for row in at.tolist()]
    return VisitColumns(
        label=tuple(labels), replica=rows.replica,
        evse_id=tuple(evse_ids[index] for index in visits.evse[at].tolist()),
        vehicle=tuple(models[index] for index in visits.vehicle[at].tolist()),
        arrival_s=visits.arrival_s[at], departure_s=visits.departure_s[at], declared_s=visits.declared_s[at],
        arrival_kwh=visits.energy_kwh[at], target_kwh=visits.target_kwh[at],
        energy_kwh=done.energy_kwh[rows.order], imported_kwh=done.imported_kwh[rows.order],
        exported_kwh=done.exported_kwh[rows.order], lost_kwh=done.lost_kwh[rows.order],
        shortfall_kwh=done.shortfall_kwh[rows.order], has_left=done.has_left[rows.order],
        full_power_kwh=full_power_kwh, event_kwh=event_kwh, cause=causes, wear=wear,
    )


def measures(
    outcome: Outcome, visits: VisitColumns, whole: SiteFact, events: Sequence[EventFact]
) -> Mapping[str, Floats]:
    """The figures by which runs are compared, each of shape (replicas,); see `reports.simulation.MEASURES`."""
    ensemble, ledger = outcome.ensemble, outcome.ledger
    replicas, hours = ensemble.replicas, ensemble.grid.step_hours
    net = outcome.net_kw

    def per_replica(by_slot: Floats) -> Floats:
        sums: Floats = by_slot.reshape(replicas, -1).sum(axis=1)
        return sums

    def count(of: NDArray[np.bool_], weights: Floats | None = None) -> Floats:
        chosen = None if weights is None else weights[of]
        return np.bincount(visits.replica[of], weights=chosen, minlength=replicas).astype(np.float64)

    everyone, short = np.ones(len(visits), dtype=np.bool_), visits.is_short
    gone, stays = visits.has_left, ~visits.has_left
    found = {
        "visits": count(everyone),
        "short_drivers": count(short),
        "short_kwh": count(short, visits.shortfall_kwh),
        "plugged_in": count(stays),
        "plugged_in_kwh": count(stays, visits.shortfall_kwh),
        "peak_kw": net.max(axis=(1, 2), initial=0.0),
        "over_cap_kwh": whole.over_cap_kwh,
        "site_import_kwh": np.maximum(net, 0.0).sum(axis=(1, 2)) * hours,
        "site_export_kwh": np.maximum(-net, 0.0).sum(axis=(1, 2)) * hours,
        "ev_import_kwh": per_replica(ledger.import_kwh),
        "ev_export_kwh": per_replica(ledger.export_kwh),
        "battery_kwh": per_replica(ledger.battery_kwh),
        "loss_kwh": per_replica(ledger.loss_kwh),
    }
    if events:
        promised = np.sum([event.promised_kwh(hours) for event in events], axis=0)
        found["event_delivered_kwh"] = np.sum([event.delivered_kwh(hours) for event in events], axis=0)
        if promised.any():
            due = np.sum([event.due_kwh(hours) for event in events], axis=0)
            found["event_kept_share"] = np.where(promised > 0.0, due / np.where(promised > 0.0, promised, 1.0), 1.0)
        found["event_short_drivers"] = count(visits.cause == CAUSES.index(Cause.EVENT))
        found["event_short_kwh"] = count(gone & np.isfinite(visits.event_kwh), visits.event_kwh)
    if visits.wear is not None:
        worn = WearTotals.of(visits.wear, visits.replica, replicas)
        found |= {"throughput_kwh": worn.throughput_kwh, "wear_calendar": worn.calendar, "wear_cycle": worn.cycle,
                  "wear": worn.life}
        if events:
            found["event_wear"] = worn.event_life
    return found
