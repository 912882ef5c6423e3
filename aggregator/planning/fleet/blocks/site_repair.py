"""A mixed plan put right site by site, under what the fleet has promised with it.

A block's own plan may need minimum powers, one direction per meter or per car; a mix of its plans needs them again.
Each site whose part of the mix cannot be followed is planned once more as one program of its own, in which the mix
decides what is left to it: its net import in the steps of an event, with its share of what the event has room for,
the reserve that its cars should have in hand, and what its feeder carries beside the other sites. All sites of a feeder
alone are a tenth of the work of the feeder as one program. What one site cannot keep of its share, or has left of it,
the next one gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from aggregator.planning.fleet.blocks.choices import cheapest_choice
from aggregator.planning.fleet.checker import Schedule, ev_headroom, evaluate, unfollowable
from aggregator.planning.fleet.idle import cheapest, with_offers
from aggregator.planning.fleet.plan import Repair, repair_of
from aggregator.planning.fleet.problem import Floats, Ints, Problem
from aggregator.planning.fleet.program.arrays import Program, assemble
from aggregator.planning.fleet.program.monolith import schedule_of
from aggregator.planning.fleet.program.solver import NoPlan, Solver
from aggregator.planning.fleet.repair.by_hand import followed
from aggregator.planning.fleet.repair.certificate import paid_both_ways
from aggregator.planning.fleet.repair.followable import Righted, put_right
from aggregator.planning.fleet.repair.one_way import choose_directions, hold_directions
from aggregator.planning.fleet.reserve.headroom import Headroom
from aggregator.planning.fleet.room import Limits

_TOLERANCE = 1e-6
_GAP = 1e-4
_EVS_AT_ONCE = 400
"""Cars of the sites of one task, which hand on to each other what they have left."""
_PATIENCE = 3.0
_OF_EVS = ("charge_kw", "discharge_kw")
_OF_SITES = ("curtailed_kw", "unserved_kw", "spilled_kw")


@dataclass(frozen=True, eq=False)
class RepairTask:
    """Plan some sites (whole blocks) again, held to the promises of a mix.

    wanted: shape (site of the task,), which of them; the others do what they do. has_directions: of that shape, where
    meters keep to the direction of their net. net_kw: shape (site of the task, step), net import in the mix. room_kw:
    shape (event step,), what the events have room for beside all nets. up_kw, down_kw: shape (site of the task, step),
    reserve that its cars should have in hand.
    """

    sites: Ints
    wanted: NDArray[np.bool_]
    has_directions: NDArray[np.bool_]
    net_kw: Floats
    room_kw: Floats
    up_kw: Floats
    down_kw: Floats
    time_limit_s: float

    @property
    def expected_s(self) -> float:
        """It ends by itself, site by site."""
        return self.time_limit_s


@dataclass(frozen=True, eq=False)
class SiteRepair:
    """What a site does now. cells, meters, minimums: how many were decided."""

    site: int
    schedule: Schedule
    cells: int
    meters: int
    minimums: int


@dataclass(frozen=True, eq=False)
class RepairAnswer:
    """The sites that were planned again; those for which there was no time, or no plan, are missing."""

    repairs: tuple[SiteRepair, ...]


def repair_sites(problem: Problem, task: RepairTask) -> RepairAnswer:
    """Solve one task: site after site, each beside what the others do by then."""
    until, part = monotonic() + task.time_limit_s, problem.part(task.sites)
    limits, net, steps = Limits(part), task.net_kw.copy(), problem.event_steps
    # What is handed on: room in events, reserve up and down that is still to be had.
    room, owed, found = task.room_kw.copy(), np.zeros((2, problem.steps)), []
    turns = np.flatnonzero(task.wanted)
    for turn, site in enumerate(turns.tolist()):
        if monotonic() >= until:
            break
        asked = np.array([task.up_kw[site], task.down_kw[site]])
        least, most = _between(part, limits, net, site)
        own = _own(problem, part, site, net[site, steps] + room, least, most)
        if not (asked + owed).any():
            own = replace(own, reserve=None, trusted=True)
        left = _PATIENCE * (until - monotonic()) / (len(turns) - turn)
        takes = net[site, paid_both_ways(problem)] >= 0 if task.has_directions[site] else None
        righted = _righted(own, takes, asked + owed, (least, most), min(until, monotonic() + left))
        if righted is None:
            continue
        schedule, decided = righted
        truth = evaluate(own, schedule).net_kw[0]
        room += net[site, steps] - truth[steps]
        if own.reserve is not None:
            has = np.array([kw.sum(axis=0) for kw in ev_headroom(own, schedule)])
            owed = np.maximum(0.0, owed + asked - has)
        net[site] = truth
        found.append(SiteRepair(int(task.sites[site]), schedule, decided.cells, decided.meters, decided.minimums))
    return RepairAnswer(tuple(found))


def _between(part: Problem, limits: Limits, net: Floats, site: int) -> tuple[Floats, Floats]:
    """Shape (step,) each: the least and the most net import that caps, lines and voltages leave a site beside others.

    What it has now is among it.
    """
    others = net.copy()
    others[site] = 0.0
    carried, table = limits.weights @ others, part.sites
    most = np.minimum(limits.reach(site, limits.upper - carried), table.import_cap_kw[site])
    least = np.maximum(-limits.reach(site, carried - limits.lower), -table.export_cap_kw[site])
    return np.minimum(least, net[site]), np.maximum(most, net[site])


def _own(problem: Problem, part: Problem, site: int, most_kw: Floats, least: Floats, most: Floats) -> Problem:
    """The problem of a site alone; most_kw: of its net import, by step of an event. least, most: in every step."""
    ends = np.cumsum([len(event.steps) for event in problem.events])[:-1]
    parts = np.split(most_kw, ends) if problem.events else []
    events = tuple(replace(event, max_net_kw=limit) for event, limit in zip(problem.events, parts, strict=True))
    alone = replace(part, feeders=None, trusted=True).part(np.array([site]))
    caps = replace(alone.sites, import_cap_kw=np.maximum(most, 0.0)[None], export_cap_kw=np.maximum(-least, 0.0)[None])
    return replace(alone, sites=caps, events=events, reserve=problem.reserve, trusted=True)


def _righted(problem: Problem, takes: NDArray[np.bool_] | None, asked_kw: Floats, between: tuple[Floats, Floats],
             until: float) -> tuple[Schedule, Righted] | None:
    """The site's schedule with the reserve in hand, as far as it has it; None if there is none that can be followed.

    takes: shape (tempted meter,), which of them buy; None if that is to be chosen. between: least and most net import.
    """

    def left() -> float:
        return until - monotonic()

    program = _with_asked(problem, assemble(problem), asked_kw)
    solver, headroom = Solver(program), Headroom(problem, program)
    if takes is None:
        choose_directions(problem, solver, program, gap=_GAP, time_limit_s=0.5 * left())
    else:
        hold_directions(problem, solver, program, takes)
    for name, kw in (("bought", between[0]), ("sold", -between[1])):
        # Its feeder may need it to draw, or to give, beside what the others do.
        own = np.arange(program.columns[name].start, program.columns[name].stop)
        solver.set_bounds(own, np.minimum(np.maximum(kw, 0.0), solver.upper[own]), solver.upper[own])
    try:
        relaxed = solver.run(left(), headroom)
    except NoPlan:
        return None
    if not relaxed.is_feasible:
        return None
    righted = put_right(program, solver, relaxed, left, headroom, problem)
    return (schedule_of(problem, program, righted.answer.x), righted) if righted.is_followable else None


def _with_asked(problem: Problem, program: Program, asked_kw: Floats) -> Program:
    """The program in which reserve is not sold but held, up to what is asked for, at the price of losing its block."""
    if problem.reserve is None:
        return program
    upper, row_lower, cost = program.upper.copy(), program.row_lower.copy(), program.cost.copy()
    upper[program.columns["sold_reserve"]] = 0.0
    block = problem.reserve.block
    block_h = problem.step_h * np.bincount(block, minlength=len(problem.reserve))
    both, up, down = np.maximum(problem.reserve.prices, 0.0) * block_h
    for name, way, price in (("up", 0, both + up), ("down", 1, both + down)):
        row_lower[program.rows[f"{name}_volume"]] = -np.inf
        own = program.columns[name]
        upper[own] = np.minimum(upper[own], asked_kw[way])
        cost[own] = -price[block]
    return replace(program, upper=upper, row_lower=row_lower, cost=cost)


def to_repair(problem: Problem, schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (site,): whether a car of the site cannot follow."""
    bad = _unfollowable_evs(problem, schedule)
    return np.asarray(np.bincount(problem.evs.site[bad], minlength=len(problem.sites)) > 0)


