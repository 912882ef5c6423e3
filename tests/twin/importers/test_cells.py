"""Files of sessions that were made to break a reader are one clear fault each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.importers import Imported, ImportOptions, read_acn_json, read_ev2gym, read_sessions_csv, read_spiceev
from twin.scenario_error import ScenarioError

HEAD = "session_id,station_id,arrival,departure,requested_kwh\n"
ROW = "a,post,{},2025-03-28T18:00:00+01:00,5\n"


@pytest.mark.parametrize("read", [read_acn_json, read_ev2gym, read_spiceev])
@pytest.mark.parametrize(("text", "said"), [
    ("[" * 200_000, "'deeper nesting'"), ("[" * 200_000 + "]" * 200_000, "'deeper nesting'"),
    ("[" * 100 + "]" * 100, "'deeper nesting'"), ('{"a": ' + "9" * 5000 + "}", "numbers of a few digits"),
], ids=["unclosed", "closed", "a little too deep", "digits"])
def test_json_that_no_stack_holds_is_refused(
    tmp_path: Path, read: Callable[[Path, ImportOptions], Imported], text: str, said: str
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=f"x.json: file: .*{said}"):
        read(path, ImportOptions())


def test_a_cell_larger_than_the_csv_module_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEAD + "a" * 131_073 + ROW.format("2025-03-28T17:00:00Z"), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"x\.csv: line 2: .*field larger than field limit"):
        read_sessions_csv(path, ImportOptions())


@pytest.mark.parametrize("time", [
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:00-12:00", "Fri, 31 Dec 9999 23:59:00 -1200",
])
def test_times_at_the_ends_of_the_calendar_are_faults_of_their_row(tmp_path: Path, time: str) -> None:
    path = tmp_path / "x.csv"
    row = ROW.format(f'"{time}"')
    path.write_text(HEAD + row + ROW.format("2025-03-28T17:00:00+01:00"), encoding="utf-8")
    imported = read_sessions_csv(path, ImportOptions())
    assert [fault.reason for fault in imported.faults] == ["time out of range"]
    assert len(imported.sessions) == 1
