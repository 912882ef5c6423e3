"""A grid event on the steps of a run: what it asks, what is promised, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.simulation import EventFact
from twin.ensemble import Ensemble, Outcome
from twin.scenario.experiment import Event

Floats = NDArray[np.float64]

SITE = 0
"""A scenario has one connection point."""


@dataclass(frozen=True)
class Asked:
    """An event on the grid of a run, by step of the event.

    net_kw: what the connection point is to hold. expected_kw: its median course without the event.
    """

    event: Event
    steps: slice
    net_kw: Floats
    expected_kw: Floats


def ask(event: Event, without: Outcome) -> Asked:
    """What the event asks; a reduction is taken from the median course of the runs without it."""
    ensemble = without.ensemble
    start = ensemble.grid.start
    steps = steps_of(ensemble, (event.start - start).total_seconds(), (event.end - start).total_seconds())
    expected = np.median(without.net_kw[:, SITE, steps], axis=0)
    if event.max_net_kw is not None:
        return Asked(event, steps, np.full(expected.shape, event.max_net_kw), expected)
    return Asked(event, steps, expected - (event.reduction_kw or 0.0), expected)


def under(ensemble: Ensemble, asked: tuple[Asked, ...]) -> Ensemble:
    """The ensemble whose import cap also holds what the events ask; below 0 the cap asks for export.

    More than the export cap lets out is not asked of anyone; the promise stands, and the run warns of it.
    """
    caps = ensemble.import_cap_kw.copy()
    for one in asked:
        level = np.maximum(one.net_kw, -ensemble.export_cap_kw[SITE, one.steps])
        caps[SITE, one.steps] = np.minimum(caps[SITE, one.steps], level)
    return replace(ensemble, import_cap_kw=caps)


def event_fact(asked: Asked, outcome: Outcome, without: Outcome, committed_net_kw: Floats | None = None) -> EventFact:
    """Promised and delivered in every replica.

    A promise to hold a level is, in each course, what that course would draw above it without the event.

    committed_net_kw: what the controller itself promised to hold, shape (replica, step of the event); inf: nothing. It
        knows better than a scenario what it can hold.
    """
    before, after = without.net_kw[:, SITE, asked.steps], outcome.net_kw[:, SITE, asked.steps]
    if committed_net_kw is not None:
        promised, source = np.maximum(before - committed_net_kw, 0.0), "the level that the planner answered to hold"
    elif asked.event.promised_kw is not None:
        promised, source = np.full(before.shape, asked.event.promised_kw), "stated in the scenario"
    else:
        promised, source = np.maximum(before - asked.net_kw, 0.0), "to hold the level that the event asks"
    return EventFact(
        asked.event.id, outcome.ensemble.sites[SITE].id, asked.steps.start, asked.net_kw, promised, source,
        before - after, before,
    )


def steps_of(ensemble: Ensemble, start_s: float, end_s: float) -> slice:
    """The steps of the grid that [start_s, end_s) covers; a step that it covers in part belongs to it."""
    step_s = ensemble.grid.step_s
    first = max(int(start_s // step_s), 0)
    last = min(int(-(-end_s // step_s)), ensemble.grid.steps)
    return slice(first, max(last, first))
