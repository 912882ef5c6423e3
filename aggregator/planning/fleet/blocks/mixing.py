"""From shares of the blocks' plans to one schedule.

A mix of plans is a plan, but where one of them charges a car and another discharges it in the same step, their mix does
both at once. Netting that keeps every energy and takes less from the grid, so it is cheaper unless energy costs less
than nothing; then the cost of the plan says what it takes to be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aggregator.planning.fleet.blocks.master import Mix
from aggregator.planning.fleet.blocks.tasks import KEPT, SitePlan
from aggregator.planning.fleet.checker import Schedule, ev_net
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.reserve.headroom import best_offer

_LEAST_KW = 1e-9


def recombined(problem: Problem, plans: Sequence[SitePlan], mix: Mix, otherwise: Schedule) -> tuple[Schedule, int]:
    """The schedule of a mix, and how many cells it netted; sites without a plan keep that of `otherwise`."""
    schedule = Schedule(
        otherwise.charge_kw.copy(), otherwise.discharge_kw.copy(), otherwise.curtailed_kw.copy(),
        otherwise.unserved_kw.copy(), otherwise.spilled_kw.copy(), mix.reserve_kw)
    mixed: dict[int, Floats] = {}
    for share, plan in zip(mix.shares, plans, strict=True):
        if share > 0:
            part = share * plan.kept
            mixed[plan.site] = mixed[plan.site] + part if plan.site in mixed else part
    order = np.argsort(problem.evs.site, kind="stable")
    edges = np.searchsorted(problem.evs.site[order], np.arange(len(problem.sites) + 1))
    for site, kept in mixed.items():
        _spread(problem, site, order[edges[site]:edges[site + 1]], kept, schedule)
    netted = _netted(problem, schedule)
    return replace(schedule, reserve_kw=best_offer(problem, schedule)), netted


def _spread(problem: Problem, site: int, evs: Ints, kept: Floats, schedule: Schedule) -> None:
    """Write a site's kept columns into the fleet's tables."""
    table = problem.evs
    length = table.depart[evs] - table.arrive[evs]
    ev = np.repeat(evs, length)
    begin = np.cumsum(length) - length
    step = np.arange(len(ev)) - np.repeat(begin - table.arrive[evs], length)
    can = table.may_discharge[ev]
    count, size = problem.steps, len(ev)
    slack = 0 if problem.limit_per_kwh is None else count
    lengths = dict(zip(KEPT, (size, int(can.sum()), count, slack, slack), strict=True))
    parts = dict(zip(KEPT, np.split(kept, np.cumsum(list(lengths.values()))[:-1]), strict=True))
    schedule.charge_kw[ev, step] = parts["charge"]
    schedule.discharge_kw[ev, step] = 0.0
    schedule.discharge_kw[ev[can], step[can]] = parts["discharge"]
    schedule.curtailed_kw[site] = parts["curtailed"]
    if slack:
        schedule.unserved_kw[site] = parts["unserved"]
        schedule.spilled_kw[site] = parts["spilled"]


def _netted(problem: Problem, schedule: Schedule) -> int:
    """Net charge against discharge; the number of cells.

    The battery's energy stays; the connector takes less, so the site may export more: where its cap, its line or a
    voltage has no room for that, its cells stay as they are.
    """
    evs = problem.evs
    ev, step = np.nonzero(np.minimum(schedule.charge_kw, schedule.discharge_kw) > _LEAST_KW)
    charge, discharge = schedule.charge_kw[ev, step], schedule.discharge_kw[ev, step]
    into, out = evs.charge_efficiency[ev], evs.discharge_efficiency[ev]
    gain = into * charge - discharge / out
    _write(schedule, ev, step, np.maximum(gain, 0.0) / into, np.maximum(-gain, 0.0) * out)
    tight = _too_little(problem, schedule)[evs.site[ev], step]
    _write(schedule, ev[tight], step[tight], charge[tight], discharge[tight])
    return int(np.count_nonzero(~tight))


def _write(schedule: Schedule, ev: Ints, step: Ints, charge: Floats, discharge: Floats) -> None:
    schedule.charge_kw[ev, step], schedule.discharge_kw[ev, step] = charge, discharge


def _too_little(problem: Problem, schedule: Schedule) -> np.ndarray:
    """Shape (site, step): where a site takes so little that its export cap, or its feeder's limits, are broken."""
    sites, feeders = problem.sites, problem.feeders
    net = (ev_net(problem, schedule) + sites.base_kw - sites.pv_kw + schedule.curtailed_kw - schedule.unserved_kw
           + schedule.spilled_kw)
    tight: np.ndarray = net < -sites.export_cap_kw - _LEAST_KW
    if feeders is not None:
        flow = feeders.carried(net)
        broken = (flow < -feeders.line_kw[:, None] - _LEAST_KW) | (
            feeders.squared_voltage(flow) > problem.voltage_limits[1] + _LEAST_KW)
        at_feeder = np.zeros((len(feeders.ids), problem.steps), dtype=bool)
        np.logical_or.at(at_feeder, feeders.feeder, broken)
        tight = tight | at_feeder[feeders.feeder]
    return tight
