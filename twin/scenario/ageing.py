"""How the cars' batteries age in a scenario: which cells they have, how warm they are, when a battery is used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from twin.ageing import CELLS, StayWear, stay_wear
from twin.assets import TimeGrid
from twin.ensemble import Outcome
from twin.scenario.fleet import Model
from twin.scenario.tables import AgeingTable
from twin.visits import VisitTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MONTHS = 12


@dataclass(frozen=True, slots=True)
class Ageing:
    """What is needed to judge the stays of a run.

    cells: name in `twin.ageing.CELLS` for each vehicle class of the ensemble. temperature_c: of the batteries, for
    the twelve months. end_of_life, look_ahead_years: as in `twin.ageing.wear`.
    """

    cells: tuple[str, ...]
    temperature_c: tuple[float, ...]
    end_of_life: float
    look_ahead_years: float

    def wear(self, outcome: Outcome, visits: VisitTable) -> StayWear:
        """What each stay of `outcome` took, each at the temperature of the local month in which it began.

        Raises:
            AgeingError: the run kept no record by EVSE.
        """
        site = outcome.ensemble.sites[0]
        months = months_of(outcome.ensemble.grid, ZoneInfo(site.timezone), visits.arrival_s[outcome.visits.row])
        return stay_wear(
            outcome, visits, self.cells, temperature_c=np.array(self.temperature_c)[months],
            end_of_life=self.end_of_life, look_ahead_years=self.look_ahead_years,
        )


def ageing_of(table: AgeingTable | None, models: Mapping[str, Model]) -> tuple[Ageing | None, tuple[str, ...]]:
    """The table's settings for these models, and what they assume, in sentences; None where wear is not asked for."""
    if table is None or not table.enabled:
        return None, ()
    monthly = table.temperature_c if isinstance(table.temperature_c, list) else [table.temperature_c] * MONTHS
    ageing = Ageing(
        tuple(model.chemistry or table.chemistry for model in models.values()), tuple(monthly), table.end_of_life,
        table.look_ahead_years,
    )
    low, high = min(monthly), max(monthly)
    warm = f"{low:g} °C" if low == high else f"{low:g} to {high:g} °C, by month"
    assumed = [
        (f"Batteries are at {warm}, and used up at {100 * table.end_of_life:g} % of their first capacity; a stay takes "
         "of a battery's life what it would take if it were lived every day."),
    ]
    unknown = [name for name, model in models.items() if model.chemistry is None]
    if unknown:
        assumed.append(f"Batteries of {', '.join(unknown)} age like this cell: {CELLS[table.chemistry].source}.")
    return ageing, tuple(assumed)


def months_of(grid: TimeGrid, zone: ZoneInfo, seconds: Floats) -> Ints:
    """Local month, 0 to 11, of each of these times after the grid's start."""
    if not seconds.size:
        return np.zeros(0, dtype=np.int64)
    first = (grid.start + timedelta(seconds=float(seconds.min()))).astimezone(zone)
    last_s = float(seconds.max())
    year, month = first.year, first.month
    edges: list[float] = []
    while not edges or edges[-1] <= last_s:
        year, month = (year + 1, 1) if month == MONTHS else (year, month + 1)
        edges.append((datetime(year, month, 1, tzinfo=zone).astimezone(UTC) - grid.start).total_seconds())
    months: Ints = (first.month - 1 + np.searchsorted(np.array(edges), seconds, side="right")) % MONTHS
    return months
