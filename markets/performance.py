"""How much of a commitment was delivered, from meter values alone.

Per interval, in kW with import positive:

    committed = baseline - committed net
    delivered = baseline - metered
    shortfall = metered - committed net, where that is positive
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from markets.rate import Floats


@dataclass(frozen=True, slots=True)
class IntervalScore:
    """One metering interval, in kW.

    ratio: delivered over committed; 1 where nothing was committed and nothing missed.
    """

    committed_kw: float
    delivered_kw: float
    shortfall_kw: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Performance:
    """An event's score. committed_kw, delivered_kw: means over the event; ratio: of their sums."""

    committed_kw: float
    delivered_kw: float
    shortfall_kw: float
    ratio: float
    intervals: tuple[IntervalScore, ...]


def score(baseline_kw: Floats, committed_net_kw: Floats, metered_kw: Floats) -> Performance:
    """Compare metered interval means with baseline and commitment; all of shape (intervals,), import positive.

    Delivered is baseline minus metered: too little in one interval is not made good by more in another for the
    shortfall, which sums what each interval missed.

    Raises:
        ValueError: the arrays differ in length or are empty.
    """
    if not len(baseline_kw) == len(committed_net_kw) == len(metered_kw) > 0:
        raise ValueError(f"intervals: {len(baseline_kw)}, {len(committed_net_kw)} and {len(metered_kw)}, "
                         "expected the same number, at least one")
    committed, delivered = baseline_kw - committed_net_kw, baseline_kw - metered_kw
    short = np.maximum(0.0, metered_kw - committed_net_kw)
    intervals = tuple(
        IntervalScore(float(c), float(d), float(s), _ratio(float(c), float(d), float(s)))
        for c, d, s in zip(committed, delivered, short, strict=True)
    )
    return Performance(
        committed_kw=float(committed.mean()), delivered_kw=float(delivered.mean()), shortfall_kw=float(short.mean()),
        ratio=_ratio(float(committed.sum()), float(delivered.sum()), float(short.sum())), intervals=intervals,
    )


def _ratio(committed: float, delivered: float, short: float) -> float:
    if committed > 0:
        return delivered / committed
    return 1.0 if short == 0 else 0.0
