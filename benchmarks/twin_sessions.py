"""The sessions that the speed of the twin is measured on: two per EVSE and day, drawn by one rule for all engines.

Per EVSE and day one session from 07:00-09:00 to 15:00-17:00 and one from 17:30-19:00 to 23:30, on whole steps of
15 min; SoC on arrival evenly between 0.2 and 0.6. A file (CSV: evse, arrival_step, departure_step, soc_arrival)
replaces the draw. Values are rounded to 32 bits once, so that every engine starts from the same numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twin.assets import Battery, Current, Evse, LossCurve, PowerCurve, Site, TimeGrid, Vehicle
from twin.ensemble import Ensemble
from twin.visits import VisitTable

STEP_S = 900
STEPS_PER_DAY = 96
CAPACITY_KWH = 60.0
POWER_KW = 11.04
TAPER_FROM = 0.8
EFFICIENCY = 0.95
EVSES_PER_SITE = 100
CAP_SHARE = 0.4

START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Sessions:
    """Columns in order of arrival; steps count from the start of the run. replica: -1 for all."""

    evse: NDArray[np.int32]
    arrival_step: NDArray[np.int32]
    departure_step: NDArray[np.int32]
    soc_arrival: NDArray[np.float32]
    replica: NDArray[np.int32] | None = None

    def table(self) -> VisitTable:
        """As the engine reads them: the target is a full battery."""
        n = self.evse.size
        leaves = self.departure_step * float(STEP_S)
        return VisitTable(
            self.evse.astype(np.int64), np.zeros(n, dtype=np.int64), self.arrival_step * float(STEP_S), leaves, leaves,
            self.soc_arrival.astype(np.float64) * CAPACITY_KWH, np.full(n, CAPACITY_KWH), np.zeros(n),
            None if self.replica is None else self.replica.astype(np.int64),
        )


def draw_day(evses: int, day: int, replicas: int = 1, seed: int = 1) -> Sessions:
    """The sessions of one day; with several replicas each has its own."""
    rng = np.random.default_rng([seed, day])
    n = evses * replicas
    morning, evening = rng.integers(28, 36, n), rng.integers(70, 76, n)
    leaves = rng.integers(60, 68, n)
    arrival = np.concatenate([morning, evening]) + day * STEPS_PER_DAY
    departure = np.concatenate([leaves, np.full(n, 94)]) + day * STEPS_PER_DAY
    soc = rng.uniform(0.2, 0.6, 2 * n)
    order = np.argsort(arrival, kind="stable")
    slot = np.tile(np.arange(n), 2)[order]
    return Sessions(
        (slot % evses).astype(np.int32), arrival[order].astype(np.int32), departure[order].astype(np.int32),
        soc[order].astype(np.float32), (slot // evses).astype(np.int32) if replicas > 1 else None,
    )


def draw(evses: int, days: int, replicas: int = 1) -> Iterator[Sessions]:
    """Day by day, so that a year never stands in memory at once."""
    for day in range(days):
        yield draw_day(evses, day, replicas)


def read(path: Path) -> Sessions:
    """Sessions of a file; raise a `ValueError` that names row and field where one is wrong."""
    names = ("evse", "arrival_step", "departure_step", "soc_arrival")
    columns: dict[str, list[float]] = {name: [] for name in names}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            for name in names:
                try:
                    columns[name].append(float(row[name]))
                except (KeyError, TypeError, ValueError):
                    raise ValueError(f"{path}:{number}: {name}: {row.get(name)!r}, expected a number") from None
    order = np.argsort(columns["arrival_step"], kind="stable")
    whole = {name: np.array(columns[name])[order] for name in names}
    return Sessions(
        whole["evse"].astype(np.int32), whole["arrival_step"].astype(np.int32),
        whole["departure_step"].astype(np.int32), whole["soc_arrival"].astype(np.float32),
    )


def fleet(evses: int, days: int, replicas: int = 1, *, is_capped: bool) -> Ensemble:
    """Sites of 100 EVSEs; capped at 40 % of the summed ratings, or not at all.

    The car: constant power up to the taper, then in proportion to what is missing, 95 % efficiency.
    """
    curve = PowerCurve((0.0, TAPER_FROM, 1.0), (POWER_KW * EFFICIENCY, POWER_KW * EFFICIENCY, 0.0))
    # c = b + p*b with b = efficiency * c
    battery = Battery(CAPACITY_KWH, curve, loss=LossCurve(proportional=1.0 / EFFICIENCY - 1.0))
    count = -(-evses // EVSES_PER_SITE)
    sizes = np.bincount(np.arange(evses) // EVSES_PER_SITE, minlength=count)
    grid = TimeGrid(START, STEP_S, STEPS_PER_DAY * days)
    caps = sizes * POWER_KW * (CAP_SHARE if is_capped else 1.0)
    by_step = np.broadcast_to(caps[:, None], (count, grid.steps))
    nothing = np.broadcast_to(np.zeros((count, 1)), (count, grid.steps))
    return Ensemble(
        tuple(Site(f"S{site}", "UTC", float(cap)) for site, cap in enumerate(caps)),
        tuple(
            Evse(f"E{number}", f"S{number // EVSES_PER_SITE}", Current.AC, POWER_KW) for number in range(evses)
        ),
        (Vehicle("bench", battery, POWER_KW),), grid, nothing, by_step, nothing, replicas,
    )
