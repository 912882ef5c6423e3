"""What the connection-point meter says about an event: reduction below the declared baseline, by quarter hour."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aggregator.signals.model import NO_LIMIT_KW, Decision, GridSignal
from markets.performance import Performance, score
from markets.rate import QUARTER_S

if TYPE_CHECKING:
    from aggregator.store import SiteSeries

_COVERAGE = 0.5
"""An interval of which less was metered is not judged: it counts as nothing delivered."""


def interval_means_kw(series: SiteSeries, start_s: float, count: int, step_s: float = QUARTER_S) -> NDArray[np.float64]:
    """Mean net power of `count` intervals from `start_s` (Unix seconds), shape (count,); NaN where hardly metered.

    A reading is the mean since the one before it.
    """
    at_s = series.ts_us / 1e6
    if at_s.size < 2:  # noqa: PLR2004 - one reading has no duration
        return np.full(count, np.nan)
    edges = start_s + step_s * np.arange(count + 1)
    energy = np.concatenate(([0.0], np.cumsum(series.import_kw[1:] * np.diff(at_s))))
    covered = np.diff(np.clip(edges, at_s[0], at_s[-1]))
    moved = np.diff(np.interp(edges, at_s, energy))
    return np.where(covered >= _COVERAGE * step_s, moved / np.maximum(covered, 1e-9), np.nan)


def event_performance(signal: GridSignal, decision: Decision, series: SiteSeries) -> Performance:
    """Score the event on 15-minute means against what was promised and the baseline declared with the promise."""
    committed: list[float] = []
    metered: list[float] = []
    for interval, promised in zip(signal.intervals, decision.committed_net_kw, strict=True):
        if promised >= NO_LIMIT_KW:
            continue
        count = max(1, round((interval.end - interval.start) / timedelta(seconds=QUARTER_S)))
        means = interval_means_kw(series, interval.start.timestamp(), count)
        committed += [promised] * count
        metered += np.where(np.isnan(means), decision.baseline_kw, means).tolist()
    return score(np.full(len(committed), decision.baseline_kw), np.array(committed), np.array(metered))
