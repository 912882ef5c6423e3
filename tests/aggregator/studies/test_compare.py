"""Runs side by side: intervals against scipy's own paired test, and refusals of what cannot be compared."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggregator.refusal import Refused
from aggregator.reports.simulation_facts import MEASURES
from aggregator.studies.compare import compare, comparison_json, paired_difference
from aggregator.studies.folder import RESULT
from aggregator.studies.simulate import SimulationOptions, simulate_into
from tests.aggregator.studies.conftest import write_day

kwh = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(kwh, kwh), min_size=2, max_size=30))
def test_the_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    first, other = np.array(pairs).T
    found = paired_difference(MEASURES[0], first, other)
    assert found.mean == pytest.approx(float((other - first).mean()))
    if np.ptp(other - first) < 1e-9:
        assert found.half_width == pytest.approx(0.0, abs=1e-9)
        return
    low, high = stats.ttest_rel(other, first).confidence_interval(0.95)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high), rel=1e-6)


def test_one_replica_has_a_difference_and_no_interval() -> None:
    found = paired_difference(MEASURES[0], np.array([3.0]), np.array([5.0]))
    assert found.mean == 2.0
    assert math.isnan(found.half_width)
    assert not found.is_sure


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    day = write_day(folder)
    for name, options in {
        "edf": SimulationOptions(), "free": SimulationOptions(control="uncontrolled"),
        "seed": SimulationOptions(seed=1), "few": SimulationOptions(replicas=2),
    }.items():
        simulate_into(day, folder / name, options)
    return folder


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies that a test may harm."""
    copies = {}
    for folder in (entry for entry in finished.iterdir() if entry.is_dir()):
        copies[folder.name] = tmp_path / folder.name
        copies[folder.name].mkdir()
        for name in (RESULT, "site.parquet"):
            shutil.copy(folder / name, copies[folder.name])
    return copies


def test_a_run_differs_from_itself_by_nothing(runs: dict[str, Path]) -> None:
    facts = compare([runs["edf"], runs["edf"]])
    assert all(one.mean == 0.0 == one.half_width for one in facts.differences[0])
    assert not any(one.is_sure for one in facts.differences[0])
    assert [run.label for run in facts.runs] == [f"{runs['edf']} (1)", f"{runs['edf']} (2)"]


def test_a_difference_is_that_of_the_runs_results(runs: dict[str, Path]) -> None:
    facts = compare([runs["edf"], runs["free"]])
    results = [json.loads((runs[name] / RESULT).read_text("utf-8")) for name in ("edf", "free")]
    for one in facts.differences[0]:
        edf, free = (np.array(result["by_replica"][one.measure.key]) for result in results)
        assert one.mean == pytest.approx(float(np.mean(free - edf)))
    peak = next(one for one in facts.differences[0] if one.measure.key == "peak_kw")
    assert peak.mean > 0.0
    json.dumps(comparison_json(facts), allow_nan=False)


def test_runs_say_which_fields_of_their_scenarios_differ(runs: dict[str, Path]) -> None:
    facts = compare([runs["edf"], runs["free"]])
    assert facts.differing == (("control.name", "edf", "uncontrolled"),)
    written = comparison_json(facts)
    assert written["settings"] == [{"field": "control.name", "values": ["edf", "uncontrolled"]}]
    assert set(written["always_zero"]) <= set(facts.runs[0].measures)
    assert all(not run.measures[key].any() for run in facts.runs for key in written["always_zero"])


@pytest.mark.parametrize(("other", "field"), [("seed", "seed"), ("few", "replicas")])
def test_runs_of_other_draws_are_refused_in_one_line(runs: dict[str, Path], other: str, field: str) -> None:
    with pytest.raises(Refused, match=f"{field}: ") as refused:
        compare([runs["edf"], runs[other]])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("harm", ["no folder", "not JSON", "other kind", "no table", "other schema", "odd replicas"])
def test_a_damaged_folder_is_refused_in_one_line(runs: dict[str, Path], harm: str) -> None:
    bad = runs["free"]
    result = json.loads((bad / RESULT).read_text("utf-8"))
    if harm == "no folder":
        bad = bad / "nowhere"
    elif harm == "no table":
        (bad / "site.parquet").unlink()
    elif harm == "odd replicas":
        result["by_replica"]["peak_kw"].append(1.0)
    elif harm != "not JSON":
        result["kind" if harm == "other kind" else "schema"] = "something else"
    if bad.exists():
        (bad / RESULT).write_text("{" if harm == "not JSON" else json.dumps(result), "utf-8")
    with pytest.raises(Refused) as refused:
        compare([runs["edf"], bad])
    assert str(bad) in str(refused.value)
    assert "\n" not in str(refused.value)
