"""`v2g plan` as a process: what it may write over, what it leaves behind when it cannot, and how it is stopped."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.planning.fleet import Problem, write_problem

Make = Callable[..., Problem]
COMMAND = [sys.executable, "-m", "aggregator.cli", "plan"]


def _run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(make_fleet: Make, tmp_path: Path) -> Path:
    write_problem(make_fleet(4, evs=8), tmp_path / "problem.json")
    return tmp_path / "problem.json"


@pytest.fixture
def kept(file: Path) -> Iterator[set[Path]]:
    """Names in the folder; a test that takes it may leave no other behind."""
    before = {*file.parent.rglob("*")}
    yield before
    assert {*file.parent.rglob("*")} == before


def test_page_and_drawing_are_written_with_the_plan_and_replaced_by_the_next(file: Path) -> None:
    room = file.parent
    for _ in range(2):
        for suffix in ("html", "svg"):
            code, _, told = _run(
                file, "-o", room / "plan.json", "--picture", room / f"plan.{suffix}", "--explain", "car-1")
            assert code == 0, told
    assert "car-1: power, price and worth" in (room / "plan.html").read_text("utf-8")
    assert (room / "plan.svg").read_text("utf-8").startswith("<svg ")


@pytest.mark.parametrize(("arguments", "told"), [
    (["-o", "{room}/problem.json"], "is the problem itself"),
    (["-o", "{room}/link.json"], "is the problem itself"),
    (["-o", "{room}/hard.json"], "is the problem itself"),
    (["-o", "{room}/other.json"], "is there and not of an earlier run"),
    (["-o", "{room}/other.npz"], "is there and is no plan"),
    (["-o", "{room}/folder"], "is there and not of an earlier run"),
    (["-o", "{room}/dangling"], "is there and not of an earlier run"),
    (["-o", "{room}/problem.json/plan.json"], "problem.json is no folder"),
    (["-o", "/dev/null"], "is there and not of an earlier run"),
    (["-o", "/proc/plan.json"], "/proc/plan.json: "),
    (["-o", "{room}/" + "x" * 300], "File name too long"),
    (["-o", "{room}/plan.html"], "is the name of a picture"),
    (["-o", "{room}/p.json", "--picture", "{room}/p.png"], "ends with '.png', expected .html or .svg"),
    (["-o", "{room}/p.svg.json", "--picture", "{room}/other.html"], "is there and is no earlier report"),
    (["-o", "{room}/p.json", "--picture", "{room}/other.svg"], "is there and not of an earlier run"),
])
def test_what_is_not_its_own_is_never_written_over(
    arguments: list[str], told: str, file: Path, make_fleet: Make, request: pytest.FixtureRequest
) -> None:
    room = file.parent
    (room / "link.json").symlink_to(file)
    (room / "hard.json").hardlink_to(file)
    (room / "other.json").write_text("{}")
    write_problem(make_fleet(1), room / "other.npz")
    (room / "folder").mkdir()
    (room / "dangling").symlink_to(room / "nowhere")
    (room / "other.html").write_text("<!doctype html><p>mine</p>")
    (room / "other.svg").write_text("<svg/>")
    contents = {path: path.read_bytes() for path in room.iterdir() if path.is_file()}
    request.getfixturevalue("kept")
    code, said, refused = _run(file, *(one.format(room=room) for one in arguments))
    assert (code, said) == (2 if arguments[-1].endswith(("plan.html", ".png")) else 1, "")
    lines = [line for line in refused.splitlines() if not line.startswith("pass ")]
    assert len(lines) == 1
    assert told in lines[0]
    assert {path: path.read_bytes() for path in contents} == contents


def test_a_place_that_takes_no_file_is_told_before_the_planning(file: Path) -> None:
    code, _, told = _run(file, "-o", "/proc/plan.json")
    assert code == 1
    assert "nothing can be written into /proc" in told
    assert "pass 1" not in told


def test_a_folder_that_is_not_there_is_made(file: Path) -> None:
    assert _run(file, "-o", file.parent / "new" / "er" / "plan.npz")[0] == 0
    with np.load(file.parent / "new" / "er" / "plan.npz") as found:
        assert found["charge_kw"].shape[0] == 8


@pytest.mark.parametrize("given", [
    ["--gap", "nan"], ["--gap", "-1"], ["--time-limit", "inf"], ["--time-limit", "-1"], ["--workers", "0"],
    ["--workers", "100000"], ["--executor", "cloud"]])
def test_options_out_of_range_are_usage(given: list[str], file: Path, kept: set[Path]) -> None:
    code, _, told = _run(file, "-o", file.parent / "plan.json", *given)
    assert code == 2
    assert given[0] in told
    assert kept


def test_a_full_disk_leaves_neither_half_a_plan_nor_half_a_page(file: Path, kept: set[Path]) -> None:
    # Files of more than 40 blocks of 1024 bytes cannot be written: the plan could, the page cannot.
    line = 'ulimit -f 40; exec "$0" -B -m aggregator.cli plan problem.json -o plan.json --picture p.html'
    done = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, text=True, check=False,
                          timeout=100, cwd=file.parent)
    assert done.returncode == 1, done.stderr
    assert "p.html: File too large" in done.stderr
    assert done.stdout == ""
    assert kept


def test_many_faults_are_counted_when_they_are_too_many_to_read(file: Path) -> None:
    raw = json.loads(file.read_text())
    raw["evs"] = [{**raw["evs"][0], "id": f"car-{k}", "target_kwh": -1} for k in range(1500)]
    file.write_text(json.dumps(raw))
    code, _, told = _run(file, "-o", file.parent / "plan.json")
    assert code == 2
    assert told.splitlines()[999].startswith("evs[car-999].target_kwh: is -1")
    assert told.splitlines()[1000:] == [f"{file}: 500 more faults"]


def large(make_fleet: Make, **changed: int) -> Problem:
    """More EVs than one program takes; few steps, so that it is planned in a second."""
    return make_fleet(3, **{"evs": 2100, "sites": 60, "steps": 6, **changed})


def test_any_ev_of_a_fleet_that_is_planned_in_blocks_is_explained(make_fleet: Make, tmp_path: Path) -> None:
    problem = large(make_fleet)
    write_problem(problem, tmp_path / "p.npz")
    code, said, told = _run(
        tmp_path / "p.npz", "-o", tmp_path / "plan.npz", "--explain", "car-7", "--explain", "car-2099")
    assert code == 0, told
    lines = told.splitlines()
    assert all(re.fullmatch(rf"pass {k + 1}: bound .*, cost .*, gap [0-9.]+ %", line) for k, line in enumerate(lines))
    assert lines
    for name in ("car-7", "car-2099"):
        ev = problem.evs.ids.index(name)
        steps = said.partition(f"{name}:\n")[2].split("\ncar-")[0].splitlines()
        named = [re.match(r" *steps? (\d+)(?: to (\d+))?: ", step) for step in steps]
        told_of = [step for one in named if one for step in range(int(one[1]), int(one[2] or one[1]) + 1)]
        assert told_of == list(range(problem.evs.arrive[ev], problem.evs.depart[ev]))
        assert all("a kWh costs" in step for step in steps)
    with np.load(tmp_path / "plan.npz") as found:
        assert set(json.loads(str(found["summary"]))["why"]) == {"car-7", "car-2099"}


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells by Linux's /proc when the command listens")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_one_line_with_nothing_written(
    number: signal.Signals, make_fleet: Make, tmp_path: Path
) -> None:
    write_problem(make_fleet(3, evs=1900, sites=3, steps=96, feeders=True), tmp_path / "p.npz")
    before = {*tmp_path.iterdir()}
    process = subprocess.Popen([*COMMAND, str(tmp_path / "p.npz"), "-o", str(tmp_path / "plan.npz")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not _catches(process.pid, signal.SIGTERM):  # its interpreter is still importing
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1.0)  # somewhere in reading or solving, which takes many
    asked = time.monotonic()
    process.send_signal(number)
    said, told = process.communicate(timeout=60)
    assert time.monotonic() - asked < 20
    assert (process.returncode, said) == (1, "")
    assert f"stopped by {number.name}; nothing was written" in told
    assert {*tmp_path.iterdir()} == before


def test_a_terminal_has_one_line_that_changes(file: Path) -> None:
    command = [*COMMAND, str(file), "-o", str(file.parent / "plan.npz"), "--json"]
    parent, child = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child, text=True,
                          env=os.environ | {"TERM": "xterm", "COLUMNS": "120"}) as process:
        os.close(child)
        seen = b""
        with contextlib.suppress(OSError):  # the terminal's other end is closed when the process ends
            while part := os.read(parent, 4096):
                seen += part
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["evs"] == 8
    os.close(parent)
    assert process.returncode == 0
    assert b"planning" in seen or re.search(rb"gap [0-9.]+ %", seen)
    assert b"\x1b[2K" in seen or b"\x1b[1A" in seen, "the line is taken away when the work is done"


@pytest.mark.timeout(300)  # starts a cluster, which waits for a processor on a busy machine
def test_a_dask_cluster_plans_the_same_and_one_that_is_not_there_is_a_line(make_fleet: Make, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    problem = large(make_fleet)
    write_problem(problem, tmp_path / "p.npz")
    arguments = [tmp_path / "p.npz", "-o", tmp_path / "plan.npz", "--executor", "dask", "--json"]
    code, said, told = _run(*arguments)
    assert code == 0, told
    assert json.loads(said)["status"] == "optimal"
    assert json.loads(said)["gap"] <= 1e-3
    code, _, told = _run(*arguments, "--scheduler", "nonsense://")
    assert code == 1
    assert told.startswith("--executor dask: no Dask cluster at nonsense://")
    assert told.count("\n") == 1