def _unfollowable_evs(problem: Problem, schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (ev,)."""
    bad = np.zeros(len(problem.evs), dtype=bool)
    for excess in unfollowable(problem, schedule, _TOLERANCE).values():
        bad |= (excess > 2 * _TOLERANCE).any(axis=1)
    return bad


def tasks_of(problem: Problem, blocks: Sequence[Ints], schedule: Schedule, planned: NDArray[np.bool_],
             directed: set[int], time_limit_s: float, workers: int) -> list[RepairTask]:
    """Tasks for the sites with something to put right, or without a plan; together they take the time limit at most.

    planned: shape (site,), whether a solver has. The others are planned without reserve, which is much less work.
    directed: numbers of the blocks whose meters have their directions; those of others are chosen.
    """
    has_directions = np.zeros(len(problem.sites), dtype=bool)
    has_directions[[site for block in directed for site in blocks[block].tolist()]] = True
    wanted = to_repair(problem, schedule) | ~planned
    if paid_both_ways(problem).any():
        wanted |= ~has_directions
    if not wanted.any():
        return []
    truth = evaluate(problem, schedule)
    room = np.maximum(0.0, problem.event_limit_kw - truth.event_net_kw)
    up, down = (_at_sites(problem, headroom) for headroom in ev_headroom(problem, schedule))
    if problem.reserve is not None:
        asked = problem.reserve.asked(schedule.reserve_kw)
        up, down = (there * np.minimum(1.0, kw / np.maximum(there.sum(axis=0), 1e-9))
                    for there, kw in zip((up, down), asked, strict=True))
    up, down = (np.where(planned[:, None], there, 0.0) for there in (up, down))
    groups = _groups(problem, blocks, wanted)
    rounds = -(-len(groups) // workers)
    return [RepairTask(sites, wanted[sites], has_directions[sites], truth.net_kw[sites], room / len(groups),
                       up[sites], down[sites], time_limit_s / rounds) for sites in groups]


def _groups(problem: Problem, blocks: Sequence[Ints], wanted: NDArray[np.bool_]) -> list[Ints]:
    """Sites of the blocks in which some are wanted, several small blocks together."""
    evs = np.bincount(problem.evs.site, minlength=len(problem.sites))
    found: list[Ints] = []
    size = 0
    for sites in blocks:
        if not wanted[sites].any():
            continue
        more = int(evs[sites].sum())
        if found and size + more <= _EVS_AT_ONCE:
            found[-1] = np.concatenate([found[-1], sites])
        else:
            found.append(sites)
            size = 0
        size += more
    return found


def _at_sites(problem: Problem, of_evs: Floats) -> Floats:
    total = np.zeros((len(problem.sites), problem.steps))
    np.add.at(total, problem.evs.site, of_evs)
    return total


def put_together(problem: Problem, blocks: Sequence[Ints], schedule: Schedule, answers: Sequence[RepairAnswer],
                 idle: Schedule) -> tuple[Schedule, Repair]:
    """The cheapest schedule that every block can follow, block by block, and what all this costs.

    Each block does what it has answered, or what it did where it can follow that, or stays close to it, or its cars
    charge as they come; whichever costs the fleet least beside what the others do.
    """
    before = evaluate(problem, schedule)
    answered, repairs = _copy(schedule), [repair for answer in answers for repair in answer.repairs]
    for repair in repairs:
        _write(problem, np.array([repair.site]), repair.schedule, answered, is_part=True)
    choices = [answered] if not answers else [answered, schedule]
    limits = Limits(problem)
    if not _sound_blocks(problem, blocks, limits, answered).all():
        choices += followed(problem, limits, answered)
    choices.append(idle)
    is_sound = np.array([_sound_blocks(problem, blocks, limits, choice) for choice in choices])
    found, picked = _copy(idle), cheapest_choice(problem, blocks, choices, is_sound)
    for sites, number in zip(blocks, picked.tolist(), strict=True):
        _write(problem, sites, choices[number], found, is_part=False)
    found = cheapest(problem, with_offers(problem, [found, idle]))
    counts = (sum(getattr(repair, name) for repair in repairs) for name in ("cells", "meters", "minimums"))
    return found, repair_of(problem, before, found, *counts)


def _copy(schedule: Schedule) -> Schedule:
    return Schedule(*(np.array(getattr(schedule, name)) for name in Schedule.__dataclass_fields__))


def _write(problem: Problem, sites: Ints, source: Schedule, target: Schedule, *, is_part: bool) -> None:
    """Copy what some sites do; is_part: the source has them alone."""
    evs = np.flatnonzero(np.isin(problem.evs.site, sites))
    for names, rows in ((_OF_EVS, evs), (_OF_SITES, sites)):
        for name in names:
            getattr(target, name)[rows] = getattr(source, name) if is_part else getattr(source, name)[rows]


def _sound_blocks(problem: Problem, blocks: Sequence[Ints], limits: Limits, schedule: Schedule) -> NDArray[np.bool_]:
    """Shape (block,): whether all of its cars can follow, and no limit is broken."""
    bad = np.bincount(problem.evs.site[_unfollowable_evs(problem, schedule)], minlength=len(problem.sites)) > 0
    bad[limits.broken(evaluate(problem, schedule).net_kw, _TOLERANCE)] = True
    return np.array([not bad[sites].any() for sites in blocks])
