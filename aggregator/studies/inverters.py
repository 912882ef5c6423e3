"""What the inverters of a run withheld, for its report: rows by EVSE and one figure per course."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation_feeder_facts import InverterRows
from twin.ensemble import Outcome
from twin.scenario import OnFeeder

Floats = NDArray[np.float64]


def inverter_result(on: OnFeeder, outcome: Outcome) -> tuple[InverterRows | None, Mapping[str, Floats]]:
    """Means per course by EVSE, and measures of every course; nothing where the EVSEs have no inverters."""
    record, inverters = outcome.grid, on.inverters
    if record is None or inverters is None:
        return None, {}
    shape = (outcome.ensemble.replicas, len(outcome.ensemble.evses))
    charging, feeding, trips = (
        np.asarray(values, dtype=np.float64).reshape(shape)
        for values in (record.withheld_import_kwh, record.withheld_export_kwh, record.trips)
    )
    rows = InverterRows(
        ids=tuple(evse.id for evse in outcome.ensemble.evses), points=on.scene.evse_points, phases=on.scene.evse_phases,
        code=inverters.each[0].code.name if inverters.each else "", nominal_volts=inverters.nominal_volts,
        rated_kva=np.array([inverter.rated_va for inverter in inverters.each]) / 1000.0,
        withheld_import_kwh=charging.mean(axis=0), withheld_export_kwh=feeding.mean(axis=0), trips=trips.mean(axis=0),
    )
    return rows, {
        "withheld_import_kwh": charging.sum(axis=1), "withheld_export_kwh": feeding.sum(axis=1),
        "inverter_trips": trips.sum(axis=1), "inverter_unsolved_s": record.unsolved_s.copy(),
        "inverter_unsettled_s": record.unsettled_s.copy(),
    }
