"""What a feeder's command may replace: nothing of anybody else's, whatever the path looks like, and all or nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.feeder.output import replaced_folder, require_replaceable, require_writable, write_files
from aggregator.refusal import Refused

KIND = "a-test"
NAMES = ("result.json", "table.csv")


def write_run(folder: Path, text: str = "1", meanwhile: Callable[[], object] = lambda: None) -> None:
    with replaced_folder(folder, KIND, NAMES) as made:
        meanwhile()
        (made / "table.csv").write_text(text)
        (made / "result.json").write_text(json.dumps({"kind": KIND, "files": NAMES}))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which somebody works, and this runs."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    monkeypatch.chdir(folder)
    return folder


def test_a_folder_below_one_that_is_not_there_yet_is_the_folder_it_will_be(here: Path) -> None:
    for name in ("new/..", "new/../../work", "./new/.."):
        with pytest.raises(Refused):
            write_run(Path(name))
    assert (here / "mine.txt").read_text() == "keep me"
    assert [entry.name for entry in here.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_the_folder_one_stands_in_is_refused_even_when_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match="expected a new folder"):
        require_replaceable(Path(name), KIND)


def test_an_earlier_run_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_run(tmp_path / "out")
    write_run(tmp_path / "out", "2")
    write_run(tmp_path / "new" / ".." / "out", "3")
    assert (tmp_path / "out" / "table.csv").read_text() == "3"
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_what_somebody_puts_in_while_it_runs_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_run(out)
    with pytest.raises(Refused, match="changed while this ran"):
        write_run(out, meanwhile=lambda: (out / "notes.txt").write_text("keep me"))
    assert sorted(entry.name for entry in out.iterdir()) == ["notes.txt", "result.json", "table.csv"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_somebody_makes_while_it_runs_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def somebody_else() -> None:
        out.mkdir()
        (out / "notes.txt").write_text("keep me")

    with pytest.raises(Refused, match="changed while this ran"):
        write_run(out, meanwhile=somebody_else)
    assert (out / "notes.txt").read_text() == "keep me"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_run_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "out", KIND, NAMES):
        raise ZeroDivisionError
    assert (tmp_path / "out" / "table.csv").read_text() == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("result", [
    '{"kind": "a-test", "files": 5}', '{"kind": "a-test", "files": [["result.json"]]}', '[["a"]]', "[" * 100_000,
    '{"kind": "another", "files": ["result.json"]}', '{"kind": "a-test"}', "", "\udcff",
])
def test_a_result_of_somebody_else_is_none_of_ours(tmp_path: Path, result: str) -> None:
    (tmp_path / "result.json").write_bytes(result.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refused, match="expected a new folder"):
        require_replaceable(tmp_path, KIND)


def test_links_and_folders_that_are_named_as_ours_are_not(tmp_path: Path) -> None:
    write_run(tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(Refused):
        require_replaceable(tmp_path / "link", KIND)
    (tmp_path / "out" / "table.csv").unlink()
    (tmp_path / "out" / "table.csv").mkdir()
    with pytest.raises(Refused):
        require_replaceable(tmp_path / "out", KIND)


def test_what_killed_runs_left_is_removed_and_nothing_that_only_looks_like_it(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True)
    dead = int(ended.stdout)
    for name, file in ((f".out.partial-{dead}", "table.csv"), (f".out.former-{dead}", "result.json"),
                       (f".out.partial-{os.getppid()}", "table.csv"), (f".out.partial-{dead}0", "diary.txt"),
                       (".out.partial-x", "table.csv"), (f".other.partial-{dead}", "table.csv")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("")
    write_run(tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "out", f".out.partial-{os.getppid()}", f".out.partial-{dead}0", ".out.partial-x", f".other.partial-{dead}",
    }


def test_a_file_is_replaced_only_if_it_begins_like_ours(tmp_path: Path) -> None:
    ours, empty, foreign = (tmp_path / name for name in ("ours", "empty", "foreign"))
    ours.write_bytes(b"ours: 1")
    empty.write_bytes(b"")
    foreign.write_bytes(b"our")
    require_writable({ours: b"ours", empty: b"ours", tmp_path / "new": b"ours"}, ())
    for path in (foreign, tmp_path):
        with pytest.raises(Refused, match="expected a new name"):
            require_writable({path: b"ours"}, ())
    (tmp_path / "link").symlink_to(ours)
    with pytest.raises(Refused, match="expected a new name"):
        require_writable({tmp_path / "link": b"ours"}, ())


def test_an_input_and_one_name_for_two_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "feeder"
    folder.mkdir()
    (tmp_path / "loads").write_bytes(b"ours")
    for path, said in ((folder / "new", "within"), (tmp_path / "x" / ".." / "loads", "is read"), (folder, "is read")):
        with pytest.raises(Refused, match=said):
            require_writable({path: b"ours"}, (folder, tmp_path / "loads"))
    with pytest.raises(Refused, match="two names"):
        require_writable({tmp_path / "one": b"", tmp_path / "x" / ".." / "one": b""}, ())


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"before")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Refused, match="file"):
        write_files({tmp_path / "one": b"after", tmp_path / "file" / "two": b"after"})
    assert (tmp_path / "one").read_bytes() == b"before"
    write_files({tmp_path / "one": b"after", tmp_path / "below" / "two": b"2"})
    assert (tmp_path / "one").read_bytes() == b"after"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["below", "file", "one"]
