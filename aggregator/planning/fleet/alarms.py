"""What a plan cannot keep, in words: power beyond caps, lines and voltages, and floors that are out of reach."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aggregator.planning.fleet.checker import Evaluation, Schedule
from aggregator.planning.fleet.problem import Floats, Ints, Problem

_FELT = 1e-6  # kW, kWh and p.u. below are solver noise


def alarms(problem: Problem, schedule: Schedule, outcome: Evaluation) -> tuple[str, ...]:
    """One sentence for each site or car, those with the most power beyond first; empty where every limit is kept."""
    return (*_beyond_limits(problem, schedule), *_voltages(problem, outcome), *_floors(problem, outcome))


def _beyond_limits(problem: Problem, schedule: Schedule) -> Iterator[str]:
    for what, kw in (("import", schedule.unserved_kw), ("export", schedule.spilled_kw)):
        total = kw.sum(axis=1)
        for site in sorted(np.flatnonzero((kw > _FELT).any(axis=1)).tolist(), key=lambda site: -total[site]):
            steps = np.flatnonzero(kw[site] > _FELT)
            yield (f"{problem.sites.ids[site]}: {problem.step_h * total[site]:.3g} kWh of {what} beyond what its "
                   f"limits have room for, up to {kw[site].max():.3g} kW {_when(steps)}")


def _voltages(problem: Problem, outcome: Evaluation) -> Iterator[str]:
    feeders, voltage = problem.feeders, outcome.squared_voltage
    if feeders is None or voltage is None:
        return
    excess: Floats = np.maximum(feeders.least_squared_voltage - voltage, voltage - feeders.most_squared_voltage)
    for site in np.flatnonzero((excess > _FELT).any(axis=1)):
        worst = int(excess[site].argmax())
        level = np.sqrt(max(0.0, voltage[site, worst]))
        yield (f"{problem.sites.ids[site]}: its voltage of {level:.4g} p.u. is beyond "
               f"its limit by the reactive load alone, {_when(np.flatnonzero(excess[site] > _FELT))}")


def _floors(problem: Problem, outcome: Evaluation) -> Iterator[str]:
    evs = problem.evs
    for ev in np.flatnonzero((evs.energy_kwh < evs.floor_kwh) & (outcome.energy_kwh[:, -1] < evs.floor_kwh - _FELT)):
        yield (f"{evs.ids[ev]}: leaves with {outcome.energy_kwh[ev, -1]:.3g} kWh, below its floor of "
               f"{evs.floor_kwh[ev]:.3g} kWh")


def _when(steps: Ints) -> str:
    if len(steps) == 1:
        return f"in step {steps[0]}"
    return f"in {len(steps)} steps from {steps[0]} to {steps[-1]}"
