"""The last examination of a box of powers before it is handed out: exact flows of mixes nobody has asked for.

Where there are few points every corner is solved. Elsewhere a sample is: points of the same phases acting alike, such
patterns with some points turned round, corners and places inside drawn at random, and the neighbours of mixes that
came nearest to a limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.feeder.envelopes.boxes import Box
from twin.feeder.envelopes.rays import SLACK, Problem
from twin.feeder.watched import Kind

Floats = NDArray[np.float64]
Claims = NDArray[np.bool_]

FEW: Final = 12
"""Up to so many points every corner is solved, where that is no more WORK."""

WORK: Final = 4e8
"""Most flows times the square of the load phases, which is what a flow costs: some ten seconds for a day."""

INSIDE: Final = 48
"""Mixes inside the box, in every examination: evenly drawn, and with every point at an end or halfway."""

PATTERNS: Final = 64
"""Most patterns of points that act alike by phase."""

DRAWN: Final = 48
"""Corners of each other sort."""

TURNED: Final = 0.15
"""Of the points of a pattern, or of a mix that came near to a limit."""

COLUMNS: Final = 2048
"""Flows at a time."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an examination solves.

    places: mixes, (mix, point), 0: export, 1: import limit. is_every_corner: whether no corner is missing.
    """

    places: Floats
    is_every_corner: bool

    @classmethod
    def of(cls, problem: Problem, steps: int) -> Audit:
        """For a problem of which `steps` are to be examined in all. The same whenever it is asked for."""
        points = problem.base_net.shape[0]
        draw = np.random.default_rng(20_260_101)
        inside = np.concatenate((draw.random((INSIDE // 2, points)), 0.5 * draw.integers(0, 3, (INSIDE // 2, points))))
        size = len(problem.watched.flow.network.base_volts)
        if points <= FEW and 2.0**points * steps * size**2 <= WORK:
            corners = np.array(list(product((0.0, 1.0), repeat=points)))
            return cls(np.concatenate((corners, inside)), is_every_corner=True)
        phases = ["".join(sorted({terminal.phase for terminal, part in
                                  zip(problem.watched.flow.terminals, problem.share[:, point], strict=True) if part}))
                  for point in range(points)]
        alike = list(dict.fromkeys(phases))
        member = np.array([alike.index(phase) for phase in phases])
        patterns = draw.integers(0, 2, (PATTERNS, len(alike))) if 2 ** len(alike) > PATTERNS else (
            np.array(list(product((0, 1), repeat=len(alike))))
        )
        whole = patterns[:, member].astype(np.float64)
        bent = whole[draw.integers(0, len(whole), DRAWN)]
        bent = np.where(draw.random(bent.shape) < TURNED, 1.0 - bent, bent)
        drawn = draw.integers(0, 2, (DRAWN, points)).astype(np.float64)
        return cls(np.concatenate((whole, bent, drawn, inside)), is_every_corner=False)


def breaking(box: Box, audit: Audit, mixes: list[Floats], share: Floats, bound: Floats) -> list[Floats]:
    """Of all that the audit solves, and of neighbours of `mixes`, the one of each kind that crosses a limit most.

    Args:
        box: examined at `share` of its reach, by step.
        audit: what is solved at every step.
        mixes: known ones, each (point, step), the last of which came near to a limit.
        share: by step.
        bound: of every watched row at every step.

    Returns:
        mixes, each (point, step), that cross a limit at one step or more; nothing if none does.
    """
    problem = box.problem
    steps = np.flatnonzero(~problem.no_solution & (share > 0.0))
    if not len(steps):
        return []
    low, high = box.ends(share[steps], steps)
    kinds = [rows for kind in Kind if (rows := np.flatnonzero(problem.watched.kinds == kind)).size]
    worst = np.full((len(kinds), len(steps)), SLACK)
    found = np.zeros((len(kinds), *low.shape))
    for places in _in_parts(audit, mixes, steps):
        count = places.shape[0]
        net = low[None] + places * (high - low)[None]
        columns = np.tile(steps, count)
        over = problem.values(net.transpose(1, 0, 2).reshape(len(low), -1), columns) - bound[:, columns]
        for number, rows in enumerate(kinds):
            most = over[rows].max(axis=0).reshape(count, len(steps))
            best = np.argmax(most, axis=0)
            value = most[best, np.arange(len(steps))]
            more = value > worst[number]
            worst[number, more] = value[more]
            found[number][:, more] = places[best[more], :, np.flatnonzero(more)].T
    return [
        _at_all_steps(found[number], steps, len(share)) for number in range(len(kinds))
        if (worst[number] > SLACK).any()
    ]


def _in_parts(audit: Audit, mixes: list[Floats], steps: NDArray[np.intp]) -> Iterator[Floats]:
    """Places as (mix, point, step), so many that COLUMNS flows are solved at once."""
    at_once = max(1, COLUMNS // len(steps))
    for first in range(0, len(audit.places), at_once):
        part = audit.places[first:first + at_once]
        yield np.broadcast_to(part[:, :, None], (*part.shape, len(steps)))
    if not audit.is_every_corner and mixes:
        draw = np.random.default_rng(len(mixes))
        stacked = np.stack(mixes)[:, :, steps]
        for first in range(0, DRAWN, at_once):
            part = stacked[draw.integers(0, len(stacked), min(at_once, DRAWN - first))]
            yield np.where(draw.random(part.shape) < TURNED, 1.0 - part, part)


def _at_all_steps(found: Floats, steps: NDArray[np.intp], count: int) -> Floats:
    mix = np.zeros((len(found), count))
    mix[:, steps] = found
    return mix
