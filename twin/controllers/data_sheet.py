"""What a car can give for certain, by its data sheet and that of its charger."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.assets import PowerCurve, pair_loss
from twin.ensemble import Ensemble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def losses(ensemble: Ensemble, slots: Ints, vehicle: Ints) -> tuple[Floats, Floats, Floats]:
    """Standby in kW, proportional and quadratic (per kW) loss of each slot with the car that stands there.

    vehicle: index into the ensemble's vehicles for each of `slots`.
    """
    evses, kinds = ensemble.kinds
    curves = [[pair_loss(evse, car) for car in ensemble.vehicles] for evse in evses]
    table = np.array([[(c.standby_kw, c.proportional, c.quadratic_per_kw) for c in row] for row in curves])
    table = table.reshape(len(evses), len(ensemble.vehicles), 3)  # also where there is none of either
    standby, proportional, quadratic = table[kinds[slots % max(kinds.size, 1)], vehicle].T
    return standby, proportional, quadratic


def sure_kw(
    ensemble: Ensemble, slots: Ints, vehicle: Ints, energy_kwh: Floats, reserve_kwh: Floats, most_kw: Floats,
    hours: float,
) -> Floats:
    """Connector power that each car can give for `hours` without a break, from `energy_kwh` down to `reserve_kwh`.

    The discharge curve counts at its lowest between the energy now and the least that there can be after `hours`.
    most_kw: rating of EVSE and car together. All of the size of `slots`; 0 where there is nothing to give.
    """
    standby, proportional, quadratic = losses(ensemble, slots, vehicle)
    # c = b - loss(b) rises up to the bend; beyond it more power at the battery is less at the connector.
    bend = np.divide(1.0 - proportional, 2.0 * quadratic, out=np.full(slots.size, np.inf), where=quadratic > 0.0)
    slope, through = 1.0 - proportional, most_kw + standby
    under_root = np.maximum(slope * slope - 4.0 * quadratic * through, 0.0)
    rated = np.minimum(2.0 * through / (slope + np.sqrt(under_root)), bend)
    battery_kw = np.minimum(rated, np.maximum(energy_kwh - reserve_kwh, 0.0) / hours)
    for number in np.unique(vehicle).tolist():
        cars = np.flatnonzero(vehicle == number)
        battery = ensemble.vehicles[number].battery
        if battery.discharge is None:
            battery_kw[cars] = 0.0
            continue
        highest = energy_kwh[cars] / battery.capacity_kwh
        lowest = np.maximum(highest - battery_kw[cars] * hours / battery.capacity_kwh, 0.0)
        battery_kw[cars] = np.minimum(battery_kw[cars], _least_between(battery.discharge, lowest, highest))
    given = battery_kw - standby - proportional * battery_kw - quadratic * battery_kw * battery_kw
    sure: Floats = np.clip(given, 0.0, most_kw)
    return sure


def _least_between(curve: PowerCurve, lowest: Floats, highest: Floats) -> Floats:
    """The smallest value of the curve between two SoC."""
    least: Floats = np.minimum(np.interp(lowest, curve.soc, curve.kw), np.interp(highest, curve.soc, curve.kw))
    for soc, kw in zip(curve.soc, curve.kw, strict=True):
        least = np.where((lowest < soc) & (soc < highest), np.minimum(least, kw), least)
    return least
