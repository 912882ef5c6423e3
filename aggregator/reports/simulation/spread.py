"""How a figure over courses is told: the median, and in brackets what 8 of 10 courses lie between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import figure

Floats = NDArray[np.float64]


def typical(values: Floats, unit: str = "", digits: int = 1) -> str:
    """The median with its 10th and 90th percentile, or the only value."""
    if not values.size:
        return figure(None)
    if values.size == 1 or np.ptp(values) == 0.0:
        return figure(float(values[0]), unit, digits)
    return f"{figure(float(np.median(values)), unit, digits)} ({spread(values, digits)})"


def between(values: Floats, unit: str, digits: int = 1) -> str:
    """The 10th and 90th percentile with their unit; nothing for a single value."""
    return "" if values.size <= 1 or not np.isfinite(values).all() else f"P10 to P90: {spread(values, digits)} {unit}"


def spread(values: Floats, digits: int = 1) -> str:
    """The 10th and 90th percentile."""
    low, high = np.quantile(values, (0.1, 0.9))
    return f"{figure(float(low), '', digits)} to {figure(float(high), '', digits)}"
