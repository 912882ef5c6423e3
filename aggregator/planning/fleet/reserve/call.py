"""A call of reserve, shared out over the cars exactly, and the reserve cut back to what a judge says they hold.

A plan sells what its cars have in hand in a linear battery. Who knows the battery better (its taper, its efficiency at
low power) is the judge: `twin_battery` has the twin's, a test a simple one. What a car's minimum power or its battery
leaves out, another car takes; what no car can take is not delivered, and not sold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import numpy as np

from aggregator.planning.fleet.checker import Schedule, energies, ev_headroom
from aggregator.planning.fleet.problem import Floats, Problem

_LEAST_KW = 1e-9
_FELT_KW = 1e-6
_HALVINGS = 7


class Judge(Protocol):
    """What really flows when cars are ordered powers."""

    def __call__(self, energy_kwh: Floats, ordered_kw: Floats, hours: float) -> Floats:
        """Mean power of each car over `hours`, shape (ev,), for batteries at energy_kwh when the order comes."""
        ...


def shared_out(problem: Problem, planned_kw: Floats, room_kw: Floats, kw: float) -> Floats:
    """Powers of shape (ev,) of a fleet that takes kw less than planned (up, above 0) or more (down, below 0).

    The cars with the most in hand go first, each as far as it can; no power lies between 0 and a minimum. If their
    headroom is less than the call, all of it is used. planned_kw, room_kw: shape (ev,), in the direction of the call.
    """
    evs = problem.evs
    order = np.argsort(-room_kw, kind="stable")
    if not evs.has_minimums:
        there = np.maximum(room_kw[order], 0.0)
        powers = planned_kw.copy()
        powers[order] -= np.copysign(np.clip(abs(kw) - (np.cumsum(there) - there), 0.0, there), kw)
        return powers
    powers, left = planned_kw.copy(), abs(kw)
    for ev in order.tolist():
        if left <= _LEAST_KW or room_kw[ev] <= _LEAST_KW:
            break
        wanted = min(left, float(room_kw[ev]))
        moved = _nearest(planned_kw[ev], -wanted if kw > 0 else wanted, float(evs.min_charge_kw[ev]),
                         float(evs.min_discharge_kw[ev]))
        powers[ev] = planned_kw[ev] + moved
        left -= abs(moved)
    return powers


def _nearest(planned: float, wanted: float, least_charge: float, least_discharge: float) -> float:
    """The largest change towards `wanted`, and not beyond it, that ends at 0 or at least at a minimum."""
    end = planned + wanted
    if 0 < end < least_charge:
        end = 0.0 if wanted < 0 else least_charge
    elif -least_discharge < end < 0:
        end = -least_discharge if wanted < 0 else 0.0
    beyond = abs(end - planned) > abs(wanted) + _LEAST_KW or (end - planned) * wanted < 0
    if not beyond:
        return end - planned
    # The gap's other side, if the car has not been there already.
    end = (0.0 if end < 0 else least_charge) if wanted < 0 else (-least_discharge if end <= 0 else 0.0)
    return end - planned if 0 <= (end - planned) * np.sign(wanted) <= abs(wanted) + _LEAST_KW else 0.0


@dataclass(frozen=True, eq=False)
class Held:
    """Reserve that holds, shape (product, block), kW; how many steps and directions were sold, and were judged."""

    reserve_kw: Floats
    checks: int
    judged: int


def held_reserve(problem: Problem, schedule: Schedule, judge: Judge, time_limit_s: float = math.inf) -> Held:
    """The sold reserve, cut back to what the cars hold for `sustain_h` in every step.

    A call comes as late in a step as it can and end with it, to batteries that are where the plan has them, and
    changes what they really do without it, which a taper may have bent. The steps with the least to
    spare are judged first; those that the time limit leaves out count as held.
    """
    reserve, until = problem.reserve, monotonic() + time_limit_s
    if reserve is None:
        return Held(schedule.reserve_kw, 0, 0)
    calls = _Calls(problem, schedule, judge, reserve.sustain_h)
    asked = np.array(reserve.asked(schedule.reserve_kw))
    spare = np.array([room.sum(axis=0) for room in calls.headroom]) - asked
    least = np.full((2, len(reserve)), np.inf)
    judged, longest, checks = 0, 0.0, np.argwhere(asked > _LEAST_KW)
    for way, step in checks[np.argsort(spare[tuple(checks.T)], kind="stable")].tolist():
        began = monotonic()
        if began + longest >= until:
            break
        block = reserve.block[step]
        # What another step of the block has cut back already need not hold here.
        wanted = min(float(asked[way, step]), float(least[way, block]))
        given = calls.given(way, step, wanted)
        least[way, block] = min(least[way, block], math.inf if given >= wanted - _FELT_KW else given)
        judged, longest = judged + 1, max(longest, monotonic() - began)
    return Held(_cut_back(schedule.reserve_kw, least), len(checks), judged)


class _Calls:
    """Calls of a schedule's cars, judged."""

    def __init__(self, problem: Problem, schedule: Schedule, judge: Judge, sustain_h: float) -> None:
        self._problem, self._judge, self._sustain_h = problem, judge, sustain_h
        evs = problem.evs
        self._energy = energies(problem, schedule.charge_kw, schedule.discharge_kw)
        moved = sustain_h * (evs.charge_efficiency[:, None] * schedule.charge_kw
                             - schedule.discharge_kw / evs.discharge_efficiency[:, None])
        floor = np.minimum(evs.floor_kwh, evs.energy_kwh)
        self._called = np.clip(self._energy - moved, floor[:, None], evs.capacity_kwh[:, None])
        self._planned = schedule.charge_kw - schedule.discharge_kw
        self.headroom = ev_headroom(problem, schedule)

    def given(self, way: int, step: int, kw: float) -> float:
        """What the fleet gives when it is called in a step for kw up (way 0) or down (1)."""
        before = self._energy[:, step - 1] if step else self._problem.evs.energy_kwh
        planned, energy, sign = self._planned[:, step], self._called[:, step], (1.0, -1.0)[way]
        was = self._judge(before, planned, self._problem.step_h)
        # A charge that is bent already has less to give up.
        room = np.maximum(0.0, self.headroom[way][:, step] - (np.maximum(0.0, planned - was) if way == 0 else 0.0))

        def change(powers: Floats) -> Floats:
            called = np.abs(powers - was) > _LEAST_KW
            return np.where(called, sign * (was - self._judge(energy, powers, self._sustain_h)), 0.0)

        given = float(change(shared_out(self._problem, was, room, sign * kw)).sum())
        if given >= kw - _FELT_KW:
            return given
        # Those that hold less than they seem to have are called for less, the others for more.
        holds, fails = np.zeros_like(room), np.ones_like(room)
        fraction = fails.copy()
        for _ in range(_HALVINGS):
            is_held = change(was - sign * fraction * room) >= fraction * room - _FELT_KW
            holds, fails = np.where(is_held, fraction, holds), np.where(is_held, fails, fraction)
            fraction = np.where(holds >= 1.0, 1.0, 0.5 * (holds + fails))
        return max(0.0, given, float(change(shared_out(self._problem, was, holds * room, sign * kw)).sum()))


def _cut_back(sold_kw: Floats, least_kw: Floats) -> Floats:
    """Shape (product, block): as much of the sold volumes as holds up and down, of shape (direction, block).

    Where symmetric reserve is sold with that of one direction, it stays.
    """
    both, up, down = sold_kw
    both = np.minimum(both, least_kw.min(axis=0))
    return np.array([both, np.minimum(up, least_kw[0] - both), np.minimum(down, least_kw[1] - both)])
