"""Small fleets, visits and faults to reason about."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twin.assets import (
    Battery,
    Current,
    Evse,
    LossCurve,
    PowerCurve,
    Response,
    Site,
    TimeGrid,
    Vehicle,
    utc,
)
from twin.controllers import FleetView
from twin.ensemble import Ensemble
from twin.faults import FaultIntervals, FaultKind, FaultPlan
from twin.visits import Revisions, VisitTable

START = utc("2019-07-15T13:00:00Z")
HOUR = 3600.0
TAPER = PowerCurve((0.0, 0.8, 1.0), (30.0, 30.0, 1.5))
GIVING = PowerCurve((0.0, 0.1, 1.0), (0.0, 20.0, 20.0))
BOTH_WAYS = Vehicle("both", Battery(60.0, TAPER, GIVING, LossCurve(0.12, 0.03, 0.0033)), 11.0, 11.0)
BIG = Vehicle("big", Battery(100.0, PowerCurve((0.0, 1.0), (50.0, 50.0)), GIVING), 11.0, 11.0)
"""A lossless car that never tapers at the powers used here: every expected figure is power times hours."""
RESPONSES = (Response(), Response(7.0, 3.3), Response(2.5), Response(0.0, 0.7))


def fleet(n: int = 1, *, replicas: int = 1, vehicle: Vehicle = BIG, response: Response | None = None, hours: int = 4,
          step_s: int = 900, cap_kw: float = 1000.0, least_kw: float = 0.0) -> Ensemble:
    steps = int(hours * HOUR / step_s)
    evses = tuple(Evse(f"E{k}", "S", Current.DC, 11.0, least_kw, 11.0, response or Response()) for k in range(n))
    row = np.full((1, steps), cap_kw)
    return Ensemble((Site("S", "UTC", cap_kw, cap_kw),), evses, (vehicle,), TimeGrid(START, step_s, steps),
                    np.zeros((1, steps)), row, row, replicas)


def table(*rows: tuple[int, float, float], energy: float = 10.0, target: float = 100.0, floor: float = 0.0,
          replica: list[int] | None = None) -> VisitTable:
    """Visits as (EVSE, arrival in s, departure in s)."""
    evse, arrival, departure = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    return VisitTable(
        evse.astype(np.int64), np.zeros(n, dtype=np.int64), arrival.astype(float), departure.astype(float),
        departure.astype(float), np.full(n, energy), np.full(n, target), np.full(n, floor),
        None if replica is None else np.array(replica),
    )


class Hold:
    """Orders the same power everywhere, always."""

    charges_to_target = False
    asks_between = True

    def __init__(self, kw: float) -> None:
        self.kw = kw

    def setpoints(self, view: FleetView) -> NDArray[np.float64]:
        return np.full(view.ensemble.slots, self.kw)


class Hourly(Hold):
    """Orders another power in each hour."""

    def __init__(self, *kw: float) -> None:
        super().__init__(0.0)
        self.by_hour = kw

    def setpoints(self, view: FleetView) -> NDArray[np.float64]:
        return np.full(view.ensemble.slots, self.by_hour[int(view.now_s // HOUR)])


def healthy(slots: int) -> FaultPlan:
    none = np.zeros(0, dtype=np.int64)
    return FaultPlan(FaultIntervals(none, none, np.zeros(0), np.zeros(0), np.zeros(0)), np.zeros(slots),
                     np.zeros(slots), np.ones(slots), np.zeros(slots), fallback_kw=np.zeros(slots))


def fault(kind: FaultKind, begin_s: float, end_s: float, value: float = 0.0, slots: int = 1) -> FaultPlan:
    number = tuple(FaultKind).index(kind)
    intervals = FaultIntervals(np.array([number]), np.array([0]), np.array([begin_s]), np.array([end_s]),
                               np.array([value]))
    return replace(healthy(slots), intervals=intervals)


NOBODY_CHANGES = Revisions(*(np.zeros(0, dtype=np.int64) for _ in range(2)), *(np.zeros(0) for _ in range(3)))
"""Revisions without a row: switches the handling of whole steps at once off, and changes nothing else."""


def random_visits(rng: np.random.Generator, ensemble: Ensemble) -> VisitTable:
    """Several visits per slot at odd seconds, other ones in every replica."""
    end = ensemble.grid.step_s * ensemble.grid.steps
    rows = []
    for slot in range(ensemble.slots):
        second = float(rng.integers(-1000, 2500))
        while second < end:
            stay = float(rng.integers(5, 7000))
            rows.append((second, slot, second + stay, rng.uniform(5, 55), rng.uniform(20, 60)))
            second += stay + float(rng.choice([0, rng.integers(0, 2000)]))
    rows.sort()
    come, slot, go, energy, target = (np.array(column) for column in zip(*rows, strict=True))
    n, evses = len(rows), len(ensemble.evses)
    return VisitTable(slot.astype(np.int64) % evses, np.zeros(n, dtype=np.int64), come, go, go, energy, target,
                      np.full(n, 12.0), slot.astype(np.int64) // evses)
