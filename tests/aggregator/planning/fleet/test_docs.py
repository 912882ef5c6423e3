"""The examples of the docs run as they stand there, and the shipped problem is one."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.planning.fleet import read_problem, solve, violations
from aggregator.planning.fleet.files import plan_file
from aggregator.planning.fleet.files.problem_file import as_json
from aggregator.planning.fleet.plan import ReserveCheck
from aggregator.planning.fleet.why import reasons

ROOT = Path(__file__).parents[4]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "planner.md").read_text("utf-8"), flags=re.DOTALL)


def run(block: str, **known: Any) -> dict[str, Any]:
    names = dict(known)
    exec(compile(block, "docs/planner.md", "exec"), names)  # noqa: S102 - the point of the test
    return names


def test_the_example_of_one_import_gives_a_sound_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert BLOCKS[0].startswith("from aggregator.planning import ")
    assert len(BLOCKS[0].splitlines()) <= 17
    names = run(BLOCKS[0])
    problem, plan = names["problem"], names["plan"]
    assert plan.status == "optimal"
    assert not violations(problem, plan.schedule)
    assert plan.outcome.shortfall_kwh == pytest.approx([0.0, 0.0], abs=1e-6)
    assert (plan.power_kw[1, :2] < -1.0).any(), "the van gives back in the event"
    assert "optimal" in capsys.readouterr().out


def test_the_example_of_a_cluster_gives_the_same_plan(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    problem, plan = (run(BLOCKS[0])[name] for name in ("problem", "plan"))
    block = BLOCKS[1].replace('"tcp://scheduler:8786"', "workers=1")
    assert block != BLOCKS[1]
    found = run(block, problem=problem)["plan"]
    assert found.objective == pytest.approx(plan.objective, rel=1e-3)
    assert not violations(problem, found.schedule)
    assert capsys.readouterr().out


def test_every_field_of_a_plan_is_in_its_table() -> None:
    text = (ROOT / "docs" / "planner.md").read_text("utf-8")
    fields, _, arrays = text[text.index("## The plan"):text.index("**Bound.**")].partition("In the summary of")
    rows, array_rows = ({name: row for row in part.splitlines() if row.startswith("| `")
                         for name in re.findall(r"`(\w+)(?:\[\])?`", row.split("|")[1])} for part in (fields, arrays))
    problem = read_problem(ROOT / "examples" / "fleet_three_sites.json")
    plan = solve(problem)
    written = plan_file.as_json(problem, plan, {0: reasons(problem, plan, 0)})
    written["reserve_check"] = plan_file.summary(problem, replace(plan, reserve_check=ReserveCheck(
        np.zeros((3, 1)), 1, 1)))["reserve_check"]
    assert written["shortfalls"]
    assert written["binding"]
    for name, value in written.items():
        assert name in rows, name
        inner = next(iter(value.values())) if name == "why" else value
        inner = inner[0] if isinstance(inner, list) and inner else inner
        for field in inner if isinstance(inner, dict) and name != "seconds" else ():
            assert f"`{field}`" in rows[name], f"{name}.{field}"
    with np.load(io.BytesIO(plan_file.plan_bytes(problem, plan, Path("plan.npz")))) as found:
        assert set(found) == set(array_rows)


def test_the_shipped_problem_has_something_of_everything() -> None:
    problem = read_problem(ROOT / "examples" / "fleet_three_sites.json")
    plan = solve(problem)
    assert not violations(problem, plan.schedule)
    assert plan.status == "optimal"
    assert plan.duals is not None
    assert plan.outcome.event_shortfall_kw.max() < 1e-6
    assert [problem.evs.ids[k] for k in np.flatnonzero(plan.outcome.shortfall_kwh > 1e-6)] == ["visitor"]
    assert (np.abs(plan.duals.site.feeder) > 1e-6).any(), "the feeder decides something"
    assert as_json(problem)["feeders"]["chains"][0]["id"] == "village"


def test_the_first_command_of_the_docs_and_its_options_are_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "planner.md").read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("v2g plan "))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = CliRunner().invoke(app, line.split()[1:])
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"examples", "plan.json", "plan.html"}
    assert "van-1:\n  step " in done.stdout
    helped = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    for option in re.findall(r"`(--[a-z-]+)", text[text.index("## The command"):text.index("## The plan")]):
        assert option in helped
