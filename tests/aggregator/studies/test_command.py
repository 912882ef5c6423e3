"""v2g simulate, compare and scenario check as processes: exit codes, one line for a mistake, nothing half-written."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.studies.folder import FILES, KIND
from tests.aggregator.studies.conftest import DAY, scenario, visit


def v2g(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aggregator.cli", *map(str, arguments)], capture_output=True, text=True, timeout=60,
        check=False, stdin=subprocess.DEVNULL,
    )


def v2g_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same command in this process, for the cases that differ only in what is wrong."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def refused(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, (result.stdout, result.stderr)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


WITHOUT_FEEDER = {name for name in FILES if not name.startswith("feeder_")}


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_simulate_writes_every_file_and_says_what_came_of_it(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = v2g("simulate", day, "-o", out, "--json")
    assert result.returncode == 0, result.stderr
    # On a machine that is busy for seconds, lines of progress; never anything else.
    assert all(re.match(r"[a-z' ]+: \d+%", line) for line in result.stderr.splitlines()), result.stderr
    assert names(out) == WITHOUT_FEEDER
    assert json.loads(result.stdout) == json.loads((out / "result.json").read_text("utf-8"))
    found = json.loads(result.stdout)
    assert found["kind"] == KIND
    assert set(found["files"]) == WITHOUT_FEEDER
    assert {len(values) for values in found["by_replica"].values()} == {6}
    assert found["ledger"]["relative_residual"] <= 1e-9


def test_tables_agree_with_the_result_and_with_each_other(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert v2g_here("simulate", day, "-o", out).returncode == 0
    result = json.loads((out / "result.json").read_text("utf-8"))
    tables = {name: pyarrow.parquet.read_table(out / f"{name}.parquet") for name in ("visits", "site", "evses")}
    for name, table in tables.items():
        as_text = pyarrow.csv.read_csv(out / f"{name}.csv")
        assert as_text.column_names == table.column_names
        assert as_text.num_rows == table.num_rows
    visits = tables["visits"]
    replica = visits["replica"].to_numpy()
    imported = np.bincount(replica, weights=visits["imported_kwh"].to_numpy(), minlength=6)
    assert imported == pytest.approx(result["by_replica"]["ev_import_kwh"], abs=1e-4)
    lost = visits["imported_kwh"].to_numpy() - visits["exported_kwh"].to_numpy() - visits["lost_kwh"].to_numpy()
    gained = visits["departure_kwh"].to_numpy() - visits["arrival_kwh"].to_numpy()
    assert lost == pytest.approx(gained, abs=1e-5)
    by_step = tables["evses"]["power_kw"].to_numpy().reshape(3, -1).sum(axis=0)
    assert by_step == pytest.approx(tables["site"]["ev_kw_replica0"].to_numpy(), abs=1e-5)


def test_one_seed_gives_the_same_tables_to_the_byte(day: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert v2g_here("simulate", day, "-o", tmp_path / name).returncode == 0
    for name in sorted(WITHOUT_FEEDER):
        if name.endswith(".csv"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert v2g_here("simulate", day, "-o", tmp_path / "c", "--seed", "8").returncode == 0
    assert (tmp_path / "a" / "visits.csv").read_bytes() != (tmp_path / "c" / "visits.csv").read_bytes()


def test_a_mistake_is_one_line_and_leaves_nothing(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "nowhere.toml" in refused(v2g_here("simulate", tmp_path / "nowhere.toml", "-o", out))
    broken = tmp_path / "broken.toml"
    broken.write_text(scenario(visit("odd", 1, "12:00", "11:00")), "utf-8")
    line = refused(v2g_here("simulate", broken, "-o", out))
    assert "broken.toml" in line
    assert "departure" in line
    assert "magic" in refused(v2g_here("simulate", day, "-o", out, "--control", "magic"))
    assert v2g_here("simulate", day, "-o", out, "--replicas", "0").returncode == 2
    assert v2g_here("simulate", day).returncode == 2
    assert not [name for name in names(tmp_path) if "out" in name]


def test_a_folder_of_somebody_else_is_refused_before_the_work(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "letters"
    out.mkdir()
    (out / "dear.txt").write_text("keep me", "utf-8")
    assert "letters" in refused(v2g_here("simulate", day, "-o", out))
    assert names(out) == {"dear.txt"}


SLOW_DISK = """
import pathlib, time
from aggregator.cli import main
rename = pathlib.Path.rename
def late(self, target):
    time.sleep(100)
    return rename(self, target)
