"""`v2g feeder flow` and `v2g feeder envelope` from the command line, on feeders small enough to reason about."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Primitive, Rating, Source, Transformer
from twin.feeder.envelopes.files import read_envelopes
from twin.feeder.on_disk.files import write


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["feeder", *(str(argument) for argument in arguments)])


STREET = Feeder(
    "a street", (Bus("near", 400.0, xy=(0.0, 0.0)), Bus("far", 400.0, xy=(50.0, 10.0))),
    (Line.of_sequence("line", "near", "far", r1=0.2, x1=0.1, r0=0.2, x0=0.1, ampacity=Rating.even(90.0, "a test")),),
    Source("near"), (),
    (ConnectionPoint("home-1", "far", "abc", 63.0), ConnectionPoint("ev-1", "far", "a", 32.0)), licence="none",
    provenance="drawn",
)
"""A stiff source, 0.2 ohm, and two customers at the end, 63 A and 32 A."""


@pytest.fixture
def street(tmp_path: Path) -> Path:
    write(STREET, tmp_path / "street")
    return tmp_path / "street"


@pytest.fixture
def loads(tmp_path: Path) -> Path:
    path = tmp_path / "loads.csv"
    path.write_text("time,home-1,home-1 var\n2026-05-01T10:00:00+02:00,3000,0\n2026-05-01T10:15:00+02:00,9000,1500\n")
    return path


def test_a_flow_is_told_and_written(street: Path, loads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("flow", street, "--loads", loads, "-o", out)
    assert result.exit_code == 0, result.output
    assert "2 steps of 900 s: all solved" in result.output
    assert "second engine (power-grid-model): agrees" in result.output
    assert "1 connection points are not in it" in result.output
    volts = pyarrow.parquet.read_table(out / "voltages.parquet").to_pydict()
    assert sorted(volts) == ["far.a", "far.b", "far.c", "near.a", "near.b", "near.c", "time"]
    watts, var, rated = 3000.0, 500.0, 400.0 / 3**0.5
    half = rated**2 / 2.0 - (watts * 0.2 + var * 0.1)
    at_end = (half + (half**2 - (watts**2 + var**2) * 0.05) ** 0.5) ** 0.5
    assert volts["far.b"][1] * rated == pytest.approx(at_end, rel=1e-6)
    steps = list(csv.DictReader((out / "steps.csv").read_text().splitlines()))
    assert [step["time"] for step in steps] == ["2026-05-01T08:00:00Z", "2026-05-01T08:15:00Z"]
    assert float(steps[1]["source_w"]) == pytest.approx(9000.0 + float(steps[1]["losses_w"]), rel=1e-4)
    written = json.loads((out / "result.json").read_text())
    assert sorted(written["files"]) == sorted(file.name for file in out.iterdir())
    for name in ("one_line.svg", "voltage_strip.svg", "loading_strip.svg"):
        ET.parse(out / name)  # noqa: S314 - our own file


def test_tables_and_picture_name_the_winding_phase_and_the_regulator_that_carry_most(tmp_path: Path) -> None:
    """12 kW on phase a of 30 kVA: 46 % as a whole, 120 % of that phase; a regulator behind it of 100 A carries 52 %."""
    ohm = ((40.0 + 0.0j, -40.0 + 0.0j), (-40.0 + 0.0j, 40.0 + 0.0j))
    write(Feeder(
        "behind a transformer", (Bus("upper", 10_000.0), Bus("lower", 400.0), Bus("end", 400.0, "a")), (),
        Source("upper"), (Transformer("tr", "upper", "lower", 30e3, 10_000.0, 400.0, 0.04, 500.0, "Dyn11"),),
        (ConnectionPoint("one", "end", "a"),), licence="none", provenance="drawn",
        primitives=(Primitive("reg", (("lower", "a"), ("end", "a")), ohm, "regulator", amperes=(100.0, 100.0)),),
    ), tmp_path / "grid")
    loads = tmp_path / "loads.csv"
    loads.write_text("time,one\n2026-05-01T10:00:00Z,1000\n2026-05-01T10:15:00Z,12000\n2026-05-01T10:30:00Z,9000000\n")
    out = tmp_path / "out"
    result = run("flow", tmp_path / "grid", "--loads", loads, "-o", out)
    assert "at tr.to phase a, 01 May 10:15; BEYOND the limit at 1 place" in result.output, result.output
    amperes = pyarrow.parquet.read_table(out / "voltages.parquet").to_pydict()["end.a"][1]
    current = 12_000.0 / (amperes * 400.0 / 3**0.5)
    steps = list(csv.DictReader((out / "steps.csv").read_text().splitlines()))
    assert [step["most_loaded_transformer"] for step in steps] == ["tr.to.a", "tr.to.a", ""]
    assert float(steps[1]["highest_transformer_loading"]) == pytest.approx(current / (30e3 / 3**0.5 / 400.0), rel=1e-5)
    rows = {(row["element"], row["where"], row["phase"]): row
            for row in csv.DictReader((out / "transformers.csv").read_text().splitlines())}
    assert len(rows) == 1 + 6 + 2
    assert float(rows["reg", "end", "a"]["highest_loading"]) == pytest.approx(current / 100.0, rel=1e-5)
    assert rows["tr", "to", "a"]["highest_at"] == "2026-05-01T10:15:00Z"
    assert float(rows["tr", "", ""]["highest_loading"]) < 0.5
    picture = (out / "one_line.svg").read_text()
    assert f"transformer tr: loading {float(steps[1]['highest_transformer_loading']):.3f}, to phase a" in picture
    assert f"regulator reg: loading {current / 100.0:.3f}, " in picture


def test_the_folder_of_an_earlier_flow_is_replaced_and_no_other(street: Path, loads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("flow", street, "--loads", loads, "-o", out).exit_code == 0
    assert run("flow", street, "-o", out).exit_code == 0
    assert len((out / "steps.csv").read_text().splitlines()) == 2
    (out / "mine.txt").write_text("keep me")
    refused = run("flow", street, "-o", out)
    assert refused.exit_code == 1
    assert "expected a new folder" in refused.output
    assert (out / "mine.txt").read_text() == "keep me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loads.csv", "out", "street"]


def test_a_strip_without_any_rating_says_why_it_is_empty(tmp_path: Path, loads: Path) -> None:
    bare = replace(STREET, lines=tuple(replace(line, ampacity=None) for line in STREET.lines))
    write(bare, tmp_path / "bare")
    result = run("flow", tmp_path / "bare", "--loads", loads, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "lowest voltage of a connection point: " in result.output
    strip = (tmp_path / "out" / "loading_strip.svg").read_text("utf-8")
    assert "no line has a rating (v2g feeder import --ampacity)" in strip
    assert "<image" not in strip


def test_a_load_beyond_collapse_is_no_solution_and_ends_with_one(street: Path, tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.csv"
    heavy.write_text("time,home-1\n2026-05-01T10:00:00Z,1000\n2026-05-01T11:00:00Z,900000\n")
    result = run("flow", street, "--loads", heavy, "--json", "-o", tmp_path / "out")
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert told["no_solution"] == ["2026-05-01T11:00:00Z"]
    assert not told["is_sound"]
    assert told["second_engine"]["agrees"], "both engines find none"
    assert "no flow" in (tmp_path / "out" / "voltage_strip.svg").read_text()
    rows = list(csv.DictReader((tmp_path / "out" / "steps.csv").read_text().splitlines()))
    assert [(row["has_solution"], row["lowest_pu"] != "") for row in rows] == [("true", True), ("false", False)]


def test_limits_that_are_crossed_are_told_with_place_and_time(street: Path, loads: Path) -> None:
    result = run("flow", street, "--loads", loads, "--voltage", 0.99, 1.01, "--json")
    assert result.exit_code == 0
    worst = json.loads(result.output)["worst"]["voltage too low"]
    assert (worst["where"], worst["at"], worst["places_beyond"], worst["hours_beyond"]) == (
        "far", "2026-05-01T08:15:00Z", 3, 0.75
    )


@pytest.mark.parametrize(("text", "said"), [
    ("time,home-1\n2026-05-01T10:00:00,1\n", "row 2"),
    ("time,nobody\n2026-05-01T10:00:00Z,1\n", "'nobody'"),
    ("time,home-1\n2026-05-01T10:00:00Z,much\n", "row 2: home-1: 'much'"),
    ("time,home-1\n2026-05-01T10:00:00Z,1,2\n", "row 2: 3 fields"),
    ("time,home-1,home-1\n2026-05-01T10:00:00Z,1,2\n", "twice"),
    ("when,home-1\n2026-05-01T10:00:00Z,1\n", "`time`"),
    ("time,home-1\n2026-05-01T10:00:00Z,1\n2026-05-01T10:15:00Z,1\n2026-05-01T10:45:00Z,1\n", "row 4"),
    ("time,home-1\n2026-05-01T10:00:00Z,1\n2026-05-01T09:00:00Z,1\n", "row 3"),
    ("time\n2026-05-01T10:00:00Z\n", "connection points"),
    ("time,home-1\n0001-01-01T00:00:00+14:00,1\n", "years 1 to 9999"),
    (f"time,home-1\n2026-05-01T10:00:00Z,{'1' * 200_000}\n", "field larger"),
])
def test_wrong_loads_are_refused_by_row(street: Path, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    for command in (("flow", street), ("envelope", street, "-o", tmp_path / "e.json")):
        result = run(*command, "--loads", path)
        assert result.exit_code == 2
        assert said in result.output
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_envelopes_are_written_and_read_back(street: Path, loads: Path, tmp_path: Path, suffix: str) -> None:
    out, picture = tmp_path / f"e.{suffix}", tmp_path / "e.svg"
    result = run("envelope", street, "--loads", loads, "-o", out, "--picture", picture)
    assert result.exit_code == 0, result.output
    found = read_envelopes(out)
    assert found.points == ("ev-1",), "the point without a load of its own"
    assert (found.grid.steps, found.grid.step_s) == (2, 900)
    assert (found.import_w > 0.0).all()
    ET.parse(picture)  # noqa: S314 - our own file


def test_options_change_what_is_worked_out(street: Path, loads: Path, tmp_path: Path) -> None:
    def total(*options: object) -> dict[str, Any]:
        result = run("envelope", street, "--loads", loads, "-o", tmp_path / "e.json", "--json", *options)
        assert result.exit_code == 0, result.output
        told: dict[str, Any] = json.loads(result.output)
        return told

    usual = total("--points", "*")
    assert usual["points"] == 2
    assert total("--points", "*", "--line-loading", 0.5)["import"]["mean_total_kw"] < usual["import"]["mean_total_kw"]
    capped = total("--most-kw", 2.0)
    assert capped["import"]["highest_kw"] == pytest.approx(2.0)
    assert capped["import"]["bound_by"] == {"the points' own ceilings": 2}
    together = total("--points", "*", "--guarantee", "together")
    assert together["import"]["mean_total_kw"] >= usual["import"]["mean_total_kw"] - 1e-6


@pytest.mark.parametrize(("options", "said"), [
    (["-o", "e.xml"], ".json or .csv"),
    (["-o", "e.json", "--points", "nobody-*"], "fits none"),
    (["-o", "e.json", "--voltage", "1.1", "0.9"], "voltage_pu"),
])
def test_an_option_that_cannot_be_is_refused(
    street: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("envelope", street, *options)
    assert result.exit_code == 1
    assert said in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["street"]


def test_a_feeder_that_is_none_is_refused(tmp_path: Path) -> None:
    for command in (("flow", tmp_path / "none"), ("envelope", tmp_path / "none", "-o", tmp_path / "e.json")):
        result = run(*command)
        assert result.exit_code == 2
        assert "none" in result.output


def test_blank_lines_at_the_end_of_loads_are_no_steps(street: Path, loads: Path) -> None:
    loads.write_text(loads.read_text() + "\n \n\n")
    result = run("flow", street, "--loads", loads, "--json")
    assert (result.exit_code, json.loads(result.output)["steps"]) == (0, 2)


def test_a_pipe_is_not_waited_for(street: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for words in (("flow", street, "--loads", pipe), ("flow", pipe), ("check", pipe)):
        result = run(*words)
        assert result.exit_code == 2
        assert "cannot be read" in result.output


def test_a_name_that_is_also_anothers_vars_is_refused(tmp_path: Path) -> None:
    feeder = replace(STREET, connection_points=(
        ConnectionPoint("h", "far", "a", 32.0), ConnectionPoint("h var", "far", "b", 32.0)))
    write(feeder, tmp_path / "street")
    (tmp_path / "loads.csv").write_text("time,h,h var\n2026-05-01T10:00:00Z,1,2\n")
    result = run("flow", tmp_path / "street", "--loads", tmp_path / "loads.csv")
    assert result.exit_code == 2
    assert "'h var' may be watts of that connection point or vars of 'h'" in result.output


def test_a_fuse_that_is_blown_is_told_and_envelopes_keep_it(street: Path, tmp_path: Path) -> None:
    """7.4 kW are 32.2 A at 229.8 V; a load that looks harmless in watts at the rated voltage."""
    loads = tmp_path / "ev.csv"
    loads.write_text("time,ev-1,ev-1 var\n2026-05-01T10:00:00Z,7300,0\n2026-05-01T10:15:00Z,7300,2000\n")
    said = run("flow", street, "--loads", loads).output
    assert "at connection point ev-1 phase a, 01 May 10:15; BEYOND its fuse at 1 place, 0.5 place-hours" in said
    worst = json.loads(run("flow", street, "--loads", loads, "--json").output)["worst"]["fuse"]
    volts = 400.0 / 3**0.5
    assert 1.05 * np.hypot(7300.0, 2000.0) / volts / 32.0 > worst["value"] > np.hypot(7300.0, 2000.0) / volts / 32.0
    loads.write_text("time,ev-1,ev-1 var\n2026-05-01T10:00:00Z,0,2000\n")
    result = run("envelope", street, "--loads", loads, "-o", tmp_path / "e.json", "--points", "ev-1", "--json",
                 "--line-loading", 9, "--unbalance", 0)
    most_kw = json.loads(result.output)["import"]["highest_kw"]
    assert most_kw == pytest.approx((((32.0 * 0.9 * volts) ** 2 - 2000.0**2) ** 0.5) / 1000.0, rel=1e-6)


def test_steps_without_any_flow_get_no_envelope_and_end_with_one(street: Path, tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.csv"
    heavy.write_text("time,home-1\n2026-05-01T10:00:00Z,1e9\n2026-05-01T11:00:00Z,1e9\n")
    for guarantee in ("mix", "together"):
        result = run("envelope", street, "--loads", heavy, "-o", tmp_path / "e.json", "--guarantee", guarantee,
                     "--picture", tmp_path / "e.svg")
        assert result.exit_code == 1, result.output
        assert "NO SOLUTION" in result.output
        found = read_envelopes(tmp_path / "e.json")
        assert not found.import_w.any()
        assert not found.export_w.any()


def test_a_feeder_without_lines_and_one_without_points_have_a_flow(tmp_path: Path) -> None:
    bare = replace(STREET, buses=STREET.buses[:1], lines=(),
                   connection_points=(ConnectionPoint("home", "near", "abc", 63.0),))
    write(bare, tmp_path / "bare")
    write(replace(STREET, connection_points=()), tmp_path / "empty")
    for name in ("bare", "empty"):
        result = run("flow", tmp_path / name, "-o", tmp_path / "out")
        assert result.exit_code == 0, result.output
        for picture in ("one_line.svg", "voltage_strip.svg", "loading_strip.svg"):
            ET.parse(tmp_path / "out" / picture)  # noqa: S314 - our own file


def test_envelopes_never_take_the_place_of_an_input(street: Path, loads: Path, tmp_path: Path) -> None:
    kept = loads.read_text()
    picture = ("--picture", tmp_path / "new" / ".." / "e.json")
    for options in (("-o", loads), ("-o", street / "new.csv"), ("-o", tmp_path / "e.json", *picture)):
        result = run("envelope", street, "--loads", loads, *options)
        assert result.exit_code == 1, result.output
    assert loads.read_text() == kept
    assert not (street / "new.csv").exists()
    assert not (tmp_path / "e.json").exists()


def test_envelopes_never_take_the_place_of_a_file_of_somebody_else(street: Path, loads: Path, tmp_path: Path) -> None:
    diary = tmp_path / "diary.csv"
    diary.write_text("day,what\n")
    result = run("envelope", street, "--loads", loads, "-o", diary)
    assert (result.exit_code, diary.read_text()) == (1, "day,what\n")
    for _ in range(2):
        result = run("envelope", street, "--loads", loads, "-o", tmp_path / "e.csv", "--picture", tmp_path / "e.svg")
        assert result.exit_code == 0, result.output


def test_a_picture_that_cannot_be_written_leaves_no_envelopes(street: Path, loads: Path, tmp_path: Path) -> None:
    result = run("envelope", street, "--loads", loads, "-o", tmp_path / "e.json", "--picture", loads / "e.svg")
    assert result.exit_code == 1
    assert not (tmp_path / "e.json").exists()


def test_the_shipped_example_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("envelope", "example", "-o", "e.csv", "--guarantee", "together", "--json")
    told = json.loads(result.output)
    assert (result.exit_code, told["points"], told["steps"]) == (0, 40, 96)
    assert np.isfinite(read_envelopes(tmp_path / "e.csv").import_w).all()
