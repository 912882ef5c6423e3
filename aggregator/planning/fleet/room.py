"""Room for power, step by step: what caps, lines and voltages leave for cars and buildings, and who gets it.

Every limit is a row over the net import of the sites of one group: the sites of a feeder, or a site alone. Its room
is given away in an order, the first come first; who gets less than his least gets nothing, and leaves it to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import block_diag, csr_array, eye_array, vstack

from aggregator.planning.fleet.checker import Schedule, ev_net
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.feeder_rows import feeder_rows

_FELT_KW = 1e-9
_BROKEN_KW = 2e-7
_TURNS = 12
_PATIENT_TURNS = 6


@dataclass(frozen=True, eq=False)
class _Group:
    """Sites that share limits, the numbers of their rows, and the rows' weights of shape (row, site of the group)."""

    sites: Ints
    rows: Ints
    weights: Floats


class Limits:
    """All limits of a problem: lower <= weights @ net <= upper in every step.

    Attributes:
        upper, lower: shape (row, step), kW. group, place: shape (site,), the group of each site, its place there.
    """

    def __init__(self, problem: Problem) -> None:
        sites, feeders, count = problem.sites, problem.feeders, len(problem.sites)
        own = [np.array([site]) for site in range(count)]
        parts: list[csr_array] = [csr_array(eye_array(count))]
        uppers, lowers, rows = [sites.import_cap_kw], [-sites.export_cap_kw], list(own)
        if feeders is not None:
            own = [np.flatnonzero(feeders.feeder == number) for number in np.unique(feeders.feeder)]
            rows, begin, blocks = list(own), count, []
            for number, members in enumerate(own):
                table, size = feeder_rows(problem, members), 2 * len(members)
                blocks.append(table.of_net(np.arange(size) * problem.steps)[0])
                _, _, low, high = table.of_net(np.arange(size * problem.steps))
                uppers.append(high.reshape(size, problem.steps))
                lowers.append(low.reshape(size, problem.steps))
                rows[number] = np.append(members, np.arange(begin, begin + size))
                begin += size
            order = np.concatenate(own)
            feeder = csr_array(block_diag(blocks, format="csr"))[:, np.argsort(order)]
            parts.append(csr_array(feeder))
        self.weights = csr_array(vstack(parts, format="csr"))
        self.upper, self.lower = np.vstack(uppers), np.vstack(lowers)
        self.group, self.place = np.zeros((2, count), dtype=np.int64)
        self._of_row = np.zeros(self.weights.shape[0], dtype=np.int64)
        self._groups = []
        for number, (members, numbers) in enumerate(zip(own, rows, strict=True)):
            self.group[members], self.place[members] = number, np.arange(len(members))
            self._of_row[numbers] = number
            dense = np.ones((1, 1)) if feeders is None else self.weights[numbers][:, members].toarray()
            self._groups.append(_Group(members, numbers, dense))

    def crowded(self, slack_kw: Floats) -> Ints:
        """Numbers of the groups that have a row without room, for slack of shape (row,)."""
        return np.unique(self._of_row[slack_kw < -_BROKEN_KW])

    def sites_of(self, group: int) -> Ints:
        return self._groups[group].sites

    def rows_of(self, group: int) -> Ints:
        return self._groups[group].rows

    def room(self, site: int, slack_kw: Floats) -> Floats:
        """Shape (step,): the room for more at a site, for slack of shape (row, step)."""
        return np.asarray(np.maximum(0.0, self.reach(site, slack_kw)))

    def reach(self, site: int, slack_kw: Floats) -> Floats:
        """The same, and below 0 where there is so much too little of it."""
        own = self._groups[self.group[site]]
        weight = own.weights[:, self.place[site]]
        felt = weight > 0
        return np.asarray((slack_kw[own.rows[felt]] / weight[felt, None]).min(axis=0))

    def broken(self, net_kw: Floats, tolerance_kw: float) -> Ints:
        """Numbers of the sites of every group that net imports of shape (site, step) break a limit of."""
        carried = self.weights @ net_kw
        rows = ((carried > self.upper + tolerance_kw) | (carried < self.lower - tolerance_kw)).any(axis=1)
        return np.flatnonzero(np.isin(self.group, self._of_row[rows]))

    def take(self, site: int, slack_kw: Floats, power_kw: float) -> None:
        """Take a power at a site from the slack of a step, shape (row,)."""
        own = self._groups[self.group[site]]
        slack_kw[own.rows] -= own.weights[:, self.place[site]] * power_kw

    def given(self, group: int, slack_kw: Floats, site: Ints, asked_kw: Floats, least_kw: Floats) -> Floats:
        """What of the powers at sites of a group its slack has room for, the first of them first; slack: by row."""
        own = self._groups[group]
        column, slack = self.place[site], slack_kw[own.rows].copy()
        given, live = np.zeros(len(asked_kw)), np.flatnonzero(asked_kw > _FELT_KW)
        while len(live):
            room = _least_room(own.weights, slack)
            live = live[room[column[live]] >= np.maximum(least_kw[live], _FELT_KW)]
            if not len(live):
                break
            taken = np.cumsum(own.weights[:, column[live]] * asked_kw[live], axis=1)
            over = (taken > np.maximum(slack, 0.0)[:, None] + _FELT_KW) & (own.weights[:, column[live]] > 0)
            fits = int(np.argmax(over.any(axis=0))) if over.any() else len(live)
            given[live[:fits]] = asked_kw[live[:fits]]
            if fits:
                slack -= taken[:, fits - 1]
            if fits == len(live):
                break
            first = live[fits]
            part = min(asked_kw[first], _least_room(own.weights, slack)[column[first]])
            if part >= max(least_kw[first], _FELT_KW):
                given[first] = part
                slack -= own.weights[:, column[first]] * part
            live = live[fits + 1:]
        return given


