"""Which Python runs the stations, and what is said when there is none."""

from pathlib import Path

import pytest

from aggregator.stations import NoStationInterpreter, station_interpreter


def environment(folder: Path, *, is_runnable: bool = True) -> Path:
    python = folder / ".venv-station" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755 if is_runnable else 0o644)
    return python


def test_the_variable_wins_over_the_folder(tmp_path: Path) -> None:
    named = environment(tmp_path / "named")
    environment(tmp_path)
    assert station_interpreter({"V2G_STATION_PYTHON": str(named)}, (tmp_path,)) == named


def test_the_first_folder_that_has_one_counts(tmp_path: Path) -> None:
    found = environment(tmp_path / "project")
    assert station_interpreter({}, (tmp_path / "venv", tmp_path / "project")) == found


def test_a_variable_that_names_no_interpreter_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    environment(tmp_path)
    with pytest.raises(NoStationInterpreter, match="V2G_STATION_PYTHON: '/nowhere/python'"):
        station_interpreter({"V2G_STATION_PYTHON": "/nowhere/python"}, (tmp_path,))


def test_without_one_a_single_line_says_where_it_was_looked_for(tmp_path: Path) -> None:
    environment(tmp_path, is_runnable=False)
    with pytest.raises(NoStationInterpreter) as refused:
        station_interpreter({}, (tmp_path, tmp_path))
    assert str(refused.value).count("\n") == 0
    assert str(refused.value).count(str(tmp_path)) == 1
    assert "V2G_STATION_PYTHON" in str(refused.value)
