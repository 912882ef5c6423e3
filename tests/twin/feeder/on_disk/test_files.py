"""Feeders on disk: what is written is read again, power-grid-model reads it too, and every mistake is one line."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from power_grid_model.utils import json_deserialize
from power_grid_model.validation import validate_input_data
from power_grid_model.validation.errors import NotGreaterThanError

from twin.assets import TimeGrid
from twin.feeder import Envelope, Flow, LoadType, Paper, ThermalConstants
from twin.feeder.on_disk.files import GRID_FILE, SIDECAR_FILE, read, write
from twin.feeder.on_disk.pgm_json import FeederFileError
from twin.feeder.second_engine.pgm import Numbers


@given(seed=st.integers(0, 2**32 - 1), bounded=st.booleans(), rich=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_feeder_survives_the_way_to_disk_and_back(
    build: Any, tmp_path_factory: pytest.TempPathFactory, seed: int, bounded: bool, rich: bool
) -> None:
    feeder = build.rich_feeder(seed) if rich else build.feeder(seed)
    if bounded:
        grid = TimeGrid(datetime(2026, 3, 1, tzinfo=UTC), 1800, 3)
        envelope = Envelope(grid, np.array([9e3, 7e3, 1 / 3]), np.array([0.0, 5e3, 5e3]))
        points = tuple(replace(point, envelope=envelope) for point in feeder.connection_points)
        thermal = ThermalConstants(top_oil_rise_k=50.0)
        transformer = replace(feeder.transformers[0], paper=Paper.UPGRADED, thermal=thermal)
        transformers = (transformer, *feeder.transformers[1:])
        buses = tuple(replace(bus, xy=(1.5, -number)) for number, bus in enumerate(feeder.buses))
        feeder = replace(feeder, connection_points=points, transformers=transformers, buses=buses)
    folder = tmp_path_factory.mktemp("feeder")
    write(feeder, folder)
    assert read(folder) == feeder


def test_power_grid_model_reads_the_grid_file_and_finds_it_sound(build: Any, tmp_path: Path) -> None:
    """But for what its validator wants above 0 and its engine takes: couplings of stand-in phases, and capacitances,
    which are 0 in many cables and negative between phases.
    """
    for seed in range(5):
        feeder = build.feeder(seed)
        write(feeder, tmp_path)
        found = validate_input_data(json_deserialize((tmp_path / GRID_FILE).read_text()), symmetric=False) or []
        numbers = Numbers.of(feeder).lines
        partial = {numbers[line.id] for line in feeder.lines if line.phases != "abc"}
        for error in found:
            assert isinstance(error, NotGreaterThanError)
            assert str(error.field).startswith("c_") or set(error.ids) <= partial


def test_sequence_figures_come_back_as_they_were_printed(build: Any, tmp_path: Path) -> None:
    """So that a file made from a cable list shows that list's figures."""
    write(build.two_buses(impedance=0.123 + 0.045j), tmp_path)
    rows = json.loads((tmp_path / GRID_FILE).read_text())
    line = dict(zip(rows["attributes"]["line"], rows["data"]["line"][0], strict=True))
    assert (line["r1"], line["x1"], line["r0"], line["x0"]) == (0.123, 0.045, 0.123, 0.045)


def test_rows_may_be_objects_as_other_programs_write_them(build: Any, tmp_path: Path) -> None:
    feeder = build.feeder(2)
    write(feeder, tmp_path)
    path = tmp_path / GRID_FILE
    grid = json.loads(path.read_text())
    for kind, names in grid["attributes"].items():
        grid["data"][kind] = [dict(zip(names, row, strict=True)) for row in grid["data"][kind]]
    path.write_text(json.dumps(grid | {"attributes": {}}))
    assert read(tmp_path) == feeder


