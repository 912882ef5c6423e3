"""Random planning problems of any size: commuters at work, residents at home, a fleet's vans at a depot.

A third of the day plugged in on average, 60 % V2G, 40 EVs per site, 10 sites per feeder; prices with a midday valley
and an evening peak, PV on every third site, an evening event that asks for a fifth to two fifths of what the plugged
cars could give back, so that it binds.
Everything follows from the seed; nothing here is measured data.
"""

from __future__ import annotations

import numpy as np

from aggregator.planning.fleet.problem import Event, Evs, Feeders, Problem, Reserve, Sites


def instance(
    evs: int, seed: int = 0, *, steps: int = 96, evs_per_site: int = 40, sites_per_feeder: int = 10,
    event: bool = True, feeders: bool = True, reserve: bool = False, lowest_price: float | None = None,
    limit_per_kwh: float | None = 1000.0,
) -> Problem:
    """A day of `steps` steps. lowest_price: EUR per kWh that the midday valley reaches, below 0 if wanted."""
    draw = np.random.default_rng(seed)
    hours = (np.arange(steps) + 0.5) * 24.0 / steps
    count = max(1, -(-evs // evs_per_site))
    fleet = _evs(draw, evs, count, steps)
    sites = _sites(draw, count, evs / count, hours)
    imports = 0.20 + 0.10 * _hill(hours, 19.0, 2.0) - 0.12 * _hill(hours, 13.0, 2.5) + draw.normal(0.0, 0.005, steps)
    if lowest_price is not None:
        imports += (lowest_price - imports.min()) * _hill(hours, hours[imports.argmin()], 1.5)
    exports = imports - 0.04
    return Problem(
        24.0 / steps, fleet, sites, imports, exports, 2.0,
        (_event(draw, fleet, sites, hours),) if event else (),
        _feeders(draw, sites, sites_per_feeder) if feeders else None,
        _reserve(draw, steps) if reserve else None, limit_per_kwh)


def _hill(hours: np.ndarray, middle: float, width: float) -> np.ndarray:
    away = (hours - middle + 12.0) % 24.0 - 12.0
    return np.exp(-0.5 * (away / width) ** 2)


def _evs(draw: np.random.Generator, evs: int, sites: int, steps: int) -> Evs:
    stay = np.clip(draw.gamma(6.0, 8.0 / 6.0, evs), 0.5, 20.0)
    begin = np.clip(draw.choice([8.5, 17.5, 0.0], evs, p=[0.5, 0.3, 0.2]) + draw.normal(0.0, 1.5, evs), 0.0, 23.0)
    arrive = np.minimum((begin / 24.0 * steps).astype(int), steps - 1)
    depart = np.clip(arrive + np.maximum(1, (stay / 24.0 * steps).astype(int)), arrive + 1, steps)
    capacity = draw.uniform(35.0, 90.0, evs)
    energy = capacity * draw.uniform(0.2, 0.7, evs)
    power = draw.choice([7.4, 11.0, 22.0], evs, p=[0.4, 0.5, 0.1])
    is_v2g = draw.random(evs) < 0.6
    return Evs(
        tuple(f"ev-{k}" for k in range(evs)), np.sort(draw.integers(0, sites, evs)), arrive, depart, energy, capacity,
        np.minimum(0.9 * capacity, energy + draw.uniform(5.0, 35.0, evs)), 0.2 * capacity * draw.uniform(0.5, 1.0, evs),
        power, np.where(is_v2g, power, 0.0), draw.uniform(0.90, 0.97, evs), draw.uniform(0.90, 0.97, evs),
        draw.uniform(0.01, 0.05, evs))


def _sites(draw: np.random.Generator, sites: int, evs_at_one: float, hours: np.ndarray) -> Sites:
    scale = evs_at_one * draw.uniform(0.6, 1.4, sites)[:, None]
    base = scale * (0.6 + 0.8 * _hill(hours, 12.0, 4.0) + 0.6 * _hill(hours, 19.0, 2.0))
    base = base + draw.normal(0.0, 0.03, base.shape) * scale
    pv = np.where(np.arange(sites) % 3 == 0, 1.5, 0.0)[:, None] * scale * np.clip(_hill(hours, 12.5, 2.5), 0.0, 1.0)
    cap = np.broadcast_to(base.max(axis=1, keepdims=True) + 3.0 * scale, base.shape)
    return Sites(tuple(f"site-{k}" for k in range(sites)), base, pv, cap, 0.6 * cap, 0.9 * base.max(axis=1),
                 draw.uniform(0.1, 0.5, sites))


def _event(draw: np.random.Generator, evs: Evs, sites: Sites, hours: np.ndarray) -> Event:
    steps = np.flatnonzero((hours >= 18.0) & (hours < 20.0))
    if not len(steps):
        steps = np.array([len(hours) * 3 // 4])
    there = ((evs.arrive[:, None] <= steps) & (steps < evs.depart[:, None])).astype(float)
    own, back = (sites.base_kw - sites.pv_kw)[:, steps].sum(axis=0), evs.max_discharge_kw @ there
    return Event("evening", steps, own - back * draw.uniform(0.2, 0.4), 1.0)


def _feeders(draw: np.random.Generator, sites: Sites, at_one: int) -> Feeders:
    count = len(sites)
    number = np.arange(count) // at_one
    position = np.arange(count) % at_one
    downstream = np.array([sites.base_kw[(number == number[k]) & (position >= position[k])].max(axis=1).sum()
                           for k in range(count)])
    feeder_kw = np.array([downstream[(number == number[k]) & (position == 0)][0] for k in range(count)])
    r = draw.uniform(0.5, 1.0, count) * 0.03 / at_one / feeder_kw
    names = tuple(f"feeder-{k}" for k in range(number.max() + 1))
    return Feeders(names, number, position, 2.0 * downstream, r, 0.5 * r, 0.2 * sites.base_kw)


def _reserve(draw: np.random.Generator, steps: int) -> Reserve:
    blocks = 6 if steps % 6 == 0 else 1
    return Reserve(np.arange(steps) // (steps // blocks), draw.uniform(0.005, 0.03, blocks), 0.5)
