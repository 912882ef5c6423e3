"""Who discharges for an event or a limit, and how much: what can be given back in time, by all together.

A car gives only where the connection point is asked for less than usual. What it could give by itself is not enough to
go by: all that have given charge again under one cap, beside those that had to wait. So the rule rehearses what follows
(`rehearsal`), and as much is given as leaves nobody with less than he would have had without.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twin.controllers.data_sheet import losses, sure_kw
from twin.controllers.rehearsal import SharesRoom, shortfalls_kwh
from twin.controllers.sharing import TOLERANCE_KW, serve_in_order, sum_by
from twin.controllers.view import Bools, FleetView, Floats, Ints, laxity_s
from twin.ensemble import Ensemble

FORGIVEN_KWH = 0.01
"""Nobody is said to be worse off by so little: well below what any meter or driver tells."""

_HALVINGS = 4


class Lending:
    """What cars give towards an event or a limit, decided at each step and only cut down until the next.

    Those with most time to spare give first, never more than the export cap bears if every charging car stopped. If the
    rehearsal shows somebody worse off for it, those with least time to spare are left out, to a sixteenth of the whole.
    """

    def __init__(self) -> None:
        self._decided: tuple[Ensemble, int] | None = None
        self._gives_kw: Floats = np.zeros(0)
        self._visit: Ints = np.zeros(0, dtype=np.int64)

    def relief_kw(self, view: FleetView, ask_kw: Floats, rule: SharesRoom) -> Floats | None:
        """Connector power that each car gives, 0 or more; None where nobody gives.

        ask_kw: what each car could take. rule: shares the room, and is rehearsed.
        """
        total = sum_by(view.site, ask_kw, view.room_kw.size)
        is_tight = is_called(view) & (total > view.room_kw)
        if not is_tight.any():
            return None
        need = _Need.of(view, ask_kw, is_tight)
        if not need.helpers.size:
            return None
        is_step = view.now_s == view.step * view.ensemble.grid.step_s
        if is_step:
            relief = self._returnable_kw(view, ask_kw, need, rule)
            self._decided, self._gives_kw = (view.ensemble, view.step), relief
            self._visit = view.visit.copy()
            return relief if relief.any() else None
        if self._decided is None or self._decided[0] is not view.ensemble or self._decided[1] != view.step:
            return None
        # Between steps nothing is rehearsed: what was found stands for those that are still there.
        tested = np.where(self._visit == view.visit, self._gives_kw, 0.0)
        relief = need.capped(tested[need.helpers]).relief_kw(view)
        return relief if relief.any() else None

    @staticmethod
    def _returnable_kw(view: FleetView, ask_kw: Floats, need: _Need, rule: SharesRoom) -> Floats:
        relief = need.relief_kw(view)
        if not relief.any():
            return relief
        places = view.room_kw.size
        without = shortfalls_kwh(view, ask_kw, None, rule) + FORGIVEN_KWH

        def is_borne(relief: Floats) -> Bools:
            """By connection point: nobody there ends worse off."""
            is_worse = shortfalls_kwh(view, ask_kw, relief, rule) > without
            borne: Bools = np.bincount(view.site[is_worse], minlength=places) == 0
            return borne

        whole = sum_by(view.site, relief, places)
        borne = np.where(is_borne(relief), 1.0, 0.0)
        tried = np.where(borne == 1.0, 1.0, 0.5)
        step = 0.25
        for _ in range(_HALVINGS):
            if (borne == 1.0).all():
                break
            is_good = is_borne(need.limited(whole * tried).relief_kw(view))
            borne = np.where(is_good, np.maximum(borne, tried), borne)
            tried = np.where(borne == 1.0, 1.0, np.where(is_good, tried + step, tried - step))
            step /= 2.0
        return need.limited(whole * borne).relief_kw(view)


class _Need(NamedTuple):
    """Who could give (`helpers`, with what they could), and what each connection point misses, in kW."""

    helpers: Ints
    spare_kw: Floats
    missing_kw: Floats

    @classmethod
    def of(cls, view: FleetView, ask_kw: Floats, is_tight: Bools) -> _Need:
        room, export_room = view.room_kw, np.maximum(view.export_room_kw, 0.0)
        helpers = np.flatnonzero(view.is_plugged & (view.max_discharge_kw > 0.0) & is_tight[view.site])
        spare = spare_discharge_kw(view, helpers)
        helpers, spare = helpers[spare > 0.0], spare[spare > 0.0]
        offered = room + np.minimum(sum_by(view.site[helpers], spare, room.size), export_room)
        waits = ask_kw.copy()
        waits[helpers] = 0.0
        wanted = sum_by(view.site, urgent_kw(view, waits, is_tight, offered), room.size)
        return cls(helpers, spare, np.where(is_tight, np.clip(wanted - room, 0.0, export_room), 0.0))

    def capped(self, most_kw: Floats) -> _Need:
        """The same with no helper giving more than this."""
        return self._replace(spare_kw=np.minimum(self.spare_kw, most_kw))

    def limited(self, most_kw: Floats) -> _Need:
        """The same with no connection point missing more than this."""
        return self._replace(missing_kw=np.minimum(self.missing_kw, most_kw))

    def relief_kw(self, view: FleetView) -> Floats:
        """What each slot gives when those with most time to spare give first."""
        relief = np.zeros(view.site.size)
        relief[self.helpers] = serve_in_order(
            self.spare_kw, np.minimum(view.min_discharge_kw[self.helpers], self.spare_kw),
            -laxity_s(view, self.helpers), view.site[self.helpers], self.missing_kw,
        )
        return relief


def is_called(view: FleetView) -> Bools:
    """By connection point: an event or a limit lowers its cap now, or its building alone is above the cap."""
    ensemble = view.ensemble
    usual = np.array([site.import_cap_kw for site in ensemble.sites])
    is_lower = ensemble.import_cap_kw[:, view.step] < usual - TOLERANCE_KW
    called: Bools = np.tile(is_lower, view.room_kw.size // max(is_lower.size, 1)) | (view.room_kw < 0.0)
    return called


def spare_discharge_kw(view: FleetView, slots: Ints) -> Floats:
    """The power each car could give for a whole step and still be ready in time, if it were alone.

    It stays above the driver's floor and its own, and after the step full power until the declared departure still
    reaches the target. What its data sheet lets it give falls with its energy: the least of the step counts, for others
    rely on it. A car that cannot hold its minimum discharge power for the step gives nothing.
    """
    step_s = float(view.ensemble.grid.step_s)
    own_floor = np.array([car.battery.soc_min for car in view.ensemble.vehicles])[view.vehicle[slots]]
    left_h = np.maximum(view.declared_s[slots] - view.now_s - step_s, 0.0) / 3600.0
    regained = view.max_charge_kw[slots] * view.efficiency[slots] * left_h
    reserve = np.maximum(view.floor_kwh[slots], view.target_kwh[slots] - regained)
    reserve = np.maximum(reserve, own_floor * view.capacity_kwh[slots])
    power = sure_kw(
        view.ensemble, slots, view.vehicle[slots], view.energy_kwh[slots], reserve, view.max_discharge_kw[slots],
        step_s / 3600.0,
    )
    usable: Floats = np.where(power >= np.maximum(view.min_discharge_kw[slots], TOLERANCE_KW), power, 0.0)
    return usable


def urgent_kw(view: FleetView, ask_kw: Floats, is_tight: Bools, room_kw: Floats) -> Floats:
    """By slot, charging that cannot wait for another step, least time to spare first, as far as there is room.

    Nobody gets more than keeps it busy for the step: a car that is done before its end leaves those that discharge for
    it to feed the grid.
    """
    firm = np.zeros(view.site.size)
    urgent = np.flatnonzero((ask_kw > 0.0) & is_tight[view.site])
    urgency = laxity_s(view, urgent)
    is_urgent = urgency < float(view.ensemble.grid.step_s)
    urgent, urgency = urgent[is_urgent], urgency[is_urgent]
    wish = _through_the_step_kw(view, urgent, ask_kw[urgent])
    least = np.minimum(view.min_charge_kw[urgent], wish)
    firm[urgent] = serve_in_order(wish, least, urgency, view.site[urgent], np.maximum(room_kw, 0.0))
    return firm


def _through_the_step_kw(view: FleetView, slots: Ints, ask_kw: Floats) -> Floats:
    """The least power at which these cars have their target no sooner than the step ends, or than they leave."""
    step_s = float(view.ensemble.grid.step_s)
    left_s = np.minimum((view.step + 1) * step_s - view.now_s, view.declared_s[slots] - view.now_s)
    missing = view.target_kwh[slots] - view.energy_kwh[slots]
    # A car that is due within a second, or already, takes all it can.
    inward = np.divide(missing * 3600.0, left_s, out=np.full(slots.size, np.inf), where=left_s > 1.0)
    battery_kw = np.minimum(inward, ask_kw)
    standby, proportional, quadratic = losses(view.ensemble, slots, view.vehicle[slots])
    needed = battery_kw + standby + proportional * battery_kw + quadratic * battery_kw * battery_kw
    enough: Floats = np.minimum(ask_kw, np.maximum(needed, view.min_charge_kw[slots]))
    return enough
