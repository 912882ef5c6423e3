"""Files that nobody should write: every one is refused in words, none is believed, none eats the machine."""

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.planning.fleet import Problem, ProblemFaults, Unreadable, read_problem, write_problem
from aggregator.planning.fleet.files import problem_file
from aggregator.planning.fleet.files.problem_arrays import as_arrays, shapes
from aggregator.planning.fleet.files.problem_file import as_json
from aggregator.planning.fleet.files.problem_schema import as_markdown, json_schema
from aggregator.planning.fleet.limit_price import dearest

DOCS = Path(__file__).parents[5] / "docs"
Make = Callable[..., Problem]
REFUSALS = (Unreadable, ProblemFaults)


@pytest.fixture
def problem(make_fleet: Make) -> Problem:
    return make_fleet(5, feeders=True, reserve=True)


def refusal(path: Path) -> str:
    with pytest.raises(REFUSALS) as refused:
        read_problem(path)
    return str(refused.value)


def spoilt(problem: Problem, path: Path, spoil: Callable[[dict[str, Any]], Any]) -> str:
    raw = as_json(problem)
    spoil(raw)
    path.write_text(json.dumps(raw))
    return refusal(path)


NUMBERS = (
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400, "true", "null", "[]", "{}", '"7"', "[[1]]")


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value[:12])
@pytest.mark.parametrize(("where", "named"), [
    (("evs", 3, "energy_kwh"), "evs[car-3].energy_kwh"), (("sites", 1, "base_kw", 2), "sites[site-1].base_kw[2]"),
    (("import_price", 4), "import_price[4]"), (("step_h",), "step_h"), (("events", 0, "max_net_kw", 0),
                                                                      "events[event-0].max_net_kw[0]"),
    (("feeders", "chains", 0, "segments", 0, "line_kw"), ".line_kw"), (("reserve", "sustain_h"), "reserve.sustain_h"),
    (("feeders", "most_squared_voltage"), "squared_voltage"),
])
def test_a_value_that_is_no_number_is_named_by_its_place(
    where: tuple[Any, ...], named: str, value: str, problem: Problem, tmp_path: Path
) -> None:
    raw = as_json(problem)
    row: Any = raw
    for step in where[:-1]:
        row = row[step]
    row[where[-1]] = "@@"
    (tmp_path / "p.json").write_text(json.dumps(raw).replace('"@@"', value))
    lines = refusal(tmp_path / "p.json").splitlines()
    assert len(lines) <= 2
    assert named in lines[0]
    assert max(map(len, lines)) < 250


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "bell\a", "\x1b[31mred", "\ud800", 7, None, ["a"]])
def test_an_id_that_would_spoil_a_message_is_refused(name: Any, problem: Problem, tmp_path: Path) -> None:
    told = spoilt(problem, tmp_path / "p.json", lambda raw: raw["evs"][2].update(id=name))
    assert told.startswith("evs[2].id: is ")
    assert "\n" not in told


def test_two_rows_of_one_name_are_told_in_every_table(problem: Problem, tmp_path: Path) -> None:
    def spoil(raw: dict[str, Any]) -> None:
        raw["evs"][1]["id"] = raw["evs"][0]["id"]
        raw["events"] = raw["events"] * 2
        for chain in raw["feeders"]["chains"]:
            chain["id"] = "the same"

    told = spoilt(problem, tmp_path / "p.json", spoil)
    for where in ("evs[car-0].id", "events[event-0].id", "feeders[the same].id"):
        assert where in told


def test_missing_fields_are_all_named_for_every_row(problem: Problem, tmp_path: Path) -> None:
    def spoil(raw: dict[str, Any]) -> None:
        for row in raw["evs"]:
            del row["capacity_kwh"], row["arrive"]

    told = spoilt(problem, tmp_path / "p.json", spoil)
    for name in problem.evs.ids:
        assert f"evs[{name}].capacity_kwh: is missing, expected a number" in told
        assert f"evs[{name}].arrive: is missing, expected a whole number" in told


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\ufeff", '{"format": ' + "[" * 900 + "]" * 900 + "}",
    '{"format": "v2g-fleet-problem/1"', "nul"], ids=["lists", "objects", "digits", "mark", "nested", "cut", "word"])