def _least_room(weights: Floats, slack: Floats) -> Floats:
    """Shape (site of the group,): the least of what its rows leave."""
    each = np.full(weights.shape, np.inf)
    np.divide(np.maximum(slack, 0.0)[:, None], weights, out=each, where=weights > 0)
    return np.asarray(each.min(axis=0))


def settled(problem: Problem, limits: Limits, schedule: Schedule) -> Schedule:
    """The schedule with PV held back, and power that limits have no room for, as its powers need them, no more.

    More import than there is room for needs less PV held back first, more export needs more.
    """
    sites = problem.sites
    back = np.clip(schedule.curtailed_kw, 0.0, sites.pv_kw)
    unserved, spilled = np.zeros_like(back), np.zeros_like(back)
    own = ev_net(problem, schedule) + sites.base_kw - sites.pv_kw
    carried = limits.weights @ (own + back)
    for step in np.flatnonzero(((carried > limits.upper + _BROKEN_KW) | (
            carried < limits.lower - _BROKEN_KW)).any(axis=0)).tolist():
        # Less export of one site is more import upstream, and the other way round: in the end nobody exports there.
        for turn in range(_TURNS):
            was_crowded = False
            for sign, limit in ((1.0, limits.upper[:, step]), (-1.0, -limits.lower[:, step])):
                net = own[:, step] + back[:, step] - unserved[:, step] + spilled[:, step]
                for group in limits.crowded(limit - sign * (limits.weights @ net)).tolist():
                    was_crowded = True
                    members = limits.sites_of(group)
                    if problem.feeders is not None:
                        members = members[np.argsort(problem.feeders.position[members])]
                    asked = np.maximum(0.0, sign * net[members])
                    rest = net.copy()
                    rest[members] -= sign * asked
                    kept = limits.given(group, limit - sign * (limits.weights @ rest), members, asked,
                                        np.zeros(len(asked)))
                    excess = asked if sign < 0 and turn >= _PATIENT_TURNS else asked - kept
                    may = back[members, step] if sign > 0 else sites.pv_kw[members, step] - back[members, step]
                    held = np.minimum(excess, may)
                    back[members, step] -= sign * held
                    (unserved if sign > 0 else spilled)[members, step] += excess - held
            if not was_crowded:
                break
    return replace(schedule, curtailed_kw=back, unserved_kw=unserved, spilled_kw=spilled)
