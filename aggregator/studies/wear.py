"""What a run took of the cars' batteries, visit by visit, and how much of it an event added."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation import AgeingFact, WearColumns
from aggregator.studies.gather import Rows
from twin.ageing import CELLS, StayWear
from twin.ensemble import Ensemble, Outcome
from twin.scenario import Ageing
from twin.visits import VisitTable

Floats = NDArray[np.float64]


def wear_columns(
    wear: StayWear, rows: Rows, visits: VisitTable, without_event: tuple[Outcome, StayWear] | None = None
) -> WearColumns:
    """The wear of a run in the order of `rows`; without_event: the same run without the event, and its wear."""
    calendar, cycle, kwh = wear.calendar[rows.order], wear.cycle[rows.order], wear.battery_kwh[rows.order]
    if without_event is None:
        unknown = np.full(calendar.shape, np.nan)
        return WearColumns(calendar, cycle, kwh, unknown, unknown, unknown)
    outcome, before = without_event
    paired = Rows.of(outcome, visits).order
    return WearColumns(
        calendar, cycle, kwh, calendar - before.calendar[paired], cycle - before.cycle[paired],
        kwh - before.battery_kwh[paired],
    )


def ageing_fact(ageing: Ageing, ensemble: Ensemble) -> AgeingFact:
    """By what wear was judged, in words."""
    cells: Mapping[str, str] = {
        vehicle.model: CELLS[cell].source for vehicle, cell in zip(ensemble.vehicles, ageing.cells, strict=True)
    }
    return AgeingFact(cells, ageing.temperature_c, ageing.end_of_life, ageing.look_ahead_years)
