"""The figure that tells whether two runs had the same input: every byte that is read counts, where it lies does not."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from twin.scenario import ScenarioError, load_scenario, scenario_files, scenario_sha256

Write = Callable[..., Path]
HEADER = "time,power_kw\n2025-03-28T11:00:00+01:00,"
LIST = """
[control]
name = "schedule"
schedule = "plan.csv"
[pv]
file = "sun.csv"
[truth.building]
file = "load.csv"
[sessions]
file = "sessions.csv"
format = "csv"
"""
CONTENTS = {
    "load.csv": HEADER + "6\n", "sun.csv": HEADER + "2\n", "plan.csv": "evse,time,power_kw\n",
    "sessions.csv": "session_id,station_id,arrival,departure,requested_kwh\n",
}


@pytest.fixture
def top(write: Write, base: str, tmp_path: Path) -> Path:
    """A file on two others that names four more, one by each kind of field."""
    write(base + LIST, "ground.toml")
    for name, text in CONTENTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    write('extends = "ground.toml"\nsite.import_cap_kw = 40.0\n', "middle.toml")
    return write('extends = "middle.toml"\nname = "top"\n', "top.toml")


def test_it_is_what_anyone_can_reckon_from_the_files(top: Path) -> None:
    roles = (
        ("scenario", "top.toml"), ("extends", "middle.toml"), ("extends", "ground.toml"),
        ("sessions.file", "sessions.csv"), ("truth.building.file", "load.csv"), ("pv.file", "sun.csv"),
        ("control.schedule", "plan.csv"),
    )
    assert [(role, file.name) for role, file in scenario_files(top)] == list(roles)
    lines = [f"{role} {hashlib.sha256((top.parent / name).read_bytes()).hexdigest()}\n" for role, name in roles]
    assert scenario_sha256(top) == hashlib.sha256("".join(lines).encode()).hexdigest()
    load_scenario(top)


@pytest.mark.parametrize("name", ["top.toml", "middle.toml", "ground.toml", *CONTENTS])
def test_a_byte_in_any_file_changes_it(top: Path, name: str) -> None:
    before = scenario_sha256(top)
    with (top.parent / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert scenario_sha256(top) != before


def test_where_the_files_lie_and_what_nobody_reads_changes_nothing(top: Path, tmp_path: Path) -> None:
    before = scenario_sha256(top)
    (tmp_path / "unread.csv").write_text("nothing", encoding="utf-8")
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "top.toml").rename(tmp_path / "elsewhere" / "renamed.toml")
    assert scenario_sha256(tmp_path / "elsewhere" / "renamed.toml") == before


def test_a_file_that_another_one_replaces_does_not_count(top: Path, write: Write) -> None:
    other = write('extends = "top.toml"\n[pv]\nfile = "load.csv"\n', "other.toml")
    before = scenario_sha256(other)
    (top.parent / "sun.csv").unlink()
    assert scenario_sha256(other) == before
    with pytest.raises(ScenarioError, match=r"top\.toml: \$\.pv\.file: .*sun\.csv', expected a readable file"):
        scenario_sha256(top)