def test_a_neutral_conductor_is_folded_in(build: Any, tmp_path: Path) -> None:
    """A four-wire line read here flows as power-grid-model flows it with its own reduction."""
    feeder = replace(build.two_buses(), lines=(replace(build.feeder(0).lines[0], from_bus="near", to_bus="far",
                                                       phases="abc", id="line"),))
    write(feeder, tmp_path)
    path = tmp_path / GRID_FILE
    grid = json.loads(path.read_text())
    names = grid["attributes"].pop("asym_line")
    row = dict(zip(names, grid["data"]["asym_line"][0], strict=True))
    for pair in ("aa", "bb", "cc", "nn"):
        row |= {f"r_{pair}": 0.05, f"x_{pair}": 0.04}
    for pair in ("ba", "ca", "cb", "na", "nb", "nc"):
        row |= {f"r_{pair}": 0.01, f"x_{pair}": 0.02}
    grid["data"]["asym_line"] = [row]
    path.write_text(json.dumps(grid))
    line = read(tmp_path).lines[0]
    z = np.full((4, 4), 0.01 + 0.02j) + np.eye(4) * (0.04 + 0.02j)
    reduced = np.linalg.inv(np.linalg.inv(z)[:3, :3])
    assert np.array(line.r_ohm) + 1j * np.array(line.x_ohm) == pytest.approx(reduced, rel=1e-12)


def broken(folder: Path, name: str, change: Any) -> str:
    """The complaint about a file after `change` to its content."""
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(FeederFileError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(folder) + "/")


@pytest.mark.parametrize(("name", "change", "complaint"), [
    (GRID_FILE, lambda grid: grid["data"]["node"][1].__setitem__(1, "low"), "grid.json: $.data.node[1]: Expected"),
    (GRID_FILE, lambda grid: grid["data"]["node"][1].append(7), "$.data.node[1]: 3 values, expected 2: id, u_rated"),
    (GRID_FILE, lambda grid: grid["data"].update(fault=[{}], link=[{}, {}]),
     "1 x fault, 2 x link: not supported, expected only node, line"),
    (GRID_FILE, lambda grid: grid["data"]["line"].append(
        dict(zip(grid["attributes"]["line"], grid["data"]["line"][0], strict=True)) | {"from_status": 0}),
     "$.data.line[1]: Invalid enum value 0 - at `$.from_status`"),
    (GRID_FILE, lambda grid: grid["data"]["line"][0].__setitem__(2, 77), "line 2: to_node: 77, expected the id of"),
    (GRID_FILE, lambda grid: grid.update(is_batch=True), "Invalid"),
    (SIDECAR_FILE, lambda side: side["lines"][0].__setitem__(0, 99),
     "$.lines[0]: number 99, expected the id of a line or asym_line in grid.json"),
    (SIDECAR_FILE, lambda side: side["lines"].clear(), "$.lines: no entry for line 2 of grid.json"),
    (SIDECAR_FILE, lambda side: side["lines"][0].__setitem__(4, "9"), "$.lines[0]: rating '9', expected a key of"),
    (SIDECAR_FILE, lambda side: side["buses"][0].__setitem__(2, "ba"), "bus near: phases: 'ba', expected one to"),
    (SIDECAR_FILE, lambda side: side["ratings"]["1"].update(amperes=[0.0, 1.0, 1.0]), "rating: amperes: 0.0, expected"),
    (SIDECAR_FILE, lambda side: side["ratings"]["1"].update(amperes=[1e300, 1.0, 1.0]), "rating: amperes: 1e+300"),
    (SIDECAR_FILE, lambda side: side["buses"][0].__setitem__(3, [1e300, 0.0]), "bus near: xy: 1e+300"),
    (SIDECAR_FILE, lambda side: side["connection_points"][0].update(
        envelope={"start": "9999-12-31T00:00:00Z", "step_s": 10**9, "import_w": [1.0], "export_w": [1.0]}),
     "envelope: start, step_s"),
    (GRID_FILE, lambda grid: grid["data"]["node"][1].__setitem__(1, 1e300),
     "$.data.node[1]: 1e+300, expected at most 1e+30 in size - at `$.u_rated`"),
    (GRID_FILE, lambda grid: grid["data"]["line"][0].__setitem__(5, 1e20), "line 2: r_ohm"),
    (SIDECAR_FILE, lambda side: side.pop("licence"), "missing required field `licence`"),
    (SIDECAR_FILE, lambda side: side.update(lisence="x"), "unknown field `lisence`"),
    (SIDECAR_FILE, lambda side: side["load_types"][0].update(active_zip=[1.0, 1.0, 1.0]), "load type: zip:"),
])
def test_every_mistake_is_one_line_that_says_where(
    build: Any, tmp_path: Path, name: str, change: Any, complaint: str
) -> None:
    write(build.two_buses(), tmp_path)
    message = broken(tmp_path, name, change)
    assert complaint in message, message
    assert message.startswith((GRID_FILE, SIDECAR_FILE))


