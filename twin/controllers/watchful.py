"""Any controller, kept from counting on cars that do not do as they are told.

A broken charger neither draws the power that is reserved for it nor gives what others wait for. Meters show it after
some minutes; until then nobody can know.
"""

from __future__ import annotations

import numpy as np

from twin.controllers.sharing import sum_by
from twin.controllers.told import Told
from twin.controllers.view import FULL_TOLERANCE_KWH, Controller, FleetView, Floats
from twin.ensemble import Ensemble

WATCHED_S = 300.0
"""Orders are judged over at least this time: longer than hardware takes to follow, shorter than a usual step."""

_LEAST_ORDER_KWH = 0.02
_LEAST_FOLLOWED = 0.1


class Watchful:
    """Asks another controller, to whom cars that did not follow their orders appear as cars that can do nothing.

    A car is left out for `retry_s` if its energy moved by less than a tenth of what it was ordered to, and then tried
    again. What it draws all the same, as its meter shows, is taken from the room of its connection point. Decides at
    steps only: between them an order concerns the neighbours of who comes and goes, and nobody says whose it was.
    """

    asks_between = False

    def __init__(self, controller: Controller, *, retry_s: float = 3600.0) -> None:
        if not retry_s > 0.0:
            raise ValueError(f"retry_s: {retry_s!r}, expected more than 0 s")
        self.controller = controller
        self.retry_s = retry_s
        self.charges_to_target = controller.charges_to_target
        self._ensemble: Ensemble | None = None
        self._now_s = self._since_s = 0.0
        self._visit = np.zeros(0, dtype=np.int64)
        self._ordered_kw = self._expected_kwh = self._energy_kwh = np.zeros(0)
        self._until_s = self._drawn_kw = np.zeros(0)

    def setpoints(self, view: FleetView) -> Floats:
        if self._ensemble is not view.ensemble or view.now_s < self._now_s:
            self._begin(view)
        self._watch(view)
        is_deaf = view.now_s < self._until_s
        told = Told.of(
            view, max_charge_kw=np.where(is_deaf, 0.0, view.max_charge_kw),
            max_discharge_kw=np.where(is_deaf, 0.0, view.max_discharge_kw),
            room_kw=view.room_kw - sum_by(view.site, np.where(is_deaf, self._drawn_kw, 0.0), view.room_kw.size),
        )
        self._ordered_kw = self.controller.setpoints(told)
        return self._ordered_kw

    def _begin(self, view: FleetView) -> None:
        slots = view.site.size
        self._ensemble, self._now_s, self._since_s = view.ensemble, view.now_s, view.now_s
        self._visit = np.full(slots, -1)
        self._ordered_kw, self._expected_kwh, self._drawn_kw = np.zeros(slots), np.zeros(slots), np.zeros(slots)
        self._energy_kwh = np.full(slots, np.nan)
        self._until_s = np.full(slots, -np.inf)

    def _watch(self, view: FleetView) -> None:
        """Add up what was ordered, and judge it once enough time has passed."""
        self._expected_kwh = self._expected_kwh + self._ordered_kw * ((view.now_s - self._now_s) / 3600.0)
        self._now_s = view.now_s
        is_other = view.visit != self._visit
        if is_other.any():
            self._visit = view.visit.copy()
            self._expected_kwh[is_other] = 0.0
            self._until_s[is_other] = -np.inf
            self._energy_kwh[is_other] = view.energy_kwh[is_other]
        if view.now_s - self._since_s < WATCHED_S:
            return
        expected, moved = self._expected_kwh, view.energy_kwh - self._energy_kwh
        is_done = np.where(
            expected > 0.0, view.energy_kwh >= view.target_kwh - FULL_TOLERANCE_KWH,
            view.energy_kwh <= view.floor_kwh + FULL_TOLERANCE_KWH,
        )
        is_deaf = (
            view.is_plugged & ~is_done & (np.abs(expected) > _LEAST_ORDER_KWH)
            & (moved * np.sign(expected) < _LEAST_FOLLOWED * np.abs(expected))
        )
        self._until_s[is_deaf] = view.now_s + self.retry_s
        hours = (view.now_s - self._since_s) / 3600.0
        drawn = np.where(view.is_plugged, np.maximum(moved, 0.0) / (view.efficiency * hours), 0.0)
        self._drawn_kw = np.where(view.energy_kwh < view.capacity_kwh, drawn, 0.0)
        self._expected_kwh = np.zeros(view.site.size)
        self._energy_kwh = view.energy_kwh.copy()
        self._since_s = view.now_s
