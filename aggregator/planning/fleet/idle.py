"""A plan without a solver, for what a solver has not reached when the time is up: cars charge as they come.

Step by step, what caps, lines and voltages have room for goes to those who came first, or to those who leave first,
whichever is cheaper. Nobody's power is lowered in a step in which there is room for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aggregator.planning.fleet.checker import Schedule, curtailment_of, evaluate
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.repair.by_hand import followed
from aggregator.planning.fleet.reserve.headroom import best_offer
from aggregator.planning.fleet.room import Limits, settled

HARD_PER_KWH = 1e9
"""What power beyond limits counts in a comparison where no plan may have any."""


def idle_schedule(problem: Problem) -> Schedule:
    """Charging on arrival up to the target, under caps, lines and voltages; no discharge and no reserve."""
    limits = Limits(problem)
    charge, was_crowded = _as_they_come(problem, limits, np.arange(len(problem.evs)))
    found = _settled(problem, limits, charge)
    if not was_crowded:
        return found
    other, _ = _as_they_come(problem, limits, np.argsort(problem.evs.depart, kind="stable"))
    return cheapest(problem, [found, _settled(problem, limits, other)])


def followable_schedule(problem: Problem, loose: Sequence[Schedule], sound: Sequence[Schedule] = ()) -> Schedule:
    """The cheapest schedule that cars and meters can follow; its reserve is what its cars then have.

    loose: to keep close to, whatever they are. sound: to choose from as they are. Cars that charge as they come are
    always a choice.
    """
    limits = Limits(problem)
    close = [found for schedule in loose for found in followed(problem, limits, schedule)]
    return cheapest(problem, [*sound, *with_offers(problem, [*close, idle_schedule(problem)])])


def with_offers(problem: Problem, schedules: Sequence[Schedule]) -> list[Schedule]:
    """Each with the reserve that its cars have."""
    return [replace(schedule, reserve_kw=best_offer(problem, schedule)) for schedule in schedules]


def cheapest(problem: Problem, schedules: Sequence[Schedule]) -> Schedule:
    """The first of those that cost least; what breaks a hard limit, only where nothing else is left."""

    def cost(schedule: Schedule) -> float:
        beyond = 0.0
        if problem.limit_per_kwh is None:
            beyond = HARD_PER_KWH * problem.step_h * float(schedule.unserved_kw.sum() + schedule.spilled_kw.sum())
        return evaluate(problem, schedule).objective + beyond

    return min(schedules, key=cost)


def _settled(problem: Problem, limits: Limits, charge: Floats) -> Schedule:
    none, blocks = np.zeros_like(problem.sites.base_kw), 0 if problem.reserve is None else len(problem.reserve)
    discharge = np.zeros_like(charge)
    return settled(problem, limits, Schedule(
        charge, discharge, curtailment_of(problem, charge, discharge), none, none, np.zeros((3, blocks))))


def _as_they_come(problem: Problem, limits: Limits, order: Ints) -> tuple[Floats, bool]:
    """Charge of shape (ev, step) where room goes to the cars in an order; whether there was too little of it."""
    evs, sites, hours = problem.evs, problem.sites, problem.step_h
    charge = np.zeros((len(evs), problem.steps))
    # A car takes the sun before it is held back; what is still held back later counts as the site's own.
    own = sites.base_kw - sites.pv_kw
    missing, asleep, was_crowded = np.maximum(0.0, evs.target_kwh - evs.energy_kwh), np.zeros(len(evs), bool), False
    for step in range(problem.steps):
        plugged = (evs.arrive <= step) & (step < evs.depart)
        power = np.minimum(evs.max_charge_kw, missing / (hours * evs.charge_efficiency))
        power = np.where(plugged & ~asleep & (power >= evs.min_charge_kw), power, 0.0)
        net = own[:, step] + np.bincount(evs.site, power, len(sites))
        crowded = limits.crowded(limits.upper[:, step] - limits.weights @ net)
        if len(crowded):
            was_crowded = True
            slack = limits.upper[:, step] - limits.weights @ own[:, step]
            at = limits.group[evs.site[order]]
            for group in crowded.tolist():
                cars = order[at == group]
                cars = cars[power[cars] > 0]
                power[cars] = limits.given(group, slack, evs.site[cars], power[cars], evs.min_charge_kw[cars])
        charge[:, step] = power
        missing = np.maximum(0.0, missing - power * hours * evs.charge_efficiency)
        is_full = evs.target_kwh - missing >= evs.capacity_kwh
        asleep |= plugged & (evs.sleeps > 0) & (power == 0.0) & ~is_full
    return charge, was_crowded
