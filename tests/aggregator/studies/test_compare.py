"""Runs side by side: intervals against scipy's own paired test, and refusals of what cannot be compared."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggregator.refusal import Refused
from aggregator.reports.simulation import MEASURES
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


@pytest.mark.parametrize(
    "harm", ["no folder", "a link to itself", "not JSON", "other kind", "no table", "other schema", "odd replicas"]
)
def test_a_damaged_folder_is_refused_in_one_line(runs: dict[str, Path], harm: str) -> None:
    bad = runs["free"]
    result = json.loads((bad / RESULT).read_text("utf-8"))
    if harm == "no folder":
        bad = bad / "nowhere"
    elif harm == "a link to itself":
        bad = bad / "loop"
        bad.symlink_to(bad)
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


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "by_replica a list": (lambda r: r.update(by_replica=[]), "by_replica"),
    "by_replica empty": (lambda r: r.update(by_replica={}), "peak_kw: not known"),
    "null in a figure": (lambda r: r["by_replica"]["peak_kw"].__setitem__(0, None), "peak_kw: not known"),
    "infinity in a figure": (lambda r: r["by_replica"]["peak_kw"].__setitem__(0, math.inf), "not JSON"),
    "more than any run": (lambda r: r["by_replica"]["peak_kw"].__setitem__(0, 1e300), "1e15|1000000000000000"),
    "words in a figure": (lambda r: r["by_replica"].update(peak_kw="x"), "by_replica"),
    "control a list": (lambda r: r.update(control=["edf"]), "control"),
    "causes a list": (lambda r: r.update(short_by_cause=[1]), "short_by_cause"),
    "causes in words": (lambda r: r.update(short_by_cause={"fault": "many"}), "short_by_cause"),
    "settings a list": (lambda r: r.update(settings=[1]), "settings"),
    "no start": (lambda r: r.pop("start"), "start"),
    "start a number": (lambda r: r.update(start=5), "start"),
    "start a word": (lambda r: r.update(start="noon"), "ISO 8601"),
    "start at the end of time": (lambda r: r.update(start="9999-12-31T23:59:00Z"), "years 1 to 9999|out of range"),
    "timezone of nowhere": (lambda r: r.update(timezone="Nowhere/Town"), "timezone"),
    "timezone of no name": (lambda r: r.update(timezone=""), "timezone"),
    "timezone a path": (lambda r: r.update(timezone="../UTC"), "timezone"),
    "step of nothing": (lambda r: r.update(step_s=0), "step_s"),
    "step of words": (lambda r: r.update(step_s="900"), "step_s"),
    "step of an age": (lambda r: r.update(step_s=10**18), "damaged"),
    "no steps": (lambda r: r.update(steps=0), "steps"),
    "steps beyond the table": (lambda r: r.update(steps=10**18), "damaged"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_result_is_refused_in_one_line_that_names_the_field(runs: dict[str, Path], edit: str) -> None:
    change, told = EDITS[edit]
    for folder in runs.values():
        result = json.loads((folder / RESULT).read_text("utf-8"))
        change(result)
        (folder / RESULT).write_text(json.dumps(result), "utf-8")
    with pytest.raises(Refused, match=told) as refused:
        compare([runs["edf"], runs["free"]])
    assert str(runs["edf"]) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"kind": ' + "[" * 200_000, "9" * 5000, "[]", "null"])
def test_what_is_no_result_at_all_is_refused_in_one_line(runs: dict[str, Path], text: str) -> None:
    (runs["free"] / RESULT).write_text(text, "utf-8")
    with pytest.raises(Refused, match="expected") as refused:
        compare([runs["edf"], runs["free"]])
    assert "\n" not in str(refused.value)


def test_brackets_deep_inside_a_result_are_refused_in_one_line(runs: dict[str, Path]) -> None:
    text = (runs["free"] / RESULT).read_text("utf-8")
    for field in ("settings", "notes"):
        deep = text.replace(f'"{field}":', f'"{field}": ' + "[" * 200_000 + "]" * 200_000 + f', "{field}":', 1)
        (runs["free"] / RESULT).write_text(deep, "utf-8")
        with pytest.raises(Refused, match=RESULT.replace(".", r"\.")) as refused:
            compare([runs["edf"], runs["free"]])
        assert "\n" not in str(refused.value)


def test_a_figure_that_one_run_does_not_know_is_left_out(runs: dict[str, Path]) -> None:
    result = json.loads((runs["free"] / RESULT).read_text("utf-8"))
    result["by_replica"]["event_kept_share"] = [None] * result["replicas"]
    (runs["free"] / RESULT).write_text(json.dumps(result), "utf-8")
    facts = compare([runs["edf"], runs["free"]])
    assert "event_kept_share" not in {one.measure.key for one in facts.differences[0]}
    json.dumps(comparison_json(facts), allow_nan=False)