def test_what_no_reader_bears_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    told = refusal(tmp_path / "p.json")
    assert told.startswith(f"{tmp_path / 'p.json'}: ")
    assert "\n" not in told


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_what_is_no_file_is_refused_before_it_is_opened(suffix: str, tmp_path: Path) -> None:
    """A device has no end; a pipe that nobody writes into never begins."""
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder.{suffix}").mkdir()
    for name, told in (("pipe", "is no file"), ("zero", "is no file"), ("folder", "is a folder")):
        assert told in refusal(tmp_path / f"{name}.{suffix}")


def test_a_text_without_end_is_read_no_further_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem_file, "MOST_TEXT", 1 << 20)
    (tmp_path / "p.json").write_bytes(b" " * (1 << 22))
    tracemalloc.start()
    told = refusal(tmp_path / "p.json")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "longer than 1 MB" in told
    assert most < 3 << 20


def test_a_problem_may_come_through_stdin(problem: Problem) -> None:
    asked = ("from pathlib import Path; from aggregator.planning.fleet import read_problem as read; "
             "print(len(read(Path('/dev/stdin')).evs))")
    done = subprocess.run([sys.executable, "-c", asked], input=json.dumps(as_json(problem)), capture_output=True,
                          text=True, timeout=60, check=True)
    assert done.stdout == "6\n"


def test_a_name_that_stands_twice_in_one_object_is_refused(problem: Problem, tmp_path: Path) -> None:
    text = json.dumps(as_json(problem)).replace('"step_h": 3.0', '"step_h": 3.0, "step_h": 99', 1)
    (tmp_path / "p.json").write_text(text)
    assert '"step_h" stands twice' in refusal(tmp_path / "p.json")


def test_a_byte_order_mark_does_no_harm(problem: Problem, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(as_json(problem)), "utf-8-sig")
    assert as_json(read_problem(tmp_path / "p.json")) == as_json(problem)


def packed(path: Path, arrays: dict[str, Any]) -> str:
    np.savez_compressed(path, **arrays)
    return refusal(path)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


def test_pickles_are_refused_and_never_opened(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = as_arrays(problem)
    for name in ("evs.energy_kwh", "evs.ids", "format"):
        told = packed(tmp_path / "p.npz", {**arrays, name: np.array([Harmful()] * 6, dtype=object)})
        assert f'has Python objects in "{name}"' in told
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Harmful()))
    assert "is no planning problem" in refusal(tmp_path / "p.npz")
    assert not (tmp_path / "harm").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(problem: Problem, tmp_path: Path) -> None:
    write_problem(problem, tmp_path / "p.npz")
    body = (tmp_path / "p.npz").read_bytes()
    # The size that a member says it unpacks to, in the directory at the file's end (APPNOTE.TXT, 4.3.12).
    at = body.rindex(b"PK\x01\x02") + 24
    for promised, expected in ((0x7FFFFFFF, "unpacks to more than 1024 MB"), (64, " bytes in ")):
        (tmp_path / "p.npz").write_bytes(body[:at] + promised.to_bytes(4, "little") + body[at + 4:])
        tracemalloc.start()
        told = refusal(tmp_path / "p.npz")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert expected in told or "is no planning problem" in told
        assert most < 1 << 22


