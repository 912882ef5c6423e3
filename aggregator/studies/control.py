"""Who controls a simulated site: the twin's own rules by name, a schedule from a file, or the service's planner."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.refusal import Refused
from aggregator.studies.events import Asked
from twin.assets import Schedule, TimeGrid
from twin.controllers import (
    Controller,
    EarliestDeadline,
    FollowSchedule,
    Metered,
    Proportional,
    ProportionalToLaxity,
    RoundRobin,
    Uncontrolled,
)
from twin.drivers import Drawn
from twin.engine import run
from twin.ensemble import Ensemble, Outcome
from twin.faults import FaultPlan
from twin.scenario.experiment import Control
from twin.scenario.on_feeder import OnFeeder
from twin.visits import VisitTable

Floats = NDArray[np.float64]

CONTROLS = ("uncontrolled", "round_robin", "edf", "laxity", "proportional", "schedule", "planner")
CONTROL_WORDS = {
    "uncontrolled": "every car at full power from plug-in until its driver's wish is met",
    "round_robin": "cars take turns under the cap",
    "edf": "earliest declared departure first under the cap",
    "laxity": "the car with least time to spare first under the cap",
    "proportional": "the room under the cap shared in proportion to what each car can take",
    "schedule": "a schedule of set-points from a file",
    "planner": "the service's own planner and gate, every quarter hour and at every change",
}


class Runner(Protocol):
    """Runs all replicas of an ensemble under one kind of control; `events` are those the controller is told of.

    assumed: what the controller was told that no scenario says, for the report. committed: what it answered that it
    would hold in each event, by the event's id: net kW of shape (replica, step of the event); empty if it answers none.
    """

    @property
    def assumed(self) -> tuple[str, ...]: ...
    @property
    def committed(self) -> Mapping[str, Floats]: ...

    def __call__(
        self, ensemble: Ensemble, events: tuple[Asked, ...], *, record_evses: bool, tell: Callable[[float], None]
    ) -> Outcome: ...


def rule(control: Control, ensemble: Ensemble) -> Controller:
    """A fresh controller of that name (some keep state while they run).

    Raises:
        Refused: a schedule is wanted and cannot be read, or does not fit the ensemble.
    """
    match control.name:
        case "uncontrolled":
            return Uncontrolled()
        case "round_robin":
            return Metered(RoundRobin(discharges=control.discharges))
        case "edf":
            return Metered(EarliestDeadline(discharges=control.discharges, asks_between=control.between_steps))
        case "laxity":
            return Metered(ProportionalToLaxity(discharges=control.discharges, asks_between=control.between_steps))
        case "proportional":
            return Metered(Proportional(discharges=control.discharges, asks_between=control.between_steps))
        case "schedule":
            if control.schedule is None:
                raise Refused("control.schedule: none, expected the path of a CSV with evse, time and power_kw")
            return FollowSchedule(read_schedule(control.schedule, ensemble))
        case _:
            raise Refused(f"control.name: {control.name!r}, expected one of {', '.join(CONTROLS)}")


@dataclass(frozen=True)
class RuleRunner:
    """Implements `Runner`: all replicas in one array under one of the twin's rules, which answer no event.

    on_feeder: what the inverters of its EVSEs withhold is not delivered.
    """

    control: Control
    drawn: Drawn
    faults: FaultPlan | None
    on_feeder: OnFeeder | None = None
    assumed: tuple[str, ...] = ()
    committed: Mapping[str, Floats] = field(default_factory=dict)

    def __call__(
        self, ensemble: Ensemble, events: tuple[Asked, ...], *, record_evses: bool, tell: Callable[[float], None]
    ) -> Outcome:
        del events  # a rule meets them as a lower cap
        return run(
            ensemble, in_turn(self.drawn.visits), rule(self.control, ensemble), faults=self.faults,
            revisions=self.drawn.revisions if len(self.drawn.revisions) else None, record_evses=record_evses,
            grid=None if self.on_feeder is None else self.on_feeder.response(ensemble.replicas), progress=tell,
        )


_LEAST_VISITS = 50
"""Of a table: fewer are not worth the stop between two."""


def in_turn(visits: VisitTable, tables: int = 64) -> Iterator[VisitTable]:
    """The same visits in several tables, so that progress can be told between them; it changes nothing else."""
    edges = np.linspace(0, len(visits), min(tables, max(len(visits) // _LEAST_VISITS, 1)) + 1).astype(np.int64)
    for begin, end in pairwise(edges.tolist()):
        yield visits.take(np.arange(begin, end))


def read_schedule(path: Path, ensemble: Ensemble) -> Schedule:
    """A CSV of evse, time (with offset) and power_kw; a set-point holds until the next one of that EVSE.

    Raises:
        Refused: the first row that cannot be used, with what was expected.
    """
    column = {evse.id: k for k, evse in enumerate(ensemble.evses)}
    grid = ensemble.grid
    power = np.full((len(column), grid.steps), np.nan)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := {"evse", "time", "power_kw"} - set(reader.fieldnames or ()):
                raise Refused(f"{path}: no column {min(missing)!r}, expected evse, time and power_kw")
            for row in reader:
                where = f"{path}: row {reader.line_num}"
                if None in row:
                    raise Refused(f"{where}: {len(row) - 1 + len(row[None])} cells, expected {len(row) - 1}")
                if row["evse"] not in column:
                    raise Refused(f"{where}, evse: {row['evse']!r}, expected an EVSE of the scenario")
                step = _step(row["time"], grid, where)
                if np.isfinite(power[column[row["evse"]], step]):
                    raise Refused(f"{where}, time: {row['time']!r}, expected every time of {row['evse']} once")
                power[column[row["evse"]], step] = _power(row["power_kw"], where)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}, expected a schedule") from None
    except csv.Error as error:
        raise Refused(f"{path}: {error}, expected a schedule") from None
    except UnicodeDecodeError:
        raise Refused(f"{path}: not UTF-8 text, expected a schedule") from None
    return Schedule(grid, tuple(column), _held(power))


def _step(text: str, grid: TimeGrid, where: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Refused(f"{where}, time: {text!r}, expected an ISO 8601 time with offset") from None
    if when.tzinfo is None:
        raise Refused(f"{where}, time: {text!r}, expected an ISO 8601 time with offset")
    step, rest = divmod((when - grid.start).total_seconds(), grid.step_s)
    if rest or not 0 <= step < grid.steps:
        raise Refused(
            f"{where}, time: {text!r}, expected a step's beginning: every {grid.step_s} s from "
            f"{grid.start.isoformat()}, before {grid.end.isoformat()}"
        )
    return int(step)


def _power(text: str, where: str) -> float:
    try:
        kw = float(text)
    except (TypeError, ValueError):
        kw = np.nan
    if not np.isfinite(kw):
        raise Refused(f"{where}, power_kw: {text!r}, expected a finite number of kW")
    return kw


def _held(power: Floats) -> Floats:
    """Each set-point until the next one of its row; 0 before the first."""
    known = np.isfinite(power)
    last = np.maximum.accumulate(np.where(known, np.arange(power.shape[1]), -1), axis=1)
    held = np.take_along_axis(power, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, held, 0.0)
