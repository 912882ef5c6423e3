"""Lay runs side by side: what differs, by how much, and how sure that is.

Runs of one seed and number of replicas meet the same drivers and the same faults (common random numbers), so replica k
of one run is compared with replica k of another: the difference is estimated far more sharply than either run alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray
from scipy.special import stdtrit

from aggregator.refusal import Refused
from aggregator.reports.simulation_facts import MEASURES, Measure
from aggregator.studies.folder import KIND, RESULT
from aggregator.studies.result import SCHEMA

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
METHOD = "t interval on differences paired by replica (common random numbers)"
_MUST_AGREE = ("start", "step_s", "steps", "seed", "replicas", "timezone")


@dataclass(frozen=True)
class Curve:
    """Median over replicas of one power of all sites together, kW per step, with its 10th and 90th percentile."""

    p10: Floats
    p50: Floats
    p90: Floats


@dataclass(frozen=True)
class StoredRun:
    """One run as it was written. label: its folder's name, made unique. measures: one value per replica."""

    label: str
    folder: Path
    result: Mapping[str, Any]
    measures: Mapping[str, Floats]
    net: Curve
    ev: Curve
    cap_kw: Floats
    causes: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """A run minus the first one. half_width: of the interval at `CONFIDENCE`; NaN with fewer than two replicas.

    alone_half_width: what it would be if the replicas were not paired; shows what pairing is worth.
    """

    measure: Measure
    mean: float
    half_width: float
    alone_half_width: float
    replicas: int

    @property
    def is_sure(self) -> bool:
        """The interval does not hold 0."""
        return math.isfinite(self.half_width) and abs(self.mean) > self.half_width


@dataclass(frozen=True)
class Comparison:
    """Runs in the order they were named; differences[k] are those of runs[k + 1] from runs[0]."""

    runs: tuple[StoredRun, ...]
    differences: tuple[tuple[Difference, ...], ...]


def compare(folders: Sequence[Path]) -> Comparison:
    """Read the folders of runs and compare every later one with the first.

    Raises:
        Refused: one is not the folder of a simulation, or the runs cannot be compared.
    """
    if len(folders) < 2:  # noqa: PLR2004 - a comparison needs two
        raise Refused(f"compare: {len(folders)} folder, expected at least two")
    runs = [_read(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)]
    first = runs[0]
    for other in runs[1:]:
        for name in _MUST_AGREE:
            ours, theirs = first.result[name], other.result[name]
            if ours != theirs:
                raise Refused(
                    f"{other.folder / RESULT}: {name}: {theirs!r}, expected {ours!r} as in {first.folder} "
                    "(only runs over the same time with the same draws can be compared)"
                )
    return Comparison(tuple(runs), tuple(differences(first.measures, other.measures) for other in runs[1:]))


def differences(first: Mapping[str, Floats], other: Mapping[str, Floats]) -> tuple[Difference, ...]:
    """What `other` has more than `first`, for every measure that both have."""
    return tuple(
        paired_difference(measure, first[measure.key], other[measure.key])
        for measure in MEASURES if measure.key in first and measure.key in other
    )


def paired_difference(measure: Measure, first: Floats, other: Floats) -> Difference:
    """Mean of `other - first` by replica, with its Student t interval."""
    apart = other - first
    n = apart.size
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return Difference(measure, float(apart.mean()), math.nan, math.nan, n)
    quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    alone = math.sqrt((first.var(ddof=1) + other.var(ddof=1)) / n)
    return Difference(
        measure, float(apart.mean()), quantile * float(apart.std(ddof=1)) / math.sqrt(n), quantile * alone, n
    )


def _labels(folders: Sequence[Path]) -> list[str]:
    """Names of the folders; with their parents where two have one name."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [name if names.count(name) == 1 else f"{name} ({k + 1})" for k, name in enumerate(names)]


def _read(folder: Path, label: str) -> StoredRun:
    path = folder / RESULT
    try:
        raw = json.loads(path.read_text("utf-8"))
    except OSError:
        raise Refused(f"{path}: cannot be read, expected the folder of a simulation") from None
    except ValueError:
        raise Refused(f"{path}: not JSON, expected the result of a simulation") from None
    if not isinstance(raw, dict) or raw.get("kind") != KIND:
        raise Refused(f"{path}: kind: expected {KIND!r}")
    if raw.get("schema") != SCHEMA:
        raise Refused(f"{path}: schema: {raw.get('schema')!r}, expected {SCHEMA}; run the simulation again")
    try:
        by_replica = {key: np.array(values, dtype=np.float64) for key, values in raw["by_replica"].items()}
        site = pyarrow.parquet.read_table(folder / "site.parquet")
        steps = raw["steps"]
        columns = {name: _whole(site, name, steps) for name in (
            "net_kw_p10", "net_kw_p50", "net_kw_p90", "ev_kw_p10", "ev_kw_p50", "ev_kw_p90", "import_cap_kw",
        )}
        return StoredRun(
            label, folder, raw, by_replica,
            Curve(columns["net_kw_p10"], columns["net_kw_p50"], columns["net_kw_p90"]),
            Curve(columns["ev_kw_p10"], columns["ev_kw_p50"], columns["ev_kw_p90"]),
            columns["import_cap_kw"], raw["short_by_cause"],
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise Refused(f"{folder}: damaged or incomplete ({error}); run the simulation again") from None


def _whole(site: pyarrow.Table, name: str, steps: int) -> Floats:
    """The column of all sites together, which stand last (the site itself where there is one)."""
    values: Floats = site.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    return values.reshape(-1, steps)[-1]