def test_a_header_that_promises_more_than_there_is_is_not_believed(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as file:
        file.writestr("import_price.npy", head.getvalue() + bytes(8))
    assert 'has 8 bytes in "import_price", expected 9007199254740992' in refusal(tmp_path / "p.npz")


@pytest.mark.parametrize(("name", "value", "told"), [
    ("evs.energy_kwh", None, "evs.energy_kwh: is missing, expected an array of shape (ev)"),
    ("evs.energy_kwh", np.zeros(5), "evs.energy_kwh: is of shape (5,), expected shape (6,)"),
    ("evs.energy_kwh", np.zeros((6, 1)), "evs.energy_kwh: is of shape (6, 1), expected shape (ev)"),
    ("evs.energy_kwh", np.full(6, np.nan), "evs[car-0].energy_kwh: is nan, expected 0 or more"),
    ("evs.energy_kwh", np.array(["a"] * 6), "evs.energy_kwh: is of type <U1, expected numbers"),
    ("evs.energy_kwh", np.zeros(6, complex), "evs.energy_kwh: is of type complex128, expected numbers"),
    ("evs.arrive", np.array([0.5, 0, 0, 0, 0, 0]), "evs.arrive[0]: is 0.5, expected a whole number"),
    ("evs.arrive", np.full(6, np.inf), "evs.arrive[0]: is inf, expected a whole number"),
    ("evs.site", np.full(6, 9), "evs[car-0].site: is 9, expected a site of the problem"),
    ("evs.ids", np.array(["a", "a", "b", "c", "d", "e"]), "evs[a].id: is 'a', expected an id that no other row has"),
    ("evs.ids", np.array(["a", "", "b", "c", "d", "e"]), 'evs[1].id: is ""'),
    ("evs.ids", np.arange(6), "evs.ids: is of type int64, expected text"),
    ("evs.colour", np.zeros(6), "evs.colour: is there, expected no such array"),
    ("sites.base_kw", np.zeros((3, 7)), "sites.base_kw: is of shape (3, 7), expected shape (3, 8)"),
    ("step_h", np.zeros(3), "step_h: is of shape (3,), expected shape ()"),
    ("step_h", np.array(0.0), "step_h: is 0, expected above 0"),
    ("events.length", np.array([99]), "events.steps: is of shape"),
    ("events.length", np.array([-1]), "events.length: is -1, expected 0 or more"),
    ("feeders.position", np.zeros(3), "feeders["),
    ("format", np.array("v2g-fleet-problem/9"), 'format is "v2g-fleet-problem/9"'),
])
def test_arrays_that_cannot_be_are_named(name: str, value: Any, told: str, problem: Problem, tmp_path: Path) -> None:
    arrays = as_arrays(problem)
    arrays[name] = value
    if value is None:
        del arrays[name]
    assert told in packed(tmp_path / "p.npz", arrays)


def test_several_faults_of_arrays_come_together(problem: Problem, tmp_path: Path) -> None:
    arrays = as_arrays(problem)
    del arrays["evs.depart"], arrays["reserve.block"]
    told = packed(tmp_path / "p.npz", {**arrays, "evs.colour": np.zeros(6), "evs.arrive": np.array(["x"] * 6)})
    assert len(told.splitlines()) == 4


def test_columns_that_may_be_missing_count_as_the_schema_says(make_fleet: Make, tmp_path: Path) -> None:
    problem = make_fleet(5)
    arrays = as_arrays(problem)
    for name in ("evs.wear_per_kwh", "sites.pv_kw", "evs.min_charge_kw", "limit_per_kwh"):
        del arrays[name]
    np.savez(tmp_path / "p.npz", **arrays)
    found = read_problem(tmp_path / "p.npz")
    assert not found.evs.wear_per_kwh.any()
    assert found.sites.pv_kw.shape == problem.sites.base_kw.shape
    assert found.limit_per_kwh == 100.0 * dearest(found)
    np.savez(tmp_path / "p.npz", **arrays, limit_per_kwh=np.array(np.inf))
    assert read_problem(tmp_path / "p.npz").limit_per_kwh is None


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_a_damaged_file_is_refused_or_read_but_never_breaks_the_reader(
    suffix: str, data: st.DataObject, make_fleet: Make, tmp_path: Path
) -> None:
    path = tmp_path / f"p.{suffix}"
    write_problem(make_fleet(5, feeders=True), path)
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(body[:data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))]))
    with contextlib.suppress(*REFUSALS):
        assert isinstance(read_problem(path), Problem)


def test_the_json_schema_takes_what_is_written_and_nothing_unknown(kind: dict[str, Any], make_fleet: Make) -> None:
    validator = jsonschema_rs.validator_for(json_schema())
    raw = as_json(make_fleet(5, **kind))
    assert [str(error) for error in validator.iter_errors(raw)] == []
    raw["evs"][0]["colour"] = "red"
    assert not validator.is_valid(raw)
    del raw["evs"][0]["colour"], raw["evs"][0]["capacity_kwh"]
    assert not validator.is_valid(raw)


def test_the_array_form_has_an_array_for_every_field_that_is_written(make_fleet: Make) -> None:
    assert set(as_arrays(make_fleet(5, feeders=True, reserve=True))) == set(shapes())


def test_the_docs_have_the_tables_and_the_schema_of_the_program() -> None:
    assert as_markdown() in (DOCS / "planner.md").read_text("utf-8"), "paste problem_schema.as_markdown()"
    written = json.loads((DOCS / "fleet-problem.schema.json").read_text("utf-8"))
    assert written == json_schema(), "write it anew with v2g plan --schema"


def test_the_docs_name_every_array_and_what_it_is_indexed_by() -> None:
    text = (DOCS / "planner.md").read_text("utf-8")
    for name, shape in shapes().items():
        assert f"| `{name}` | ({', '.join(shape)}) |" in text
