"""The physics of all stations of a process: one fleet state, moved along the timeline, and a meter that adds it up."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from twin.assets import Vehicle
from twin.battery import FleetState
from twin.station.timeline import Event, Timeline

SAME_INSTANT_S = 1e-3  # POSIX seconds in a float carry about 0.2 microseconds


class Plant:
    """A `FleetState` whose time is the timeline's: every access first moves it to the present event."""

    def __init__(self, slots: int, timeline: Timeline) -> None:
        self._fleet = FleetState(slots)
        self._timeline = timeline
        self._origin = timeline.now
        self._self_change: Event | None = None

    @property
    def fleet(self) -> FleetState:
        """The state at the present event."""
        self._fleet.advance_to(self._timeline.now - self._origin)
        return self._fleet

    def plug(self, slot: int, vehicle: Vehicle, energy_kwh: float) -> None:
        self.fleet.plug(slot, vehicle, energy_kwh)

    def unplug(self, slot: int) -> float:
        """Take the car away and return its energy in kWh."""
        return self.fleet.unplug(slot)

    def set_power(self, slot: int, connector_kw: float) -> None:
        self.fleet.set_power(slot, connector_kw)

    def power_kw(self, slot: int) -> float:
        """What flows at one connector at the present event."""
        return float(self.fleet.power_kw[slot])

    def ev_kwh(self) -> float:
        """Net energy through all connectors since the start: the exact integral of EV power."""
        fleet = self.fleet
        return float(fleet.import_kwh.sum() - fleet.export_kwh.sum())

    def watch(self) -> None:
        """See to it that an event stands where some car's power next changes by itself (taper, full, empty)."""
        wait = self.fleet.next_change_s()
        # A wait below the resolution of the float would bring the same instant back for ever.
        due = self._timeline.now + max(wait, SAME_INSTANT_S)
        pending = self._self_change
        if pending is not None and pending.call is not None:
            if abs(pending.at - due) < SAME_INSTANT_S:
                return
            pending.cancel()
        self._self_change = None
        if math.isfinite(wait):
            # The event only gives the others a chance to look; the fleet turns over its segments by itself.
            self._self_change = self._timeline.at(due, lambda _: None)


class Building:
    """The building's load: piecewise constant, the first and last value held beyond the ends.

    start: POSIX seconds; kw: one value per step of step_s.
    """

    def __init__(self, start: float, step_s: float, kw: tuple[float, ...]) -> None:
        self._start, self._step_s = start, step_s
        self._kw: NDArray[np.float64] = np.array(kw)
        self._sums = np.concatenate([[0.0], np.cumsum(self._kw)]) * step_s

    def mean_kw(self, begin: float, end: float) -> float:
        """Exact mean over [begin, end)."""
        return (self._integral(end) - self._integral(begin)) / (end - begin)

    def _integral(self, at: float) -> float:
        position = at - self._start
        step = min(max(int(position // self._step_s), 0), len(self._kw) - 1)
        return float(self._sums[step] + self._kw[step] * (position - step * self._step_s))
