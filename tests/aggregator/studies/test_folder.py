"""A run's folder is there as a whole or not at all, and nothing else is ever lost for it."""

import json
import os
from pathlib import Path

import pytest

from aggregator.refusal import Refused
from aggregator.studies.folder import KIND, RESULT, new_file, new_folder


def fill(folder: Path, text: str = "1") -> None:
    with new_folder(folder) as partial:
        (partial / "site.csv").write_text(text, "utf-8")
        (partial / RESULT).write_text(json.dumps({"kind": KIND}), "utf-8")


def fail_half_way(folder: Path) -> None:
    with new_folder(folder) as partial:
        (partial / "site.csv").write_text("half", "utf-8")
        raise RuntimeError


def left_over(folder: Path) -> list[str]:
    return [entry.name for entry in folder.parent.iterdir() if entry != folder]


def test_a_folder_appears_when_it_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out) as partial:
        (partial / RESULT).write_text("{}", "utf-8")
        assert not out.exists()
    assert [entry.name for entry in out.iterdir()] == [RESULT]
    assert left_over(out) == []


def test_an_earlier_run_is_replaced_and_a_failed_one_leaves_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "first")
    with pytest.raises(RuntimeError):
        fail_half_way(out)
    assert (out / "site.csv").read_text("utf-8") == "first"
    fill(out, "second")
    assert (out / "site.csv").read_text("utf-8") == "second"
    assert left_over(out) == []


@pytest.mark.parametrize("strange", ["letters", "with a result of something else", "with a note beside a run"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, strange: str) -> None:
    out = tmp_path / "out"
    if strange == "with a note beside a run":
        fill(out)
    else:
        out.mkdir()
    if strange == "with a result of something else":
        (out / RESULT).write_text('{"kind": "tax return"}', "utf-8")
    else:
        (out / "note.txt").write_text("keep me", "utf-8")
    before = {entry.name: entry.read_text("utf-8") for entry in out.iterdir()}
    with pytest.raises(Refused, match="out"):
        fill(out)
    assert {entry.name: entry.read_text("utf-8") for entry in out.iterdir()} == before
    assert left_over(out) == []


def test_a_file_or_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("x", "utf-8")
    link.symlink_to(tmp_path)
    for place in (file, link):
        with pytest.raises(Refused, match="is not a folder"):
            fill(place)


def test_what_a_killed_run_left_is_removed_by_the_next_one_and_a_living_run_is_let_be(tmp_path: Path) -> None:
    out = tmp_path / "out"
    gone, alive = tmp_path / f".out.partial-{2**22 + 1}", tmp_path / f".out.partial-{os.getppid()}"
    for folder in (gone, alive):
        folder.mkdir()
    fill(out)
    assert not gone.exists()
    assert alive.exists()


def test_a_run_killed_between_its_two_renames_gets_its_former_folder_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "first")
    out.rename(tmp_path / f".out.former-{2**22 + 1}")
    with pytest.raises(RuntimeError):
        fail_half_way(out)
    assert (out / "site.csv").read_text("utf-8") == "first"


@pytest.mark.parametrize(("name", "other"), [("out", "out.v2"), ("[abc]", "a"), ("o?t", "out"), ("*", "out")])
def test_what_a_killed_run_left_of_another_folder_is_let_be(tmp_path: Path, name: str, other: str) -> None:
    gone = 2**22 + 1
    strangers = [tmp_path / f".{other}.former-{gone}", tmp_path / f".{other}.partial-{gone}"]
    own = tmp_path / f".{name}.partial-{gone}"
    for folder in (*strangers, own):
        folder.mkdir()
    fill(tmp_path / name)
    assert all(folder.is_dir() for folder in strangers)
    assert not own.exists()


def test_a_file_or_a_link_named_like_a_left_over_is_let_be(tmp_path: Path) -> None:
    note, link = tmp_path / f".out.partial-{2**22 + 1}", tmp_path / f".out.partial-{2**22 + 2}"
    note.write_text("keep me", "utf-8")
    link.symlink_to(tmp_path)
    fill(tmp_path / "out")
    assert note.read_text("utf-8") == "keep me"
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["report.html", "site.csv", RESULT])
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_plain_file_under_our_name_is_never_replaced(tmp_path: Path, name: str, kind: str) -> None:
    out, letters = tmp_path / "out", tmp_path / "letters"
    fill(out)
    (out / name).unlink(missing_ok=True)
    if kind == "folder":
        letters = out / name
    letters.mkdir()
    (letters / "dear.txt").write_text("keep me", "utf-8")
    if kind == "link":
        (out / name).symlink_to(letters)
    with pytest.raises(Refused, match="out: holds"):
        fill(out)
    assert (out / name / "dear.txt").read_text("utf-8") == "keep me"


def test_a_name_that_cannot_be_had_is_refused_in_one_line(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    for attempt in (lambda: fill(long), lambda: new_file(long, "page", "<mark>")):
        with pytest.raises(Refused, match="name too long") as refused:
            attempt()
        assert "\n" not in str(refused.value)
    for nameless in (Path(), Path("/")):
        with pytest.raises(Refused, match="is no name of a file"):
            new_file(nameless, "page", "<mark>")
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_only_a_report(tmp_path: Path) -> None:
    report, letter = tmp_path / "deep" / "report.html", tmp_path / "letter.html"
    new_file(report, "<mark> 1", "<mark>")
    new_file(report, "<mark> 2", "<mark>")
    assert report.read_text("utf-8") == "<mark> 2"
    letter.write_text("dear", "utf-8")
    with pytest.raises(Refused, match="letter"):
        new_file(letter, "<mark> 3", "<mark>")
    assert letter.read_text("utf-8") == "dear"
    assert left_over(report) == []
