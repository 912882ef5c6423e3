"""Any rule, kept from reserving room that nobody draws.

A car near the end of its charge takes less than it is offered, and a charger makes a whole number of steps of what it
is told. Room that is booked for the difference is lost to cars that wait. Both can be known: the first by the meter of
each charger, the second by its data sheet. A meter also shows whom nobody should wait for: who draws nothing at all,
and who does not give what others charge from.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np

from twin.controllers.sharing import Grouping, serve_in_order
from twin.controllers.told import Told
from twin.controllers.view import Bools, Controller, FleetView, Floats, charging_ask_kw
from twin.ensemble import Ensemble

SETTLED_S = 60.0
"""What flows is judged this long after the first order: hardware needs up to some ten seconds to follow."""

TAKES_ALL = 0.98
"""A car that draws this share of its order takes all that it gets: meters of class 2 know no better (IEC 62053-21)."""

HEADROOM = 1.1
"""A car that draws less is offered this much more than it draws; when it takes that, it is offered everything again."""

IDLE_S = 300.0
"""A car that draws nothing for this long and two steps, though told to, has its reservation taken."""

RETRY_S = 3600.0
"""Who drew nothing, or gave less than ordered, is tried again after this time."""

_NOTHING_KW = 0.05
_SAME_KW = 1e-8


class MeteredView(FleetView, Protocol):
    """A `FleetView` that has meters. power_kw: at each connector, now."""

    @property
    def power_kw(self) -> Floats: ...


class Metered:
    """Asks a rule, to whom each car appears to take what it has been seen to take, in steps that its charger can make.

    Meters are read at each step that has no room for all: a car that draws less than its order is from then on offered
    a tenth more than it draws, until it takes all of that. One that draws nothing may sleep and wake: only after two
    steps is it left out, and tried again every `RETRY_S`. One that gives less than its order counts with what it gave
    until it is tried again. Where there is room for all, nobody is held to what he was seen to take.
    Shares are cut to whole steps of the charger, and what that leaves over goes, step by step, to those it cost most.

    Needs a view with meters (the engine's) at the beginning of steps, so it stands before all others.
    """

    def __init__(self, rule: Controller) -> None:
        self.rule = rule
        self.charges_to_target = rule.charges_to_target
        self.asks_between = rule.asks_between
        self._ensemble: Ensemble | None = None
        self._now_s = -1.0
        self._places = Grouping(np.zeros(0, dtype=np.int64), 0)
        self._visit = np.zeros(0, dtype=np.int64)
        self._ordered_kw = self._takes_kw = self._since_s = self._grain_kw = self._bias_kw = np.zeros(0)
        self._read_s = -1.0
        self._idle_s = self._out_until_s = self._gives_kw = self._gives_until_s = np.zeros(0)
        self._has_grain = False

    def setpoints(self, view: FleetView) -> Floats:
        if self._ensemble is not view.ensemble or view.now_s < self._now_s:
            self._begin(view)
        self._now_s = view.now_s
        self._welcome(view)
        told = self._told(view)
        given = self.rule.setpoints(told)
        if self._has_grain:
            given = self._in_whole_steps(told, given)
        # Who is shown as unable to charge was not asked now: the order that it has still stands.
        np.copyto(self._ordered_kw, given, where=view.max_charge_kw > 0.0)
        return given

    def _begin(self, view: FleetView) -> None:
        ensemble, slots = view.ensemble, view.site.size
        self._ensemble = ensemble
        self._places = Grouping(view.site, view.room_kw.size)
        self._visit = np.full(slots, -1)
        self._ordered_kw, self._takes_kw, self._since_s = np.zeros(slots), np.full(slots, np.inf), np.zeros(slots)
        self._read_s = -1.0
        self._idle_s, self._out_until_s = np.zeros(slots), np.full(slots, -np.inf)
        self._gives_kw, self._gives_until_s = np.zeros(slots), np.full(slots, -np.inf)
        copies = slots // max(len(ensemble.evses), 1)
        self._grain_kw = np.tile([evse.response.granularity_kw for evse in ensemble.evses], copies)
        self._bias_kw = np.tile([evse.response.charge_bias_kw for evse in ensemble.evses], copies)
        self._has_grain = bool(self._grain_kw.any())

    def _welcome(self, view: FleetView) -> None:
        others = (view.visit != self._visit).nonzero()[0]
        if others.size:
            self._visit[others] = view.visit[others]
            self._ordered_kw[others], self._takes_kw[others], self._since_s[others] = 0.0, np.inf, view.now_s
            self._idle_s[others], self._out_until_s[others], self._gives_until_s[others] = 0.0, -np.inf, -np.inf

    def _read_meters(self, view: MeteredView) -> None:
        if view.now_s == self._read_s:
            return
        self._read_s = view.now_s
        drawn, is_settled = view.power_kw, self._since_s <= view.now_s - SETTLED_S
        self._leave_out(view, drawn, is_settled)
        is_judged = (self._ordered_kw > 0.0) & (drawn > _NOTHING_KW) & is_settled
        takes_less = is_judged & (drawn < TAKES_ALL * (self._ordered_kw + self._bias_kw))
        # Who was told to wait is as full as before; who has discharged since is not.
        np.copyto(self._takes_kw, np.inf, where=is_judged | (self._ordered_kw < 0.0))
        np.copyto(self._takes_kw, HEADROOM * drawn, where=takes_less)

    def _leave_out(self, view: FleetView, drawn: Floats, is_settled: Bools) -> None:
        """Note who draws nothing though told to, and who gives less than others were promised."""
        step_s = float(view.ensemble.grid.step_s)
        # Who is told to draw next to nothing, and does, is not idle.
        is_idle = (self._ordered_kw > _NOTHING_KW) & (np.abs(drawn) <= _NOTHING_KW) & is_settled
        self._idle_s = np.where(drawn > _NOTHING_KW, 0.0, self._idle_s + step_s * is_idle)
        np.copyto(self._out_until_s, view.now_s + RETRY_S, where=is_idle & (self._idle_s >= max(2.0 * step_s, IDLE_S)))
        np.copyto(self._out_until_s, -np.inf, where=drawn > _NOTHING_KW)
        gives_less = (self._ordered_kw < 0.0) & (-drawn < -TAKES_ALL * self._ordered_kw) & is_settled
        np.copyto(self._gives_kw, np.maximum(-drawn, 0.0), where=gives_less)
        np.copyto(self._gives_until_s, view.now_s + RETRY_S, where=gives_less)

    def _told(self, view: FleetView) -> Told:
        told = Told.of(view)
        if self._has_grain:
            grain = np.where(self._grain_kw > 0.0, self._grain_kw, 1.0)
            has, whole = self._grain_kw > 0.0, _whole_below(view.max_charge_kw, grain)
            least = np.where(has, np.ceil((view.min_charge_kw - _SAME_KW) / grain) * grain, view.min_charge_kw)
            most = np.where(has, np.where(whole >= least, whole, 0.0), view.max_charge_kw)
            told = Told.of(told, max_charge_kw=most, min_charge_kw=least)
        excess = self._places.sum(charging_ask_kw(told)) - told.room_kw
        if not (excess > 0.0).any():
            return told
        if view.now_s == view.step * view.ensemble.grid.step_s:
            self._read_meters(cast("MeteredView", view))
        takes = self._takes_kw
        if self._has_grain:
            takes = np.where(has & np.isfinite(takes), np.ceil(takes / grain) * grain, takes)
        held = np.minimum(told.max_charge_kw, np.maximum(takes, told.min_charge_kw))
        held[view.now_s < self._out_until_s] = 0.0
        gives = np.where(view.now_s < self._gives_until_s, self._gives_kw, np.inf)
        back = np.minimum(told.max_discharge_kw, gives)
        if not (excess > 0.0).all():
            is_tight = self._places.spread(excess) > 0.0
            held, back = np.where(is_tight, held, told.max_charge_kw), np.where(is_tight, back, told.max_discharge_kw)
        return Told.of(told, max_charge_kw=held, max_discharge_kw=back)

    def _in_whole_steps(self, told: Told, given: Floats) -> Floats:
        has: Bools = (self._grain_kw > 0.0) & (given > 0.0)
        grain = np.where(has, self._grain_kw, 1.0)
        whole = np.where(has, _whole_below(given, grain), given)
        whole[whole < told.min_charge_kw * has - _SAME_KW] = 0.0
        lost = given - whole
        has_more = whole + grain <= told.max_charge_kw + _SAME_KW
        cars = np.flatnonzero(has & has_more & (lost > _SAME_KW) & (whole > 0.0))
        if cars.size:
            left = np.maximum(told.room_kw - self._places.sum(whole), 0.0)
            step = grain[cars]
            # `serve_in_order` tells keys apart that differ by 1: watts here.
            whole[cars] += serve_in_order(step, step, -1000.0 * lost[cars], told.site[cars], left)
        return whole


def _whole_below(kw: Floats, grain_kw: Floats) -> Floats:
    whole: Floats = np.floor((kw + _SAME_KW) / grain_kw) * grain_kw
    return whole
