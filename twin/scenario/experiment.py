"""A scenario as the engine runs it: an ensemble, columns of visits, and the settings of those who act in it.

Everything a simulation needs and nothing that only a service needs. Arrivals and states of charge are the same in
every replica; departures and faults are redrawn by `twin.drivers` and `twin.faults` from `seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.ensemble import Ensemble
from twin.visits import VisitTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Event:
    """A wish of the grid, at the connection point; one of max_net_kw and reduction_kw is given.

    max_net_kw: net import at or below this in [start, end); below 0 asks for export. reduction_kw: this much less
    than without the event. promised_kw: mean reduction that was promised; None: nothing was.
    known_from: when controllers may know of it.
    """

    id: str
    start: datetime
    end: datetime
    max_net_kw: float | None
    reduction_kw: float | None
    promised_kw: float | None
    known_from: datetime


@dataclass(frozen=True, slots=True)
class Control:
    """Who decides the set-points: a name of `ControlTable` and its options. schedule: absolute path of its file."""

    name: str
    discharges: bool = False
    schedule: Path | None = None
    horizon_h: float = 24.0


@dataclass(frozen=True)
class Experiment:
    """All that a simulation of a scenario needs.

    ensemble: one site (index 0), stations in file order, caps without events. visits: in order of arrival; real
    departures are the recorded ones. Where a driver does not consent to discharge the floor is the whole battery.
    events: in order of start. drivers, faults: models for `twin.drivers` and `twin.faults`; faults None: all works.
    dropped: visits that are not part of it, counted by reason. assumptions: sentences for the report.
    """

    name: str
    ensemble: Ensemble
    visits: VisitTable
    drivers: Any
    faults: Any
    control: Control
    events: tuple[Event, ...]
    seed: int
    dropped: Mapping[str, int]
    assumptions: tuple[str, ...]

    def with_replicas(self, replicas: int, seed: int | None = None) -> Experiment:
        """The same experiment with another number of replicas and, where given, another seed."""
        ensemble = replace(self.ensemble, replicas=replicas)
        return replace(self, ensemble=ensemble, seed=self.seed if seed is None else seed)

    def event_limit_kw(self) -> Floats:
        """Most net import in kW that the events allow, by step: shape (step,); inf without a limit.

        A step that an event touches is limited as a whole. Events that ask for a reduction set no limit here: what
        they allow depends on the run without them.
        """
        grid = self.ensemble.grid
        limit = np.full(grid.steps, np.inf)
        for event in self.events:
            if event.max_net_kw is None:
                continue
            first = max(grid.index(event.start), 0)
            last = -(-(event.end - grid.start).total_seconds() // grid.step_s)
            limit[first : max(int(last), 0)] = np.minimum(limit[first : max(int(last), 0)], event.max_net_kw)
        return limit
