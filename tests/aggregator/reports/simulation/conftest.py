"""A run of a few cars and courses, small enough to reason about."""

from datetime import UTC, datetime

import numpy as np

from aggregator.reports.simulation import (
    MEASURES,
    AgeingFact,
    Band,
    EventFact,
    SimulationFacts,
    SiteFact,
    SocFan,
    VisitColumns,
    WearColumns,
)
from twin.assets import TimeGrid

GRID = TimeGrid(datetime(2019, 7, 15, 7, tzinfo=UTC), 900, 96)
CARS = 12


def facts(replicas: int = 5, grid: TimeGrid = GRID) -> SimulationFacts:
    """Each car wants 20 kWh; car k of course r lacks k kWh where k + r is a multiple of 4, for cause 1 + k modulo 7."""
    step = np.arange(grid.steps)
    base = 40.0 + 10 * np.sin(step / 15)
    charge = np.clip(60 - np.abs(step % 96 - 45)[None] * 3 + np.arange(replicas)[:, None], 0, None).astype(float)
    discharge = np.zeros_like(charge)
    discharge[:, 60:64] = 10.0
    net = base + charge - discharge
    cap, nothing = np.full(grid.steps, 110.0), np.zeros(grid.steps)
    site = SiteFact("campus", base, cap, nothing, Band.of(net), Band.of(charge - discharge), Band.of(charge),
                    Band.of(discharge), np.zeros(replicas), np.zeros(replicas), np.zeros(replicas))
    car = np.tile(np.arange(CARS), replicas)
    course = np.repeat(np.arange(replicas), CARS)
    lacks = np.where((car + course) % 4 == 0, car.astype(float), 0.0)
    arrival = 3600.0 * (2 + car % 5)
    visits = VisitColumns(
        tuple(f"{r}-{k}" for r, k in zip(course, car, strict=True)), course, tuple(f"CA-{300 + k}" for k in car),
        ("car",) * car.size, arrival, arrival + 7200.0, arrival + 9000.0, np.full(car.size, 10.0),
        np.full(car.size, 30.0), 30.0 - lacks, 20.0 - lacks, np.zeros(car.size), np.zeros(car.size), lacks,
        np.ones(car.size, dtype=np.bool_), np.where(lacks > 0, 30.0, np.nan), lacks / 2,
        np.where(lacks > 0.2, 1 + car % 7, 0),
        WearColumns(2e-5 + 1e-6 * car, np.full(car.size, 1e-5), np.full(car.size, 25.0), np.full(car.size, -1e-6),
                    np.full(car.size, 3e-6), np.full(car.size, 5.0)),
    )
    event = EventFact(
        "Relief", "campus", 60, np.full(4, 50.0), np.full((replicas, 4), 20.0), "stated in the scenario",
        np.full((replicas, 4), 20.0) - 4.0 * np.arange(replicas)[:, None], np.full((replicas, 4), 70.0),
    )
    short = np.bincount(course[lacks > 0.2], minlength=replicas).astype(float)
    measures = {measure.key: np.arange(replicas) + 100.0 for measure in MEASURES}
    measures |= {"visits": np.full(replicas, float(CARS)), "short_drivers": short, "over_cap_kwh": np.zeros(replicas),
                 "event_kept_share": event.kept_share(), "peak_kw": net.max(axis=1),
                 "plugged_in": np.zeros(replicas), "plugged_in_kwh": np.zeros(replicas)}
    soc = np.where((step % 96 > 8) & (step % 96 < 70), 0.5, np.nan)
    return SimulationFacts(
        "A day at the campus", "edf", 7, replicas, grid, "America/Los_Angeles", CARS, ("Drivers were drawn.",),
        ("A note.",), {"other station": 3}, (site,), site, SocFan(soc - 0.1, soc, soc + 0.1), visits, (event,),
        measures,
        {"down": 4, "no_show": 2}, 3.1e-15, "ab" * 32, {"run": 0.5}, "0.1.0",
        AgeingFact({"car": "A cell, NMC-graphite (its test, 2020)"}, (20.0,) * 12, 0.8, 15.0),
    )
