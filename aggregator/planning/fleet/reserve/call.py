"""A call of reserve, shared out over the cars exactly, and the reserve cut back to what a judge says they hold.

A plan sells what its cars have in hand in a linear battery. Who knows the battery better (its taper, its efficiency at
low power) is the judge: a study gives the twin's, a test a simple one. What a car's minimum power leaves out, another
car takes; what no car can take is not delivered, and not sold.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from aggregator.planning.fleet.checker import Schedule, energies, ev_headroom
from aggregator.planning.fleet.problem import Floats, Problem
from aggregator.planning.fleet.reserve.headroom import offer_of

_LEAST_KW = 1e-9


class Judge(Protocol):
    """What really flows when cars are ordered powers."""

    def __call__(self, energy_kwh: Floats, ordered_kw: Floats, hours: float) -> Floats:
        """Mean power of each car over `hours`, shape (ev,), for batteries at energy_kwh when the order comes."""
        ...


def shared_out(problem: Problem, schedule: Schedule, step: int, kw: float) -> Floats:
    """Powers of shape (ev,) in a step in which the fleet takes kw less than planned (up, above 0) or more (below 0).

    The cars with the most in hand go first, each as far as it can; no power lies between 0 and a minimum. If their
    headroom is less than the call, all of it is used.
    """
    evs = problem.evs
    planned = schedule.charge_kw[:, step] - schedule.discharge_kw[:, step]
    room = ev_headroom(problem, schedule)[0 if kw > 0 else 1][:, step]
    powers, left = planned.copy(), abs(kw)
    for ev in np.argsort(-room, kind="stable").tolist():
        if left <= _LEAST_KW or room[ev] <= _LEAST_KW:
            break
        wanted = min(left, float(room[ev]))
        moved = _nearest(planned[ev], -wanted if kw > 0 else wanted, float(evs.min_charge_kw[ev]),
                         float(evs.min_discharge_kw[ev]))
        powers[ev] = planned[ev] + moved
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


def held_reserve(problem: Problem, schedule: Schedule, judge: Judge) -> Floats:
    """Shape (product, block), kW: the sold reserve, cut back to what the cars hold for `sustain_h` in every step."""
    reserve = problem.reserve
    if reserve is None:
        return schedule.reserve_kw
    energy = energies(problem, schedule.charge_kw, schedule.discharge_kw)
    planned = schedule.charge_kw - schedule.discharge_kw
    held = np.zeros((2, problem.steps))
    for way, asked in enumerate(reserve.asked(schedule.reserve_kw)):
        sign = 1.0 if way == 0 else -1.0
        for step in np.flatnonzero(asked > _LEAST_KW):
            ordered = shared_out(problem, schedule, int(step), sign * float(asked[step]))
            called = np.abs(ordered - planned[:, step]) > _LEAST_KW
            real = np.where(called, judge(energy[:, step], ordered, reserve.sustain_h), planned[:, step])
            held[way, step] = min(float(asked[step]), max(0.0, sign * float((planned[:, step] - real).sum())))
    return np.asarray(np.minimum(schedule.reserve_kw, offer_of(reserve, held[0], held[1])))
