"""Small random fleets, some of them absurd; every test of this folder draws from these."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aggregator.planning.fleet.problem import Event, Evs, Feeders, Problem, Reserve, Sites

Make = Callable[..., Problem]


def random_fleet(
    seed: int, *, evs: int = 6, sites: int = 3, steps: int = 8, events: int = 1, feeders: bool = False,
    reserve: bool = False, negative: bool = False, below_floor: bool = False, lossless: bool = False,
    limit_per_kwh: float | None = 1000.0, tight: bool = False, minimums: bool = False,
) -> Problem:
    """A fleet that the seed reproduces; stays of one step, cars without power and targets out of reach occur."""
    draw = np.random.default_rng(seed)
    arrive = draw.integers(0, steps, evs)
    depart = np.minimum(steps, arrive + draw.integers(1, steps + 1, evs))
    capacity = draw.uniform(20.0, 80.0, evs)
    energy = capacity * draw.choice([0.05, 0.3, 0.6, 1.0], evs)
    floor = capacity * 0.2 if below_floor else np.minimum(0.2 * capacity, energy)
    power = draw.choice([0.0, 3.7, 11.0, 22.0], evs, p=[0.1, 0.2, 0.5, 0.2])
    efficiency = np.ones((2, evs)) if lossless else draw.uniform(0.8, 1.0, (2, evs))
    fleet = Evs(
        tuple(f"car-{k}" for k in range(evs)), draw.integers(0, sites, evs), arrive, depart, energy, capacity,
        capacity * draw.uniform(0.0, 1.0, evs), floor, power, np.where(draw.random(evs) < 0.6, power, 0.0),
        efficiency[0], efficiency[1], draw.choice([0.0, 0.02, 0.05], evs))
    base = draw.uniform(0.0, 20.0, (sites, steps))
    pv = draw.uniform(0.0, 25.0, (sites, steps)) * (draw.random((sites, 1)) < 0.5)
    cap = base.max(axis=1, keepdims=True) + draw.uniform(-10.0 if tight else 5.0, 30.0, (sites, 1))
    cap = np.maximum(1.0, np.broadcast_to(cap, base.shape))
    table = Sites(tuple(f"site-{k}" for k in range(sites)), base, pv, cap, cap * draw.choice([0.0, 0.3, 1.0]),
                  draw.uniform(0.0, 20.0, sites), draw.choice([0.0, 0.5], sites))
    imports = draw.uniform(-0.6 if negative else 0.05, 0.4, steps)
    called = []
    for number in range(events):
        count = int(draw.integers(1, steps // 2 + 1))
        when = np.sort(draw.choice(steps, count, replace=False))
        called.append(Event(f"event-{number}", when, (base - pv)[:, when].sum(axis=0) + draw.uniform(-20, 10, count),
                            float(draw.uniform(0.2, 2.0))))
    if minimums:
        fleet = _with_minimums(draw, fleet)
    return Problem(
        24.0 / steps, fleet, table, imports, imports - draw.uniform(0.0, 0.1, steps), 2.0, tuple(called),
        _feeders(draw, base) if feeders else None,
        _reserve(draw, steps) if reserve else None, limit_per_kwh)


def _reserve(draw: np.random.Generator, steps: int) -> Reserve:
    """Two blocks; every direction is sold in some of them and in others not, sometimes for less than nothing."""
    prices = draw.uniform(-0.01, 0.05, (3, 2)) * (draw.random((3, 2)) < 0.7)
    return Reserve(np.arange(steps) * 2 // steps, prices[0], float(draw.choice([0.0, 0.25, 0.5, 2.0])), *prices[1:])


def _with_minimums(draw: np.random.Generator, fleet: Evs) -> Evs:
    """Chargers and cars that cannot do less than some power; some of those that only charge sleep in a pause."""
    least = np.minimum(fleet.max_charge_kw, draw.choice([0.0, 1.4, 4.1, 6.0], len(fleet)))
    give = np.minimum(fleet.max_discharge_kw, draw.choice([0.0, 2.0, 5.0], len(fleet)))
    sleeps = (least > 0) & (fleet.max_discharge_kw == 0) & (draw.random(len(fleet)) < 0.6)
    return replace(fleet, min_charge_kw=least, min_discharge_kw=give, sleeps=sleeps.astype(float))


def _feeders(draw: np.random.Generator, base: np.ndarray) -> Feeders:
    """Chains whose sites do not stand in the order of the table."""
    count = len(base)
    number = draw.integers(0, 2, count)
    position = np.zeros(count, dtype=int)
    for k in (0, 1):
        own = draw.permutation(np.flatnonzero(number == k))
        position[own] = np.arange(len(own))
    return Feeders(("north", "south"), number, position, draw.uniform(30.0, 90.0, count),
                   draw.uniform(0.0, 3e-4, count), draw.uniform(0.0, 1e-4, count), 0.3 * base)


KINDS = (
    {}, {"events": 0}, {"events": 2}, {"feeders": True}, {"reserve": True}, {"feeders": True, "reserve": True},
    {"negative": True}, {"negative": True, "feeders": True, "reserve": True}, {"below_floor": True},
    {"lossless": True, "negative": True}, {"tight": True}, {"limit_per_kwh": None}, {"steps": 1, "events": 0},
    {"evs": 1, "sites": 1}, {"tight": True, "feeders": True, "events": 2}, {"minimums": True},
    {"minimums": True, "reserve": True, "negative": True},
)


@pytest.fixture(scope="session")
def make_fleet() -> Make:
    return random_fleet


@pytest.fixture(params=KINDS, ids=lambda kind: " ".join(f"{k}={v}" for k, v in kind.items()) or "plain")
def kind(request: pytest.FixtureRequest) -> dict[str, object]:
    """One sort of problem; tests that take it run on every sort."""
    chosen: dict[str, object] = request.param
    return chosen