def test_what_a_load_does_outside_its_range_is_kept(build: Any, tmp_path: Path) -> None:
    kind = LoadType("odd", valid_pu=(0.9, 1.1), low_pu=0.5, jumps=True)
    feeder = build.two_buses(kind=kind)
    write(feeder, tmp_path)
    assert read(tmp_path).load_types == (kind,)
    assert "low_pu: 0.95, expected 0, or above 0 and below 0.9" in broken(
        tmp_path, SIDECAR_FILE, lambda side: side["load_types"][0].update(low_pu=0.95))


def test_the_angle_of_a_source_s_zero_sequence_is_kept(build: Any, tmp_path: Path) -> None:
    feeder = build.two_buses()
    turned = replace(feeder, source=replace(feeder.source, z01_angle_rad=-0.4))
    write(turned, tmp_path)
    assert read(tmp_path) == turned


def test_ratings_of_elements_held_as_matrices_are_kept(build: Any, tmp_path: Path) -> None:
    feeder = build.rich_feeder(2)
    first, *others = feeder.primitives
    rated = replace(feeder, primitives=(replace(first, amperes=(50.0, 40.0)), *others))
    write(rated, tmp_path)
    assert read(tmp_path).primitives == rated.primitives


def test_missing_and_torn_files_are_named(build: Any, tmp_path: Path) -> None:
    with pytest.raises(FeederFileError, match=r"grid\.json: no such file"):
        read(tmp_path)
    write(build.two_buses(), tmp_path)
    text = (tmp_path / SIDECAR_FILE).read_text()
    (tmp_path / SIDECAR_FILE).write_text(text[: len(text) // 2])
    with pytest.raises(FeederFileError, match=r"feeder\.json: Input data was truncated"):
        read(tmp_path)


def test_power_grid_model_reads_what_it_has_words_for(build: Any, tmp_path: Path) -> None:
    """Capacitors on three phases are shunts of grid.json, and both files have to say the same of them."""
    write(build.rich_feeder(2), tmp_path)
    grid = json_deserialize((tmp_path / GRID_FILE).read_text())
    assert len(grid["shunt"]) == 2
    message = broken(tmp_path, SIDECAR_FILE, lambda side: side["capacitors"][0].update(var=1e3))
    assert "$.capacitors: star: 1000 var at 230 V, expected the b1 of shunt" in message
    message = broken(tmp_path, SIDECAR_FILE, lambda side: side["capacitors"].clear())
    assert "$.capacitors: no entry for shunt" in message


def test_an_open_vector_group_is_not_written(build: Any, tmp_path: Path) -> None:
    feeder = build.feeder(0)
    unknown = replace(feeder, transformers=(replace(feeder.transformers[0], vector_group=None),))
    with pytest.raises(FeederFileError, match="transformer t: vector_group: None"):
        write(unknown, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_flow_of_a_read_feeder_is_that_of_the_written_one(build: Any, tmp_path: Path) -> None:
    feeder = build.feeder(11)
    write(feeder, tmp_path)
    one, other = Flow(feeder), Flow(read(tmp_path))
    power, reactive = build.power(one, 11)
    assert np.array_equal(one.solve(power, reactive).voltages(), other.solve(power, reactive).voltages())
