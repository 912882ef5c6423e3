"""Grids of power-grid-model from elsewhere: its own engine, given the same file, says the same voltages."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from power_grid_model import PowerGridModel
from power_grid_model.utils import json_deserialize

from twin.feeder import Flow, faults
from twin.feeder.importers import Degree, Imported, ImportRefused, read_feeder

Rows = dict[str, list[dict[str, Any]]]


def grid() -> Rows:
    """Two cables behind a transformer, with loads of every type, a generator, a link and shunts."""
    line = {"from_status": 1, "to_status": 1, "r1": 0.06, "x1": 0.02, "c1": 5e-8, "tan1": 0.0, "r0": 0.2, "x0": 0.05,
            "c0": 4e-8, "tan0": 0.0, "i_n": 200.0}
    return {
        "node": [{"id": number, "u_rated": 10e3 if number == 1 else 400.0} for number in range(1, 6)],
        "transformer": [{
            "id": 10, "from_node": 1, "to_node": 2, "from_status": 1, "to_status": 1, "u1": 10e3, "u2": 400.0,
            "sn": 250e3, "uk": 0.04, "pk": 3e3, "i0": 0.01, "p0": 500.0, "winding_from": 2, "winding_to": 1,
            "clock": 11, "tap_side": 0, "tap_pos": 1, "tap_min": -2, "tap_max": 2, "tap_nom": 0, "tap_size": 250.0,
        }],
        "line": [{"id": 11, "from_node": 2, "to_node": 3, **line}, {"id": 12, "from_node": 4, "to_node": 5, **line}],
        "link": [{"id": 13, "from_node": 3, "to_node": 4, "from_status": 1, "to_status": 1}],
        "source": [{"id": 20, "node": 1, "status": 1, "u_ref": 1.01, "sk": 1e8, "rx_ratio": 0.2, "z01_ratio": 1.3}],
        "sym_load": [{"id": 30, "node": 3, "status": 1, "type": 0, "p_specified": 9e3, "q_specified": 3e3},
                     {"id": 31, "node": 5, "status": 1, "type": 1, "p_specified": 6e3, "q_specified": 1e3},
                     {"id": 32, "node": 5, "status": 0, "type": 0, "p_specified": 6e9, "q_specified": 1e3}],
        "asym_load": [{"id": 33, "node": 5, "status": 1, "type": 2, "p_specified": [3e3, 0.0, 1e3],
                       "q_specified": [1e3, 0.0, 5e2]}],
        "sym_gen": [{"id": 34, "node": 5, "status": 1, "type": 0, "p_specified": 4e3, "q_specified": 0.0}],
        "shunt": [{"id": 40, "node": 3, "status": 1, "g1": 0.0, "b1": 0.01, "g0": 0.0, "b0": 0.01},
                  {"id": 41, "node": 5, "status": 1, "g1": 0.001, "b1": 0.002, "g0": 0.0, "b0": 0.004}],
    }


def written(rows: Rows, folder: Path, **head: Any) -> Path:
    path = folder / "elsewhere.json"
    path.write_text(json.dumps({"version": "1.0", "type": "input", "is_batch": False, "attributes": {}, "data": rows}
                               | head))
    return path


def findings(found: Imported, degree: Degree) -> set[tuple[str, str]]:
    return {(one.kind, one.element) for one in found.findings if one.degree is degree}


def test_the_engine_given_the_same_file_says_the_same(tmp_path: Path) -> None:
    path = written(grid(), tmp_path)
    found = read_feeder(path)
    flow = Flow(found.feeder)
    ours = flow.solve(*found.loads.given()).voltages()[:, 0]
    data: Any = json_deserialize(path.read_text())
    engine = PowerGridModel(data, system_frequency=50.0)
    theirs = engine.calculate_power_flow(symmetric=False, error_tolerance=1e-7)
    volts = {int(row["id"]): row["u"] * np.exp(1j * row["u_angle"]) for row in theirs["node"]}
    assert [bus.id for bus in found.feeder.buses] == ["1", "2", "3", "5"]
    for row, node in enumerate(flow.nodes):
        base = 10e3 if node.bus == "1" else 400.0
        # A link is 1 MS in that engine and nothing here.
        assert abs(ours[row] - volts[int(node.bus)]["abc".index(node.phase)]) / base * sqrt(3.0) < 1e-6


def test_names_that_the_file_adds_are_kept(tmp_path: Path) -> None:
    rows = grid()
    rows["node"][2]["name"] = "corner"
    rows["line"][0]["id_reference"] = {"table": "line", "name": "main road", "index": 3}
    feeder = read_feeder(written(rows, tmp_path)).feeder
    assert "corner" in {bus.id for bus in feeder.buses}
    assert [line.id for line in feeder.lines] == ["main road", "12"]
    assert feeder.lines[0].ampacity is not None


def test_rows_may_be_lists_in_the_order_of_the_attributes(tmp_path: Path) -> None:
    rows = grid()
    columns = list(rows["node"][0])
    whole = read_feeder(written(rows, tmp_path)).feeder
    listed: Any = {**rows, "node": [list(row.values()) for row in rows["node"]]}
    assert read_feeder(written(listed, tmp_path, attributes={"node": columns})).feeder == whole


def test_what_is_half_open_ends_at_a_bus_of_its_own(tmp_path: Path) -> None:
    rows = grid()
    rows["line"][1]["to_status"] = 0
    rows["sym_load"] = [row | {"node": 3} for row in rows["sym_load"]]
    rows["asym_load"][0]["node"] = rows["sym_gen"][0]["node"] = rows["shunt"][1]["node"] = 3
    rows["node"].pop()
    rows["line"][1]["to_node"] = 4
    found = read_feeder(written(rows, tmp_path))
    assert "open end of 12" in {bus.id for bus in found.feeder.buses}
    assert not [fault for fault in faults(found.feeder) if fault.blocking]


def test_sensors_regulators_and_strangers_are_told_apart(tmp_path: Path) -> None:
    rows = grid()
    rows["sym_voltage_sensor"] = [{"id": 50, "measured_object": 1}]
    rows["transformer_tap_regulator"] = [{"id": 51, "regulated_object": 10}]
    rows["three_winding_transformer"] = [{"id": 52}, {"id": 53}]
    rows["source"].append({**rows["source"][0], "id": 21})
    rows["node"][0]["colour"] = "blue"
    found = read_feeder(written(rows, tmp_path))
    assert findings(found, Degree.NOT_RUN) == {("sym_voltage_sensor", "1 rows")}
    assert findings(found, Degree.FROZEN) == {("transformer_tap_regulator", "51")}
    assert findings(found, Degree.UNSUPPORTED) == {
        ("three_winding_transformer", "52"), ("three_winding_transformer", "53"), ("source", "21")}
    assert ("node", "1 rows") in findings(found, Degree.DROPPED)


def test_wrong_rows_are_refused_all_at_once(tmp_path: Path) -> None:
    rows = grid()
    rows["node"][1]["u_rated"] = -1.0
    rows["line"][0]["r1"] = "much"
    rows["transformer"][0]["clock"] = 99
    rows["asym_load"][0]["node"] = 77
    rows["source"][0]["status"] = 0
    with pytest.raises(ImportRefused) as refused:
        read_feeder(written(rows, tmp_path))
    text = str(refused.value)
    for part in ("node 2: bus 2: volts", "$.data.line[0]", "$.data.transformer[0]", "asym_load 33: node: 77", "source"):
        assert part in text, part


@pytest.mark.parametrize("head", [
    {"is_batch": True}, {"type": "update"}, {"version": "9"}, {"data": []}, {"data": {"node": {}}},
    {"data": {"node": [[1, 2, 3]]}}, {"data": {"node": [3]}}, {"data": {}},
    {"data": {"link": [{"id": "x", "from_node": [], "to_node": 2}]}}, {"attributes": {"node": 3}},
])
def test_what_is_no_grid_is_refused_with_its_file(tmp_path: Path, head: dict[str, Any]) -> None:
    path = written({}, tmp_path, **head)
    with pytest.raises(ImportRefused) as refused:
        read_feeder(path)
    assert all(reason.startswith(str(path)) for reason in refused.value.reasons)


def test_figures_that_cannot_be_calculated_with_are_named_with_their_rows(tmp_path: Path) -> None:
    rows = grid()
    rows["line"][0] |= {"i_n": -1.0}
    rows["line"][1] |= {"x0": 1e300}
    rows["transformer"][0] |= {"tap_pos": 40, "tap_max": 40}
    rows["asym_load"][0] |= {"p_specified": [1e20, 0.0, 0.0]}
    with pytest.raises(ImportRefused) as refused:
        read_feeder(written(rows, tmp_path))
    for part in ("line 11: rating: amperes: -1.0", "$.data.line[1]: 1e+300, expected at most 1e+30 in size - at `$.x0`",
                 "asym_load 33: p_specified, q_specified"):
        assert f"{tmp_path / 'elsewhere.json'}: {part}" in str(refused.value), part


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_grid_with_any_cell_spoiled_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = grid()
    kind = data.draw(st.sampled_from(sorted(rows)))
    row = data.draw(st.sampled_from(rows[kind]))
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(
        st.sampled_from([None, "", "x", -1, 0, 1e300, -1e300, 1e-300, 10**400, True, [], {}, [1, "x"], [1e300], 0.5])
    )
    path = written(rows, tmp_path_factory.mktemp("grid"))
    try:
        found = read_feeder(path)
    except ImportRefused as refused:
        assert all(reason.startswith(str(path)) for reason in refused.reasons)  # noqa: PT017 - either is allowed
    else:
        faults(found.feeder)
