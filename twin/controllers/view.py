"""What a controller may look at, and the protocol that every one of them fits."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twin.ensemble import Ensemble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FULL_TOLERANCE_KWH = 1e-6
"""A car that misses no more than this has what its driver asked for."""


class FleetView(Protocol):
    """What a controller may look at while the ensemble runs: arrays over slots (replica * evses + evse).

    ensemble: what runs. now_s, step: seconds after its start, and the running step. is_plugged: a car stands there.
    energy_kwh: in its battery, NaN without a car. target_kwh, floor_kwh, declared_s: what the driver has asked for by
    now (declared_s: departure in seconds after the start); NaN without a car.
    capacity_kwh, efficiency: of the car (charging, at full power; to size a need), NaN without a car.
    max_charge_kw, min_charge_kw, max_discharge_kw, min_discharge_kw: of EVSE and car together, at the connector; 0
    without a car. site: index replica * sites + site of each slot.
    room_kw: per connection point (replica * sites + site): import cap minus the building's load, this step.
    export_room_kw: the same for export: export cap plus the building's load.
    visit: row of the visit in the table that was given, -1 without a car.
    vehicle: index of the car in the ensemble's vehicles, which hold its data sheet; -1 without a car.
    """

    @property
    def ensemble(self) -> Ensemble: ...
    @property
    def now_s(self) -> float: ...
    @property
    def step(self) -> int: ...
    @property
    def is_plugged(self) -> NDArray[np.bool_]: ...
    @property
    def energy_kwh(self) -> Floats: ...
    @property
    def target_kwh(self) -> Floats: ...
    @property
    def floor_kwh(self) -> Floats: ...
    @property
    def declared_s(self) -> Floats: ...
    @property
    def capacity_kwh(self) -> Floats: ...
    @property
    def efficiency(self) -> Floats: ...
    @property
    def max_charge_kw(self) -> Floats: ...
    @property
    def min_charge_kw(self) -> Floats: ...
    @property
    def max_discharge_kw(self) -> Floats: ...
    @property
    def min_discharge_kw(self) -> Floats: ...
    @property
    def site(self) -> Ints: ...
    @property
    def room_kw(self) -> Floats: ...
    @property
    def export_room_kw(self) -> Floats: ...
    @property
    def visit(self) -> Ints: ...
    @property
    def vehicle(self) -> Ints: ...


class Controller(Protocol):
    """Decides the set-point of every slot at each step of the grid, and again when a car plugs in or leaves.

    charges_to_target: charging of a visit stops by itself at its target energy (else at the car's own limit).
    asks_between: also asked at arrivals and departures between steps.
    """

    @property
    def charges_to_target(self) -> bool: ...
    @property
    def asks_between(self) -> bool: ...

    def setpoints(self, view: FleetView) -> Floats:
        """Set-points in kW, shape (slots,): positive charges, negative discharges; empty slots are ignored."""
        ...


def charging_ask_kw(view: FleetView) -> Floats:
    """What each car could take now: its full power until it holds what its driver has asked for; else 0."""
    wants = view.target_kwh - view.energy_kwh > FULL_TOLERANCE_KWH
    ask: Floats = view.max_charge_kw * wants
    return ask


def laxity_s(view: FleetView, slots: Ints) -> Floats:
    """Seconds that each car could wait and still be ready in time: time left minus time needed at full power.

    Negative where even full power is too little. Time left is that until the declared departure.
    """
    missing = np.maximum(view.target_kwh[slots] - view.energy_kwh[slots], 0.0)
    needed_s = missing / (view.max_charge_kw[slots] * view.efficiency[slots]) * 3600.0
    spare: Floats = view.declared_s[slots] - view.now_s - needed_s
    return spare
