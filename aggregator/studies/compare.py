"""Lay runs side by side: what differs, by how much, and how sure that is.

Runs of one seed and number of replicas meet the same drivers and the same faults (common random numbers), so replica k
of one run is compared with replica k of another: the difference is estimated far more sharply than either run alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray
from scipy.special import stdtrit

from aggregator.refusal import Refused
from aggregator.reports.simulation_comparison import MOST_RUNS, ComparisonFacts, DifferenceFact, RunFact
from aggregator.reports.simulation_facts import MEASURES, Measure
from aggregator.studies.folder import KIND, RESULT
from aggregator.studies.result import SCHEMA
from aggregator.studies.settings import in_words
from twin.assets import TimeGrid, utc

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
METHOD = "t interval on differences paired by replica (common random numbers)"
_MUST_AGREE = ("start", "step_s", "steps", "seed", "replicas", "timezone")


def compare(folders: Sequence[Path]) -> ComparisonFacts:
    """Read the folders of runs and compare every later one with the first.

    Raises:
        Refused: one is not the folder of a simulation, or the runs cannot be compared.
    """
    if not 2 <= len(folders) <= MOST_RUNS:  # noqa: PLR2004 - one run has nothing to differ from
        raise Refused(f"compare: {len(folders)} folders, expected 2 to {MOST_RUNS}")
    read = [_read(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)]
    (first, _), *_ = read
    for (result, _), folder in zip(read[1:], folders[1:], strict=True):
        for name in _MUST_AGREE:
            if result[name] != first[name]:
                raise Refused(
                    f"{folder / RESULT}: {name}: {result[name]!r}, expected {first[name]!r} as in {folders[0]} "
                    "(only runs over the same time with the same draws can be compared)"
                )
    runs = tuple(run for _, run in read)
    return ComparisonFacts(
        grid=TimeGrid(utc(first["start"]), first["step_s"], first["steps"]), timezone=first["timezone"],
        seed=first["seed"], replicas=first["replicas"], runs=runs,
        differences=tuple(differences(runs[0].measures, other.measures) for other in runs[1:]),
        method=METHOD, confidence=CONFIDENCE, program_version=version("v2g-aggregator"),
    )


def comparison_json(facts: ComparisonFacts) -> dict[str, Any]:
    """The comparison for machines; an interval that is not known is null."""
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "kind": "v2g-comparison", "schema": SCHEMA, "confidence": facts.confidence, "method": facts.method,
        "replicas": facts.replicas, "seed": facts.seed, "always_zero": [one.key for one in facts.always_zero],
        "settings": [{"field": path, "values": values} for path, *values in facts.differing], "runs": [
            {"label": run.label, "scenario": run.scenario, "control": run.control,
             "mean": {key: float(values.mean()) for key, values in run.measures.items()}}
            for run in facts.runs
        ],
        "differences": [
            {"run": run.label, "from": facts.runs[0].label, "measures": {
                one.measure.key: {"mean": one.mean, "half_width": number(one.half_width),
                                  "unpaired_half_width": number(one.alone_half_width), "beyond_chance": one.is_sure}
                for one in row
            }}
            for run, row in zip(facts.runs[1:], facts.differences, strict=True)
        ],
    }


def differences(first: Mapping[str, Floats], other: Mapping[str, Floats]) -> tuple[DifferenceFact, ...]:
    """What `other` has more than `first`, for every measure that both have."""
    return tuple(
        paired_difference(measure, first[measure.key], other[measure.key])
        for measure in MEASURES if measure.key in first and measure.key in other
    )


def paired_difference(measure: Measure, first: Floats, other: Floats) -> DifferenceFact:
    """Mean of `other - first` by replica, with its Student t interval."""
    apart = other - first
    n = apart.size
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return DifferenceFact(measure, float(apart.mean()), math.nan, math.nan)
    quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    alone = math.sqrt((first.var(ddof=1) + other.var(ddof=1)) / n)
    return DifferenceFact(
        measure, float(apart.mean()), quantile * float(apart.std(ddof=1)) / math.sqrt(n), quantile * alone
    )


def _labels(folders: Sequence[Path]) -> list[str]:
    """Names of the folders; with their parents where two have one name."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [name if names.count(name) == 1 else f"{name} ({k + 1})" for k, name in enumerate(names)]


def _read(folder: Path, label: str) -> tuple[dict[str, Any], RunFact]:
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
        if any(values.shape != (raw["replicas"],) for values in by_replica.values()):
            raise ValueError("by_replica: expected one value per replica")  # noqa: TRY301 - told as all damage is
        site = pyarrow.parquet.read_table(folder / "site.parquet")  # type: ignore[no-untyped-call]

        def curve(name: str) -> tuple[Floats, Floats, Floats]:
            p10, p50, p90 = (_whole(site, f"{name}_kw_{part}", raw["steps"]) for part in ("p10", "p50", "p90"))
            return p10, p50, p90

        run = RunFact(
            label, raw["scenario"], raw["control"], curve("net"), curve("ev"),
            _whole(site, "import_cap_kw", raw["steps"]), by_replica, raw["short_by_cause"],
            {name: in_words(value) for name, value in raw["settings"].items()}, raw["scenario_sha256"],
        )
        return {name: raw[name] for name in _MUST_AGREE}, run
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise Refused(f"{folder}: damaged or incomplete ({error}); run the simulation again") from None


def _whole(site: pyarrow.Table, name: str, steps: int) -> Floats:
    """The column of all sites together, which stand last (the site itself where there is one)."""
    values = site.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    whole: Floats = values.reshape(-1, steps)[-1]
    return whole
