"""What the time at the chargers takes of the cars' batteries, read from the record of a run.

A run sees a car from plug to unplug and not how old its battery is, but ageing is steepest when new and depends on
what else a battery does. So each stay is judged as if the battery lived it every day: the stay, then a drive from the
SoC at departure back to the SoC at arrival in what is left of the day. Of the life that such a day takes on average,
the stay bears the calendar's part by its hours and the cycles' part by its kWh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.ageing.cells import CellModel
from twin.ageing.fleet import HOURS_PER_DAY, AgeingError, day_stress, wear_of
from twin.ensemble import Outcome
from twin.visits import VisitTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAMPLES: Final = 49
"""Samples of a day around a stay: one each half hour."""
DRIVE_H: Final = 1.0
"""Hours left for driving after a stay that fills its day."""
BLOCK: Final = 20_000
"""Stays that are judged at once, to bound memory."""


@dataclass(frozen=True)
class StayWear:
    """What each stay took, in the order of `Outcome.visits`, as fractions of a battery's life.

    calendar: by time and SoC at the charger. cycle: by charging and discharging there. battery_kwh: charged and
    discharged kWh together.
    """

    calendar: Floats
    cycle: Floats
    battery_kwh: Floats

    @property
    def life(self) -> Floats:
        """Fraction of life in all."""
        both: Floats = self.calendar + self.cycle
        return both

    @property
    def per_kwh(self) -> float:
        """Fraction of life that cycling took per kWh, over all stays; 0 if nothing flowed."""
        kwh = float(self.battery_kwh.sum())
        return float(self.cycle.sum()) / kwh if kwh > 0.0 else 0.0


def stay_wear(
    outcome: Outcome, visits: VisitTable, cells: Sequence[CellModel | str], *,
    temperature_c: float | Floats = 20.0, end_of_life: float = 0.8, look_ahead_years: float = 15.0,
) -> StayWear:
    """The wear of every stay of a run.

    Args:
        outcome: of a run that recorded its EVSEs.
        visits: the table that was run; its rows are those of `outcome.visits`.
        cells: cell model, or its name, of each vehicle class of the ensemble.
        temperature_c: of the batteries: one number, or one for each stay in the order of `outcome.visits`.
        end_of_life: as in `twin.ageing.wear`.
        look_ahead_years: as in `twin.ageing.wear`.

    Raises:
        AgeingError: the run kept no record by EVSE, or `cells` or `temperature_c` has a wrong length.
    """
    vehicles = outcome.ensemble.vehicles
    if len(cells) != len(vehicles):
        raise AgeingError(f"cells: {len(cells)} models, expected one for each of the {len(vehicles)} vehicle classes")
    stays = outcome.visits.row.size
    celsius = np.asarray(temperature_c, dtype=np.float64)
    if celsius.shape not in ((), (stays,)):
        raise AgeingError(f"temperature_c: shape {celsius.shape}, expected one number, or one for each stay ({stays})")
    celsius = np.broadcast_to(celsius, stays)
    calendar, cycle, battery_kwh = np.zeros(stays), np.zeros(stays), np.zeros(stays)
    vehicle_of = visits.vehicle[outcome.visits.row]
    for number, cell in enumerate(cells):
        of_this = np.flatnonzero(vehicle_of == number)
        capacity = vehicles[number].battery.capacity_kwh
        for begin in range(0, of_this.size, BLOCK):
            rows = of_this[begin : begin + BLOCK]
            soc, hours, span_h = day_around_stay(outcome, visits, rows, capacity)
            stress = day_stress(soc, celsius[rows], span_h)
            judged = wear_of(
                cell, [stress], capacity, end_of_life=end_of_life, look_ahead_years=look_ahead_years
            )
            battery_kwh[rows] = _moved_kwh(outcome, visits, rows)
            calendar[rows] = judged.calendar_per_day * hours / HOURS_PER_DAY
            cycle[rows] = judged.per_kwh * battery_kwh[rows]
    return StayWear(calendar, cycle, battery_kwh)


def day_around_stay(
    outcome: Outcome, visits: VisitTable, stays: Ints, capacity_kwh: float
) -> tuple[Floats, Floats, Floats]:
    """(SoC of shape (stay, sample) over the day around it, hours of the stay, hours of that day).

    A day of 24 h, or longer where the stay leaves less than an hour to drive back to the SoC at arrival.
    """
    begin, end, slot = _bounds(outcome, visits, stays)
    hours = (end - begin) / 3600.0
    span_h = np.maximum(HOURS_PER_DAY, hours + DRIVE_H)
    share = np.linspace(0.0, 1.0, SAMPLES)
    at_s = begin[:, None] + share * span_h[:, None] * 3600.0
    arrived = visits.energy_kwh[outcome.visits.row[stays]]
    left = outcome.visits.energy_kwh[stays]
    there = _energy_at(outcome, slot, begin, end, arrived, left, np.minimum(at_s, end[:, None]))
    away_s = np.maximum(span_h * 3600.0 - (end - begin), 1.0)
    driven = np.clip((at_s - end[:, None]) / away_s[:, None], 0.0, 1.0)
    energy = there + driven * (arrived - left)[:, None]
    soc: Floats = np.clip(energy / capacity_kwh, 0.0, 1.0)
    return soc, hours, span_h


def _bounds(outcome: Outcome, visits: VisitTable, stays: Ints) -> tuple[Floats, Floats, Ints]:
    """Seconds at which each stay begins and ends within the run, and its slot."""
    row = outcome.visits.row[stays]
    length_s = outcome.ensemble.grid.step_s * outcome.ensemble.grid.steps
    begin = np.clip(visits.arrival_s[row], 0.0, length_s)
    end = np.clip(visits.departure_s[row], 0.0, length_s)
    slot = outcome.visits.replica[stays] * len(outcome.ensemble.evses) + visits.evse[row]
    return begin, end, slot


def _record(outcome: Outcome) -> Floats:
    if outcome.battery_kwh is None:
        raise AgeingError("outcome: no record by EVSE, expected a run with record_evses")
    return outcome.battery_kwh.reshape(outcome.ensemble.slots, outcome.ensemble.grid.steps)


def _energy_at(
    outcome: Outcome, slot: Ints, begin: Floats, end: Floats, arrived: Floats, left: Floats, at_s: Floats
) -> Floats:
    """Energy in the battery at times of the stay, on straight lines between arrival, ends of steps and departure."""
    record, step_s = _record(outcome), float(outcome.ensemble.grid.step_s)
    last = record.shape[1] - 1
    step = np.floor(at_s / step_s).astype(np.int64)  # the step that contains the time
    time_before, time_after = np.maximum(step * step_s, begin[:, None]), np.minimum((step + 1) * step_s, end[:, None])
    is_first, is_last = step * step_s <= begin[:, None], (step + 1) * step_s >= end[:, None]
    before = np.where(is_first, arrived[:, None], record[slot[:, None], np.clip(step - 1, 0, last)])
    after = np.where(is_last, left[:, None], record[slot[:, None], np.clip(step, 0, last)])
    length = time_after - time_before
    share = np.where(length > 0.0, (at_s - time_before) / np.where(length > 0.0, length, 1.0), 1.0)
    energy: Floats = before + share * (after - before)
    return np.where(at_s >= end[:, None], left[:, None], energy)


def _moved_kwh(outcome: Outcome, visits: VisitTable, stays: Ints) -> Floats:
    """Charged and discharged kWh of each stay together, from the net change in every step."""
    record = _record(outcome)
    begin, end, slot = _bounds(outcome, visits, stays)
    step_s = float(outcome.ensemble.grid.step_s)
    arrived = visits.energy_kwh[outcome.visits.row[stays]]
    left = outcome.visits.energy_kwh[stays]
    first = np.floor(begin / step_s).astype(np.int64)  # its end is the first step end after arrival
    beyond = np.ceil(end / step_s).astype(np.int64) - 1  # its end is departure or later
    moved = np.zeros(stays.size)
    held = arrived.copy()
    for ahead in range(int((beyond - first).max(initial=0))):
        inside = np.flatnonzero(first + ahead < beyond)
        energy = record[slot[inside], first[inside] + ahead]
        moved[inside] += np.abs(energy - held[inside])
        held[inside] = energy
    total: Floats = moved + np.abs(left - held)
    return total
