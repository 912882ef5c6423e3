"""Cars that fall asleep in a pause of charging and have to be woken: for many EVSEs at once.

```
offered kW  11 |####            ##            ####      after_s: asleep after that long at 0 kW
             0 |____############__############____      wake_s: the offer has to stand that long,
felt by car 11 |####                            ##      at wake_kw or more, before the car draws power
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.assets import Vehicle
from twin.battery import SETPOINT_TOLERANCE_KW

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The time at which `slots` fall asleep or wake, if nothing has changed by then (`mood` tells)."""

    time_s: float
    slots: Ints
    mood: Ints


class Sleepers:
    """What each car makes of the power that its EVSE offers.

    Whoever keeps the time hands alarms back with `ring` when they are due.
    """

    def __init__(self, slots: int, vehicles: Sequence[Vehicle]) -> None:
        sleeps = [vehicle.sleep for vehicle in vehicles]
        self._after_s = np.array([np.inf if sleep is None else sleep.after_s for sleep in sleeps])
        self._wake_kw = np.array([0.0 if sleep is None else sleep.wake_kw for sleep in sleeps])
        self._wake_s = np.array([0.0 if sleep is None else sleep.wake_s for sleep in sleeps])
        self._vehicle = np.full(slots, -1, dtype=np.int64)
        self._offered = np.zeros(slots)
        self._is_asleep = np.zeros(slots, dtype=np.bool_)
        self._is_counting = np.zeros(slots, dtype=np.bool_)
        self._mood = np.zeros(slots, dtype=np.int64)

    def plug(self, now_s: float, slots: Ints, vehicle: Ints) -> list[Alarm]:
        """Cars come awake, to EVSEs that offer nothing yet."""
        self._vehicle[slots] = vehicle
        self._offered[slots] = 0.0
        self._is_asleep[slots] = False
        self._is_counting[slots] = False
        return self._count(now_s, slots, self._after_s[vehicle])

    def unplug(self, slots: Ints) -> None:
        self._vehicle[slots] = -1
        self._mood[slots] += 1
        self._is_asleep[slots] = False

    def offer(self, now_s: float, slots: Ints, kw: Floats) -> tuple[Floats, list[Alarm]]:
        """The power each car takes up of `kw`, offered at distinct `slots`."""
        self._offered[slots] = kw
        vehicle = self._vehicle[slots]
        is_asleep, is_counting = self._is_asleep[slots], self._is_counting[slots]
        is_paused = np.abs(kw) <= SETPOINT_TOLERANCE_KW
        counts = np.where(is_asleep, kw >= self._wake_kw[vehicle], is_paused) & (vehicle >= 0)
        stops = slots[is_counting & ~counts]
        self._is_counting[stops] = False
        self._mood[stops] += 1
        begins = counts & ~is_counting
        alarms: list[Alarm] = []
        if begins.any():
            wait = np.where(is_asleep, self._wake_s[vehicle], self._after_s[vehicle])
            at_once = begins & (wait == 0.0)
            self._is_asleep[slots[at_once]] = False
            begins &= wait > 0.0
            alarms = self._count(now_s, slots[begins], wait[begins])
        return np.where(self._is_asleep[slots], 0.0, kw), alarms

    def ring(self, now_s: float, alarms: Sequence[Alarm]) -> tuple[Ints, Floats, list[Alarm]]:
        """Slots whose car woke or fell asleep, the power each takes now, and alarms that follow."""
        turned = [alarm.slots[self._mood[alarm.slots] == alarm.mood] for alarm in alarms]
        slots = np.concatenate(turned)
        self._is_asleep[slots] = ~self._is_asleep[slots]
        self._is_counting[slots] = False
        self._mood[slots] += 1
        felt, following = self.offer(now_s, slots, self._offered[slots])
        return slots, felt, following

    def _count(self, now_s: float, slots: Ints, wait_s: Floats) -> list[Alarm]:
        self._is_counting[slots] = True
        self._mood[slots] += 1
        mood = self._mood[slots]
        waits = np.unique(wait_s[np.isfinite(wait_s)])
        return [
            Alarm(now_s + wait, slots[those], mood[those]) for wait in waits.tolist() for those in (wait_s == wait,)
        ]
