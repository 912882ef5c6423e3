"""A feeder with its loads, to disk and back; and which reader a path gets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twin.feeder import Flow
from twin.feeder.importers import Imported, ImportedLoads, ImportRefused, read_feeder, write_folder
from twin.feeder.on_disk.example import european_lv, european_lv_home_day

SHIPPED = Path(__file__).parents[4] / "twin" / "data" / "feeders" / "ieee_european_lv"


@pytest.fixture(scope="module")
def street() -> Imported:
    """The shipped feeder with loads drawn at random, some with a course."""
    feeder = european_lv()
    draw = np.random.default_rng(4)
    rows = len(Flow(feeder).terminals)
    shapes = {"day": draw.uniform(0.0, 1.0, 24), 'night, and "more"': draw.uniform(0.0, 1.0, 24)}
    shape_of = tuple(draw.choice(["", *shapes], rows).tolist())
    loads = ImportedLoads(draw.uniform(-5e3, 5e3, rows), draw.uniform(-1e3, 1e3, rows), shape_of, shapes, 3600)
    return Imported(feeder, (), loads)


def test_what_is_written_is_read_again_to_the_last_digit(street: Imported, tmp_path: Path) -> None:
    write_folder(street, tmp_path / "here")
    again = read_feeder(tmp_path / "here")
    assert again.feeder == street.feeder
    for ours, theirs in zip(street.loads.series(), again.loads.series(), strict=True):
        assert np.array_equal(ours, theirs)
    assert (again.loads.step_s, again.loads.shape_of) == (3600, street.loads.shape_of)


def test_either_file_of_a_folder_stands_for_it(street: Imported, tmp_path: Path) -> None:
    write_folder(street, tmp_path)
    assert read_feeder(tmp_path / "grid.json").feeder == street.feeder


def test_a_folder_without_loads_draws_nothing(street: Imported, tmp_path: Path) -> None:
    write_folder(street, tmp_path)
    (tmp_path / "loads.csv").unlink()
    assert not read_feeder(tmp_path).loads.series()[0].any()


def test_the_shipped_feeder_has_the_day_of_its_homes() -> None:
    found, day = read_feeder(SHIPPED), european_lv_home_day()
    flow = Flow(found.feeder)
    p_w, q_var = found.loads.series()
    rows = [flow.terminal_row[point, next(
        one.phases for one in found.feeder.connection_points if one.id == point)] for point in day.connection_points]
    assert np.allclose(p_w[rows], day.p_w, rtol=1e-12, atol=1e-9)
    assert np.allclose(q_var[rows], day.q_var, rtol=1e-12, atol=1e-9)
    assert (found.loads.steps, found.loads.step_s) == (96, 900)


def test_rows_that_are_wrong_are_said_at_once(street: Imported, tmp_path: Path) -> None:
    steady = replace(street, loads=ImportedLoads(street.loads.p_w, street.loads.q_var))
    write_folder(steady, tmp_path)
    path = tmp_path / "loads.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",never"
    lines[2] = "nobody,a,1,2,"
    lines[3] = ",".join(lines[3].split(",")[:2]) + ",much,1,"
    lines += [lines[4], "too,short"]
    path.write_text("\n".join(lines))
    with pytest.raises(ImportRefused) as refused:
        read_feeder(tmp_path)
    assert [reason.split(": ")[0] for reason in refused.value.reasons] == [
        f"{path}:{number}" for number in (2, 3, 4, len(lines) - 1, len(lines))]


@pytest.mark.parametrize("shapes", [
    "", "seconds,day\n0,1\n", "minutes,day\n0,1\n60,1\n", "seconds,day\n0,1\n60,x\n", "seconds,day\n0,1\n60,1\n90,1\n",
    "seconds,day,day\n0,1,1\n60,1,1\n", "seconds,day\n60,1\n0,1\n", "seconds,day\n0,1\n60,nan\n",
])
def test_shapes_that_are_none_are_refused(street: Imported, tmp_path: Path, shapes: str) -> None:
    write_folder(street, tmp_path)
    (tmp_path / "load_shapes.csv").write_text(shapes)
    with pytest.raises(ImportRefused, match=r"load_shapes\.csv"):
        read_feeder(tmp_path)


@pytest.mark.parametrize("name", ["nothing.dss", "nothing", "grid.xml", "loads.csv"])
def test_a_path_that_is_no_feeder_says_what_was_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / "grid.xml").write_text("<a/>")
    (tmp_path / "loads.csv").write_text("a\n")
    with pytest.raises(ImportRefused, match="expected a folder") as refused:
        read_feeder(tmp_path / name)
    assert str(refused.value).startswith(str(tmp_path / name))


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"grid\.json: no such file"):
        read_feeder(tmp_path)
