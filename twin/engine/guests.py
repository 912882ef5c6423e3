"""Who comes to the replicas of a block: the rows of a visit table, one for each copy of the fleet they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twin.ensemble import Ensemble
from twin.visits import VisitTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Guests:
    """Visits of one table in all replicas of the block, in order of arrival; columns as in `VisitTable`."""

    slot: Ints
    row: Ints
    vehicle: Ints
    arrival_s: Floats
    departure_s: Floats
    declared_s: Floats
    energy_kwh: Floats
    target_kwh: Floats
    floor_kwh: Floats


class VisitsOverlap(ValueError):
    """Two cars would stand at one EVSE at the same time."""

    @classmethod
    def at(cls, ensemble: Ensemble, guests: Guests, place: int, other_row: int) -> Self:
        """The guest at `place` finds the car of `other_row` (-1: not known) at its EVSE."""
        slot, evses = int(guests.slot[place]), len(ensemble.evses)
        there = f"row {other_row}" if other_row >= 0 else "another row"
        return cls(
            f"row {int(guests.row[place])}, EVSE {ensemble.evses[slot % evses].id} (replica "
            f"{ensemble.first_replica + slot // evses}): the car arrives at {float(guests.arrival_s[place]):g} s while "
            f"the car of {there} is there, expected an empty EVSE"
        )


def guests_of(ensemble: Ensemble, table: VisitTable, first_row: int, replicas: range) -> Guests:
    """Who comes to `replicas`, which `ensemble` holds, within its grid; a car that came before its start is there."""
    evses, end_s = len(ensemble.evses), float(ensemble.grid.step_s * ensemble.grid.steps)
    comes = (table.arrival_s < end_s) & (table.departure_s > 0.0)
    if table.replica is None:
        rows = np.repeat(np.flatnonzero(comes), len(replicas))
        copy = np.tile(np.arange(len(replicas)), rows.size // max(len(replicas), 1))
    else:
        rows = np.flatnonzero(comes & (table.replica >= replicas.start) & (table.replica < replicas.stop))
        copy = table.replica[rows] - replicas.start
    return Guests(
        slot=copy * evses + table.evse[rows], row=rows + first_row, vehicle=table.vehicle[rows],
        arrival_s=np.maximum(table.arrival_s[rows], 0.0), departure_s=table.departure_s[rows].astype(np.float64),
        declared_s=table.declared_s[rows], energy_kwh=table.energy_kwh[rows].astype(np.float64),
        target_kwh=table.target_kwh[rows], floor_kwh=table.floor_kwh[rows].astype(np.float64),
    )
