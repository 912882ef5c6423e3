"""What the inverters of a run withheld, for its report: rows by EVSE and one figure per course."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation.feeder import InverterRows
from twin.ensemble import Outcome
from twin.scenario import OnFeeder

Floats = NDArray[np.float64]

MEASURES = ("withheld_import_kwh", "withheld_export_kwh", "inverter_trips", "inverter_unsolved_s",
            "inverter_unsettled_s")


def inverter_result(on: OnFeeder, outcome: Outcome) -> tuple[InverterRows | None, Mapping[str, Floats]]:
    """Means per course by EVSE (None where EVSEs have no inverters), and measures of every course: zeros then."""
    record, inverters = outcome.grid, on.inverters
    if record is None or inverters is None:
        return None, {key: np.zeros(outcome.ensemble.replicas) for key in MEASURES}
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
    values = (
        charging.sum(axis=1), feeding.sum(axis=1), trips.sum(axis=1), record.unsolved_s.copy(),
        record.unsettled_s.copy(),
    )
    return rows, dict(zip(MEASURES, values, strict=True))
