"""What a fleet's cars really do when they are called, by the twin's battery: the judge of sold reserve.

Cars with a taper or a loss while power flows run in the twin's closed forms; the others are the linear battery of the
plan, for which no twin is needed.
"""

from __future__ import annotations

import math
from time import monotonic

import numpy as np

from aggregator.planning.fleet.problem import Evs, Floats, Ints, Problem
from twin.assets import Battery, LossCurve, PowerCurve, Vehicle
from twin.battery import FleetState

_TOGETHER = 64
"""Kinds of cars in one state of the twin: each makes the tables of all anew, which costs the square of their number."""

_LEAST_H = 1.0 / 3600.0
_LEAST_KW = 1e-6
_SECONDS_PER_HOUR = 3600.0


class TwinBatteries:
    """A `Judge` over the cars of a problem.

    Attributes:
        is_ready: whether all cars with curves are in the twin; False if there was no time for it.
    """

    def __init__(self, problem: Problem, time_limit_s: float = math.inf) -> None:
        until = monotonic() + time_limit_s
        self._evs = problem.evs
        self._floor = np.minimum(self._evs.floor_kwh, self._evs.energy_kwh)
        curved = np.flatnonzero(self._evs.has_curves)
        kinds, kind = _kinds(self._evs, curved)
        self._states, self.is_ready = [], True
        for begin in range(0, len(kinds), _TOGETHER):
            if monotonic() >= until:
                self.is_ready = False
                break
            own = (kind >= begin) & (kind < begin + _TOGETHER)
            self._states.append(self._state(curved[own], kinds[begin:begin + _TOGETHER], kind[own] - begin))

    def __call__(self, energy_kwh: Floats, ordered_kw: Floats, hours: float) -> Floats:
        """Mean power of each car over `hours` (a second at least), shape (ev,)."""
        hours = max(hours, _LEAST_H)
        real = self._linear(energy_kwh, ordered_kw, hours)
        for cars, state, classes in self._states:
            moving = np.flatnonzero(np.abs(ordered_kw[cars]) > _LEAST_KW)
            if not len(moving):
                continue
            own, kw = cars[moving], ordered_kw[cars[moving]]
            energy = np.clip(energy_kwh[own], 0.0, self._evs.capacity_kwh[own])
            floor = np.minimum(self._floor[own], energy)
            state.plug_many(moving, classes[(kw < 0).astype(int), moving], energy, floor, np.full(len(own), np.inf))
            before = state.import_kwh[moving] - state.export_kwh[moving]
            state.set_powers(moving, kw)
            state.advance(hours * _SECONDS_PER_HOUR)
            real[own] = (state.import_kwh[moving] - state.export_kwh[moving] - before) / hours
            state.unplug_many(moving)
        return real

    def _linear(self, energy_kwh: Floats, ordered_kw: Floats, hours: float) -> Floats:
        evs = self._evs
        most = np.maximum(0.0, evs.capacity_kwh - energy_kwh) / (hours * evs.charge_efficiency)
        least = -np.maximum(0.0, energy_kwh - self._floor) * evs.discharge_efficiency / hours
        return np.clip(ordered_kw, least, most)

    def _state(self, cars: Ints, kinds: Floats, kind: Ints) -> tuple[Ints, FleetState, Ints]:
        """Some cars in the twin, and the class of each when it charges and when it discharges."""
        state, classes = FleetState(len(cars)), np.zeros((2, len(kinds)), dtype=np.int64)
        for k, (capacity, taper, standby, charge, discharge, into, out) in enumerate(kinds.tolist()):
            # A loss curve has one slope, a plan an efficiency for each direction.
            for way, slope in enumerate((1.0 / into - 1.0, 1.0 - out)):
                loss = LossCurve(standby, slope)
                classes[way, k] = state.class_of(_vehicle(loss, capacity, taper, charge, discharge))
        return cars, state, classes[:, kind]


def _kinds(evs: Evs, cars: Ints) -> tuple[Floats, Ints]:
    """The batteries that differ, shape (kind, column), and the kind of each car: of one model there are many cars."""
    columns = np.stack([evs.capacity_kwh, evs.taper_soc, evs.standby_kw, evs.max_charge_kw, evs.max_discharge_kw,
                        evs.charge_efficiency, evs.discharge_efficiency], axis=1)[cars]
    kinds, kind = np.unique(columns, axis=0, return_inverse=True)
    return kinds, kind.ravel().astype(np.int64)


def _vehicle(loss: LossCurve, capacity_kwh: float, taper_soc: float, charge_kw: float, discharge_kw: float) -> Vehicle:
    # The battery's own power is that at the connector without what is lost: the taper falls from there.
    full_kw = max(_LEAST_KW, (charge_kw - loss.standby_kw) / (1.0 + loss.proportional))
    if taper_soc >= 1:
        charge = PowerCurve((0.0, 1.0), (full_kw, full_kw))
    elif taper_soc > 0:
        charge = PowerCurve((0.0, taper_soc, 1.0), (full_kw, full_kw, 0.0))
    else:
        charge = PowerCurve((0.0, 1.0), (full_kw, 0.0))
    given_kw = (discharge_kw + loss.standby_kw) / max(1.0 - loss.proportional, _LEAST_KW)
    battery = Battery(capacity_kwh, charge, PowerCurve((0.0, 1.0), (given_kw, given_kw)), loss)
    return Vehicle("planned", battery, max(charge_kw, _LEAST_KW), discharge_kw)
