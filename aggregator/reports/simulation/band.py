"""How one quantity lies over the courses of a run, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """One quantity per step over all replicas; each array of shape (steps,)."""

    p10: Floats
    p50: Floats
    p90: Floats
    mean: Floats
    first: Floats

    @classmethod
    def of(cls, values: Floats) -> Band:
        """Of `values` of shape (replica, step)."""
        p10, p50, p90 = np.quantile(values, (0.1, 0.5, 0.9), axis=0)
        return cls(p10, p50, p90, values.mean(axis=0), values[0].copy())
