"""Visits as columns: one row per car that comes, for fleets too large for one object each.

The engine reads these; `twin.drivers` redraws them for every replica, the scenario and the importers make them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS = ("evse", "vehicle", "arrival_s", "departure_s", "declared_s", "energy_kwh", "target_kwh", "floor_kwh")


class VisitTableError(ValueError):
    """A row of a visit table is impossible; the message names row, column, value and what was expected.

    row: its index, or -1 where the table as a whole is wrong.
    """

    def __init__(self, row: int, column: str, value: object, expected: str) -> None:
        where = f"row {row}, {column}" if row >= 0 else column
        super().__init__(f"{where}: {value!r}, expected {expected}")
        self.row = row
        self.column = column


@dataclass(frozen=True)
class VisitTable:
    """One row per visit, in order of arrival. Times are seconds after the start of the time grid.

    evse: index of the EVSE in the ensemble. vehicle: index of the vehicle class.
    arrival_s, departure_s: when the car is really plugged in and out. declared_s: departure the driver declares.
    energy_kwh: in the battery on arrival; target_kwh: wanted at departure; floor_kwh: no discharge below it.
    replica: copy of the fleet the row belongs to; None: the same rows in every copy.
    ids: names of the visits for reports; may be empty where nobody asks for one visit.
    """

    evse: Ints
    vehicle: Ints
    arrival_s: Floats
    departure_s: Floats
    declared_s: Floats
    energy_kwh: Floats
    target_kwh: Floats
    floor_kwh: Floats
    replica: Ints | None = None
    ids: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        rows = self.evse.shape
        for column in COLUMNS:
            shape = getattr(self, column).shape
            if len(shape) != 1 or shape != rows:
                raise VisitTableError(-1, column, shape, f"shape {rows}, one value per visit")
        if self.replica is not None and self.replica.shape != rows:
            raise VisitTableError(-1, "replica", self.replica.shape, f"shape {rows}, one value per visit")
        if self.ids and len(self.ids) != rows[0]:
            raise VisitTableError(-1, "ids", len(self.ids), f"{rows[0]} names or none")
        self._require(self.departure_s > self.arrival_s, "departure_s", "a time after arrival_s")
        self._require(self.energy_kwh >= 0.0, "energy_kwh", "0 kWh or more")
        self._require(self.target_kwh >= 0.0, "target_kwh", "0 kWh or more")
        self._require(self.floor_kwh >= 0.0, "floor_kwh", "0 kWh or more")
        self._require(np.diff(self.arrival_s, prepend=-np.inf) >= 0.0, "arrival_s", "rows in order of arrival")

    def _require(self, holds: NDArray[np.bool_], column: str, expected: str) -> None:
        if not holds.all():
            row = int(np.argmin(holds))
            raise VisitTableError(row, column, float(getattr(self, column)[row]), expected)

    def __len__(self) -> int:
        return int(self.evse.size)

    def take(self, rows: Ints | NDArray[np.bool_]) -> Self:
        """The chosen rows, which must be in order of arrival."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return replace(
            self, **{column: getattr(self, column)[chosen] for column in COLUMNS},
            replica=None if self.replica is None else self.replica[chosen],
            ids=tuple(self.ids[row] for row in chosen.tolist()) if self.ids else (),
        )


@dataclass(frozen=True)
class Revisions:
    """Drivers who change their mind while the car is plugged in; one row per change, in order of time.

    row: the visit, counted over all tables of the run. replica: the copy of the fleet; -1: all copies.
    time_s: when the driver says so, seconds after the start of the grid; a change before the plug-in or after the
        unplugging of that visit is not heard.
    declared_s, target_kwh: what is declared and wanted from then on; NaN: as before.
    """

    row: Ints
    replica: Ints
    time_s: Floats
    declared_s: Floats
    target_kwh: Floats

    def __post_init__(self) -> None:
        for column in ("replica", "time_s", "declared_s", "target_kwh"):
            shape = getattr(self, column).shape
            if shape != self.row.shape or len(shape) != 1:
                raise VisitTableError(-1, column, shape, f"shape {self.row.shape}, one value per revision")
        wrong = np.flatnonzero(self.target_kwh < 0.0)
        if wrong.size:
            raise VisitTableError(int(wrong[0]), "target_kwh", float(self.target_kwh[wrong[0]]), "0 kWh or more")

    def __len__(self) -> int:
        return int(self.row.size)
