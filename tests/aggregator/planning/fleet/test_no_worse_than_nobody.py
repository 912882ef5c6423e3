"""No plan costs more than nobody planning: cars that charge as they come, as far as caps, lines and voltages let them.

The reference is written plainly, car by car and step by step, from the definition of the problem.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet.blocks.blocks import BlockService
from aggregator.planning.fleet.blocks.crew import Alone
from aggregator.planning.fleet.blocks.decomposition import decompose
from aggregator.planning.fleet.blocks.tasks import blocks_of
from aggregator.planning.fleet.checker import Schedule, curtailment_of, evaluate, violations
from aggregator.planning.fleet.problem import Evs, Feeders, Problem, Reserve, Sites
from aggregator.planning.fleet.program.monolith import solve_whole

Make = Callable[..., Problem]


def first_come(problem: Problem) -> float:
    """The cost of cars that charge in the order of their table, with what room there is, or not at all.

    Buildings alone must keep the limits.
    """
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    charge = np.zeros((len(evs), problem.steps))
    net, energy, asleep = sites.base_kw - sites.pv_kw, evs.energy_kwh.copy(), np.zeros(len(evs), dtype=bool)
    for step in range(problem.steps):
        for ev in range(len(evs)):
            if not evs.arrive[ev] <= step < evs.depart[ev]:
                continue
            wanted = max(0.0, evs.target_kwh[ev] - energy[ev]) / hours / evs.charge_efficiency[ev]
            power = min(evs.max_charge_kw[ev], wanted, _room(problem, net[:, step], int(evs.site[ev]), step))
            if asleep[ev] or power < evs.min_charge_kw[ev]:
                power = 0.0
            asleep[ev] |= evs.sleeps[ev] > 0 and power == 0 and energy[ev] < evs.capacity_kwh[ev]
            charge[ev, step] = power
            net[evs.site[ev], step] += power
            energy[ev] += power * hours * evs.charge_efficiency[ev]
    none, still = np.zeros_like(sites.base_kw), np.zeros_like(charge)
    blocks = 0 if problem.reserve is None else len(problem.reserve)
    schedule = Schedule(charge, still, curtailment_of(problem, charge, still), none, none, np.zeros((3, blocks)))
    assert violations(problem, schedule) == ()
    return evaluate(problem, schedule).objective


def _room(problem: Problem, net: np.ndarray, site: int, step: int) -> float:
    """kW more that a site may take: under its cap, in every line to it, and for every voltage that it draws down."""
    room, feeders = problem.sites.import_cap_kw[site, step] - net[site], problem.feeders
    if feeders is None:
        return max(0.0, float(room))
    order = np.argsort(feeders.position)
    chain = [int(k) for k in order if feeders.feeder[k] == feeders.feeder[site]]
    place, voltage = chain.index(site), 1.0
    shared = 0.0
    for k, member in enumerate(chain):
        flow = sum(net[other] for other in chain[k:])
        reactive = sum(feeders.reactive_kw[other, step] for other in chain[k:])
        voltage -= 2.0 * (feeders.r_per_kw[member] * flow + feeders.x_per_kw[member] * reactive)
        if k <= place:
            shared += 2.0 * feeders.r_per_kw[member]
            room = min(room, feeders.line_kw[member] - flow)
        if shared > 0:
            room = min(room, (voltage - feeders.least_squared_voltage) / shared)
    return max(0.0, float(room))


def crowded(seed: int, *, feeders: bool = True, reserve: bool = False, minimums: bool = True,
            voltages: bool = False) -> Problem:
    """Two feeders with three depots each, whose lines have room for a third of their cars; buildings fit well."""
    draw, sites, steps, count = np.random.default_rng(seed), 6, 24, 48
    arrive = draw.integers(0, 14, count)
    power, capacity = draw.choice([11.0, 22.0], count), draw.choice([40.0, 60.0, 80.0], count)
    gives = np.where(draw.random(count) < 0.4, power, 0.0)
    energy = capacity * draw.uniform(0.1, 0.5, count)
    least = np.where(draw.random(count) < 0.9, 4.14, 0.0) if minimums else np.zeros(count)
    evs = Evs(tuple(f"car-{k}" for k in range(count)), np.arange(count) % sites, arrive,
              np.minimum(steps, arrive + draw.integers(4, 18, count)), energy, capacity,
              capacity * draw.uniform(0.7, 1.0, count), capacity * 0.15, power, gives, np.full(count, 0.94),
              np.full(count, 0.93), np.full(count, 0.02), least, np.minimum(gives, 2.0) * (least > 0),
              ((least > 0) & (gives == 0) & (draw.random(count) < 0.2)).astype(float))
    base = draw.uniform(5.0, 15.0, (sites, steps))
    table = Sites(tuple(f"depot-{k}" for k in range(sites)), base, np.zeros_like(base),
                  np.full_like(base, 60.0 if feeders else 45.0), np.full_like(base, 30.0), np.full(sites, 20.0),
                  np.full(sites, 0.4))
    price = 0.22 + 0.08 * np.sin(np.arange(steps) / 3.0)
    chains = Feeders(("north", "south"), np.arange(sites) // 3, np.arange(sites) % 3,
                     np.tile([110.0, 75.0, 45.0], 2) if not voltages else np.full(sites, 400.0),
                     np.full(sites, 2.5e-4 if voltages else 2e-5), np.full(sites, 1e-5), np.full_like(base, 2.0))
    offer = Reserve(np.arange(steps) // 6, np.array([0.01, 0.012, 0.008, 0.01]), 0.5)
    return Problem(0.5, evs, table, price, price - 0.08, 2.0, (), chains if feeders else None,
                   offer if reserve else None)


KINDS = {
    "lines": {}, "voltages": {"voltages": True}, "caps": {"feeders": False}, "reserve": {"reserve": True},
    "no minimums": {"minimums": False},
}


@pytest.mark.parametrize("limit_s", [0.0, 0.2, 3.0], ids=lambda limit: f"{limit:g} s")
@pytest.mark.parametrize("kind", KINDS)
def test_no_plan_of_one_program_costs_more(kind: str, limit_s: float) -> None:
    problem = crowded(1, **KINDS[kind])
    plan = solve_whole(problem, time_limit_s=limit_s)
    assert violations(problem, plan.schedule) == ()
    assert plan.objective <= first_come(problem) + 1e-6


@pytest.mark.parametrize("limit_s", [0.0, 0.2, 3.0], ids=lambda limit: f"{limit:g} s")
@pytest.mark.parametrize("kind", KINDS)
def test_no_plan_in_blocks_costs_more(kind: str, limit_s: float) -> None:
    problem = crowded(2, **KINDS[kind])
    plan = decompose(problem, 1e-3, limit_s, executor=Alone(BlockService(problem, blocks_of(problem)))).plan
    assert violations(problem, plan.schedule) == ()
    assert plan.objective <= first_come(problem) + 1e-6


@given(seed=st.integers(0, 10_000), voltages=st.booleans())
@settings(max_examples=3, deadline=None)
def test_minimum_powers_on_a_crowded_feeder_cost_little(seed: int, voltages: bool) -> None:
    """The bound is of a plan without minimums: what they cost is nothing like what nobody planning costs."""
    problem = crowded(seed, voltages=voltages)
    plan, nobody = solve_whole(problem, time_limit_s=2.0), first_come(problem)
    assert violations(problem, plan.schedule) == ()
    assert plan.objective - plan.bound <= 0.5 * (nobody - plan.bound)


def test_a_fleet_that_hard_limits_exclude_from_charging_is_not_charged_beyond_them() -> None:
    problem = replace(crowded(3), limit_per_kwh=None)
    plan = solve_whole(problem, time_limit_s=1.0)
    assert violations(problem, plan.schedule) == ()
    assert plan.schedule.unserved_kw.sum() == 0
