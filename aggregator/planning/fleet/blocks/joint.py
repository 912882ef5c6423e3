"""The programs of a feeder's sites as one: its solution and its basis are those of the sites, which share no row."""

from __future__ import annotations

from collections.abc import Iterable

import highspy
import numpy as np

from aggregator.planning.fleet.blocks.block_rows import BlockRows
from aggregator.planning.fleet.blocks.warm import Left, Run, Warm
from aggregator.planning.fleet.problem import Ints, Problem
from aggregator.planning.fleet.program.arrays import NONE, Program
from aggregator.planning.fleet.repair.one_way import share_sites

_BASIC = highspy.HighsBasisStatus.kBasic
_AT_LOWER = highspy.HighsBasisStatus.kLower
_FLEETS = ("sold_reserve", "up_volume", "down_volume")
_OF_SITES = ("bought", "sold", "curtailed", "unserved", "spilled", "flow", "voltage", "up", "down", "balance", "peak",
             "up_power", "down_power")


def joined(problem: Problem, joint: Program, sites: list[Warm]) -> Run:
    """Solution and basis of a joint program from those of its sites, which share no row."""
    x, dual = np.zeros(len(joint.cost)), np.zeros(len(joint.row_lower))
    columns: list[highspy.HighsBasisStatus] = [_AT_LOWER] * len(x)
    rows: list[highspy.HighsBasisStatus] = [_BASIC] * len(dual)
    own_columns = [list(site.run.left.basis.col_status) for site in sites]
    own_rows = [list(site.run.left.basis.row_status) for site in sites]
    for name, block in joint.columns.items():
        owner = owners(name, block, joint, problem)
        if owner is None:
            continue
        place = block.start + np.argsort(owner, kind="stable")
        x[place] = np.concatenate([site.run.x[site.own.columns[name]] for site in sites])
        _spread(columns, place, (own[site.own.columns[name]] for site, own in zip(sites, own_columns, strict=True)))
    for name, block in joint.rows.items():
        owner = owners(name, block, joint, problem)
        if owner is None:
            continue
        place = block.start + np.argsort(owner, kind="stable")
        dual[place] = np.concatenate([site.run.dual[site.own.rows[name]] for site in sites])
        _spread(rows, place, (own[site.own.rows[name]] for site, own in zip(sites, own_rows, strict=True)))
    lazy = BlockRows(problem, joint, None)
    added = [lazy.adopt(number, site.rows, site.run.left.added) for number, site in enumerate(sites)]
    behind = [site.run.dual[len(site.own.row_lower):] for site in sites]
    for site, own in zip(sites, own_rows, strict=True):
        rows += own[len(site.own.row_lower):]
    basis = highspy.HighsBasis()
    basis.col_status, basis.row_status, basis.valid = columns, rows, True
    return Run(x, np.concatenate([dual, *behind]), sum(site.run.bound for site in sites),
                Left(basis, np.concatenate(added), lazy.table))


def owners(name: str, block: slice, program: Program, problem: Problem) -> Ints | None:
    """The site of each column or row of a named block; None where it is the fleet's, or empty."""
    cells, evs, sites = program.cells, problem.evs, program.shape[0]
    if block.stop == block.start or name in _FLEETS:
        return None
    if name in _OF_SITES:
        return np.repeat(np.arange(sites), (block.stop - block.start) // sites)
    if name == "shares":
        return share_sites(problem)
    if name in ("departure", "shortfall"):
        return evs.site
    of_cells: Ints = evs.site[cells.ev]
    if name == "discharge":
        of_cells = of_cells[cells.discharge != NONE]
    elif name in ("floor", "below_floor"):
        of_cells = of_cells[(evs.energy_kwh < evs.floor_kwh)[cells.ev]]
    return of_cells


def _spread(whole: list[highspy.HighsBasisStatus], place: Ints,
            parts: Iterable[list[highspy.HighsBasisStatus]]) -> None:
    flat = [status for part in parts for status in part]
    for k, status in zip(place.tolist(), flat, strict=True):
        whole[k] = status