pathlib.Path.rename = late
main()
"""
"""The command on a disk that takes its time before the folder gets its name."""


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_a_run_killed_while_it_writes_leaves_no_half_folder(tmp_path: Path, blow: signal.Signals) -> None:
    out, file = tmp_path / "out", tmp_path / "long.toml"
    file.write_text(scenario(*DAY, drivers="acn", more='[control]\nname = "laxity"\n'), "utf-8")
    command = [sys.executable, "-c", SLOW_DISK, "simulate", str(file), "-o", str(out), "--replicas", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob(".out.partial-*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(blow)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not out.exists()
    if blow != signal.SIGKILL:
        assert process.returncode == 1
        assert stderr.splitlines() == [f"stopped by {blow.name}; nothing was written"]
        assert names(tmp_path) == {"long.toml"}
    assert v2g_here("simulate", file, "-o", out, "--replicas", "1").returncode == 0
    assert names(tmp_path) == {"long.toml", "out"}


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from aggregator.studies.watching import stopped_cleanly\n"
        "with stopped_cleanly():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('still here')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "still here\n", result.stderr


def test_ctrl_c_while_the_program_starts_is_told_in_one_line(tmp_path: Path) -> None:
    # A package that takes the place of typer: the signal comes while it is imported. Whoever runs the tests in the
    # background has it ignored, which children inherit.
    (tmp_path / "typer.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n",
        "utf-8",
    )
    result = subprocess.run(
        [sys.executable, "-m", "aggregator.cli", "simulate", "day.toml", "-o", "out"], capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert refused(result) == "stopped by SIGINT; nothing was written"


def test_an_export_cap_that_does_not_hold_is_told_as_one(tmp_path: Path) -> None:
    file, out = tmp_path / "sunny.toml", tmp_path / "out"
    file.write_text(scenario(visit("v", 1, "07:00", "12:00"), more=f"[pv]\nhourly_kw = {[27] * 24}\n"), "utf-8")
    said = v2g_here("simulate", file, "-o", out).stdout
    # 27 kW of sun on a building of 5 kW: 2 kW too much in all of the 12 hours but the 2 in which the car charges.
    assert "warning: gave the grid up to 22.0 of 20.0 kW, 20.00 kWh over the export cap" in said
    assert said.count("warning: ") == 1
    summary = json.loads((out / "result.json").read_text("utf-8"))["summary"]
    assert summary["over_cap_kwh"]["mean"] == pytest.approx(20.0)


def test_the_terminal_says_at_once_what_is_wrong(tmp_path: Path) -> None:
    file, out = tmp_path / "tight.toml", tmp_path / "out"
    three = [visit(f"v{k}", k, "08:00", "10:00", wants_kwh=20.0) for k in (1, 2, 3)]
    file.write_text(scenario(*three, visit("odd", 1, "12:00", "11:00"), cap=16.0), "utf-8")
    said = v2g_here("simulate", file, "-o", out, "--skip-bad").stdout
    # 5 kW of building and three cars at 11 kW under 16 kW: 22 kW too much for seven whole steps.
    assert "warning: peak 38.0 of 16.0 kW, 38.50 kWh over the cap" in said
    assert "left out: 1 rows of the input (" in said
    file.write_text(scenario(), "utf-8")
    assert "warning: 0 visits" in v2g_here("simulate", file, "-o", out).stdout
    assert json.loads((out / "result.json").read_text("utf-8"))["warnings"]


def test_the_terminal_shows_the_medians_of_the_result(day: Path, tmp_path: Path) -> None:
    said = v2g_here("simulate", day, "-o", tmp_path / "out").stdout
    peak = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["summary"]["peak_kw"]
    spread = "" if peak["p10"] == peak["p90"] else f" ({peak['p10']:.1f} to {peak['p90']:.1f})"
    assert f"peak {peak['p50']:.1f} kW{spread}" in said
    assert "medians over 6 courses" in said


def test_compare_writes_one_page_and_refuses_in_one_line(day: Path, tmp_path: Path) -> None:
    for control in ("edf", "uncontrolled"):
        assert v2g_here("simulate", day, "-o", tmp_path / control, "--control", control).returncode == 0
    page = tmp_path / "page.html"
    result = v2g_here("compare", tmp_path / "edf", tmp_path / "uncontrolled", "-o", page, "--json")
    assert result.returncode == 0, result.stderr
    (difference,) = json.loads(result.stdout)["differences"]
    assert difference["measures"]["peak_kw"]["mean"] > 0
    assert "Runs compared" in page.read_text("utf-8")
    said = v2g_here("compare", tmp_path / "edf", tmp_path / "uncontrolled", "-o", page).stdout
    assert "control.name: edf -> uncontrolled" in said
    assert "means over the courses" in said
    assert "expected 2 to" in refused(v2g_here("compare", tmp_path / "edf", "-o", page))
    assert "nowhere" in refused(v2g_here("compare", tmp_path / "edf", tmp_path / "nowhere", "-o", page))
    day.write_text("letter", "utf-8")
    assert "day.toml" in refused(v2g_here("compare", tmp_path / "edf", tmp_path / "edf", "-o", day))
    assert day.read_text("utf-8") == "letter"


def test_scenario_check_names_every_fault_and_counts_what_is_left(tmp_path: Path) -> None:
    file = tmp_path / "faulty.toml"
    file.write_text(scenario(
        visit("good", 1, "08:00", "12:00"), visit("odd", 2, "12:00", "11:00"), visit("odder", 9, "08:00", "09:00"),
    ), "utf-8")
    result = v2g_here("scenario", "check", file)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 2
    assert "1 visits are left with --skip-bad" in result.stdout
    as_json = json.loads(v2g_here("scenario", "check", file, "--json").stdout)
    assert as_json["kept"] == 1
    assert [("departure" in fault["field"], "station" in fault["field"]) for fault in as_json["faults"]] == [
        (True, False), (False, True),
    ]
    file.write_text(scenario(visit("good", 1, "08:00", "12:00")), "utf-8")
    assert v2g_here("scenario", "check", file).returncode == 0


def test_every_command_has_an_example() -> None:
    for command in (("simulate",), ("compare",), ("scenario", "check")):
        assert f"Example: v2g {' '.join(command)}" in v2g_here(*command, "--help").stdout.replace("\n", " ")
