"""Lay runs side by side: what differs, by how much, and how sure that is.

Runs of one seed and number of replicas meet the same drivers and the same faults (common random numbers), so replica k
of one run is compared with replica k of another: the difference is estimated far more sharply than either run alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray
from scipy.special import stdtrit

from aggregator.refusal import Refused
from aggregator.reports.comparison import MOST_RUNS, ComparisonFacts, DifferenceFact, RunFact
from aggregator.reports.simulation import MEASURES, Measure
from aggregator.studies.folder import KIND, RESULT
from aggregator.studies.result import SCHEMA
from aggregator.studies.settings import in_words
from twin.assets import TimeGrid, utc

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
METHOD = "t interval on differences paired by replica (common random numbers)"
_MUST_AGREE = ("start", "step_s", "steps", "seed", "replicas", "timezone")
_ALWAYS_KNOWN = ("peak_kw", "short_drivers")
"""Every run has these; the page begins with them."""

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Number = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
"""Far beyond any run, and small enough that squares of it can be added."""


class _Head(msgspec.Struct):
    kind: Any = None
    schema: Any = None


class _Result(msgspec.Struct):
    """The fields of `result.json` that a comparison reads; it has more."""

    scenario: str
    scenario_sha256: str
    control: str
    settings: dict[str, Any]
    seed: int
    replicas: _Count
    start: str
    step_s: _Count
    steps: _Count
    timezone: str
    by_replica: dict[str, list[_Number | None]]
    short_by_cause: dict[str, _Number]


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
            found, expected = getattr(result, name), getattr(first, name)
            if found != expected:
                raise Refused(
                    f"{folder / RESULT}: {name}: {found!r}, expected {expected!r} as in {folders[0]} "
                    "(only runs over the same time with the same draws can be compared)"
                )
    runs = tuple(run for _, run in read)
    return ComparisonFacts(
        grid=TimeGrid(utc(first.start), first.step_s, first.steps), timezone=first.timezone,
        seed=first.seed, replicas=first.replicas, runs=runs,
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
    # Unlike `Path.resolve` this never fails: a link that leads nowhere is told when it is read.
    names = [Path(os.path.realpath(folder)).name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [name if names.count(name) == 1 else f"{name} ({k + 1})" for k, name in enumerate(names)]


def _read(folder: Path, label: str) -> tuple[_Result, RunFact]:
    result = _result(folder / RESULT)
    try:
        _require_a_time(result)
        site = pyarrow.parquet.read_table(folder / "site.parquet")  # type: ignore[no-untyped-call]

        def curve(name: str) -> tuple[Floats, Floats, Floats]:
            p10, p50, p90 = (_whole(site, f"{name}_kw_{part}", result.steps) for part in ("p10", "p50", "p90"))
            return p10, p50, p90

        return result, RunFact(
            label, result.scenario, result.control, curve("net"), curve("ev"),
            _whole(site, "import_cap_kw", result.steps), _measures(result), result.short_by_cause,
            {name: in_words(value) for name, value in result.settings.items()}, result.scenario_sha256,
        )
    except (KeyError, TypeError, ValueError, OSError, OverflowError, RecursionError, pyarrow.ArrowException) as error:
        raise _damaged(folder, error) from None


def _result(path: Path) -> _Result:
    """What `result.json` says, as far as runs are compared by it."""
    try:
        written = path.read_bytes()
    except OSError:
        raise Refused(f"{path}: cannot be read, expected the folder of a simulation") from None
    try:
        head = msgspec.json.decode(written, type=_Head)
    except msgspec.ValidationError:
        raise Refused(f"{path}: kind: expected {KIND!r}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refused(f"{path}: not JSON ({error}), expected the result of a simulation") from None
    if head.kind != KIND:
        raise Refused(f"{path}: kind: expected {KIND!r}")
    if head.schema != SCHEMA:
        raise Refused(f"{path}: schema: {head.schema!r}, expected {SCHEMA}; run the simulation again")
    try:
        return msgspec.json.decode(written, type=_Result)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: BaseException) -> Refused:
    return Refused(f"{path}: damaged or incomplete ({' '.join(str(error).split())}); run the simulation again")


def _require_a_time(result: _Result) -> None:
    """Raise a `ValueError`, `OverflowError` or `OSError` unless the run's time can be shown on a local clock."""
    grid = TimeGrid(utc(result.start), result.step_s, result.steps)
    try:
        zone = ZoneInfo(result.timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"timezone: {result.timezone!r}, expected a name such as 'Europe/Berlin'") from None
    try:
        for when in (grid.start, grid.end):
            when.astimezone(zone)
    except OverflowError:
        raise ValueError(f"start: {result.start!r} with {result.steps} steps of {result.step_s} s, expected times "
                         "of the years 1 to 9999") from None


def _measures(result: _Result) -> dict[str, Floats]:
    """The figures by replica; one that is null in any of them is not known, and left out."""
    for key, values in result.by_replica.items():
        if len(values) != result.replicas:
            raise ValueError(f"by_replica: {key}: {len(values)} values, expected {result.replicas}, one per replica")
    known = {
        key: np.array(values, dtype=np.float64) for key, values in result.by_replica.items() if None not in values
    }
    if missing := [key for key in _ALWAYS_KNOWN if key not in known]:
        raise ValueError(f"by_replica: {missing[0]}: not known, expected a number per replica")
    return known


def _whole(site: pyarrow.Table, name: str, steps: int) -> Floats:
    """The column of all sites together, which stand last (the site itself where there is one)."""
    values = site.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    whole: Floats = values.reshape(-1, steps)[-1]
    return whole
