"""What a controller is shown by another one that stands before it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

from twin.controllers.view import Bools, FleetView, Floats, Ints
from twin.ensemble import Ensemble


@dataclass(frozen=True)
class Told:
    """A `FleetView` as it is handed on, with some of its rows changed."""

    ensemble: Ensemble
    now_s: float
    step: int
    is_plugged: Bools
    energy_kwh: Floats
    target_kwh: Floats
    floor_kwh: Floats
    declared_s: Floats
    capacity_kwh: Floats
    efficiency: Floats
    max_charge_kw: Floats
    min_charge_kw: Floats
    max_discharge_kw: Floats
    min_discharge_kw: Floats
    site: Ints
    room_kw: Floats
    export_room_kw: Floats
    visit: Ints
    vehicle: Ints

    @classmethod
    def of(cls, view: FleetView, **changed: Floats) -> Self:
        return cls(**{each.name: getattr(view, each.name) for each in fields(cls)} | changed)

    def at(self, now_s: float, step: int) -> Self:
        """The same at another time."""
        return replace(self, now_s=now_s, step=step)
