"""Power over time as it was measured: constant between edges, with holes where nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepSeries:
    """Power that is constant between edges: kw[k] holds over [edges_s[k], edges_s[k+1]).

    edges_s: Unix seconds in domain time, increasing, shape (n+1,). kw: shape (n,); NaN = not measured.
    Raises a `ValueError` if the shapes do not fit or the edges do not increase.
    """

    edges_s: Floats
    kw: Floats

    def __post_init__(self) -> None:
        if self.edges_s.ndim != 1 or self.edges_s.shape != (self.kw.size + 1,):
            raise ValueError(f"edges_s: shape {self.edges_s.shape}, expected ({self.kw.size + 1},) for kw")
        if not bool((np.diff(self.edges_s) > 0).all()):
            raise ValueError("edges_s: expected increasing instants")

    @classmethod
    def regular(cls, start: datetime, step_s: float, kw: Floats) -> StepSeries:
        """Equal steps from `start` on."""
        return cls(start.timestamp() + step_s * np.arange(kw.size + 1, dtype=np.float64), kw)

    @classmethod
    def from_samples(cls, at_s: Floats, kw: Floats, end_s: float, longest_gap_s: float = np.inf) -> StepSeries:
        """Each sample holds until the next, but no longer than `longest_gap_s`; what follows a gap is not measured."""
        edges = np.append(at_s, end_s)
        late = np.flatnonzero(np.diff(edges) > longest_gap_s)
        edges = np.insert(edges, late + 1, at_s[late] + longest_gap_s)
        return cls(edges, np.insert(np.asarray(kw, dtype=np.float64), late + 1, np.nan))

    def _integrals(self, at_s: Floats) -> tuple[Floats, Floats]:
        """Energy (kW s) and measured seconds, accumulated from the first edge to each instant."""
        if self.kw.size == 0:
            return np.zeros_like(at_s), np.zeros_like(at_s)
        known = np.isfinite(self.kw)
        width = np.diff(self.edges_s)
        energy = np.concatenate(([0.0], np.cumsum(np.where(known, self.kw, 0.0) * width)))
        seconds = np.concatenate(([0.0], np.cumsum(known * width)))
        return np.interp(at_s, self.edges_s, energy), np.interp(at_s, self.edges_s, seconds)

    def window_means(self, starts_s: Floats, ends_s: Floats, coverage: float = 0.5) -> Floats:
        """Exact mean power in kW over each half-open window; NaN where less than `coverage` of it was measured."""
        e0, s0 = self._integrals(np.asarray(starts_s, dtype=np.float64))
        e1, s1 = self._integrals(np.asarray(ends_s, dtype=np.float64))
        seconds = s1 - s0
        means = np.full(seconds.shape, np.nan)
        enough = (seconds > 0) & (seconds >= coverage * (ends_s - starts_s) - 1e-9)
        np.divide(e1 - e0, seconds, out=means, where=enough)
        return means

    def means(self, start: datetime, step_s: float, count: int, coverage: float = 0.5) -> Floats:
        """Exact means over `count` equal windows from `start` on, shape (count,)."""
        edges = start.timestamp() + step_s * np.arange(count + 1, dtype=np.float64)
        return self.window_means(edges[:-1], edges[1:], coverage)

    def energy_kwh(self, start: datetime, end: datetime) -> float:
        """Energy over [start, end), of the measured part."""
        energy, _ = self._integrals(np.array([start.timestamp(), end.timestamp()]))
        return float(energy[1] - energy[0]) / 3600.0

    def measured_s(self, start: datetime, end: datetime) -> float:
        """Seconds of [start, end) that were measured."""
        _, seconds = self._integrals(np.array([start.timestamp(), end.timestamp()]))
        return float(seconds[1] - seconds[0])

    def clipped(self, low: float = -np.inf, high: float = np.inf) -> StepSeries:
        """The same edges with power clipped; `clipped(high=0)` is the discharging part."""
        return StepSeries(self.edges_s, np.clip(self.kw, low, high))
