"""What a comparison of runs shows, as plain columns: the runs, and each one minus the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregator.reports.page import ABSENT
from aggregator.reports.simulation import MEASURES, Measure
from twin.assets import TimeGrid

Floats = NDArray[np.float64]

FEEDER_MEASURES = ("feeder_caused_minutes", "feeder_voltage_minutes", "feeder_line_loading")
"""Measures of the feeder that are put into words and figures."""


@dataclass(frozen=True)
class RunFact:
    """One of the compared runs. net, ev: P10, P50, P90 in kW per step, all sites together. causes: short drivers.

    settings: the fields of its scenario in words, by their path. scenario_sha256: of all files of the scenario.
    """

    label: str
    scenario: str
    control: str
    net: tuple[Floats, Floats, Floats]
    ev: tuple[Floats, Floats, Floats]
    cap_kw: Floats
    measures: Mapping[str, Floats]
    causes: Mapping[str, float]
    settings: Mapping[str, str] = field(default_factory=dict)
    scenario_sha256: str = ""


@dataclass(frozen=True)
class DifferenceFact:
    """A run minus the first one. half_width: of the interval; NaN with fewer than two replicas.

    alone_half_width: what it would be if the replicas were not paired; it shows what pairing is worth.
    """

    measure: Measure
    mean: float
    half_width: float
    alone_half_width: float

    @property
    def is_sure(self) -> bool:
        """The interval does not hold 0."""
        return math.isfinite(self.half_width) and abs(self.mean) > self.half_width


@dataclass(frozen=True)
class ComparisonFacts:
    """differences[k] are of runs[k + 1]. method: how intervals are made, at `confidence` (0 to 1)."""

    grid: TimeGrid
    timezone: str
    seed: int
    replicas: int
    runs: tuple[RunFact, ...]
    differences: tuple[tuple[DifferenceFact, ...], ...]
    method: str
    confidence: float
    program_version: str = ""

    @property
    def differing(self) -> tuple[tuple[str, ...], ...]:
        """Path and value in every run of the scenarios' fields that are not the same in all."""
        paths = dict.fromkeys(path for run in self.runs for path in run.settings)
        rows = ((path, *(run.settings.get(path, ABSENT) for run in self.runs)) for path in paths)
        return tuple(row for row in rows if len(set(row[1:])) > 1)

    @property
    def always_zero(self) -> tuple[Measure, ...]:
        """Measures that are 0 in every course of every run."""
        return tuple(measure for measure in MEASURES if (
            (found := [run.measures[measure.key] for run in self.runs if measure.key in run.measures])
            and not any(values.any() for values in found)
        ))
