"""How a rule would go on from here: the same rule, run ahead with what is known now.

```
now      end of step                                     last declared departure
 |-- relief --|-- slice --|-- slice --|-- ... --|-- slice --|    nobody discharges after the step
```
Known are the cars that stand there, what their drivers have declared, and the room of each connection point to come
(its caps, and its building's load as in the ensemble: a perfect forecast). Who comes later is not known.
"""

from __future__ import annotations

import copy
from typing import Protocol

import numpy as np

from twin.controllers.data_sheet import losses
from twin.controllers.told import Told
from twin.controllers.view import FleetView, Floats, charging_ask_kw

_SLICES = 96
"""At most so many pieces of the time to come, each of whole steps and with the least room of its steps."""


class SharesRoom(Protocol):
    """A rule that divides the room of connection points; see `twin.controllers.rules.RoomSharing`."""

    def shares_kw(self, view: FleetView, ask_kw: Floats, relief_kw: Floats | None) -> Floats: ...


def shortfalls_kwh(view: FleetView, ask_kw: Floats, relief_kw: Floats | None, rule: SharesRoom) -> Floats:
    """What each slot's car would miss of its target at its declared departure, 0 or more; 0 without a car.

    ask_kw: what each could take now. relief_kw: what each gives until the end of the step, None: nobody.
    """
    rule = copy.copy(rule)  # that takes turns keeps count of them
    ensemble, step_s = view.ensemble, float(view.ensemble.grid.step_s)
    path = _BatteryPath(view)
    kw = rule.shares_kw(view, ask_kw.copy(), relief_kw)
    begin_s = (view.step + 1) * step_s
    energy = path.after(view.energy_kwh, kw, np.clip(view.declared_s - view.now_s, 0.0, begin_s - view.now_s) / 3600.0)
    last_s = float(np.max(view.declared_s, where=view.is_plugged, initial=begin_s))
    steps = max(int(np.ceil((last_s - begin_s) / step_s / _SLICES)), 1)
    room = np.maximum(ensemble.import_cap_kw - ensemble.base_load_kw, 0.0)
    copies = view.room_kw.size // room.shape[0]
    for first in range(view.step + 1, int(np.ceil(last_s / step_s)), steps):
        # What lies beyond the grid is as its last step.
        begins, ends = min(first, room.shape[1] - 1), min(first + steps, room.shape[1])
        least = np.tile(room[:, begins:max(ends, begins + 1)].min(axis=1), copies)
        hours = np.clip(view.declared_s - first * step_s, 0.0, steps * step_s) / 3600.0
        told = Told.of(view, energy_kwh=energy, room_kw=least).at(first * step_s, begins)
        ask = np.where(hours > 0.0, charging_ask_kw(told), 0.0)
        if not np.count_nonzero(ask):
            break
        energy = path.after(energy, rule.shares_kw(told, ask, None), hours)
    missing: Floats = np.where(view.is_plugged, np.maximum(view.target_kwh - energy, 0.0), 0.0)
    return missing


class _BatteryPath:
    """What a while at some power does to each battery, losses by its data sheet; power does not fall near the top."""

    def __init__(self, view: FleetView) -> None:
        self._view = view
        self._standby, self._proportional, self._quadratic = losses(
            view.ensemble, np.arange(view.site.size), view.vehicle
        )

    def after(self, energy_kwh: Floats, kw: Floats, hours: Floats) -> Floats:
        """Energy after `hours` at `kw`; charging ends at the target."""
        sign = np.sign(kw)
        through = np.maximum(np.abs(kw) - sign * self._standby, 0.0)
        slope = 1.0 + sign * self._proportional
        under_root = np.maximum(slope * slope + 4.0 * sign * self._quadratic * through, 0.0)
        moved = sign * 2.0 * through / (slope + np.sqrt(under_root)) * np.where(hours > 0.0, hours, 0.0)
        ceiling = np.where(kw > 0.0, np.maximum(self._view.target_kwh, energy_kwh), np.inf)
        after: Floats = np.minimum(energy_kwh + moved, ceiling)
        return after
