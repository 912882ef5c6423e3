"""Why a plan is what it is: for each car and step what decided its power, and for the whole plan what costs most.

Everything follows from the plan's prices. A car charges where a kWh in its battery saves more than a kWh at its site
costs with losses and wear, discharges where it saves less, and rests in between; the value of a kWh in the battery
comes from the next thing the battery runs into.

A fleet solved in blocks follows a mix of plans, and its prices are those that prove its bound. Where the mix does not
do what the prices alone would, the reason says so, and what it forgoes; all that together is within the proven gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aggregator.planning.fleet.plan import Duals, Plan
from aggregator.planning.fleet.problem import Floats, Problem

_FELT = 1e-6  # kW, kWh and prices below are solver noise
_WRITTEN_OUT = 1e4  # from here on four digits would be a power of ten
_NEAR_KW = 1e-4  # from a minimum power

Decision = Literal["charger", "price", "full", "floor", "minimum", "balance", "vehicle", "mix"]
"""charger: at full power, more would pay. price: at rest, neither direction pays. full, floor: what the battery has
room for, or holds above its floor. minimum: at the least power that it can follow. balance: between, where one more kW
would be worth exactly what it costs: the limit lies elsewhere. vehicle: it cannot discharge and charging does not pay.
mix: the prices alone say otherwise; the plan mixes several, or a repair holds the car to one direction.
"""
Horizon = Literal["target", "missing", "full", "floor", "departure"]
"""What gives the energy its value: the target at departure, a target that is missed and paid for, a battery that is
full or at its floor on the way, or a departure with more than the target, after which energy is worth nothing."""


BindingKind = Literal["import cap", "export cap", "peak", "feeder", "event", "target"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a car does what it does in one step.

    site_price: what a kWh costs at the site; price_parts: as in `SitePrices`, which sum to it.
    charge_worth, discharge_worth: what the first or next kWh in that direction earns at the connector, after losses,
        wear and the value of the energy; above 0 it pays. energy_value: of a kWh in the battery.
    until_step: the step after which `horizon` takes effect. forgone: money that the power forgoes at these prices, 0
        but for a mix.
    """

    step: int
    power_kw: float
    energy_kwh: float
    decision: Decision
    site_price: float
    price_parts: dict[str, float]
    energy_value: float
    charge_worth: float
    discharge_worth: float | None
    horizon: Horizon
    until_step: int
    forgone: float = 0.0


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit that costs. per_unit: what one more kW throughout its steps (kWh for a target) would save."""

    kind: BindingKind
    where: str
    steps: tuple[int, ...]
    per_unit: float

    def __str__(self) -> str:
        first, last = min(self.steps), max(self.steps)
        when = f"step {first}" if first == last else f"{len(self.steps)} steps from {first} to {last}"
        unit = "kWh" if self.kind == "target" else "kW"
        worth = f"{self.per_unit:.4g}" if self.per_unit < _WRITTEN_OUT else f"{self.per_unit:.0f}"
        return f"{self.kind} of {self.where}, {when}: {worth} per {unit}"


def reasons(problem: Problem, plan: Plan, ev: int) -> tuple[Reason, ...]:
    """Why one car does what it does, for every step in which it is plugged.

    Raises:
        ValueError: the plan has no prices, as one that ran out of time.
    """
    if plan.duals is None:
        raise ValueError("the plan has no prices that could explain it")
    return tuple(_reasons(problem, plan, plan.duals, ev))


def _reasons(problem: Problem, plan: Plan, duals: Duals, ev: int) -> Iterator[Reason]:
    evs, site = problem.evs, int(problem.evs.site[ev])
    parts = {name: part[site] for name, part in duals.site.parts.items()}
    price, worth, energy = duals.site.total[site], duals.energy[ev], plan.outcome.energy_kwh[ev]
    stored, drawn, wear = evs.charge_efficiency[ev], evs.discharge_efficiency[ev], evs.wear_per_kwh[ev]
    may, power = bool(evs.may_discharge[ev]), plan.power_kw[ev]
    for t in range(int(evs.arrive[ev]), int(evs.depart[ev])):
        charge = float(stored * worth[t] - price[t] - wear)
        discharge = float(price[t] - wear - worth[t] / drawn) if may else None
        kw = float(power[t])
        limit = float(evs.max_charge_kw[ev] if kw > 0 else evs.max_discharge_kw[ev])
        forgone = _forgone(kw, float(evs.max_charge_kw[ev]), charge)
        if discharge is not None:
            forgone += _forgone(-kw, float(evs.max_discharge_kw[ev]), discharge)
        least = float(evs.min_charge_kw[ev] if kw > 0 else evs.min_discharge_kw[ev])
        decision: Decision
        if abs(kw) > _FELT and abs(kw) < limit - _FELT and abs(abs(kw) - least) <= _NEAR_KW:
            decision = "minimum"
        elif forgone > _FELT * max(1.0, abs(limit)):
            decision = "mix"
        elif abs(kw) <= _FELT:
            decision = "price" if may else "vehicle"
        elif abs(kw) >= limit - _FELT:
            decision = "charger"
        else:
            decision = _in_between(problem, ev, kw, float(energy[t]))
        horizon, until = _horizon(problem, plan, ev, t)
        yield Reason(t, kw, float(energy[t]), decision, float(price[t]),
                     {name: float(value[t]) for name, value in parts.items()}, float(worth[t]), charge, discharge,
                     horizon, until, forgone * problem.step_h)


def _in_between(problem: Problem, ev: int, kw: float, energy_kwh: float) -> Decision:
    evs = problem.evs
    if kw > 0 and energy_kwh >= evs.capacity_kwh[ev] - _FELT:
        return "full"
    return "floor" if kw < 0 and energy_kwh <= evs.floor_kwh[ev] + _FELT else "balance"


def _forgone(kw: float, most: float, worth: float) -> float:
    """Money per hour that a power in one direction forgoes, from 0 to its most, where a kWh of it is worth so much."""
    power = min(max(0.0, kw), most)
    return worth * (most - power) if worth > 0 else -worth * power


def _horizon(problem: Problem, plan: Plan, ev: int, step: int) -> tuple[Horizon, int]:
    """The next thing the battery runs into from the end of `step` on."""
    evs, energy = problem.evs, plan.outcome.energy_kwh[ev]
    last = int(evs.depart[ev]) - 1
    low = min(float(evs.floor_kwh[ev]), float(evs.energy_kwh[ev]))
    has_more = energy[last] > evs.target_kwh[ev] + _FELT  # than its target: that does not decide
    for t in range(step, last + has_more):
        if energy[t] >= evs.capacity_kwh[ev] - _FELT:
            return "full", t
        if energy[t] <= low + _FELT:
            return "floor", t
    if plan.outcome.shortfall_kwh[ev] > _FELT:
        return "missing", last
    return ("departure" if has_more else "target"), last


def binding(problem: Problem, plan: Plan) -> tuple[Binding, ...]:
    """The limits that cost, dearest first; none where the plan has no prices."""
    if plan.duals is None:
        return ()
    found = [*_of_sites(problem, plan.duals), *_of_events(problem, plan.duals), *_of_targets(problem, plan.duals)]
    return tuple(sorted(found, key=lambda item: -item.per_unit))


def _of_sites(problem: Problem, duals: Duals) -> Iterator[Binding]:
    parts = duals.site
    kinds: tuple[tuple[BindingKind, Floats], ...] = (
        ("import cap", parts.import_cap), ("export cap", parts.export_cap), ("peak", parts.peak),
        ("feeder", parts.feeder))
    for kind, prices in kinds:
        worth = np.abs(prices) * problem.step_h
        for site in np.flatnonzero((worth > _FELT).any(axis=1)):
            steps = np.flatnonzero(worth[site] > _FELT)
            yield Binding(kind, problem.sites.ids[site], tuple(steps.tolist()), float(worth[site].sum()))


def _of_events(problem: Problem, duals: Duals) -> Iterator[Binding]:
    at = 0
    for event in problem.events:
        worth = duals.event_kw[at:at + len(event.steps)]
        at += len(event.steps)
        felt = worth > _FELT
        if felt.any():
            yield Binding("event", event.id, tuple(event.steps[felt].tolist()), float(worth[felt].sum()))


def _of_targets(problem: Problem, duals: Duals) -> Iterator[Binding]:
    for ev in np.flatnonzero(duals.target > _FELT):
        yield Binding("target", problem.evs.ids[ev], (int(problem.evs.depart[ev]) - 1,), float(duals.target[ev]))
