"""Random planning problems and the world that belongs to them; every test of this folder draws from these."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from aggregator.planning.site.problem import Commitment, EvDemand, Problem
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
    Visit,
    World,
)
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Rating, Source, Transformer
from twin.feeder.scene import Limits, Scene

START = datetime(2019, 7, 15, 13, tzinfo=UTC)


def random_problem(seed: int, *, evs: int = 6, steps: int = 24, minimums: bool = True, negative: bool = False,
                   event: bool = True, cap_kw: float | None = None) -> Problem:
    """A site with some V2G cars, some of them absurdly parameterised, reproducible by seed."""
    rng = np.random.default_rng(seed)
    cars = []
    for i in range(evs):
        arrive = int(rng.integers(0, max(1, steps // 2)))
        depart = arrive + int(rng.integers(1, steps))
        capacity = float(rng.uniform(20, 80))
        energy = capacity * float(rng.uniform(0.05, 0.8))
        is_v2g = bool(rng.random() < 0.5)
        leave = np.where(rng.random(steps) < 0.3, rng.uniform(0, 0.02, steps), 0.0)
        cars.append(EvDemand(
            id=f"car-{i}", evse_id=f"evse-{i}", arrive=arrive, depart=depart, energy_kwh=energy, capacity_kwh=capacity,
            target_kwh=min(capacity, energy + float(rng.uniform(0, 25))), floor_kwh=0.25 * capacity,
            max_charge_kw=11.0 if is_v2g else 6.656, max_discharge_kw=11.0 if is_v2g else 0.0,
            charge_efficiency=float(rng.uniform(0.85, 0.97)), discharge_efficiency=float(rng.uniform(0.85, 0.97)),
            wear_per_kwh=float(rng.uniform(0.01, 0.06)),
            min_charge_kw=0.0 if is_v2g or not minimums else 1.248, min_discharge_kw=1.0 if minimums else 0.0,
            leave_probability=leave if rng.random() < 0.5 else None))
    base = rng.uniform(5, 40) + rng.uniform(0, 5, steps)
    imports = rng.uniform(-0.3 if negative else 0.02, 0.4, steps)
    first = int(rng.integers(0, steps - 4))
    commitments = (Commitment("event", tuple(range(first, first + 4)), tuple(rng.uniform(-5, 30, 4)),
                              float(rng.uniform(0.5, 4))),) if event else ()
    return Problem(
        grid=TimeGrid(START, 900, steps), evs=tuple(cars), base_kw=base,
        import_cap_kw=np.full(steps, cap_kw if cap_kw is not None else float(rng.uniform(40, 90))),
        export_cap_kw=np.full(steps, float(rng.choice([0.0, 20.0]))), import_price=imports,
        export_price=imports - rng.uniform(0, 0.1, steps), peak_so_far_kw=float(rng.uniform(0, 60)),
        demand_price=float(rng.uniform(0, 16)), commitments=commitments,
        first_step_fraction=float(rng.choice([1.0, 0.4])))


def world_of(problem: Problem, *, taper_from: float = 0.8, response: bool = True) -> World:
    """The world of a problem as the twin knows it: with taper, power-dependent losses and slow chargers."""
    evses, visits = [], []
    dc, ac = (Response(7.0, 3.3), Response(2.0)) if response else (Response(), Response())
    begin = problem.grid.start + (1 - problem.first_step_fraction) * (problem.grid.at(1) - problem.grid.start)
    for ev in problem.evs:
        is_v2g = ev.max_discharge_kw > 0
        evses.append(Evse(ev.evse_id, "site", Current.DC if is_v2g else Current.AC, ev.max_charge_kw,
                          ev.min_charge_kw, ev.max_discharge_kw, dc if is_v2g else ac))
        tapering, flat = PowerCurve((0.0, min(taper_from, 0.99), 1.0), (11.0, 11.0, 1.0)), PowerCurve((0, 1), (50, 50))
        charge = tapering if taper_from < 1 else flat
        battery = Battery(ev.capacity_kwh, charge, PowerCurve((0, 0.1, 1), (0, 13, 13)) if is_v2g else None,
                          LossCurve(0.05, 0.05, 0.002))
        vehicle = Vehicle("car", battery, ev.max_charge_kw, ev.max_discharge_kw, ev.min_discharge_kw)
        visits.append(Visit(ev.id, ev.evse_id, vehicle, max(problem.grid.at(ev.arrive), begin),
                            problem.grid.at(max(ev.depart, ev.arrive + 1)), ev.energy_kwh, ev.target_kwh, ev.floor_kwh))
    return World(Site("site", "America/Los_Angeles", float(problem.import_cap_kw.max())), tuple(evses), tuple(visits),
                 problem.grid, problem.base_kw, problem.import_cap_kw, problem.export_cap_kw, begin)


@pytest.fixture(scope="session")
def make_problem() -> Callable[..., Problem]:
    return random_problem


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return world_of


def small_street(steps: int = 8, *, evs: str = "aab", ampacity: float = 60.0, metres: float = 150.0,
                 home_w: float = 800.0, limits: Limits | None = None, power_factor: float = 1.0,
                 unbalanced_base_w: float = 0.0, c1: float = 0.0) -> Scene:
    """Three homes, one on each phase, and EVs at the end of one cable behind a transformer.

    evs: the phase of each EV. unbalanced_base_w: drawn by the home on phase a beyond `home_w`. c1: farads of the cable.
    """
    rating = Rating.even(ampacity, "a test")
    km = metres / 1000.0
    cable = {"r1": 0.32 * km, "x1": 0.08 * km, "r0": 1.0 * km, "x0": 0.3 * km, "ampacity": rating, "length_m": metres}
    lines = (Line.of_sequence("trunk", "lower", "middle", **cable, c1=c1, c0=c1 / 2),
             Line.of_sequence("branch", "middle", "end", **cable))
    points = [ConnectionPoint(f"home-{phase}", "middle" if phase == "c" else "end", phase) for phase in "abc"]
    points += [ConnectionPoint(f"ev-{k}", "end", phase) for k, phase in enumerate(evs)]
    transformer = Transformer("t", "upper", "lower", 100e3, 10_000.0, 400.0, 0.04, 1500.0, "Dyn11")
    feeder = Feeder(
        "street", (Bus("upper", 10_000.0), *(Bus(name, 400.0) for name in ("lower", "middle", "end"))), lines,
        Source("upper", 1.02, 0.0, 1e8, 0.3, 1.0), (transformer,), tuple(points))
    base = np.zeros((len(points), steps))
    base[:3] = home_w
    base[0] += unbalanced_base_w
    names = tuple(f"evse-{k}" for k in range(len(evs)))
    return Scene(feeder, TimeGrid(START, 900, steps), base, 0.1 * base, names,
                 tuple(f"ev-{k}" for k in range(len(evs))), tuple(evs), power_factor, limits or Limits())


@pytest.fixture(scope="session")
def make_street() -> Callable[..., Scene]:
    return small_street


def street_problem(scene: Scene, *, target_kwh: float = 12.0, price: np.ndarray | None = None,
                   discharge_kw: float = 0.0, charge_kw: float = 7.4, minimum_kw: float = 0.0,
                   energy_kwh: float = 10.0) -> Problem:
    """A car at every EVSE of a street for its whole grid, one like the other but for what their wear costs."""
    steps = scene.grid.steps
    cars = tuple(
        EvDemand(f"car-{k}", name, 0, steps, energy_kwh, 50.0, energy_kwh + target_kwh, 5.0, charge_kw, discharge_kw,
                 0.93, 0.93, 0.01 + 0.001 * k, minimum_kw, minimum_kw if discharge_kw else 0.0)
        for k, name in enumerate(scene.evse_ids))
    prices = np.linspace(0.1, 0.3, steps) if price is None else price
    return Problem(scene.grid, cars, scene.base_w.sum(axis=0) / 1000.0, np.full(steps, 500.0), np.full(steps, 500.0),
                   prices, prices - 0.01, 100.0, 0.0)


@pytest.fixture(scope="session")
def make_street_problem() -> Callable[..., Problem]:
    return street_problem
