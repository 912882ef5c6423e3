"""`v2g plan`: what it writes, says and refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.planning.fleet import Problem, solve, write_problem
from aggregator.planning.fleet.files.problem_file import as_json

Make = Callable[..., Problem]


@pytest.fixture
def problem(make_fleet: Make, tmp_path: Path) -> Problem:
    found = make_fleet(4, evs=8)
    write_problem(found, tmp_path / "problem.json")
    return found


def _run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_the_written_plan_is_that_of_the_one_import(problem: Problem, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"plan.{suffix}"
    code, said, _ = _run(tmp_path / "problem.json", "-o", out, "--explain", "car-0", "--json")
    assert code == 0
    plan = solve(problem)
    assert json.loads(said)["objective"] == pytest.approx(plan.objective)
    if suffix == "json":
        written = json.loads(out.read_text())
        car = written["evs"][0]
        assert car["power_kw"] == pytest.approx(plan.power_kw[0, car["arrive"]:car["depart"]])
        assert [site["net_kw"] for site in written["sites"]] == pytest.approx(plan.outcome.net_kw)
    else:
        with np.load(out) as arrays:
            assert arrays["charge_kw"] - arrays["discharge_kw"] == pytest.approx(plan.power_kw)
            written = json.loads(str(arrays["summary"]))
    assert len(written["why"]["car-0"]) == problem.evs.depart[0] - problem.evs.arrive[0]


def test_words_name_who_falls_short_and_what_would_have_been_possible(problem: Problem, tmp_path: Path) -> None:
    plan = solve(problem)
    short = [name for name, kwh in zip(problem.evs.ids, plan.outcome.shortfall_kwh, strict=True) if kwh > 1e-6]
    assert short
    code, said, told = _run(tmp_path / "problem.json", "-o", tmp_path / "plan.json", "--explain", short[0])
    assert code == 0
    assert f"{short[0]} by " in said
    assert "proven not below" in said
    assert "because of a target it misses" in said
    assert told.startswith("pass 1: bound")


def test_every_fault_is_printed_and_nothing_written(problem: Problem, tmp_path: Path) -> None:
    raw = as_json(problem)
    raw["evs"][0]["target_kwh"] = 1e6
    raw["evs"][1]["site"] = "nowhere"
    (tmp_path / "bad.json").write_text(json.dumps(raw))
    code, said, told = _run(tmp_path / "bad.json", "-o", tmp_path / "plan.json")
    assert code == 2
    assert said == ""
    assert "evs[car-0].target_kwh: is 1e+06, expected at most capacity_kwh" in told
    assert 'evs[car-1].site: is "nowhere", expected a site of the file' in told
    assert not (tmp_path / "plan.json").exists()


def test_refusals_are_one_line(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "problem.json"
    assert _run(tmp_path / "none.json", "-o", tmp_path / "x")[0] == 2
    code, _, told = _run(path, "-o", tmp_path / "x", "--explain", "nobody")
    assert (code, told.count("\n")) == (2, 1)
    assert "--explain nobody: no such EV" in told
    before = path.read_bytes()
    code, _, told = _run(path, "-o", path)
    assert (code, told.count("\n")) == (1, 1)
    assert path.read_bytes() == before
    raw = as_json(problem)
    raw["limit_per_kwh"] = None
    for site in raw["sites"]:
        site["import_cap_kw"] = 0.0
        site["pv_kw"] = 0.0
    path.write_text(json.dumps(raw))
    code, _, told = _run(path, "-o", tmp_path / "x")
    assert code == 1
    assert "limit_per_kwh is null" in told
    assert not (tmp_path / "x").exists()


def test_without_time_for_reasons_the_plan_is_still_written(make_fleet: Make, tmp_path: Path) -> None:
    write_problem(make_fleet(2, evs=40, sites=4, steps=96), tmp_path / "problem.npz")
    code, said, _ = _run(
        tmp_path / "problem.npz", "-o", tmp_path / "plan.json", "--explain", "car-0", "--time-limit", "0")
    assert code == 0
    assert "time_limit" in said
    assert "not explained" in said
    assert json.loads((tmp_path / "plan.json").read_text())["why"] == {}
